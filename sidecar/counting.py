"""``POST /v1/messages/count_tokens``: how long a question is, by a model that could answer it.

Anthropic's clients ask this before they send, some of them at every turn. Nothing is read,
weighed or remembered for it: the count of a route's default stands for the route. It is
relayed as an answer is, with the same fallbacks, and is no decision: it costs nothing and
stands in no log and no metric but those of refusals and of the upstream's health.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sidecar.clock import Clock
from sidecar.config.snapshot import Snapshot
from sidecar.decide import capability
from sidecar.decide.stages.plan import unknown
from sidecar.decide.stages.question import NO_ROUTE
from sidecar.errors import UpstreamsFailed
from sidecar.headers import of_router
from sidecar.listen.downstream import Downstream
from sidecar.parse import Received, parse
from sidecar.relay import Relay
from sidecar.runtime import Runtime
from sidecar.types import Call, Decision

BELOW: Final = "/count_tokens"  # the path of messages


async def count(received: Received, answer: Downstream, runtime: Runtime, clock: Clock) -> None:
    """Pass one count on, or raise the :class:`~sidecar.errors.RequestError` to answer with."""
    snapshot = runtime.snapshot
    call = replace(parse(received), below=BELOW)
    decision = whom(call, snapshot, runtime.pinned)
    clock.lap("parse")
    try:
        attempt = await runtime.dispatcher.dispatch(call, decision, snapshot)
    except UpstreamsFailed as exc:
        exc.routing = of_router(call, decision, decision.model, decision.reason, clock)
        raise
    clock.lap("upstream")
    await Relay(call, attempt, answer, clock).run(decision, runtime.deadlines)


def whom(call: Call, snapshot: Snapshot, pinned: str | None) -> Decision:
    """Who counts: the model that is pinned or named, or else the route's default and those
    after it, as far as they speak the caller's API. Windows are no matter: whoever counts asks
    what would fit.
    """
    route = snapshot.routes.get(call.model)
    if pinned is not None:
        names, reason = [pinned], "kill-switch"
    elif route is not None:
        names, reason = list(dict.fromkeys((route.default, *route.models))), "default"
    elif call.model in snapshot.models:
        names, reason = [call.model], "explicit"
    else:
        raise unknown(call.model, snapshot)
    models = [snapshot.models[name] for name in names]
    able = [model.name for model in models if call.dialect in model.dialects]
    if not able:
        capability.require(call, models)
    if able[0] != names[0]:
        reason = "capability"
    return Decision(able[0], route.name if route else NO_ROUTE, reason, fallbacks=tuple(able[1:]))
