"""Conversations: which model holds each, what it has cost, what is cached of it.

A conversation is known by ``x-router-session``, or else by how it began: the system
prompt, the names of the tools and the first user turn. Both are the caller's own: the
credentials and the tenant that came with the request are a part of the key, and so is
the route. A request without a model's turn in it begins a conversation anew.

What an upstream has cached is taken to be the last turn it saw, question and answer,
for ``cache_ttl_s``; times the share of it that the upstream's own counts say it
charges as cached, which is learnt a model as answers come.

Bounded, aging, and of numbers only: no text is kept. A process's own, not shared
between workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from sidecar.config.snapshot import Snapshot
from sidecar.decide.lengths import DEFAULT_OUTPUT
from sidecar.decide.session import CHOSEN, Held, after
from sidecar.frozen import dataclass
from sidecar.observe.metrics import Registry
from sidecar.state.lru import Lru
from sidecar.types import Call, Decision, Outcome, Usage

_SEEN: Final = 4096  # characters of the system prompt and the first turn that tell it
_TALKING: Final = frozenset({"chat", "messages", "responses"})
_BEGUN: Final = ("begun",)
_HELD: Final = ("held",)
_LEAST: Final = 1024  # tokens below which upstreams cache nothing: they prove nothing
_FORGET: Final = 0.1  # of what was believed of a model's caching, an answer


@dataclass(frozen=True, slots=True)
class _Kept:
    held: Held
    last: Mapping[str, tuple[int, float]]  # by model: the tokens it saw last, and when


class Sessions:
    """The conversations of one process. ``limit`` 0 remembers none."""

    def __init__(
        self,
        limit: int,
        ttl_s: float,
        *,
        registry: Registry | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept: Lru[int, _Kept] = Lru(limit, ttl_s, now)
        self._now = now
        self._shares: dict[str, float] = {}  # by model: how much of a prefix is charged as cached
        made = registry or Registry()
        self._turns = made.counter(
            "router_session_turns", "Turns of conversations, by what became of them.", ("result",)
        )
        made.gauge("router_sessions", "Conversations kept.", read=lambda: float(len(self._kept)))

    def __len__(self) -> int:
        return len(self._kept)

    def bound(self, limit: int, ttl_s: float) -> None:
        self._kept.bound(limit, ttl_s)

    def look(self, call: Call, snapshot: Snapshot, *, used: bool = True) -> Held | None:
        """The conversation that ``call`` goes on with, if it is known."""
        if not self._kept.limit or not _goes_on(call):
            return None
        kept = self._kept.get(key_of(call), used=used)
        if kept is None or kept.held.model not in snapshot.models:
            return None
        since = self._now() - snapshot.config.sessions.cache_ttl_s
        cached = {
            name: int(tokens * self._shares.get(name, 1.0))
            for name, (tokens, when) in kept.last.items()
            if when >= since
            and (model := snapshot.models.get(name)) is not None
            and model.price.cached_input < model.price.input
        }
        return replace(kept.held, cached=cached)

    def remember(
        self, call: Call, decision: Decision, outcome: Outcome, snapshot: Snapshot
    ) -> None:
        """What a turn came to. One without an answer leaves everything as it was."""
        if not self._kept.limit or outcome.status >= 400 or outcome.ended in {"failed", "refused"}:
            return
        if call.model not in snapshot.routes or not _is_talk(call):
            return
        key, now = key_of(call), self._now()
        kept = self._kept.get(key) if _goes_on(call) else None
        if kept is None and not decision.tries:  # nearly all: nothing to weigh it against
            usage = _known(call, outcome.usage)
            begun = after(
                None, snapshot.models[outcome.model], usage, snapshot.models, chosen=False
            )
            self._kept.put(key, _Kept(begun, {outcome.model: (begun.prefix, now)}))
            self._turns.add(_HELD if decision.reason == "session" else _BEGUN)
            return
        held = kept.held if kept else None
        last = kept.last.get(outcome.model) if kept else None
        alive = last is not None and now - last[1] <= snapshot.config.sessions.cache_ttl_s
        if last is not None and alive:
            self._learn(outcome.model, last[0], outcome.usage)
        usage = _known(call, outcome.usage)
        anchor = held.anchor if held else ""
        rejected = _rejected(decision, outcome)
        # the second call of a cascade is its own wish, as the first was
        wished = (decision.model, *decision.fallbacks)[: 1 + len(rejected)]
        gone_on = after(
            held,
            snapshot.models[outcome.model],
            usage,
            snapshot.models,
            chosen=decision.reason in CHOSEN and outcome.model in wished,
            cached_share=self._shares.get(anchor, 1.0),
            warm=kept is not None
            and now - max(when for _, when in kept.last.values())
            <= snapshot.config.sessions.cache_ttl_s,
            tried_usd=sum(
                snapshot.models[decision.model].price.charged(usage) or 0.0 for usage in rejected
            ),
        )
        seen = {**(kept.last if kept else {}), outcome.model: (gone_on.prefix, now)}
        self._kept.put(key, _Kept(gone_on, seen))
        result = "begun" if held is None else "stayed"
        if held is not None and held.model != gone_on.model:
            result = "switched"
        elif decision.reason == "session":
            result = "held"
        self._turns.add((result,))

    def _learn(self, model: str, expected: int, usage: Usage) -> None:
        """Heed how much of what should have been cached was charged as such."""
        if usage.cached_tokens is None or expected < _LEAST:
            return
        seen = min(1.0, usage.cached_tokens / expected)
        before = self._shares.get(model, 1.0)
        self._shares[model] = before + _FORGET * (seen - before)


def key_of(call: Call) -> int:
    """What tells the conversation of ``call`` from others, within this process.

    Python's keyed string hash: fast, and nobody outside can aim at a key of it.
    """
    whose = (call.model, call.hints.tenant, call.passed.credentials)
    if call.hints.session is not None:
        return hash((whose, call.hints.session))
    prompt = call.prompt
    return hash(
        (
            whose,
            call.dialect,
            len(prompt.system),
            prompt.system[:_SEEN],
            len(prompt.first),
            prompt.first[:_SEEN],
            prompt.tool_names,
        )
    )


def _is_talk(call: Call) -> bool:
    if call.hints.session is not None:
        return True
    # one that names the answer before it does not say how the conversation began
    return call.dialect in _TALKING and call.continues is None


def _goes_on(call: Call) -> bool:
    return call.hints.session is not None or (call.prompt.answered and _is_talk(call))


def _rejected(decision: Decision, outcome: Outcome) -> list[Usage]:
    """What was counted of a cascade's tries whose answers were not passed on."""
    return [
        failure.usage
        for failure in outcome.failures
        if decision.tries and failure.model == decision.model and failure.usage is not None
    ]


def _known(call: Call, usage: Usage) -> Usage:
    """The counts, or where the upstream gave none, what they are likely to be."""
    if usage.input_tokens is not None and usage.output_tokens is not None:
        return usage
    likely = min(DEFAULT_OUTPUT, float(call.max_output_tokens or DEFAULT_OUTPUT)) * call.choices
    return Usage(
        input_tokens=call.input_tokens * 3 // 4
        if usage.input_tokens is None
        else usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=int(likely) if usage.output_tokens is None else usage.output_tokens,
    )
