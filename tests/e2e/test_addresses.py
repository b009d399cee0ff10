"""Where callers may connect: a Unix socket for its owner alone, and IPv6."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from sidecar.app import App
from sidecar.listen.listener import BindError, Listener
from tests.conftest import Running, Start
from tests.support.wire import Wire, chat, post


async def over(path: Path) -> Wire:
    return Wire(*await asyncio.open_unix_connection(str(path)))


@pytest.fixture
async def sidecar(start: Start, config: dict[str, object]) -> Running:
    return await start(config)


async def test_a_unix_socket_serves_its_owner_alone_and_goes_with_the_process(
    sidecar: Running, tmp_path: Path
) -> None:
    path = tmp_path / "s.sock"
    public = sidecar.app._public
    assert public is not None
    beside = Listener(public.handler)
    await beside.listen(f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with await over(path) as wire:
        for _ in range(2):
            wire.send(post(chat(model="small")))
            assert (await wire.reply()).status == 200
    with pytest.raises(BindError, match="in use"):
        await Listener(public.handler).listen(f"unix:{path}")
    with pytest.raises(BindError, match="cannot be shared"):
        await Listener(public.handler).listen(f"unix:{path}2", shared=True)
    await beside.close(1.0)
    assert not path.exists()


async def test_a_socket_that_a_dead_process_left_is_replaced(
    sidecar: Running, tmp_path: Path
) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    public = sidecar.app._public
    assert public is not None
    beside = Listener(public.handler)
    await beside.listen(f"unix:{path}")
    async with await over(path) as wire:
        wire.send(post(chat(model="nobody")))
        assert (await wire.reply()).status == 404
    await beside.close(1.0)


async def test_the_configuration_may_name_a_socket(
    config: dict[str, object], tmp_path: Path
) -> None:
    file = tmp_path / "sidecar.yaml"
    import yaml

    path = tmp_path / "apps.sock"
    file.write_text(yaml.safe_dump({**config, "listen": f"unix:{path}"}))
    app = await App.start(file, admin="127.0.0.1:0")
    try:
        async with await over(path) as wire:
            wire.send(post(chat(model="nobody")))
            assert (await wire.reply()).status == 404
    finally:
        await app.stop()


async def test_ipv6_is_served(sidecar: Running) -> None:
    public = sidecar.app._public
    assert public is not None
    beside = Listener(public.handler)
    await beside.listen("[::1]:0")
    host, _, port = beside.address.rpartition(":")
    assert host == "[::1]"
    async with Wire(*await asyncio.open_connection("::1", int(port))) as wire:
        wire.send(post(chat(model="small")))
        assert (await wire.reply()).status == 200
    await beside.close(1.0)
