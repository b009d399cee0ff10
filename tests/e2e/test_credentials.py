"""How an upstream is told who asks: Azure's way, headers and parameters of the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Start, config_for
from tests.support.raw_upstream import RawUpstream
from tests.support.wire import chat, exchange, post

SENT = "Content-Type: application/json\r\nUser-Agent: app\r\nX-Team: theirs\r\napi-key: callers\r\n"


def with_upstream(upstream: RawUpstream, **keys: Any) -> dict[str, Any]:
    config: dict[str, Any] = config_for(upstream.url)
    config["upstreams"]["local"].update(keys)
    return config


@pytest.mark.parametrize("client", ["lean", "aiohttp"])
async def test_an_azure_deployment_is_asked_as_azure_wants(
    start: Start, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    monkeypatch.setenv("AZURE_KEY", "azure-secret")
    monkeypatch.setenv("TEAM", "ours")
    config = with_upstream(
        upstream,
        base_url=upstream.url.replace("/v1", "/openai/deployments/tiny"),
        api_key_env="AZURE_KEY",
        auth="api-key",
        query={"api-version": "2024-10-21"},
        headers_env={"X-Team": "TEAM"},
        headers={"X-Note": "a b"},
    )
    sidecar = await start({**config, "upstream_client": client})
    path = "/v1/chat/completions?x=1&api-version=theirs"
    reply = await exchange(sidecar.app.listen, post(chat(model="small"), path=path, headers=SENT))
    assert reply.status == 200
    (seen,) = upstream.seen
    target = "/openai/deployments/tiny/chat/completions?api-version=2024-10-21&x=1"
    assert seen.line == f"POST {target} HTTP/1.1"
    assert seen.header("api-key") == ["azure-secret"]
    assert seen.header("x-team") == ["ours"]
    assert seen.header("x-note") == ["a b"]
    assert seen.header("user-agent") == ["app"]
    assert "azure-secret" not in repr(sidecar.app.runtime.snapshot.models["small"])


async def test_a_value_that_is_not_set_is_a_warning_and_left_out(
    start: Start, upstream: RawUpstream
) -> None:
    config = with_upstream(upstream, query_env={"sig": "NOT_SET_ANYWHERE"})
    sidecar = await start(config)
    (warning,) = sidecar.app.runtime.snapshot.warnings
    assert "upstreams.local.query_env.sig: the variable NOT_SET_ANYWHERE is not set" in warning
    assert (await exchange(sidecar.app.listen, post(chat(model="small")))).status == 200
    assert upstream.seen[0].line == "POST /v1/chat/completions HTTP/1.1"


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"headers": {"Host": "x"}}, "Host"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "Transfer-Encoding"),
        ({"headers_env": {"X-Router-Model": "X"}}, "X-Router-Model"),
        ({"headers": {"X-Note": "a\r\nX-Forged: 1"}}, "X-Note"),
        ({"headers": {"x-note": "1"}, "headers_env": {"X-Note": "X"}}, "x-note twice"),
    ],
)
async def test_a_header_that_is_not_for_a_configuration_to_say_is_a_fault(
    start: Start, upstream: RawUpstream, keys: dict[str, Any], word: str
) -> None:
    with pytest.raises(Exception, match=word):
        await start(with_upstream(upstream, **keys))
