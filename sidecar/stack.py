"""The weights of the policy ``ensemble``, in a file.

JSON: ``{format, encoder, library, votes, models {name: {slope, shift, ...}}, digest}``.
``encoder`` and ``library`` say over whose votes it was fitted; over any other's it would
weigh something else, so it is refused. What was measured on held-out rows stands beside
each model's weights, for a person to read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from sidecar import frozen
from sidecar.errors import DataError

Array = NDArray[np.float64]

FORMAT: Final = 1
_CACHED_TABLES: Final = 64  # of the models that were capable together
# What is weighed, in the order of the weights; the first is what the others correct.
VOTES: Final = ("encoder", "neighbours", "difficulty", "tier", "length", "strangeness")


@dataclass(frozen=True, slots=True)
class Weights:
    """One model's: ``logit P = slope . votes + shift``."""

    slope: tuple[float, ...]
    shift: float
    rows: int = 0  # fitted on
    auc: float | None = None  # held out
    ece: float | None = None  # held out
    auc_encoder: float | None = None  # of the encoder's own vote, on the same rows
    ece_encoder: float | None = None


@frozen.dataclass(frozen=True, slots=True)
class Votes:
    """What is weighed, of some models: the first two of each, the rest of the prompt."""

    each: Array  # [2, models]: the logits that the encoder and the neighbours come to
    shared: tuple[float, float, float, float]  # the others of :data:`VOTES`, in their order

    def rows(self) -> Array:
        """The votes on each model [models, VOTES]; the neighbours' is by how much they move
        the encoder's."""
        return np.array([(own, near - own, *self.shared) for own, near in self.each.T])


@dataclass(frozen=True, slots=True)
class Stack:
    """All models' weights, by canonical name."""

    encoder: str
    library: str  # the digest of the library whose neighbours voted; empty: none
    votes: tuple[str, ...]
    weights: Mapping[str, Weights]
    _tables: dict[tuple[str, ...], tuple[Array, Array]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def probabilities(self, abilities: tuple[str, ...], votes: Votes) -> list[float]:
        """P(suffices) of each of ``abilities`` from its ``votes``.

        A model without weights keeps the first vote, the encoder's.
        """
        table = self._tables.get(abilities)
        if table is None:
            if len(self._tables) >= _CACHED_TABLES:
                self._tables.clear()
            own = Weights(slope=(1.0,) + (0.0,) * (len(VOTES) - 1), shift=0.0)
            rows = [self.weights.get(name.partition("@")[0], own) for name in abilities]
            # halved, for the logistic function below; the last column goes with a vote of 1
            halves = 0.5 * np.array([(*w.slope, w.shift) for w in rows])
            halves[:, 0] -= halves[:, 1]  # what the neighbours move is their logit less its own
            table = self._tables[abilities] = halves[:, :2].T.copy(), halves[:, 2:].copy()
        each, every = table
        own, moved = each * votes.each
        own += moved
        own += every.dot(np.array((*votes.shared, 1.0)))
        np.tanh(own, out=own)
        own *= 0.5
        own += 0.5
        found: list[float] = own.tolist()
        return found

    def save(self, file: Path) -> None:
        """Raises DataError where ``file`` can't be written."""
        said: dict[str, Any] = {
            "format": FORMAT,
            "encoder": self.encoder,
            "library": self.library,
            "votes": list(self.votes),
            "models": {name: asdict(weights) for name, weights in self.weights.items()},
        }
        said["digest"] = _digest(said)
        try:
            file.write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2) + b"\n")
        except OSError as error:
            raise DataError(f"can't write the ensemble {file}: {error.strerror}") from error


def load(file: Path, encoder: str, library: str) -> Stack:
    """The stack of ``file``. Raises DataError where it is damaged, or of other votes."""
    try:
        said = orjson.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"can't read the ensemble {file}: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise DataError(f"{file} is not an ensemble file: {error.msg}") from error
    try:
        if said["format"] != FORMAT or said.pop("digest") != _digest(said):
            raise ValueError("its format or its digest does not match")
        found = Stack(
            encoder=str(said["encoder"]),
            library=str(said["library"]),
            votes=tuple(said["votes"]),
            weights={name: _weights(of, len(VOTES)) for name, of in said["models"].items()},
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is not a file of `sidecar ensemble fit`: {error}") from error
    for what, of, here in (
        ("encoder", found.encoder, encoder),
        ("library", found.library or "none", library or "none"),
        ("votes", ", ".join(found.votes), ", ".join(VOTES)),
    ):
        if of != here:
            raise DataError(
                f"{file} was fitted with {what} {of}, this is {here}: "
                "run `sidecar ensemble fit` again on the same rows"
            )
    return found


def _weights(of: Mapping[str, Any], width: int) -> Weights:
    found = Weights(**{**of, "slope": tuple(map(float, of["slope"])), "shift": float(of["shift"])})
    if len(found.slope) != width or not all(map(math.isfinite, (*found.slope, found.shift))):
        raise ValueError(f"{width} finite weights and a shift are needed")
    return found


def _digest(said: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in said.items() if key != "digest"}
    return hashlib.sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
