"""An answer that an app would stumble over is an error of the demo."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from sidecar.demo import traffic
from sidecar.demo.mock import Exchange, MockUpstream
from sidecar.demo.site import Site, lay_out
from sidecar.demo.traffic import Ask, Result

HELLO = [{"role": "user", "content": "Hello there, how are you?"}]


def ask(*, stream: bool = True, **body: object) -> Ask:
    return Ask("qa-01", "qa", stream, {"messages": HELLO, **body})


class AsSidecar:
    """Makes the mock look like a sidecar that sent everything to the largest model."""

    def __init__(self, said: str = "gpt-4o", cut_at: int = 10_000) -> None:
        self.said = said
        self.cut_at = cut_at

    async def on_request(self, exchange: Exchange, request: web.Request) -> None:
        exchange.body = exchange.body.replace(b'"auto"', b'"gpt-4o-2024-08-06"')

    async def on_event(self, exchange: Exchange, event: bytes) -> bytes | None:
        return event if exchange.events < self.cut_at else None


@asynccontextmanager
async def fake(tmp_path: Path, faults: AsSidecar) -> AsyncIterator[tuple[Site, MockUpstream]]:
    headers = {  # as a sidecar would add them
        "x-router-model": faults.said,
        "x-router-reason": "policy",
        "x-router-decision-ms": "1.25",
    }
    upstream = MockUpstream(speed=0, faults=faults, headers=headers)
    async with upstream:
        site = lay_out(tmp_path, upstream.url)
        yield replace(site, listen=f"127.0.0.1:{upstream.port}"), upstream


async def one(site: Site, each: Ask) -> Result:
    (result,) = await traffic.send_all(site, [each], 1, lambda result: None)
    return result


async def test_figures_are_read_from_the_answer(tmp_path: Path) -> None:
    async with fake(tmp_path, AsSidecar()) as (site, _):
        streamed, whole = [await one(site, ask(stream=stream)) for stream in (True, False)]
    assert streamed.error == whole.error == ""
    assert streamed.model == "gpt-4o"
    assert streamed.decision_ms == 1.25
    assert streamed.output_tokens == whole.output_tokens > 0
    assert streamed.input_tokens == whole.input_tokens > 0


async def test_an_answer_of_another_model_than_the_header_names_is_an_error(
    tmp_path: Path,
) -> None:
    async with fake(tmp_path, AsSidecar(said="llama-3.1-8b")) as (site, _):
        result = await one(site, ask())
    assert "but 'gpt-4o-2024-08-06' answered" in result.error


async def test_a_stream_without_its_end_is_an_error(tmp_path: Path) -> None:
    async with fake(tmp_path, AsSidecar(cut_at=4)) as (site, _):
        assert (await one(site, ask())).error


async def test_a_refused_request_is_an_error_and_the_rest_go_on(tmp_path: Path) -> None:
    async with fake(tmp_path, AsSidecar()) as (site, _):
        asks = [ask(messages=[]), ask()]
        results = await traffic.send_all(site, asks, 1, lambda result: None)
    assert "BadRequestError" in results[0].error
    assert results[1].error == ""


async def test_nobody_listening_is_an_error_and_no_exception(tmp_path: Path) -> None:
    result = await one(lay_out(tmp_path, "http://127.0.0.1:9/v1"), ask())
    assert "APIConnectionError" in result.error


async def test_no_more_than_the_bound_are_in_flight(tmp_path: Path) -> None:
    class Counting(AsSidecar):
        now = most = 0

        async def on_request(self, exchange: Exchange, request: web.Request) -> None:
            await super().on_request(exchange, request)
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01)
            self.now -= 1

    faults = Counting()
    async with fake(tmp_path, faults) as (site, _):
        results = await traffic.send_all(site, [ask()] * 20, 4, lambda result: None)
    assert len(results) == 20
    assert 1 <= faults.most <= 4


async def test_a_failure_is_not_tried_again_behind_the_demos_back(tmp_path: Path) -> None:
    class Failing(AsSidecar):
        async def on_request(  # type: ignore[override]
            self, exchange: Exchange, request: web.Request
        ) -> web.Response:
            return web.json_response({"error": {"message": "boom"}}, status=500)

    async with fake(tmp_path, Failing()) as (site, upstream):
        result = await one(site, ask())
    assert "InternalServerError" in result.error
    assert upstream.served == 1
