"""Stay with a conversation's model, or switch: by price, and within a promise.

A switch loses what the upstream of the held model has cached of the conversation:
its next turn would have been charged at the cached price there, and is charged in
full elsewhere; and coming back later is charged in full again. So a policy's wish
to go elsewhere is weighed in USD, over what the conversation has cost so far.

**The promise.** With A what the conversation has cost and B what it would have cost
never to switch, ``A <= (1 + max_regret) * B`` holds after every turn. It rests on
figures that are known and not on guesses:

 - A switch *down*, to save, goes only to a model none of whose prices is above the
   anchor's (the model that B is counted at), so no later turn there can cost more;
   and what the switch itself may cost, the prefix of ``P`` tokens at the new input
   price less the anchor's cached one, must fit into ``(1 + max_regret) * B - A``.
 - A switch back *up* to the anchor must fit its loss, ``P`` at the anchor's input
   price less its cached one, into the same room. So that there will be room, a
   switch down is made only where this turn is expected to save enough to pay for
   the way back.

A turn for which the held model is not good enough may ask for a dearer model than
the anchor. That is not a matter of price: with ``upgrades`` it goes there, and B is
counted at that model from there on. Without, it stays, and the promise is the plain
one, against the conversation's first model.

What a cascade's rejected try cost is in A. So from the second turn on a try is made only
where it, and what the call after it would lose of a cache, fit into the room
(:func:`affords_try`). What the first turn's took, which no room was there for, comes on
top of the promise; it is a share of that turn, ``max_overhead``.

Switches that a rule, a limit, a missing capability, the kill switch or a failure
forced are not choices: after one of them B is counted at the model that it led to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from types import MappingProxyType
from typing import Final

from sidecar.config.schema import Sessions as Terms
from sidecar.config.snapshot import ModelSpec, Price
from sidecar.frozen import dataclass
from sidecar.types import Call, Candidate, Usage

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
# Reasons of decisions that could have been otherwise.
CHOSEN: Final = frozenset({"policy", "cache", "session"})
_LIKELY: Final = 0.75  # of the bound of the question's tokens: see price
_DUST: Final = 1e-12  # USD: what adding floats up may be off by


@dataclass(frozen=True, slots=True)
class Held:
    """A conversation, as its next decision sees it."""

    model: str  # that answered the last turn
    anchor: str  # that never switching is counted at
    prefix: int  # tokens of the last turn, question and answer: what could be cached now
    spent_usd: float  # A
    stay_usd: float  # B
    # by model, tokens of this conversation that its upstream should still have
    cached: Mapping[str, int] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where the conversation goes on, and why in words."""

    model: str
    why: str


def settle(
    held: Held,
    wanted: str,
    call: Call,
    candidates: Sequence[Candidate],
    *,
    models: Mapping[str, ModelSpec],
    terms: Terms,
    quality: float,
    output: float,
) -> Verdict:
    """The held model or the policy's ``wanted`` one.

    ``candidates`` carry costs in which the cached part is priced as such already;
    ``quality`` is the share of the best chance to keep, ``output`` the expected
    tokens of the answer.
    """
    here, there = _of(held.model, candidates), _of(wanted, candidates)
    if there is None or here is None or held.model == wanted or held.anchor not in models:
        return Verdict(wanted, f"goes on at {wanted}")
    anchor, target = models[held.anchor].price, models[wanted].price
    room = _room(held, terms)
    within = not above(target, anchor)
    # what the switch alone may cost, whatever the turn turns out to be
    prefix = min(held.prefix, call.input_tokens)
    loss = max(0.0, target.fresh - anchor.cached_input) * prefix / 1e6
    if there.cost_usd >= here.cost_usd or _falls_short(here, there, quality):
        if not within:
            if terms.upgrades:
                return Verdict(wanted, f"{wanted} for this turn's sake: {held.model} falls short")
            return Verdict(held.model, f"stays: {wanted} is dearer than never switching")
        if loss > room:
            return Verdict(held.model, f"stays: {_usd(loss)} USD of cache for {wanted} is too much")
        return Verdict(wanted, f"{wanted} for this turn's sake, {_usd(loss)} USD of cache lost")
    if not within:
        return Verdict(held.model, f"stays: {wanted} could come to cost more")
    question = max(prefix, call.input_tokens * _LIKELY)
    back = (question + output) * max(0.0, anchor.fresh - anchor.cached_input) / 1e6
    known = min(question, held.cached.get(wanted, 0))
    saved = anchor.of(question, output, prefix) - target.of(question, output, known)
    if loss > room or back > room + saved:
        return Verdict(held.model, f"stays: to save {_usd(saved)} USD would risk {_usd(back)}")
    return Verdict(wanted, f"{wanted} saves {_usd(saved)} USD, and the way back is paid for")


def affords_try(
    held: Held,
    first: str,
    second: str,
    call: Call,
    candidates: Sequence[Candidate],
    *,
    models: Mapping[str, ModelSpec],
    terms: Terms,
) -> bool:
    """Whether the promise holds even if ``first``'s answer is rejected and ``second`` asked.

    The try is taken to cost what is expected of it: an answer that is longer may overdraw
    the room by as much, and then nothing is tried until there is room again.
    """
    tried, anchor = _of(first, candidates), models.get(held.anchor)
    if tried is None or anchor is None:
        return True
    target = models[second].price
    if above(target, anchor.price):
        if not terms.upgrades:
            return False
        loss = 0.0  # never switching is counted there from then on
    elif second == held.model:
        loss = 0.0
    else:
        prefix = min(held.prefix, call.input_tokens)
        loss = max(0.0, target.fresh - anchor.price.cached_input) * prefix / 1e6
    return tried.cost_usd + loss <= _room(held, terms)


def _room(held: Held, terms: Terms) -> float:
    """USD that the conversation may still lose."""
    return (1.0 + terms.max_regret) * held.stay_usd - held.spent_usd + _DUST


def above(price: Price, other: Price) -> bool:
    """Whether some kind of token costs more at ``price`` than at ``other``."""
    return (
        price.input > other.input
        or price.cached_input > other.cached_input
        or price.output > other.output
        or price.fresh > other.fresh
    )


def after(
    held: Held | None,
    model: ModelSpec,
    usage: Usage,
    models: Mapping[str, ModelSpec],
    *,
    chosen: bool,
    cached_share: float = 1.0,
    warm: bool = True,
    tried_usd: float = 0.0,
) -> Held:
    """The conversation after a turn at ``model`` that was charged for ``usage``.

    ``chosen`` is false where something other than the conversation's price and
    quality sent it there. ``tried_usd`` is what a cascade paid for a try whose answer
    was not passed on. ``cached_share`` is how much of a prefix the anchor's
    upstream is known to charge as cached, and ``warm`` whether it still would.
    """
    paid = model.price.charged(usage) or 0.0
    tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    if held is None:
        return Held(model.name, model.name, tokens, paid + tried_usd, paid)
    anchor = models.get(held.anchor)
    moved = not chosen or anchor is None or above(model.price, anchor.price)
    if moved or anchor is None or held.model == model.name == held.anchor:
        stay = paid  # the same turn as never switching has
    else:
        prefix = held.prefix * cached_share if warm else 0.0
        question = float(usage.input_tokens or 0)
        known = min(question, prefix)
        stay = anchor.price.of(question, usage.output_tokens or 0, known)
        # what was new would have been written to the cache there too
        stay += anchor.price.writing(replace(usage, cached_tokens=int(known)))
    return replace(
        held,
        model=model.name,
        anchor=model.name if moved else held.anchor,
        prefix=tokens,
        spent_usd=held.spent_usd + paid + tried_usd,
        stay_usd=held.stay_usd + stay,
    )


def _of(model: str, candidates: Iterable[Candidate]) -> Candidate | None:
    return next((one for one in candidates if one.model == model), None)


def _falls_short(here: Candidate, there: Candidate, quality: float) -> bool:
    """Whether the held model's chance is below what the policy would keep of the other's."""
    if here.probability is None or there.probability is None:
        return False
    return here.probability < quality * there.probability


def _usd(amount: float) -> str:
    return f"{amount:.2g}"
