"""A load run: rounds of legs, each an open loop of requests.

A round is one leg through the sidecar and, where the plan names the models
themselves, one leg straight to them: the same requests at the same moments, each
to the model that answered it before.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from sidecar.errors import ConfigError
from sidecar.load.client import Address, Caller, Sample
from sidecar.load.plan import Load, Plan
from sidecar.load.scenarios import Shot, arrivals, shots

ROUTED: Final = "routed"
DIRECT: Final = "direct"

_ADVICE: Final = {
    "no connection": "does anybody listen at target.url?",
    "status 404": "is target.model a route there, and does target.url end with /v1?",
    "status 401": "does target.api_key_env name the variable with its key?",
}

Tell = Callable[[str, int, int], None]  # leg, done, of
Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Leg:
    """One open loop's samples, in the order in which they were due."""

    via: str  # routed | direct
    round: int
    samples: tuple[Sample, ...]
    shed: int = 0  # not sent: too many were in flight already


@dataclass(frozen=True, slots=True)
class Site:
    """Where a run goes."""

    routed: Address
    model: str
    direct: Address | None = None
    upstream_models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Due:
    """A request and when it is due, in seconds from the start of the leg."""

    at: float
    shot: Shot
    stream: bool


def site_of(plan: Plan, env: Mapping[str, str] | None = None) -> Site:
    """The addresses of a plan that names them; :class:`ConfigError` where a key is missing."""
    variables = os.environ if env is None else env
    assert plan.target is not None

    def key(name: str | None) -> str | None:
        if name is not None and not variables.get(name):
            raise ConfigError([f"the variable {name} is not set"])
        return variables[name] if name else None

    direct = plan.direct
    return Site(
        Address(plan.target.url, key(plan.target.api_key_env)),
        plan.target.model,
        None if direct is None else Address(direct.url, key(direct.api_key_env)),
        {} if direct is None else direct.models,
    )


def schedule(load: Load, scenarios: Mapping[str, float], round_: int) -> list[Due]:
    """What one leg sends and when; the same for every leg of a round."""
    return list(upcoming(load, scenarios, round_))


def upcoming(load: Load, scenarios: Mapping[str, float], round_: int) -> Iterator[Due]:
    """The same one after another, for runs too long to hold every prompt of."""
    seed = load.seed * 1000 + round_
    times = arrivals(load.rate, load.duration_s, seed)
    for i, (at, shot) in enumerate(zip(times, shots(scenarios, seed, load.repeat), strict=False)):
        # every k-th streams, spread evenly: the share is met in short runs too
        yield Due(at, shot, shot.hangs_up or int((i + 1) * load.stream) > int(i * load.stream))


async def run(plan: Plan, site: Site, tell: Tell, warn: Warn = lambda _: None) -> list[Leg]:
    """Every leg of every round, in the order in which they ran.

    ``warn`` hears at once, and not after minutes, that no request of the warm-up was answered.
    """
    legs: list[Leg] = []
    load = plan.load
    warmed = await _warm_up(plan, site)
    if warmed and all(sample.error for sample in warmed):
        warn(f"Every request of the warm-up failed: {_advised(warmed[-1].error)}.")
    for round_ in range(load.rounds):
        due = schedule(load, plan.scenarios, round_)
        asked = [(one, site.model) for one in due]
        routed = await _leg((ROUTED, round_), site.routed, asked, load, tell)
        legs.append(routed)
        if site.direct is None:
            continue
        # a request that was shed or refused has no model to repeat it at
        again = [
            (one, site.upstream_models.get(sample.model, sample.model))
            for one, sample in zip(due, routed.samples, strict=True)
            if sample.model
        ]
        legs.append(await _leg((DIRECT, round_), site.direct, again, load, tell))
    return legs


async def _warm_up(plan: Plan, site: Site) -> list[Sample]:
    caller = Caller(site.routed, plan.load.timeout_s)
    asked = islice(shots(plan.scenarios, plan.load.seed - 1), plan.load.warm_up)
    try:
        return [
            await caller.send(shot, site.model, stream=False, start=time.monotonic(), due=0.0)
            for shot in asked
        ]
    finally:
        await caller.close()


def _advised(error: str) -> str:
    """``error``, with the key of the plan that it is likely to come from."""
    what = next((said for head, said in _ADVICE.items() if error.startswith(head)), "")
    return f"{error} ({what})" if what else error


async def _leg(
    name: tuple[str, int],
    address: Address,
    todo: Sequence[tuple[Due, str]],
    load: Load,
    tell: Tell,
) -> Leg:
    via, round_ = name
    caller = Caller(address, load.timeout_s)
    running: set[asyncio.Task[None]] = set()
    samples: list[Sample | None] = [None] * len(todo)
    done = shed = 0
    start = time.monotonic() + 0.05
    label = f"round {round_ + 1}, {via}"

    async def one(i: int) -> None:
        nonlocal done
        what, model = todo[i]
        samples[i] = await caller.send(
            what.shot, model, stream=what.stream, start=start, due=what.at
        )
        done += 1
        tell(label, done, len(todo))

    try:
        for i, (what, _) in enumerate(todo):
            await asyncio.sleep(0)  # late or not, those before it get under way
            # never early, as some loops' timers are: a latency that counts from the due moment
            # would come out too short
            while (wait := start + what.at - time.monotonic()) > 0:  # noqa: ASYNC110  # no event
                await asyncio.sleep(wait)
            if len(running) >= load.max_in_flight:
                shed += 1
                samples[i] = _shed(what, load)
                continue
            task = asyncio.create_task(one(i))
            running.add(task)
            task.add_done_callback(running.discard)
        if running:
            await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await caller.close()
    tell(label, len(todo), len(todo))
    return Leg(via, round_, tuple(s for s in samples if s is not None), shed)


def _shed(what: Due, load: Load) -> Sample:
    """Open loop, but not without end: past the bound a request counts as failed unsent."""
    error = f"{load.max_in_flight} were in flight already"
    return Sample(what.shot.scenario, what.stream, what.at, 0.0, 0.0, error=error)
