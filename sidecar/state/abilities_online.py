"""Abilities that learn while serving: what is believed of each model, kept over restarts.

A :class:`Learner` holds a :class:`~sidecar.state.posterior.Belief` for each configured
model, moves it with each score, and gives a configuration snapshot whose models have
what was learnt: decisions that follow use it, those in flight keep what they began
with, and nothing restarts. Its file is written whole beside itself and moved into
place; one that cannot be read is kept aside and the catalogue is where it starts from.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from sidecar.config.snapshot import ModelSpec, Snapshot
from sidecar.encoder.abilities import Ability, Catalogue
from sidecar.state.posterior import Belief, Panel, learnt, prior
from sidecar.types import Reading

log = logging.getLogger("sidecar.state.abilities")

_FORMAT: Final = 1
_NEAR: Final = 1e-6


class Draws:
    """One decision's draws from the beliefs: :class:`~sidecar.decide.view.Draws`."""

    __slots__ = ("_normals", "_panel")

    def __init__(self, panel: Panel, normals: NDArray[np.float64]) -> None:
        self._panel, self._normals = panel, normals

    def probabilities(self, reading: Reading, models: Sequence[str]) -> list[float] | None:
        if reading.demand is None:
            return None
        said = self._panel.drawn(np.asarray(reading.demand), self._normals)
        try:
            return [said[name] for name in models]
        except KeyError:  # a model that a reload brought after this view was taken
            return None


class Learner:
    """Beliefs about the models of one configuration. One thread's: the event loop's."""

    def __init__(self, snapshot: Snapshot, memory: float, seed: int | None = None) -> None:
        self._memory = memory
        seed = random.SystemRandom().getrandbits(64) if seed is None else seed
        self._random = np.random.default_rng(seed)
        self._unheeded = np.random.default_rng([seed, 1])
        self._base = snapshot
        self._beliefs: dict[str, Belief] = {}
        self._panel: Panel | None = None
        self.revision = 0  # of what is believed: moves with each score
        self._follow(snapshot)

    # -- what is believed ------------------------------------------------------------

    @property
    def models(self) -> tuple[str, ...]:
        """The models that something is believed of."""
        return tuple(self._beliefs)

    def scores(self, model: str) -> float:
        """The weight of all scores of ``model`` so far."""
        belief = self._beliefs.get(model)
        return belief.scores if belief else 0.0

    def learn(self, model: str, demand: Sequence[float], score: float, weight: float) -> bool:
        """Move what is believed of ``model``; whether there was anything to move."""
        belief = self._beliefs.get(model)
        if belief is None or len(demand) != len(belief.mean) - 1:
            return False
        z = np.asarray(demand, float)
        self._beliefs[model] = learnt(belief, z, score, weight, self._memory)
        self._panel = None
        self.revision += 1
        return True

    def draws(self, *, heeded: bool = True, seed: int | None = None) -> Draws:
        """New draws for one decision. Where nobody acts on it, not ``heeded``, they come
        from random numbers of their own, so that those who do act draw as they would; with
        a ``seed``, from it alone."""
        if self._panel is None:
            self._panel = Panel.of(self._beliefs)
        numbers = self._random if heeded else self._unheeded
        if seed is not None:
            numbers = np.random.default_rng(seed)
        return Draws(self._panel, numbers.standard_normal(len(self._panel.names)))

    def taught(self, current: Snapshot) -> Snapshot:
        """``current``, its models with the abilities that were learnt."""
        catalogue = self._base.abilities
        learnt: dict[str, str] = {}
        if not isinstance(catalogue, Catalogue):
            return current
        abilities: dict[str, Ability] = {}
        for model, belief in self._beliefs.items():
            if not belief.scores or model not in current.models:
                continue
            # as of one more source, so that whoever goes by the canonical name, a library of
            # prompts or a stack, still knows the model; a name that nobody can ask for
            base = self._base.models[model].ability.partition("@")[0]
            source = f"learnt {model}"
            ability = abilities.get(base) or catalogue[base]
            said = tuple(belief.mean[:-1].tolist()), float(belief.mean[-1])
            abilities[base] = replace(ability, sources={**ability.sources, source: said})
            learnt[model] = f"{base}@{source}"
        if not learnt:
            return current
        models: Mapping[str, ModelSpec] = {
            name: replace(spec, ability=learnt.get(name, spec.ability))
            for name, spec in current.models.items()
        }
        return replace(
            current,
            models=MappingProxyType(models),
            abilities=catalogue.extended(abilities.values()),
            learnt=self.revision,
        )

    def reloaded(self, snapshot: Snapshot) -> None:
        """Go on with another configuration: models it still has keep what was learnt."""
        self._base = snapshot
        self._follow(snapshot)
        self.revision += 1

    def _follow(self, snapshot: Snapshot) -> None:
        catalogue = snapshot.abilities
        if not isinstance(catalogue, Catalogue):
            return
        beliefs = {}
        for name, spec in snapshot.models.items():
            fresh = prior(*catalogue.parameters(spec.ability))
            known = self._beliefs.get(name)
            same = known is not None and np.allclose(known.centre, fresh.centre, atol=_NEAR)
            beliefs[name] = known if known is not None and same else fresh
        self._beliefs, self._panel = beliefs, None

    # -- over restarts, and to other workers -----------------------------------------

    def dump(self) -> bytes:
        """All that was learnt, for :meth:`load`."""
        catalogue = self._base.abilities
        return orjson.dumps(
            {
                "format": _FORMAT,
                "encoder": catalogue.encoder if isinstance(catalogue, Catalogue) else "",
                "revision": self.revision,
                "models": {
                    name: {
                        "scores": belief.scores,
                        "centre": _packed(belief.centre),
                        "mean": _packed(belief.mean),
                        "covariance": _packed(belief.covariance),
                    }
                    for name, belief in self._beliefs.items()
                    if belief.scores
                },
            }
        )

    def load(self, data: bytes) -> list[str]:
        """Take up what :meth:`dump` wrote; sentences about what could not be.

        ValueError where it is no such thing. A model whose ability the configuration
        changed since then starts anew.
        """
        try:
            raw = orjson.loads(data)
            if raw["format"] != _FORMAT:
                raise ValueError(f"format {raw['format']}")
            found = {name: _belief(spec) for name, spec in raw["models"].items()}
            encoder, revision = str(raw["encoder"]), int(raw["revision"])
        except (KeyError, TypeError, AttributeError, binascii.Error) as exc:
            raise ValueError(f"{type(exc).__name__}: {exc}") from None
        catalogue = self._base.abilities
        if isinstance(catalogue, Catalogue) and encoder != catalogue.encoder:
            raise ValueError(f"of encoder {encoder}, and this is {catalogue.encoder}")
        notes = []
        for name, belief in found.items():
            own = self._beliefs.get(name)
            if own is None:
                notes.append(f"{name} is no longer configured: what was learnt of it is left out")
            elif own.centre.shape != belief.centre.shape or not np.allclose(
                own.centre, belief.centre, atol=_NEAR
            ):
                notes.append(f"{name} has another ability now: it starts from that")
            else:
                self._beliefs[name] = belief
        self._panel = None
        self.revision = max(self.revision, revision)
        return notes


def _packed(values: NDArray[np.float64]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f8").tobytes()).decode()


def _unpacked(text: str) -> NDArray[np.float64]:
    values = np.frombuffer(base64.b64decode(text, validate=True), "<f8").astype(float)
    if not np.isfinite(values).all():
        raise ValueError("a number in it is not finite")
    return values


def _belief(spec: Mapping[str, Any]) -> Belief:
    centre, mean = _unpacked(spec["centre"]), _unpacked(spec["mean"])
    size = len(centre)
    covariance = _unpacked(spec["covariance"]).reshape(size, size)
    if len(mean) != size:
        raise ValueError("its parts do not belong together")
    least, *_ = np.linalg.eigvalsh(covariance)
    if not np.allclose(covariance, covariance.T) or least < 0:
        raise ValueError("a covariance in it is none: nothing can be drawn from it")
    return Belief(centre, mean, covariance, float(spec["scores"]))


# -- the file -----------------------------------------------------------------------


def restore(learner: Learner, file: Path) -> None:
    """Take up what ``file`` holds. One that cannot be used is kept aside, with a warning."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return
    except OSError as exc:
        log.warning(
            "%s cannot be read (%s): learning starts from the catalogue", file, exc.strerror
        )
        return
    try:
        for note in learner.load(data):
            log.warning("%s: %s", file, note)
    except ValueError as exc:
        aside = file.with_name(f"{file.name}.unusable-{int(time.time())}")
        with contextlib.suppress(OSError):
            file.replace(aside)
        log.warning(
            "%s cannot be used (%s): it is kept as %s, and learning starts from the catalogue",
            file,
            str(exc)[:200],
            aside.name,
        )


def save(data: bytes, file: Path) -> None:
    """Write ``file`` whole or not at all; OSError where it cannot be."""
    beside = file.with_name(f"{file.name}.new")
    with beside.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(file)
