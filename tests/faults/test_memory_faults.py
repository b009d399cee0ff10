"""A fault in what the sidecar remembers of a request costs nobody an answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Start
from tests.support.wire import Wire, chat, post


@pytest.mark.sources  # replaces what a compiled module has for good
async def test_a_memory_that_fails_costs_no_answer_and_no_count(
    start: Start,
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sidecar = await start(config)

    def fail(*_: object) -> None:
        raise RuntimeError("my secret prompt")

    monkeypatch.setattr(type(sidecar.app.runtime.sessions), "remember", fail)
    async with await Wire.to(sidecar.app.listen) as wire:
        for _ in range(2):  # on one connection: it lives on
            wire.send(post(chat()))
            assert (await wire.reply()).status == 200
    assert sidecar.app.runtime.recent.total == 2
    assert "a request was not remembered: RuntimeError" in caplog.text
    assert "secret" not in caplog.text
