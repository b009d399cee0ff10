"""From a configuration and a file of scored rows to a :class:`Study`, or to a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sidecar.config import loader
from sidecar.config.snapshot import RouteSpec, Snapshot
from sidecar.encoder.abilities import Catalogue
from sidecar.errors import DataError
from sidecar.offline.session import Session, track
from sidecar.offline.simulate import Check, Study, named
from sidecar.offline.simulate_rows import Case, Passed, cases
from sidecar.types import Reading

# The workload that published routers are compared on: half simple questions, three in ten
# summaries, two in ten complex reasoning. Rows are told apart by their `tier`; what stands
# in for summaries where no row has `task: summarization` is the tier between.
FIELD_MIX: Final[Mapping[str, float]] = {"simple": 0.5, "moderate": 0.3, "complex": 0.2}
SUMMARIES: Final = "summarization"
_SHOWN: Final = 5  # names of a row's scores


@dataclass(frozen=True, slots=True)
class Setup:
    """What is simulated."""

    session: Session
    snapshot: Snapshot
    route: RouteSpec
    cases: Sequence[Case]
    passed: Passed


def prepare(
    file: Path,
    config: Path,
    route: str | None,
    *,
    where: Mapping[str, str],
    limit: int | None = None,
    unfitted: bool = False,
) -> Setup:
    """Read ``config`` and the rows of ``file``; ConfigError, or DataError with a sentence.

    Rows that the route's library holds are passed over: nothing is learnt of a policy that
    knows the answers.
    """
    session = Session()
    snapshot = loader.load(config, session.catalogue, unfitted=unfitted)
    spec = chosen(snapshot, route)
    passed, found = Passed(), list[Case]()
    abilities = snapshot.abilities
    models = named(spec, snapshot)
    claims, library = snapshot.config.classifier.reads_claims, spec.library
    for case in cases(
        file, spec.name, models, abilities, where=where, passed=passed, claims=claims
    ):
        if library is not None and library.holds((case.features.window,))[0]:
            passed.known += 1
            continue
        found.append(case)
        if limit is not None and len(found) >= limit:
            break
    if not found:
        raise DataError(_none(file, passed, [model.name for model in models]))
    return Setup(session, snapshot, spec, found, passed)


def chosen(snapshot: Snapshot, route: str | None) -> RouteSpec:
    """The route of that name, or the only one, or the first."""
    if not snapshot.routes:
        raise DataError("the configuration has no route to simulate")
    name = route or next(iter(snapshot.routes))
    if name not in snapshot.routes:
        raise DataError(f"no route is called {name!r}; there are {', '.join(snapshot.routes)}")
    return snapshot.routes[name]


def study(setup: Setup, check: Check = Check()) -> Study:  # noqa: B008 - frozen
    """Every case read by the encoder, one at a time as a lone request would be."""
    windows = [case.features.window for case in setup.cases]
    readings: list[Reading] = [
        setup.session.read([window])[0] for window in track(windows, "reading", len(windows))
    ]
    return Study(setup.cases, readings, setup.route, setup.snapshot, check)


def mixed(found: Sequence[Case], shares: Mapping[str, float] = FIELD_MIX) -> list[Case]:
    """The cases weighed so that each kind has its share. Raises DataError where one is missing."""
    kinds = kinds_of(found)
    counts = {kind: kinds.count(kind) for kind in shares}
    for kind, count in counts.items():
        if not count:
            raise DataError(f"--mix needs rows of every `tier`, and none is {kind!r}")
    return [
        replace(case, weight=shares[kind] / counts[kind])
        for case, kind in zip(found, kinds, strict=True)
        if kind in shares
    ]


def kinds_of(found: Sequence[Case]) -> list[str]:
    """Each case's part in the field's mix: its tier, or where there are summaries, `moderate`
    for these and nothing for what else is of that tier."""
    summaries = [case.labels.get("task") == SUMMARIES for case in found]
    if not any(summaries):
        return [case.labels.get("tier", "") for case in found]
    tiers = (case.labels.get("tier", "") for case in found)
    return [
        "moderate" if is_one else "" if tier == "moderate" else tier
        for is_one, tier in zip(summaries, tiers, strict=True)
    ]


def catalogue_of(setup: Setup) -> Catalogue:
    """The abilities that the configuration decides by, fitted ones too."""
    abilities = setup.snapshot.abilities
    assert isinstance(abilities, Catalogue)  # `loader.load` was given one
    return abilities


def _none(file: Path, passed: Passed, models: Sequence[str]) -> str:
    why = f"no row of {file} is left with a score for each of {', '.join(models)}"
    counts = {
        "lack one of the scores": passed.unscored,
        "are not asked for": passed.elsewhere,
        "are in the route's library, which knows their scores": passed.known,
        "are faulty": passed.bad,
    }
    said = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    first = f"; the first fault: {passed.first_fault}" if passed.first_fault else ""
    if passed.first_scores:
        theirs = ", ".join(passed.first_scores[:_SHOWN])
        more = ", ..." if len(passed.first_scores) > _SHOWN else ""
        first += f"; the first of these has scores of {theirs}{more}"
    return f"{why}: {said or 'it is empty'}{first}"
