"""The path of one request, and nothing else.

    parse -> features -> decide -> dispatch -> relay -> account

Each stage is one call, what passes between them is frozen, and a request keeps
the configuration it began with. Whatever goes wrong with the decision, traffic
flows: the only requests that stop here are those no model can serve.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from sidecar.account import Record, entry, record
from sidecar.clock import Clock
from sidecar.config.snapshot import Snapshot
from sidecar.decide import choose, fall_back, plan
from sidecar.errors import (
    ClassifierDown,
    ClassifierError,
    RequestError,
    UpstreamsFailed,
    trace,
)
from sidecar.headers import of_router
from sidecar.listen.downstream import Downstream
from sidecar.observe.tracing import Trace
from sidecar.parse import Received, parse
from sidecar.relay import Relay
from sidecar.replay import decided, replay
from sidecar.runtime import Runtime
from sidecar.shadow import Shadow
from sidecar.state.response_cache import Kept
from sidecar.types import Call, Decision, Failure, Features, Outcome, Reading, Usage

UNREAD: Final = Features(window="", empty=True)
log = logging.getLogger("sidecar.pipeline")


async def handle(received: Received, answer: Downstream, runtime: Runtime, clock: Clock) -> None:
    """Answer one request, or raise the :class:`RequestError` to answer it with."""
    snapshot = runtime.snapshot
    traced: Trace | None = None
    if runtime.tracer is not None:
        traced, received = runtime.tracer.begin(received)
    call = parse(received)
    route = snapshot.routes.get(call.model)
    # only a route's requests are read: one that names its model needs no encoder
    features = UNREAD if route is None else runtime.windows.of(call.prompt)
    clock.lap("parse")
    place = None if route is None else runtime.answers.look(call, snapshot, runtime.pinned)
    if place is not None and place.kept is not None:
        over = again(
            call, place.kept, place.age_s, snapshot, answer=answer, runtime=runtime, clock=clock
        )
        _note(over, traced, runtime)
        return
    decision = await decide(call, features, snapshot, runtime, clock)
    runtime.telemetry.decided(decision, clock, runtime.classifier.name)

    shadow = None if route is None else shadowed(call, features, decision, snapshot, runtime)
    failures: list[Failure] = []  # what came to nothing so far, should the caller leave now
    outcome: Callable[[], Outcome] = partial(unanswered, decision, clock, failures)
    # a function, as the outcome is: what may be None until here is not to the compiler, below
    told: Callable[[], Sequence[bytes]] = _nothing
    try:
        attempt = await runtime.dispatcher.dispatch(call, decision, snapshot, failures)
        clock.lap("upstream")
        relay = Relay(call, attempt, answer, clock)
        outcome, told = relay.outcome, relay.told
        if place is not None:
            answer.copy = place.copy()
        await relay.run(decision, runtime.deadlines)
        if place is not None and answer.copy is not None:
            runtime.answers.keep(place, answer.copy, attempt, relay.outcome())
    except UpstreamsFailed as exc:
        outcome = partial(unanswered, decision, clock, failures, exc)
        exc.routing = of_router(call, decision, outcome().model, decision.reason, clock)
        raise
    finally:  # a caller who hangs up is accounted for too, and so is a failure
        how = outcome()
        runtime.telemetry.account(decision, how, snapshot)
        what_if = shadow.settle() if shadow else None
        flip = None  # whoever names a model cannot talk the router up or down
        if route is not None:
            price = snapshot.models[decision.model].price.output
            flip = runtime.suspicion.notice(call, features, decision, price)
        over = record(call, decision, how, snapshot, clock, shadow=what_if, flip=flip)
        _note(over, traced, runtime, told)
        try:
            runtime.remember(call, decision, how, snapshot)
        except Exception as exc:  # what is not remembered must not cost the answer
            log.error("a request was not remembered: %s", trace(exc))


def again(
    call: Call,
    kept: Kept,
    age_s: float,
    snapshot: Snapshot,
    *,
    answer: Downstream,
    runtime: Runtime,
    clock: Clock,
) -> Record:
    """Answer with what an upstream said to the same request before."""
    decision = decided(call, kept, age_s)
    clock.lap("cache")
    runtime.telemetry.decided(decision, clock, runtime.classifier.name)
    how = replay(call, decision, kept, age_s, answer=answer, clock=clock)
    runtime.telemetry.account(decision, how, snapshot)
    return record(call, decision, how, snapshot, clock)


def _nothing() -> Sequence[bytes]:
    return ()


def _note(
    over: Record,
    traced: Trace | None,
    runtime: Runtime,
    told: Callable[[], Sequence[bytes]] = _nothing,
) -> None:
    """Write down a request that is over, wherever one is written down; ``told`` gives what of
    its answer a trace reads."""
    runtime.recent.note(over)
    if runtime.decisions is not None:
        runtime.decisions.write(entry(over))
    if traced is not None and runtime.tracer is not None:
        runtime.tracer.end(traced, over, told())


def unanswered(
    decision: Decision,
    clock: Clock,
    failures: Sequence[Failure] = (),
    failed: UpstreamsFailed | None = None,
) -> Outcome:
    """The outcome of a request that no upstream answered, or whose caller left before one did."""
    return Outcome(
        model=failures[-1].model if failed else decision.model,
        reason=decision.reason,
        status=failed.status if failed else 499,  # nginx's word for a caller who left
        attempts=len(failures) + (failed is None),  # and the one that its caller left
        bytes_sent=0,
        usage=Usage(),
        ended="failed" if failed else "hang-up",
        first_byte_ms=None,
        total_ms=clock.elapsed_ms(),
        failures=tuple(failures),
    )


async def decide(
    call: Call, features: Features, snapshot: Snapshot, runtime: Runtime, clock: Clock
) -> Decision:
    """The decision, with a reading where one is needed and comes in time."""
    view = runtime.view(call, snapshot)
    decision = plan(call, features, snapshot, view)
    if not isinstance(decision, Decision):
        question = decision
        known = runtime.readings.look(features.window, runtime.classifier.version)
        verdict = await read(features, runtime) if known is None else known
        clock.lap("classify" if known is None else "cache")
        try:
            decision = choose(question, call, verdict, snapshot, view)
        except RequestError:
            raise
        except Exception as exc:  # a fault of ours must not become the caller's
            log.error("the decision failed; the route's default answers: %s", trace(exc))
            decision = fall_back(question, snapshot, ClassifierDown.reason, "the decision failed")
    clock.lap("decide")
    return decision if view.arm is None else replace(decision, arm=view.arm)


def shadowed(
    call: Call, features: Features, decision: Decision, snapshot: Snapshot, runtime: Runtime
) -> Shadow | None:
    """The shadow of a route's request, where the route has one."""
    route = snapshot.routes[call.model].shadow
    if route is None or decision.reason == "kill-switch":
        return None
    ask = partial(read, features, runtime)
    return Shadow(
        route,
        call,
        features,
        known=decision,
        snapshot=snapshot,
        view=runtime.aside(),
        read=ask,
    )


async def read(features: Features, runtime: Runtime) -> Reading | ClassifierError:
    """What the classifier says, or why it says nothing."""
    try:
        reading = await runtime.classifier.classify(features)
    except ClassifierError as exc:
        return exc
    except Exception as exc:  # any backend, any fault: fail open
        log.error("the classifier failed: %s", trace(exc))
        return ClassifierDown(f"the classifier failed ({type(exc).__name__})")
    runtime.readings.keep(features.window, reading)
    return reading
