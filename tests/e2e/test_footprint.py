"""Memory stays where it is: the short form of ``bench.footprint``.

A leak of a few KB a request or of a copy of a stream's buffers fails this within
seconds; the long form, 200,000 requests and 1,000 streams, is in ``bench/results.jsonl``.
"""

from __future__ import annotations

import asyncio

import pytest

from bench import footprint, ground

ENTRIES = 300  # of each memory, so that they are full when the measure is taken
SETTLED = 2_000
REQUESTS = 5_000
STREAMS = 150


@pytest.mark.timeout(600)
async def test_requests_and_slow_streams_leave_memory_where_it_is() -> None:
    footprint.allow_files()
    with (
        footprint.mock() as upstream,
        ground.sidecar(footprint.settings(upstream, ENTRIES, "heuristic")) as sidecar,
    ):
        async with asyncio.timeout(500):
            grown = await footprint.growth(sidecar, REQUESTS, SETTLED, lambda _: None)
            slow = await footprint.streams(sidecar, STREAMS, 1.0, lambda _: None)
            while (open_files := sidecar.process.files()) > slow["files"]["before"] + 20:
                await asyncio.sleep(0.2)  # the streams are over, and so are their connections
    assert grown["grown_mb"] < 5, grown  # 1.7 KB a request would be more
    assert slow["flowing"] == STREAMS
    assert slow["added_mb"] < STREAMS * 0.1, slow  # 100 KB a stream
    assert slow["files"]["with_streams"] > STREAMS
    assert open_files < STREAMS
