"""Rules: conditions an operator wrote, judged in order, the first that holds wins."""

from __future__ import annotations

from collections.abc import Container
from datetime import UTC, datetime, timedelta

from sidecar.config.snapshot import RuleSpec, Window
from sidecar.decide.view import EMPTY, View
from sidecar.types import Call, Reading

# Keywords and patterns are looked for in this much of the text, half of it from
# its head and half from its tail: a rule must cost the same whatever the length.
KEYWORD_CHARS = 32_768
PATTERN_CHARS = 4_096


def first(
    rules: tuple[RuleSpec, ...],
    call: Call,
    reading: Reading | None,
    barred: Container[str],
    view: View = EMPTY,
) -> RuleSpec | None:
    """The first rule that holds and whose model is not ``barred``.

    Without a ``reading`` only the rules that ask for none are judged; with one,
    only the others, the first kind having been judged before.
    """
    for rule in rules:
        due = rule.needs_reading is (reading is not None) and rule.model not in barred
        if due and holds(rule, call, reading, view):
            return rule
    return None


def holds(rule: RuleSpec, call: Call, reading: Reading | None, view: View = EMPTY) -> bool:
    """Whether every condition of ``rule`` holds; the dear ones are looked at last."""
    when = rule.when
    return (
        (when.min_tokens is None or call.input_tokens >= when.min_tokens)
        and (when.max_tokens is None or call.input_tokens <= when.max_tokens)
        and call.needs.issuperset(when.needs)
        and (not when.tenant or call.hints.tenant in when.tenant)
        and (not when.task or (reading is not None and reading.task in when.task))
        and (not when.domain or (reading is not None and reading.domain in when.domain))
        and (not when.tier or (reading is not None and reading.tier in when.tier))
        and (rule.window is None or within(rule.window, view.now))
        and (not rule.headers or _carries(rule.headers, call))
        and (not when.keywords or _mentions(when.keywords, call))
        and (not rule.patterns or _matches(rule, call))
    )


def within(window: Window, now: float) -> bool:
    """Whether ``now``, in Unix seconds, falls into ``window``; never where no time is known."""
    if not now:
        return False
    local = datetime.fromtimestamp(now, UTC).astimezone(window.zone)
    clock, day = local.time(), local.weekday()
    if window.start < window.end:
        inside = window.start <= clock < window.end
    else:  # over midnight, or the whole day: what is left of it is of the day it began on
        inside = clock >= window.start or clock < window.end
        if clock < window.start:
            day = (local - timedelta(days=1)).weekday()
    return inside and (not window.days or day in window.days)


def _carries(wanted: tuple[tuple[str, tuple[str, ...]], ...], call: Call) -> bool:
    sent: dict[str, list[str]] = {}
    for name, value in call.passed.pairs():
        sent.setdefault(name, []).append(value)
    return all(
        any(value in values or "*" in values for value in sent.get(name, ()))
        for name, values in wanted
    )


def _mentions(keywords: tuple[str, ...], call: Call) -> bool:
    text = _bounded(call.prompt.user, KEYWORD_CHARS).casefold()
    return any(keyword.casefold() in text for keyword in keywords)


def _matches(rule: RuleSpec, call: Call) -> bool:
    text = _bounded(call.prompt.user, PATTERN_CHARS)
    if not text.isascii():  # RE2 reads UTF-8, which half a surrogate pair has not
        text = text.encode("utf-8", "replace").decode("utf-8")
    return any(pattern.search(text) is not None for pattern in rule.patterns)


def _bounded(text: str, limit: int) -> str:
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}\n{text[-half:]}"
