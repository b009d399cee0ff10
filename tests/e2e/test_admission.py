"""Who may ask, how many at once, and what of the URL goes up."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import RawUpstream, answer, raw

BODY = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


async def ask(
    sidecar: Running, headers: dict[str, str] | None = None, query: str = ""
) -> tuple[int, dict[str, object], str | None]:
    url = f"{sidecar.url}/chat/completions{query}"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=BODY, headers=headers) as response,
    ):
        return response.status, await response.json(), response.headers.get("Retry-After")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/chat/completions", "the base URL lacks a /v1"),
        ("/messages", "the base URL lacks a /v1"),
        ("/v1/v1/messages", "the base URL has a /v1 too many"),
        ("/v1/v1/models", "the base URL has a /v1 too many"),
        ("/v1/responses/resp_1", "An answer that is kept, or made in the background, is its"),
        ("/v1/files", "Nothing is served here. There are POST /v1/chat/completions"),
    ],
)
async def test_who_asks_elsewhere_is_told_what_is_wrong_with_that(
    start: Start, upstream: RawUpstream, path: str, said: str
) -> None:
    running = await start(config_for(upstream.url))
    base = running.url.removesuffix("/v1")
    async with aiohttp.ClientSession() as session, session.post(base + path, json=BODY) as response:
        assert response.status == 404
        assert said in (await response.json())["error"]["message"]


@pytest.fixture
async def guarded(start: Start, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setenv("SIDECAR_TOKEN", "let-me-in")
    return await start({**config_for(upstream.url), "listen_token_env": "SIDECAR_TOKEN"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"x-api-key": "let-me"},
        {"Authorization": "let"},
        {"Authorization": "Basic let-me-in"},
    ],
)
async def test_a_caller_without_the_token_is_refused_and_no_upstream_asked(
    guarded: Running, upstream: RawUpstream, headers: dict[str, str]
) -> None:
    status, body, _ = await ask(guarded, headers)
    assert status == 401
    assert body["error"]["code"] == "invalid_token"  # type: ignore[index]
    assert "let-me-in" not in str(body)
    assert not upstream.seen


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer let-me-in"},
        {"authorization": "bearer let-me-in"},
        {"x-api-key": "let-me-in"},
    ],
)
async def test_the_token_is_taken_in_either_apis_header_and_does_not_go_up(
    guarded: Running, upstream: RawUpstream, headers: dict[str, str]
) -> None:
    status, _, _ = await ask(guarded, headers)
    assert status == 200
    assert "let-me-in" not in str(upstream.seen[0].headers)


async def test_a_token_that_is_not_set_is_a_fault(start: Start, upstream: RawUpstream) -> None:
    config = {**config_for(upstream.url), "listen_token_env": "NOT_SET_ANYWHERE"}
    with pytest.raises(Exception, match="NOT_SET_ANYWHERE"):
        await start(config)


async def test_one_request_too_many_is_told_to_come_again(
    start: Start, upstream: RawUpstream
) -> None:
    upstream.script = raw(
        0.5, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
    )
    config = {**config_for(upstream.url), "limits": {"max_concurrent": 2}}
    sidecar = await start(config)
    first = [asyncio.ensure_future(ask(sidecar)) for _ in range(2)]
    async with asyncio.timeout(10):
        while len(upstream.seen) < 2:
            await asyncio.sleep(0.01)
    status, body, again = await ask(sidecar)
    assert (status, again) == (429, "1")
    assert body["error"]["code"] == "too_many_requests"  # type: ignore[index]
    assert [status for status, _, _ in await asyncio.gather(*first)] == [200, 200]
    upstream.script = answer()
    assert (await ask(sidecar))[0] == 200


@pytest.mark.parametrize("client", ["lean", "aiohttp"])
async def test_the_query_goes_up_as_it_came(
    start: Start, upstream: RawUpstream, client: str
) -> None:
    sidecar = await start({**config_for(upstream.url), "upstream_client": client})
    assert (await ask(sidecar, query="?beta=true&x=%20y"))[0] == 200
    assert upstream.seen[0].line == "POST /v1/chat/completions?beta=true&x=%20y HTTP/1.1"
