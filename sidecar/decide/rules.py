"""Rules: conditions an operator wrote, judged in order, the first that holds wins."""

from __future__ import annotations

from collections.abc import Container

from sidecar.config.schema import When
from sidecar.config.snapshot import RuleSpec
from sidecar.decide.view import EMPTY, View
from sidecar.types import Call, Reading

# Keywords are looked for in this much of the text, head and tail: a rule must
# cost the same whatever the prompt's length.
_LOOK = 16_384


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
        if due and holds(rule.when, call, reading):
            return rule
    return None


def holds(when: When, call: Call, reading: Reading | None) -> bool:
    """Whether every condition of ``when`` holds."""
    return (
        (not when.keywords or _mentions(when.keywords, call))
        and (when.min_tokens is None or call.input_tokens >= when.min_tokens)
        and (when.max_tokens is None or call.input_tokens <= when.max_tokens)
        and call.needs.issuperset(when.needs)
        and (not when.tenant or call.hints.tenant in when.tenant)
        and (not when.task or (reading is not None and reading.task in when.task))
        and (not when.domain or (reading is not None and reading.domain in when.domain))
        and (not when.tier or (reading is not None and reading.tier in when.tier))
    )


def _mentions(keywords: tuple[str, ...], call: Call) -> bool:
    text = call.prompt.user
    if len(text) > 2 * _LOOK:
        text = f"{text[:_LOOK]}\n{text[-_LOOK:]}"
    text = text.casefold()
    return any(keyword.casefold() in text for keyword in keywords)
