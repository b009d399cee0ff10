"""What a budget does at its limit, on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml

from tests.conftest import Running, Start
from tests.support.raw_upstream import RawUpstream
from tests.support.redis_server import free_server
from tests.support.wire import Reply, chat, exchange, post

# An answer of the mock upstream is 18 tokens.
ONE = {"per": "tenant", "period": "day", "tokens": 18}


async def ask(
    sidecar: Running, tenant: str = "acme", text: str = "HARD", path: str = "/v1/chat/completions",
    **fields: Any,
) -> Reply:  # fmt: skip
    headers = f"Content-Type: application/json\r\nx-router-tenant: {tenant}\r\n"
    return await exchange(
        sidecar.app.listen, post(chat(text, **fields), headers=headers, path=path)
    )


async def test_at_its_limit_a_tenant_gets_the_cheapest_and_others_what_they_had(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start({**config, "budgets": {"each": ONE}})
    first, second, other = (
        await ask(sidecar), await ask(sidecar), await ask(sidecar, "globex")
    )  # fmt: skip
    assert (first.header("x-router-model"), first.header("x-router-reason")) == (
        ["large"],
        ["policy"],
    )
    assert (second.header("x-router-model"), second.header("x-router-reason")) == (
        ["small"],
        ["budget"],
    )
    assert other.header("x-router-model") == ["large"]
    # a capability is no luxury: it is not saved at
    picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    body = {"model": "auto", "messages": [{"role": "user", "content": picture}]}
    headers = "Content-Type: application/json\r\nx-router-tenant: acme\r\n"
    reply = await exchange(sidecar.app.listen, post(body, headers=headers))
    assert reply.header("x-router-model") == ["large"]
    # who names a model gets it
    assert (await ask(sidecar, model="large")).header("x-router-model") == ["large"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_budget_that_refuses_is_a_429_in_the_callers_dialect(
    start: Start, config: dict[str, Any], path: str, upstream: RawUpstream, second: RawUpstream
) -> None:
    config["upstreams"]["other"]["dialect"] = "anthropic"
    sidecar = await start({**config, "budgets": {"each": {**ONE, "at_limit": "refuse"}}})
    assert (await ask(sidecar, text="hello")).status == 200
    asked = len(upstream.seen) + len(second.seen)
    for model in ("auto", "large"):  # one that names its model too
        reply = await ask(sidecar, path=path, model=model, max_tokens=10)
        assert reply.status == 429
        error = reply.json["error"]
        assert "'each'" in error["message"]
        assert "renews in" in error["message"]
        if path == "/v1/messages":
            assert reply.json["type"] == "error"
            assert error["type"] == "rate_limit_error"
        else:
            assert error["code"] == "budget_exhausted"
        assert 0 < int(reply.header("retry-after")[0]) <= 86_400
        assert reply.header("x-should-retry") == ["false"]
    assert len(upstream.seen) + len(second.seen) == asked
    assert (await ask(sidecar, "globex", text="hello")).status == 200
    # the operator's own switch goes before it
    await exchange(sidecar.app.admin, post({"model": "small"}, path="/admin/kill-switch"))
    assert (await ask(sidecar)).status == 200


async def test_a_budget_that_warns_changes_no_decision_and_says_so(
    start: Start, config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    sidecar = await start({**config, "budgets": {"each": {**ONE, "at_limit": "warn"}}})
    for _ in range(3):
        reply = await ask(sidecar)
        assert (reply.status, reply.header("x-router-model")) == (200, ["large"])
    assert caplog.text.count("the budget each of a tenant is used up") == 1
    told = await exchange(sidecar.app.admin, post(b"", path="/metrics", method="GET"))
    assert b'router_budget_exhausted_total{at_limit="warn",budget="each"} 2.0' in told.body
    assert b'router_budget_used{budget="each"} 3.0' in told.body


async def test_the_operator_sees_who_spent_what(start: Start, config: dict[str, Any]) -> None:
    sidecar = await start({**config, "budgets": {"each": ONE}})
    await ask(sidecar)
    told = (await exchange(sidecar.app.admin, post(b"", path="/admin/budgets", method="GET"))).json
    assert told["store_up"] is True
    (row,) = told["budgets"]
    assert row["subjects"][0]["subject"] == "acme"
    assert row["subjects"][0]["used"] == 1.0


async def test_spending_survives_a_restart(start: Start, config: dict[str, Any]) -> None:
    config = {**config, "budgets": {"each": ONE}}
    first = await start(config)
    await ask(first)
    await first.app.stop()
    second = await start(config)
    assert (await ask(second)).header("x-router-reason") == ["budget"]


async def test_the_first_budget_needs_a_restart_and_a_further_one_does_not(
    start: Start, config: dict[str, Any]
) -> None:
    sidecar = await start(config)

    async def reload(budgets: dict[str, Any], of: Running) -> Reply:
        text = yaml.safe_dump({**config, "budgets": budgets}, sort_keys=False)
        of.app.runtime.config_file.write_text(text)
        return await exchange(of.app.admin, post(b"", path="/admin/reload"))

    reply = await reload({"each": ONE}, sidecar)
    assert reply.status == 400
    assert "budgets: the first one needs a restart" in reply.json["faults"][0]
    other = await start({**config, "budgets": {"each": {**ONE, "tokens": 10_000}}})
    assert (await reload({"each": ONE}, other)).status == 200
    await ask(other)
    assert (await ask(other)).header("x-router-reason") == ["budget"]


async def test_a_store_that_dies_in_mid_run_stops_no_traffic(
    start: Start, config: dict[str, Any]
) -> None:
    server = free_server()
    await server.start()
    try:
        sidecar = await start(
            {
                **config,
                "budgets": {"each": {**ONE, "tokens": 18 * 4}},
                "spending": {"redis": {"url": server.url, "timeout_s": 0.2}, "every_s": 0.05},
            }
        )
        ledger = sidecar.app.runtime.budgets
        assert ledger is not None
        assert (await ask(sidecar)).header("x-router-reason") != ["budget"]
        await asyncio.sleep(0.3)
        await server.kill()
        async with asyncio.timeout(20):
            while ledger.reached:
                assert (await ask(sidecar, "globex")).status == 200
                await asyncio.sleep(0.05)
        for _ in range(3):
            assert (await ask(sidecar)).header("x-router-reason") != ["budget"]
        assert (await ask(sidecar)).header("x-router-reason") == ["budget"]  # it still bites
        await server.start()
        async with asyncio.timeout(20):
            while not ledger.reached:
                await asyncio.sleep(0.05)
        assert (await ask(sidecar)).header("x-router-reason") == ["budget"]
    finally:
        await server.kill()
