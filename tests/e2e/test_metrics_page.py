"""What docs/metrics.md says of every series, held against a scrape of a sidecar that was used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from sidecar.classify.base import Classifier
from tests.conftest import Running, Start, config_for
from tests.support.raw_upstream import RawUpstream, answer, event, raw, stream
from tests.support.wire import Wire, chat, exchange, post

ROOT: Final = Path(__file__).parents[2]
# Labels whose values are words of a list that the page gives beside the metric.
WORDS: Final = {
    "stage", "ended", "outcome", "kind", "result", "cache", "direction", "signal", "mode",
    "at_limit",
}  # fmt: skip
_ROW: Final = re.compile(
    r"^\| `(router_\w+)` \| (\w+) \|([^|]*)\|(.*)\|$",
    re.MULTILINE,
)


def documented() -> dict[str, tuple[str, set[str], set[str]]]:
    """By name: the kind, the labels, and every word that the page quotes beside it."""
    text = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    return {
        name: (kind, set(re.findall(r"`(\w+)`", labels)), set(re.findall(r"`([\w:-]+)`", says)))
        for name, kind, labels, says in _ROW.findall(text)
    }


def reasons() -> set[str]:
    """The words of x-router-reason, from the page that explains them."""
    text = (ROOT / "docs" / "reasons.md").read_text("utf-8")
    return set(re.findall(r"^\| `([a-z-]+)[:`]", text, re.MULTILINE))


async def say(sidecar: Running, text: str = "hello", headers: str = "", **fields: Any) -> str:
    """Ask, and the id of the request; what becomes of it is of no matter here."""
    headers = f"Content-Type: application/json\r\n{headers}"
    reply = await exchange(sidecar.app.listen, post(chat(text, **fields), headers=headers))
    return reply.header("x-router-request-id")[0]


async def use(sidecar: Running, upstream: RawUpstream, second: RawUpstream) -> None:
    """One request of each kind that a label tells apart."""
    for text in ("hello", "hello", "HARD", "order 1", "order 2", "order 3", "order 4"):
        await say(sidecar, text)
    for _ in range(2):  # a whole answer, given again
        await say(sidecar, "once more", temperature=0)
    await say(sidecar, model="small")
    await say(sidecar, model="nobody")
    named = await say(sidecar, "please score this")
    for score in (1, 2):  # the second is none
        body = {"request_id": named, "score": score}
        await exchange(sidecar.app.admin, post(body, path="/v1/feedback"))
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    for text in ("and then?", "HARD and then?"):  # a conversation
        turns = [*turns, {"role": "user", "content": text}]
        await say(sidecar, messages=turns)
        turns = [*turns, {"role": "assistant", "content": "hi"}]
    phrase = "what is there to be said of this long enough prompt"
    for text in (phrase, f"HARD {phrase}", f"{phrase} "):
        await say(sidecar, text)
    upstream.script = answer(status="503 Down")
    await say(sidecar, "falls back")
    second.script = answer(status="503 Down")
    await say(sidecar, "nobody answers")
    await say(sidecar, "refused", model="small")
    upstream.script = raw(b"HTTP/1.1 200 OK\r\n")  # and not a word more
    await say(sidecar, "fails", model="small")
    upstream.script = stream(event({"content": "hi"}))  # and no end
    await say(sidecar, "breaks", model="small", stream=True)
    upstream.script = stream(event({"content": "hi"}), 5.0)
    async with await Wire.to(sidecar.app.listen) as wire:
        wire.send(post(chat("leaves", model="small", stream=True)))
        await wire.head()
    file = sidecar.app.runtime.config_file
    for text in (file.read_text(), "nothing: [of use"):
        file.write_text(text)
        await exchange(sidecar.app.admin, post(b"", path="/admin/reload"))


async def test_the_page_of_metrics_is_true_of_a_scrape(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    config: dict[str, Any] = config_for(upstream.url, second.url)
    config["routes"]["auto"]["response_cache"] = {"ttl_s": 60, "max_mb": 1}
    config |= {
        "learning": {},
        "drift": {"window": 50},
        "budgets": {"all": {"per": "all", "period": "day", "usd": 1e-9, "at_limit": "warn"}},
    }
    sidecar = await start(config)
    classifier: Classifier = sidecar.app.runtime.classifier
    await use(sidecar, upstream, second)

    reply = await exchange(sidecar.app.admin, post(b"", path="/metrics", method="GET"))
    page, known = documented(), reasons()
    configured = {
        "route": {"auto", "-"},
        "model": {"small", "large"},
        "upstream": {"local", "other"},
        "replica": {upstream.url, second.url},
        "budget": {"all"},
        "backend": {classifier.name},
        "encoder": {classifier.version},
        "le": None,
        "version": None,
    }
    seen: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(reply.body.decode()):
        assert family.name in page, f"{family.name} is not on the page"
        kind, labels, quoted = page[family.name]
        assert family.type == kind, family.name
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == labels, sample
            for label, value in sample.labels.items():
                where = f"{family.name}: {label}={value!r}"
                seen.setdefault(label, set()).add(value)
                if label in WORDS:
                    assert value in quoted, f"{where} is not among the words of the page"
                elif label == "reason":
                    assert value.partition(":")[0] in known, where
                elif label == "status":
                    assert re.fullmatch(r"[1-5]\d\d", value), where
                elif label == "code":
                    assert re.fullmatch(r"[a-z_]{1,40}", value), where
                else:
                    allowed = configured[label]
                    assert allowed is None or value in allowed, where
    # what was done is what was told: else nothing above was held against anything
    assert {"parse", "cache", "classify", "decide"} <= seen["stage"]
    assert {"complete", "hang-up", "upstream-broken", "refused", "failed"} <= seen["ended"]
    assert {"exact", "miss", "begun", "stayed", "taken", "refused"} <= seen["result"]
    assert {"decision", "response"} <= seen["cache"]
    assert {"up", "down"} & seen["direction"]
    assert {"policy", "explicit", "cache"} <= seen["reason"]
    assert {"model_not_found"} <= seen["code"]
    assert seen["at_limit"] == {"warn"}
