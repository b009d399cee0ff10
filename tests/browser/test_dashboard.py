"""The dashboard in real Chromium: what it shows, its switches, and what it never does."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from sidecar.classify.dummy import DummyReader
from sidecar.runtime import Mode
from sidecar.types import Reading
from tests.browser.conftest import Open, ask
from tests.conftest import Start, by_word
from tests.support.raw_upstream import RawUpstream, answer

LOST = ("Failed to load resource",)  # Chromium's own note of a failed request


async def test_an_idle_sidecar_says_how_to_begin(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    sidecar = await start(config)
    at = await visit(sidecar.admin)
    await at.expect("#mode").to_have_text("Routing")
    await at.expect("#feed-empty").to_be_visible()
    await at.expect("#hint").to_contain_text(f"http://{sidecar.app.listen}/v1/chat/completions")
    await at.expect("#saved").to_have_text("$0")
    await at.expect("#fact-backend").to_contain_text("dummy")
    # everything comes from the sidecar, and is light
    assert {url.split("/")[2] for url in at.requested} == {sidecar.app.admin}
    files = Path("sidecar/control/static").iterdir()
    assert sum(file.stat().st_size for file in files) < 150_000


async def test_decisions_show_with_their_reasons_and_what_they_saved(
    start: Start, config: dict[str, Any], upstream: RawUpstream, visit: Open
) -> None:
    sidecar = await start(config)
    at = await visit(sidecar.admin)
    await ask(sidecar)
    await ask(sidecar, "HARD")
    await ask(sidecar, model="large")
    rows = at.page.locator("#feed > li")
    await at.expect("#feed > li").to_have_count(3)
    newest = await rows.first.inner_text()
    assert "large" in newest
    assert "explicit" in newest
    upstream.script = answer(status="503 Down")
    await ask(sidecar)
    await at.expect("#feed > li >> nth=0").to_contain_text("fallback:1")

    # what is counted: three answers of the large model at 97.5 millionths, one of the small at 1.26
    await at.expect("#spent").to_have_text("$0.000294")
    await at.expect("#k-requests").to_have_text("4")
    await at.expect("#models").to_contain_text("25.0 %")
    await at.expect("#k-p50").to_contain_text("last minute")
    await at.expect("#reasons").to_contain_text("the policy weighed chance against price")
    await at.expect("#latency svg").to_have_attribute("aria-label", re.compile("^4 decisions"))

    # by keyboard: a row opens to its whole chain of reasons
    await rows.first.locator("button.row").focus()
    await at.page.keyboard.press("Enter")
    chain = at.page.locator("#feed .chain").first
    await at.expect("#feed .chain >> nth=0").to_be_visible()
    told = await chain.inner_text()
    assert "small: status 503" in told
    assert "large, 200, complete" in told
    await at.expect("#feed .candidates >> nth=0").to_contain_text("suffices")

    await at.page.locator("#f-bad").check()
    await at.expect("#feed > li").to_have_count(1)
    await at.page.locator("#f-bad").uncheck()
    await at.page.locator("#f-reason").select_option("explicit")
    await at.expect("#feed > li").to_have_count(1)
    await at.page.locator("#f-reason").select_option("")
    await at.page.locator("#pause").click()
    await ask(sidecar)
    await at.expect("#pause").to_have_text("Resume (1 new)")
    await at.expect("#feed > li").to_have_count(4)
    await at.page.locator("#pause").click()
    await at.expect("#feed > li").to_have_count(5)


async def test_what_lies_beyond_the_last_bucket_is_said_to_and_no_saving_is_none(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    class Slow(DummyReader):
        def read(self, windows: Sequence[str]) -> list[Reading]:
            time.sleep(0.4)
            return super().read(windows)

    config["routes"]["auto"]["default"] = "large"
    sidecar = await start(config, classifier=Slow(by_word), deadline_s=20.0)
    await ask(sidecar, "HARD")
    at = await visit(sidecar.admin)
    await at.expect("#k-p99").to_have_text("over 250 ms")
    await at.expect("#k-p50").to_contain_text("median over 250 ms")
    label = re.compile("took more than 250.0 ms")
    await at.expect("#latency svg").to_have_attribute("aria-label", label)
    await at.expect("#saved-share").to_have_text("the same as always the strongest")


async def test_a_refusal_is_told_in_its_own_words_and_a_socket_is_asked_as_one(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    sidecar = await start(config)
    at = await visit(sidecar.admin, allowed=LOST)
    await at.settled()

    async def elsewhere(route: Any) -> None:
        answered = await route.fetch()
        said = await answered.json()
        said["state"]["listen"] = "unix:/run/pointsman.sock"
        await route.fulfill(response=answered, json=said)

    await at.page.route("**/admin/live*", elsewhere)
    hint = "curl --unix-socket /run/pointsman.sock http://localhost/v1/chat/completions"
    await at.expect("#hint").to_contain_text(hint)
    refusal = {"error": {"message": "Use an address of admin_hosts.", "code": "unknown_host"}}
    await at.page.unroute("**/admin/live*")
    await at.page.route("**/admin/live*", lambda route: route.fulfill(status=403, json=refusal))
    await at.expect("#notice-lost").to_contain_text("Refused by the sidecar")
    await at.expect("#notice-lost").to_contain_text("Use an address of admin_hosts.")
    await at.page.unroute("**/admin/live*")
    await at.expect("#notice-lost").to_be_hidden()


async def test_the_kill_switch_asks_first_and_can_be_taken_back(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    sidecar = await start(config)
    runtime = sidecar.app.runtime
    at = await visit(sidecar.admin)
    await at.settled()
    kill = at.page.locator("#kill")
    await kill.focus()
    await at.page.keyboard.press("Enter")
    await at.expect("#ask-kill").to_be_visible()
    await at.page.keyboard.press("Escape")
    await at.expect("#ask-kill").to_be_hidden()
    assert runtime.pinned is None
    await at.expect("#kill").to_be_focused()

    await at.page.keyboard.press("Enter")
    await at.page.get_by_role("radio", name="small").check()
    await at.page.get_by_role("button", name="Throw the switch").click()
    await at.expect("#notice-killed").to_contain_text("small")
    assert runtime.pinned == "small"
    await at.expect("#mode").to_have_text("Kill switch on")
    await ask(sidecar, "HARD")
    await at.expect("#feed > li >> nth=0").to_contain_text("kill-switch")

    await at.page.get_by_role("button", name="Route again").click()
    await at.expect("#notice-killed").to_be_hidden()
    assert runtime.pinned is None
    await at.expect("#mode").to_have_text("Routing")


async def test_a_prompt_is_tried_and_sent_nowhere(
    start: Start,
    config: dict[str, Any],
    upstream: RawUpstream,
    second: RawUpstream,
    visit: Open,
) -> None:
    sidecar = await start(config)
    at = await visit(sidecar.admin)
    await at.settled()
    await at.page.get_by_role("textbox", name="Prompt").fill("HARD to say")
    await at.page.keyboard.press("Control+Enter")
    await at.expect("#story .verdict").to_contain_text("large")
    await at.expect("#story .verdict").to_contain_text("policy")
    await at.expect("#story .chain").to_contain_text("capability")
    await at.expect("#story .candidates li").to_have_count(2)
    await at.page.get_by_role("combobox", name="Ask for").select_option("small")
    await at.page.get_by_role("button", name="Explain").click()
    await at.expect("#story .verdict").to_contain_text("the request named the model")
    assert upstream.seen == second.seen == []
    await at.expect("#feed-empty").to_be_visible()


async def test_a_reload_tells_what_it_took_and_what_it_refused(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    sidecar = await start(config)
    at = await visit(sidecar.admin, allowed=LOST)
    await at.settled()
    file = sidecar.app.runtime.config_file
    config["routes"]["auto"]["quality"] = 0.8
    file.write_text(yaml.safe_dump(config))
    await at.page.locator("#reload").click()
    await at.expect("#toasts").to_contain_text("generation 2")
    await at.expect("#fact-config").to_contain_text("generation 2")
    config["routes"]["auto"]["default"] = "nobody"
    file.write_text(yaml.safe_dump(config))
    await at.page.locator("#reload").click()
    await at.expect("#toasts").to_contain_text("no model is called 'nobody'")
    await at.expect("#fact-config").to_contain_text("generation 2")


async def test_after_a_reload_the_filter_offers_the_models_that_are_left(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    config["models"]["old"] = config["models"]["large"]
    sidecar = await start(config)
    at = await visit(sidecar.admin)
    await ask(sidecar, model="old")
    await ask(sidecar)
    await at.expect("#feed > li").to_have_count(2)
    await at.page.locator("#f-model").select_option("old")
    await at.expect("#feed > li").to_have_count(1)
    config["models"]["new"] = config["models"].pop("old")
    sidecar.app.runtime.config_file.write_text(yaml.safe_dump(config))
    await at.page.locator("#reload").click()
    await at.expect("#fact-config").to_contain_text("generation 2")
    await at.expect("#feed > li").to_have_count(2)  # what it chose is gone: all show again
    offered = await at.page.locator("#f-model option").all_inner_texts()
    assert offered[0] == "All models"
    assert sorted(offered[1:]) == ["large", "new", "small"]
    assert await at.page.locator("#f-model").input_value() == ""
    # a choice that is still there outlives a reload
    await at.page.locator("#f-model").select_option("small")
    del config["models"]["new"]
    sidecar.app.runtime.config_file.write_text(yaml.safe_dump(config))
    await at.page.locator("#reload").click()
    await at.expect("#fact-config").to_contain_text("generation 3")
    assert await at.page.locator("#f-model").input_value() == "small"
    await at.expect("#feed > li").to_have_count(1)


async def test_draining_and_a_lost_sidecar_are_said(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    sidecar = await start(config)
    at = await visit(sidecar.admin, allowed=LOST)
    await ask(sidecar)
    await at.expect("#k-requests").to_have_text("1")
    sidecar.app.runtime.mode = Mode.DRAINING
    await at.expect("#mode").to_have_text("Draining")
    await at.expect("#notice-draining").to_be_visible()
    await sidecar.app.stop()
    await at.expect("#mode").to_have_text("Disconnected")
    await at.expect("#notice-lost").to_contain_text("No answer from the sidecar")
    await at.expect("#k-requests").to_have_text("1")  # the last figures stay


async def test_with_a_token_the_page_asks_for_it_and_keeps_it_in_the_tab(
    start: Start, config: dict[str, Any], visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "open-sesame")
    sidecar = await start({**config, "admin_token_env": "ADMIN_TOKEN"})
    at = await visit(sidecar.admin, allowed=LOST)
    await at.expect("#ask-token").to_be_visible()
    await at.page.get_by_role("textbox", name="Token").fill("wrong")
    await at.page.keyboard.press("Enter")
    await at.expect("#token-fault").to_contain_text("asks for a token")
    await at.page.get_by_role("textbox", name="Token").fill("open-sesame")
    await at.page.keyboard.press("Enter")
    await at.expect("#mode").to_have_text("Routing")
    await at.expect("#ask-token").to_be_hidden()
    await at.page.reload()
    await at.expect("#mode").to_have_text("Routing")
    kept = await at.page.evaluate("[JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
    assert "open-sesame" not in kept[0]
    assert "open-sesame" in kept[1]


@pytest.mark.parametrize("shown", [False, True])
async def test_a_prompt_shows_only_where_the_operator_said_so_and_only_as_text(
    start: Start, config: dict[str, Any], visit: Open, shown: bool
) -> None:
    sidecar = await start({**config, "dashboard": {"show_prompts": shown}})
    at = await visit(sidecar.admin)
    evil = "<img src=x onerror=document.title='owned'>SESAME" + " and so on" * 100
    await ask(sidecar, evil)
    await at.expect("#feed > li").to_have_count(1)
    text = await at.page.locator("body").inner_text()
    assert ("<img src=x" in text) is shown
    assert ("SESAME" in await at.page.content()) is shown
    assert await at.page.locator("#feed img").count() == 0
    assert await at.page.title() == "Pointsman"
    if shown:  # and of a long one the head only
        assert text.count("and so on") < 30


async def another_site(text: str) -> tuple[web.AppRunner, int]:
    """A page of another site, to be opened as ``localhost``."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def test_a_page_of_another_site_cannot_throw_the_switch(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    sidecar = await start(config)
    target = f"{sidecar.admin}/admin/kill-switch"
    evil = f"""<form method="post" enctype="text/plain" action="{target}">
        <input name='{{"model": "large", "x": "' value='"}}'></form><script>
        fetch("{target}", {{method: "POST", mode: "no-cors", body: '{{"model": "large"}}'}})
          .finally(() => document.forms[0].submit());</script>"""

    runner, port = await another_site(evil)
    try:
        at = await visit(f"http://localhost:{port}/", allowed=LOST)
        await at.page.wait_for_url(target)
        await at.expect("body").to_contain_text("another site")
    finally:
        await runner.cleanup()
    assert sidecar.app.runtime.pinned is None


async def test_the_dashboard_does_not_show_in_a_frame_of_another_page(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    sidecar = await start(config)
    runner, port = await another_site(
        f'<a href="{sidecar.admin}/">the dashboard</a><iframe src="{sidecar.admin}/"></iframe>'
    )
    try:
        at = await visit(f"http://localhost:{port}/", allowed=LOST)
        framed = at.page.frame_locator("iframe").locator("#kill")
        await at.page.wait_for_load_state("networkidle")
        assert await framed.count() == 0
        await at.page.get_by_role("link").click()  # a link opens it, whole
        await at.settled()
    finally:
        await runner.cleanup()
