"""A cheap model first, its answer checked, and a better one where it will not do.

The better one is what ``cost_quality`` would choose, at cost ``s``. Before it a cheaper
model is asked whose chance ``p`` is at least ``try_above`` of the best one's, where
that is expected to save, ``c + (1 - p) s < s``, and where losing is cheap: with
``c <= max_overhead * s`` both calls together cost at most ``1 + max_overhead`` times the
better one alone. Where a request has a limit (``max_cost_usd``), both together must keep
it. Of several, the one with the least expected cost. Its answer is held until it has been
checked (:mod:`sidecar.decide.answer_check`), so the app sees one answer whichever it is.
"""

from __future__ import annotations

from sidecar.decide.policies.base import (
    Choice,
    Situation,
    cheapest_within,
    dearest_first,
    likelihoods,
)
from sidecar.dialects.answers import READABLE
from sidecar.types import Words


def pick(situation: Situation) -> Choice:
    candidates = situation.candidates
    if situation.lost:
        return dearest_first(candidates)
    better = cheapest_within(situation, candidates)
    if situation.call.dialect not in READABLE:
        return better
    rules, names, costs = situation.route.cascade, candidates.names, candidates.costs
    likely, second = likelihoods(candidates), better.order[0]
    sure = costs[names.index(second)]
    floor, most = rules.try_above * max(likely), rules.max_overhead * sure
    if situation.limit is not None:
        most = min(most, situation.limit - sure)
    tries = [
        (cost + (1 - chance) * sure, name, chance)
        for name, cost, chance in zip(names, costs, likely, strict=True)
        if name != second and chance >= floor and cost <= most
    ]
    if not tries or min(tries)[0] >= sure:
        return Choice(better.order, Words("%s at once: no cheaper try is worth it", (second,)))
    _, first, chance = min(tries)
    order = (first, *[name for name in better.order if name != first])
    why = Words("%s first with a chance of %.3f, then %s", (first, chance, second))
    return Choice(order, why, tries=1)
