"""How the dashboard looks: in either theme, on a phone, with many models and long names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Open, ask
from tests.conftest import Start
from tests.support.raw_upstream import RawUpstream, answer

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
# How many decimals each amount of a column has.
_COLUMNS = """() => ['#feed .row > :nth-child(7)', '#feed .row > :nth-child(8)',
    '#models .faint.n', '.candidates .faint', '.versus-row b']
  .map((where) => [...document.querySelectorAll(where)]
    .map((each) => (/\\$[\\d.,]+/.exec(each.textContent) || [''])[0])
    .filter((text) => text && text !== '$0').map((text) => text.split('.')[1].length))"""


async def test_money_of_one_column_lines_up(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    sidecar = await start(config)
    at = await visit(sidecar.admin)
    for text in ("hello", "HARD", "HARD " * 4000):
        await ask(sidecar, text)
    await ask(sidecar, model="large")
    await at.expect("#feed > li").to_have_count(4)
    await at.page.get_by_role("button", name="A greeting").click()
    await at.expect("#story .candidates li").to_have_count(2)
    columns = await at.page.evaluate(_COLUMNS)
    assert [len(column) > 0 for column in columns] == [True] * 5
    assert [len(set(column)) for column in columns] == [1] * 5

    said = await at.page.evaluate("""async () => {
        const { decimals, prices, usd } = await import('/static/words.js');
        return { few: [0.076, 0.00022, 0, -0.001, 4e-7, null].map((v) => usd(v)),
                 many: [1234567.891, 0.004, 20].map((v) => usd(v, decimals([1234567, 0.004]))),
                 some: decimals([3.2, 0.01]), whole: decimals([3.2], 1, 0.01),
                 priced: prices([{ price: { input: 0.075, output: 0.3 } },
                                  { price: { input: 2.5, output: 10 } }]) };
    }""")
    assert said == {
        "few": ["$0.076000", "$0.000220", "$0", "−$0.001000", "<$0.000001", "unknown"],
        "many": ["$1,234,567.89", "<$0.01", "$20.00"],
        "some": 4,
        "whole": 2,
        "priced": ["$0.075 in, $0.300 out a million", "$2.500 in, $10.000 out a million"],
    }


async def test_twenty_models_leave_room_for_what_else_there_is(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    large = config["models"]["large"]
    for n in range(18):
        config["models"][f"model-{n:02}"] = large
    sidecar = await start(config)
    runtime = sidecar.app.runtime
    await ask(sidecar, model="model-17")
    at = await visit(sidecar.admin, viewport={"width": 1280, "height": 800})
    await at.expect("#feed > li").to_have_count(1)
    await at.expect("#models > li").to_have_count(20)
    await at.expect("#models > li >> nth=0").to_contain_text("model-17")  # what is used comes first
    box = await at.page.locator(".shares").bounding_box()
    assert box["height"] < 400
    await at.page.locator("#models").focus()
    await at.page.keyboard.press("End")
    await at.expect("#models > li >> nth=19").to_be_in_viewport()

    # the dialog shows what is chosen and both its buttons, and the arrows choose
    await at.page.locator("#kill").focus()
    await at.page.keyboard.press("Enter")
    await at.expect("#kill-choices input:checked").to_be_focused()
    for each in ("#kill-choices input:checked", "#kill-yes", "#ask-kill button[value=no]"):
        await at.expect(each).to_be_in_viewport()
    before = await at.page.locator("#kill-choices input:checked").input_value()
    await at.page.keyboard.press("ArrowUp")
    chosen = await at.page.locator("#kill-choices input:checked").input_value()
    assert chosen != before
    await at.page.keyboard.press("Tab")
    await at.page.keyboard.press("Tab")
    await at.expect("#kill-yes").to_be_focused()
    await at.page.keyboard.press("Enter")
    await at.expect("#notice-killed").to_contain_text(chosen)
    assert runtime.pinned == chosen


async def test_many_upstreams_do_not_stretch_the_page(
    start: Start, config: dict[str, Any], visit: Open
) -> None:
    for n in range(30):
        config["upstreams"][f"upstream-{n:02}"] = config["upstreams"]["local"]
        large = config["models"]["large"]
        config["models"][f"model-{n:02}"] = {**large, "upstream": f"upstream-{n:02}"}
    sidecar = await start(config)
    at = await visit(sidecar.admin, viewport={"width": 1280, "height": 800})
    await at.expect("#upstreams > li").to_have_count(32)
    box = await at.page.locator(".health").bounding_box()
    assert box["height"] < 520
    await at.page.locator("#upstreams").focus()
    await at.page.keyboard.press("End")
    await at.expect("#upstreams > li >> nth=31").to_be_in_viewport()


_UNNAMED = """() => [...document.querySelectorAll('button, a[href], input, select, textarea')]
  .filter((each) => each.checkVisibility())
  .filter((each) => !(each.getAttribute('aria-label') || each.textContent.trim()
    || (each.labels && [...each.labels].some((label) => label.textContent.trim()))))
  .map((each) => each.outerHTML)"""

# The contrast of each text with what is behind it, by WCAG 2's formula.
_FAINT = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (each) => { for (let at = each; at; at = at.parentElement) {
    const colour = rgba(getComputedStyle(at).backgroundColor);
    if (colour[3] === 255) return colour; } return [255, 255, 255, 255]; };
  const found = [];
  for (const each of document.querySelectorAll('body *')) {
    const own = [...each.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !each.checkVisibility() || each.closest('.sr, .skip, option, .fresh')) continue;
    const style = getComputedStyle(each);
    const [a, b] = [light(rgba(style.color)), light(behind(each))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${each.className || each.tagName}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_reads_well_in_either_theme_and_every_control_has_a_name(
    start: Start, config: dict[str, Any], visit: Open, scheme: str
) -> None:
    sidecar = await start(config)
    for text in ("hello", "HARD"):
        await ask(sidecar, text)
    at = await visit(sidecar.admin, color_scheme=scheme, reduced_motion="reduce")
    await at.expect("#feed > li").to_have_count(2)
    await at.page.locator("#feed button.row").first.click()
    await at.page.get_by_role("button", name="A greeting").click()
    await at.expect("#story .verdict").to_be_visible()
    assert await at.page.evaluate(_FAINT) == []
    assert await at.page.evaluate(_UNNAMED) == []
    await at.page.locator("#kill").click()
    assert await at.page.evaluate(_FAINT) == []
    await at.page.keyboard.press("Escape")
    # the theme can be chosen, and stays chosen
    before = await at.page.evaluate("getComputedStyle(document.body).backgroundColor")
    other = {"light": "dark", "dark": "light"}[scheme]
    while await at.page.locator("html").get_attribute("data-theme") != other:
        await at.page.locator("#theme").click()
    await at.page.reload()
    after = await at.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert before != after


# Nothing reaches beyond the window, and no card holds more than it is wide.
_CUT = """() => [...document.querySelectorAll('main *, #ask-kill[open] *')]
  .filter((e) => e.checkVisibility() && !e.closest('.sr'))
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 1
    || (e.matches('.card, #story, #ask-kill *') && e.scrollWidth > e.clientWidth + 1
        && getComputedStyle(e).display !== 'inline'))
  .map((e) => e.outerHTML.slice(0, 80))"""
_LONG = "projects/acme-production-europe/locations/europe-west4/endpoints/1234567890123456789"


async def test_on_a_phone_nothing_is_cut_off(
    start: Start, config: dict[str, Any], upstream: RawUpstream, visit: Open
) -> None:
    config["models"][_LONG] = config["models"]["large"]
    config["routes"]["auto"] = {**config["routes"]["auto"], "models": ["small", _LONG]}
    config["routes"]["auto"]["default"] = _LONG
    sidecar = await start(config)
    await ask(sidecar)
    await ask(sidecar, model=_LONG)
    upstream.script = answer(status="503 Down")
    await ask(sidecar)
    at = await visit(sidecar.admin, **PHONE)
    await at.expect("#feed > li").to_have_count(3)
    newest = at.page.locator("#feed button.row").first
    await newest.tap()
    await at.expect("#feed .candidates >> nth=0").to_be_visible()
    await at.expect("#feed button.row >> nth=0").to_be_in_viewport()
    await at.expect("#feed .trouble >> nth=0").to_be_visible()  # on a phone too
    await at.expect("#feed .trouble >> nth=0").to_contain_text("200 after 1")
    await at.page.get_by_role("textbox", name="Prompt").fill("HARD to say")
    await at.page.get_by_role("button", name="Explain").tap()
    await at.expect("#story .verdict").to_contain_text(_LONG)
    assert await at.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert await at.page.evaluate(_CUT) == []
    await at.page.locator("#kill").tap()
    await at.expect("#ask-kill").to_be_in_viewport()
    await at.expect("#kill-yes").to_be_in_viewport()
    assert await at.page.evaluate(_CUT) == []
