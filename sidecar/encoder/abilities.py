"""What each model can give: abilities (a, b), names people use for them, probabilities.

``P(model suffices | prompt) = sigmoid(a . z + b)`` with the prompt's demand z, a
multidimensional item-response model (Reckase 2009, eq. 4.3). A model that was
measured on several sources has one serving ability, fitted with what its sources
share, and one per source as ``name@source``, which holds that source's prompting and
is meant for evaluation. Calibration is folded into a and b.

**What to rank by.** With two models known, rank prompts by
``P(strong) - P(weak)``, not by ``1 - P(weak)``: a prompt that both fail gains
nothing from the strong one (see distill/LOG.md for how much this matters).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from sidecar.encoder.bundle import Bundle
from sidecar.errors import DataError, EncoderError
from sidecar.types import Reading

FORMAT: Final = 1
_CACHED_PANELS: Final = 256
_FEW: Final = 8  # models
_FORMAT_SUFFIXES: Final = ("-hf", "-awq", "-gptq", "-fp8", "-bf16", "-turbo", "-latest", ":latest")


@dataclass(frozen=True, slots=True)
class Ability:
    """One model's (a, b), calibrated."""

    name: str
    slope: tuple[float, ...]  # a, K numbers
    shift: float  # b
    strength: float  # mean probability over the development prompts of all sources, 0..1
    rows: int = 0  # scored prompts behind it
    sources: Mapping[str, tuple[tuple[float, ...], float]] = field(default_factory=dict)


def plain(name: str) -> str:
    """``name`` as the catalogue would write it: no organisation, case, format or host suffix."""
    out = name.strip().lower().rsplit("/", 1)[-1].replace(" ", "-").replace("_", "-")
    out = out.removeprefix("meta-")
    changed = True
    while changed:
        changed = False
        for suffix in _FORMAT_SUFFIXES:
            if out.endswith(suffix) and len(out) > len(suffix):
                out, changed = out.removesuffix(suffix), True
    return out + "ruct" if out.endswith("-inst") else out


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _logit(p: float) -> float:
    p = min(max(p, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))


def logistic(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """``sigmoid`` of each, in place; as half a hyperbolic tangent, which never overflows."""
    logits *= 0.5
    np.tanh(logits, out=logits)
    logits *= 0.5
    logits += 0.5
    return logits


class Catalogue:
    """Abilities by name. Immutable but for a small cache of stacked panels."""

    def __init__(
        self,
        abilities: Iterable[Ability],
        aliases: Mapping[str, str],
        demand: int,
        encoder: str,
        typical_difficulty: float = 0.5,
    ) -> None:
        self._abilities = {a.name: a for a in abilities}
        self._aliases = dict(aliases)
        self.demand = demand
        self.encoder = encoder
        self._typical = _logit(typical_difficulty)
        self._panels: dict[tuple[str, ...], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    @classmethod
    def of(cls, bundle: Bundle, extra: Path | None = None) -> Catalogue:
        """The bundle's catalogue, with the models of a ``sidecar fit`` file added or replaced.

        Raises EncoderError for a damaged catalogue, DataError for a bad ``extra``.
        """
        try:
            raw = orjson.loads(bundle.abilities)
            abilities = [
                _ability(name, spec, bundle.demand) for name, spec in raw["models"].items()
            ]
            aliases = {alias: spec["model"] for alias, spec in raw["aliases"].items()}
            typical = float(raw["typical_difficulty"])
            if raw["format"] != FORMAT or raw["demand"] != bundle.demand:
                raise ValueError(f"format {raw['format']}, {raw['demand']} numbers a model")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EncoderError(
                f"{bundle.path}/abilities.json is not this encoder's catalogue: {error}"
            ) from error
        catalogue = cls(abilities, aliases, bundle.demand, bundle.version, typical)
        return catalogue.joined(extra) if extra else catalogue

    def joined(self, file: Path) -> Catalogue:
        """This catalogue and the models of ``file``, which ``sidecar fit`` wrote."""
        try:
            raw = orjson.loads(file.read_bytes())
            if not isinstance(raw, dict) or raw.get("format") != FORMAT:
                raise ValueError("not written by `sidecar fit`")
            if raw["encoder"] != self.encoder:
                raise DataError(
                    f"{file} was fitted with encoder {raw['encoder']}, this is {self.encoder}: "
                    "run `sidecar fit` again on the same rows"
                )
            more = [_ability(name, spec, self.demand) for name, spec in raw["models"].items()]
        except OSError as error:
            raise DataError(f"can't read the abilities file {file}: {error.strerror}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{file} is not an abilities file: {error}") from error
        return self.extended(more)

    def extended(self, more: Iterable[Ability]) -> Catalogue:
        """This catalogue and ``more``, which replace what has their names."""
        merged = {**self._abilities, **{a.name: a for a in more}}
        typical = _sigmoid(self._typical)
        return Catalogue(merged.values(), self._aliases, self.demand, self.encoder, typical)

    @property
    def names(self) -> list[str]:
        return sorted(self._abilities)

    def __getitem__(self, name: str) -> Ability:
        return self._abilities[name]

    def resolve(self, name: str) -> str | None:
        """The canonical name that ``name`` stands for, ``name@source`` kept, or None."""
        base, at, source = name.partition("@")
        for candidate in (base, base.strip().lower(), plain(base)):
            target = self._aliases.get(candidate, candidate)
            ability = self._abilities.get(target)
            if ability is not None:
                if not at:
                    return target
                return f"{target}@{source}" if source in ability.sources else None
        return None

    def suggest(self, name: str) -> list[str]:
        """Up to five known names that look like ``name``, best first."""
        known = [*self._abilities, *self._aliases]
        wanted = plain(name)
        close = difflib.get_close_matches(wanted, known, n=5, cutoff=0.55)
        words = set(wanted.split("-"))
        shared = sorted(known, key=lambda k: (-len(words & set(k.split("-"))), k))
        close += [k for k in shared[:3] if words & set(k.split("-"))]
        return list(dict.fromkeys(close))[:5]

    def strength(self, name: str) -> float:
        """How often the model suffices on typical prompts, 0..1: ranks models without a prompt."""
        return self._abilities[name.partition("@")[0]].strength

    def probabilities(self, reading: Reading, names: Sequence[str]) -> list[float]:
        """``P(suffices)`` of each canonical name, in order. Raises KeyError for an unknown one.

        A reading without a demand vector ranks by strength against its difficulty alone.
        """
        if reading.demand is None:
            harder = _logit(reading.difficulty) - self._typical
            return [_sigmoid(_logit(self.strength(n)) - harder) for n in names]
        if len(names) > _FEW:
            slope, shift = self._panel(tuple(names))
            logits = slope @ np.array(reading.demand)
            row: list[float] = logistic(logits + shift).tolist()
            return row
        # A few dot products of a few dozen numbers: plain Python is faster than the
        # calls into numpy, whose code is cold by the time a request gets here.
        demand = reading.demand
        pairs = map(self.parameters, names)
        return [_sigmoid(sum(map(mul, slope, demand)) + shift) for slope, shift in pairs]

    def matrix(self, demands: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
        """``P(suffices)`` [rows, models] for demand vectors [rows, K]."""
        slope, shift = self._panel(tuple(names))
        return logistic(demands @ slope.T + shift)

    def suffices(self, reading: Reading, name: str) -> float:
        """``P(suffices)`` of one canonical name."""
        return self.probabilities(reading, (name,))[0]

    def _panel(self, names: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        panel = self._panels.get(names)
        if panel is None:
            if len(self._panels) >= _CACHED_PANELS:
                self._panels.clear()
            pairs = [self.parameters(n) for n in names]
            panel = (
                np.array([a for a, _ in pairs]).reshape(len(pairs), self.demand),
                np.array([b for _, b in pairs]),
            )
            self._panels[names] = panel
        return panel

    def parameters(self, name: str) -> tuple[tuple[float, ...], float]:
        """The slope a and the shift b of one canonical name, ``name@source`` too."""
        base, at, source = name.partition("@")
        ability = self._abilities[base]
        return ability.sources[source] if at else (ability.slope, ability.shift)


def _ability(name: str, spec: dict[str, Any], demand: int) -> Ability:
    def pair(of: dict[str, Any]) -> tuple[tuple[float, ...], float]:
        slope, shift = tuple(map(float, of["a"])), float(of["b"])
        if len(slope) != demand or not all(map(math.isfinite, (*slope, shift))):
            raise ValueError(f"{name} needs {demand} finite numbers and a shift")
        return slope, shift

    slope, shift = pair(spec)
    return Ability(
        name=name,
        slope=slope,
        shift=shift,
        strength=float(spec["strength"]),
        rows=int(spec.get("rows", 0)),
        sources={source: pair(of) for source, of in spec.get("sources", {}).items()},
    )
