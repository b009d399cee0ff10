"""A cheap model first, its answer checked, and a better one where it will not do.

The better one is what ``cost_quality`` would choose, at cost ``s``. Before it a cheaper
model is asked whose chance ``p`` is at least ``try_above`` of the best one's, where
that is expected to save, ``c + (1 - p) s < s``, and where losing is cheap: with
``c <= max_overhead * s`` both calls together cost at most ``1 + max_overhead`` times the
better one alone. Of several, the one with the least expected cost. Its answer is held
until it has been checked (:mod:`sidecar.decide.answer_check`), so the app sees one
answer whichever it is.
"""

from __future__ import annotations

from sidecar.decide.policies.base import (
    Choice,
    Situation,
    cheapest_within,
    dearest_first,
    likelihood,
)
from sidecar.dialects.answers import READABLE


def pick(situation: Situation) -> Choice:
    if situation.lost:
        return dearest_first(situation.candidates)
    better = cheapest_within(situation, situation.candidates)
    if situation.call.dialect not in READABLE:
        return better
    rules = situation.route.cascade
    by_name = {c.model: c for c in situation.candidates}
    second = by_name[better.order[0]]
    floor = rules.try_above * max(map(likelihood, situation.candidates))
    tries = [
        (c.cost_usd + (1 - likelihood(c)) * second.cost_usd, c.model)
        for c in situation.candidates
        if c.model != second.model
        and likelihood(c) >= floor
        and c.cost_usd <= rules.max_overhead * second.cost_usd
    ]
    if not tries or min(tries)[0] >= second.cost_usd:
        return Choice(better.order, f"{second.model} at once: no cheaper try is worth it")
    first = min(tries)[1]
    order = (first, *(name for name in better.order if name != first))
    why = f"{first} first with a chance of {likelihood(by_name[first]):.3f}, then {second.model}"
    return Choice(order, why, tries=1)
