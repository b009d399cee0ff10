"""No caller chooses where a request goes, and no upstream forges more than its one answer."""

# ruff: noqa: E501  # tables of bad input are read row by row

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import RawUpstream, answer, raw
from tests.support.wire import Reply, chat, exchange, post

JSON = "Content-Type: application/json\r\n"


@pytest.fixture
async def sidecar(start: Start, upstream: RawUpstream) -> Running:
    return await start(config_for(upstream.url))


async def ask(sidecar: Running, **how: Any) -> Reply:
    return await exchange(sidecar.app.listen, post(chat(model="small"), **how))


# -- where a request goes -----------------------------------------------------------

QUERIES = (
    "//other.test/v1",
    "/../../admin/reload",
    "@other.test",
    "x=%0d%0aHost:%20other.test",
    "x=%0d%0a%0d%0aPOST%20/v1/admin",
    "x=%00",
    "url=http://other.test&host=other.test",
    "x=#fragment",
    "\\\\other.test",
    "?x?y",
)


@pytest.mark.parametrize("query", QUERIES)
async def test_a_query_goes_up_as_a_query_and_changes_nothing_else(
    sidecar: Running, upstream: RawUpstream, query: str
) -> None:
    assert (await ask(sidecar, path=f"/v1/chat/completions?{query}")).status == 200
    (seen,) = upstream.seen
    sent = query.partition("#")[0]
    assert seen.line == f"POST /v1/chat/completions?{sent} HTTP/1.1"
    assert seen.header("host") == [upstream.url.split("/")[2]]
    assert not any(name.lower() == "x" for name, _ in seen.headers)


MODELS = (
    "../../admin",
    "http://other.test/v1",
    "small@other.test",
    "small\r\nHost: other.test",
    "//other.test",
    "small?x=y",
    "small\x00",
    "SMALL",
    "tiny-1",  # what the upstream calls it: only configured names are served
)


@pytest.mark.parametrize("model", MODELS)
async def test_a_model_that_is_not_configured_is_no_way_out(
    sidecar: Running, upstream: RawUpstream, model: str
) -> None:
    reply = await exchange(sidecar.app.listen, post(chat(model=model)))
    assert reply.status == 404
    assert "\n" not in reply.json["error"]["message"]
    assert upstream.seen == []


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/v1/chat/completions", "//127.0.0.1:1/v1"])
async def test_a_target_with_a_host_does_not_choose_the_host(
    sidecar: Running, upstream: RawUpstream, target: str
) -> None:
    reply = await ask(sidecar, path=target)
    assert reply.status == (200 if target.startswith("http") else 404)
    for seen in upstream.seen:
        assert seen.line == "POST /v1/chat/completions HTTP/1.1"
        assert seen.header("host") == [upstream.url.split("/")[2]]


async def test_headers_that_proxies_heed_do_not_choose_the_host(
    sidecar: Running, upstream: RawUpstream
) -> None:
    said = "X-Forwarded-Host: other.test\r\nX-Original-URL: /admin/reload\r\nX-Rewrite-URL: /x\r\nForwarded: host=other.test\r\n"
    assert (await ask(sidecar, headers=JSON + said)).status == 200
    (seen,) = upstream.seen
    assert seen.line == "POST /v1/chat/completions HTTP/1.1"
    assert seen.header("host") == [upstream.url.split("/")[2]]


async def test_an_upstream_cannot_send_the_request_elsewhere(
    sidecar: Running, upstream: RawUpstream, second: RawUpstream
) -> None:
    upstream.script = answer(b"{}", "307 Elsewhere", f"Location: {second.url}/chat/completions\r\n")
    assert (await ask(sidecar)).status == 307
    assert second.seen == []


# -- what an upstream's answer may hold ----------------------------------------------

END = b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\n"
FORGED: dict[str, bytes] = {
    "a carriage return in a value": OK + b"X-A: b\rX-Forged: yes\r\n" + END,
    "a line feed in a value": OK + b"X-A: b\nX-Forged: yes\r\n" + END,
    "a folded value": OK + b"X-A: b\r\n X-Forged: yes\r\n" + END,
    "a NUL in a value": OK + b"X-A: b\0X-Forged: yes\r\n" + END,
    "a control in a value": OK + b"X-A: b\x01c\r\n" + END,
    "bytes beyond ASCII in a value": OK + b"X-A: caf\xe9 \xff\xe2\x80\xa8\r\n" + END,
    "line ends of Unicode in a value": OK + "X-A: b\u2028X-Forged: yes\u0085X-Forged: yes\r\n".encode() + END,
    "a carriage return in the reason": b"HTTP/1.1 200 OK\rX-Forged: yes\r\n" + END,
    "a line feed in the reason": b"HTTP/1.1 200 OK\nX-Forged: yes\r\n" + END,
    "bytes beyond ASCII in the reason": b"HTTP/1.1 200 D\xe9j\xe0 \xff\r\n" + END,
    "a space in a name": OK + b"X A: b\r\n" + END,
    "a name beyond ASCII": OK + b"X-\xff: b\r\n" + END,
    "two lengths": OK + b"Content-Length: 30\r\n" + END,
    "a length and chunks": OK + b"Transfer-Encoding: chunked\r\n" + END,
    "an upgrade that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + OK + END,
    "another answer after it": OK + END + OK + b"X-Forged: yes\r\n" + END,
    "the router's own headers": OK + b"x-router-model: X-Forged\r\nx-router-explain: X-Forged\r\nServer-Timing: X-Forged\r\n" + END,
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
async def test_an_upstreams_answer_cannot_forge_a_header_or_a_second_answer(
    sidecar: Running, upstream: RawUpstream, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.script = raw(FORGED[name])
    for _ in range(2):  # the second over whatever connection the first has left
        try:
            reply = await ask(sidecar)
        except ConnectionError:  # cut before it began: no caller takes that for an answer
            continue
        assert reply.status in {200, 502}
        # an upstream may send any header; one client takes a line feed for the end of one
        assert not reply.header("x-forged") or "line feed" in name
        assert reply.header("x-router-model") == ["small"]
        for field, value in reply.headers:
            assert field.isascii()
            assert "X-Forged" not in value or field == "X-A"
            assert not set(value) & set("\r\n\0")
        if reply.status == 200:
            assert reply.json == {}
    assert "ERROR" not in caplog.text
