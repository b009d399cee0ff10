"""Rules: conditions an operator wrote, judged in order, the first that holds wins.

What one search may cost is bounded by the text that it looks at, and by the size of a
pattern (:mod:`sidecar.config.patterns`). What all of them may cost together is bounded by
time: ordinary rules come nowhere near it, and those that some text makes slow do not hold
up the requests beside this one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import attrgetter

from sidecar.config.patterns import Pattern
from sidecar.config.snapshot import RuleSpec, Window
from sidecar.decide.view import EMPTY, View
from sidecar.frozen import dataclass
from sidecar.types import Call, Reading

# Keywords and patterns are looked for in this much of the text, half of it from
# its head and half from its tail: a rule must cost the same whatever the length.
KEYWORD_CHARS = 32_768
PATTERN_CHARS = 4_096
# Seconds that a request's searches may take, and as many again of the processor's own
# time: a wait for a busy processor is nobody's fault. An ordinary search takes 10 us.
SEARCHES_S = 0.005
_WORDS_A_LOOK = 32  # keywords between two looks at the clock


class Facts:
    """What a request's rules look at; what is dear to make is made once for all of them."""

    __slots__ = ("_began", "_folded", "_sent", "_text", "_used", "call", "late", "now", "reading")

    def __init__(self, call: Call, reading: Reading | None, view: View = EMPTY) -> None:
        self.call, self.reading, self.now = call, reading, view.now
        self._folded: str | None = None
        self._text: str | None = None
        self._sent: dict[str, list[str]] | None = None
        self._began: float | None = None
        self._used: float | None = None
        self.late = False  # something was not looked for, for want of time

    def in_time(self) -> bool:
        """Whether there is time to look for one more thing."""
        now = time.perf_counter()
        if self._began is None:
            self._began = now
        if now - self._began <= SEARCHES_S:
            return True
        if self._used is None:  # dear to ask for, so not before it is needed
            self._used = time.thread_time()
        self.late = self.late or time.thread_time() - self._used > SEARCHES_S
        return not self.late

    @property
    def folded(self) -> str:
        """The text that keywords are looked for in, without case."""
        if self._folded is None:
            self._folded = _bounded(self.call.prompt.user, KEYWORD_CHARS).casefold()
        return self._folded

    @property
    def text(self) -> str:
        """The text that patterns are looked for in."""
        if self._text is None:
            text = _bounded(self.call.prompt.user, PATTERN_CHARS)
            if not text.isascii():  # RE2 reads UTF-8, which half a surrogate pair has not
                text = text.encode("utf-8", "replace").decode("utf-8")
            self._text = text
        return self._text

    @property
    def sent(self) -> dict[str, list[str]]:
        """The headers that came with it, by their names in small letters."""
        if self._sent is None:
            self._sent = {}
            for name, value in self.call.passed.pairs():
                self._sent.setdefault(name, []).append(value)
        return self._sent


Check = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True)
class Judge:
    """A rule, and its conditions as functions: only those it has, the dear ones last."""

    rule: RuleSpec
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, rule: RuleSpec) -> Judge:
        return cls(rule, tuple(_checks(rule)))


@dataclass(frozen=True, slots=True)
class Unjudged:
    """There was no time to judge ``rule``, and so none after it."""

    rule: RuleSpec

    @property
    def why(self) -> str:
        took = f"searching took over {SEARCHES_S * 2e3:.0f} ms"
        return f"{took}: {self.rule.name} and the rules after it were not judged"


def first(
    judges: tuple[Judge, ...], facts: Facts, barred: Container[str]
) -> RuleSpec | Unjudged | None:
    """The first rule that holds and whose model is not ``barred``."""
    for judge in judges:
        if judge.rule.model not in barred:
            for check in judge.checks:
                if not check(facts):
                    break
            else:
                return judge.rule
            if facts.late:
                return Unjudged(judge.rule)
    return None


def holds(rule: RuleSpec, call: Call, reading: Reading | None, view: View = EMPTY) -> bool:
    """Whether every condition of ``rule`` holds."""
    facts = Facts(call, reading, view)
    return all(check(facts) for check in _checks(rule))


def _checks(rule: RuleSpec) -> Iterator[Check]:
    when, window, headers = rule.when, rule.window, rule.headers
    least, most, needs, tenants = when.min_tokens, when.max_tokens, when.needs, when.tenant
    if least is not None:
        yield lambda facts: facts.call.input_tokens >= least
    if most is not None:
        yield lambda facts: facts.call.input_tokens <= most
    if needs:
        yield lambda facts: facts.call.needs.issuperset(needs)
    if tenants:
        yield lambda facts: facts.call.hints.tenant in tenants
    for label in ("task", "domain", "tier"):
        if getattr(when, label):
            yield partial(_is_read, attrgetter(label), getattr(when, label))
    if window is not None:
        yield lambda facts: within(window, facts.now)
    if headers:
        yield lambda facts: all(
            any(value in values or "*" in values for value in facts.sent.get(name, ()))
            for name, values in headers
        )
    if when.keywords:
        words = tuple(keyword.casefold() for keyword in when.keywords)
        yield partial(_any_word, words)
    if rule.patterns:
        yield partial(_any_pattern, rule.patterns)


def _is_read(label: Callable[[Reading], str], wanted: Container[str], facts: Facts) -> bool:
    return facts.reading is not None and label(facts.reading) in wanted


def _any_word(words: tuple[str, ...], facts: Facts) -> bool:
    text = facts.folded
    for start in range(0, len(words), _WORDS_A_LOOK):
        if not facts.in_time():
            return False
        for word in words[start : start + _WORDS_A_LOOK]:
            if word in text:
                return True
    return False


def _any_pattern(patterns: tuple[Pattern, ...], facts: Facts) -> bool:
    text = facts.text
    for pattern in patterns:
        if not facts.in_time():
            return False
        if pattern.search(text) is not None:
            return True
    return False


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


def _bounded(text: str, limit: int) -> str:
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}\n{text[-half:]}"
