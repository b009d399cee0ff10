"""A library of prompts whose outcome is known, searched by what they demand.

Each entry is a prompt's demand vector with either a label, easy or hard, or the scores
that models had on it. A search gives the nearest entries, each with a weight that falls
with its distance, ``exp(-d^2 / 2 h^2)``, where h is the library's own typical distance
to a neighbour: among strange prompts nothing weighs anything. Up to ``PAGED`` entries are
searched page by page (:mod:`sidecar.nearest`), more by HNSW (Malkov and Yashunin 2018) of
usearch. Both find nearly all of the nearest; ``python -m bench.neighbours`` says how many, and
how seldom a decision would have been another by those that they miss.

One file, ``numpy.savez``: the vectors, the outcomes, the index, a hash of each prompt's
window so that a row can be known again, and a header with the encoder's version, without
which the vectors mean nothing, and a digest of all the rest. No text of a prompt.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import orjson
from numpy.typing import NDArray

from sidecar import frozen
from sidecar.errors import DataError
from sidecar.nearest import Nearest

FORMAT: Final = 1
MOST: Final = 1_000_000  # entries: about 150 MB of memory
_EXPANSION: Final = 32  # of a search; the recall of 32 neighbours is measured in its test
_CACHED_PLACES: Final = 64  # of the models that were capable together
_TYPICAL: Final = 10  # h is the median distance to the neighbour of this rank
PAGED: Final = 20_000  # entries up to which pages are searched, and not the index
_PARTS: Final = ("vectors", "hard", "scores", "index", "windows")

Array = NDArray[np.float32]
# A file as it stood when it was read: its path, when it was last changed, its size.
Origin = tuple[Path, int, int]


@frozen.dataclass(frozen=True, slots=True)
class Near:
    """What stands around one prompt."""

    weight: float  # of all of them; each one's is 0 to 1
    hard: float  # of those labelled so
    # of each model that was asked about
    known: Array  # what weighs those that have a label, or a score of it
    gained: Array  # the scores among these, weighted; an easy prompt is one that all answer


@dataclass(frozen=True)
class Library:
    """A library in memory. Searching it changes nothing."""

    encoder: str
    columns: Mapping[str, int]  # whose scores stand in which column, by canonical name
    typical: float  # h
    digest: str
    vectors: Array = field(repr=False)  # [n, K]
    hard: Array = field(repr=False)  # [n]
    scores: Array = field(repr=False)  # [n, columns]
    windows: NDArray[np.uint64] = field(repr=False)  # [n]
    _index: Any = field(repr=False)
    origin: Origin | None = field(default=None, repr=False, compare=False)
    _sums: Array = field(init=False, repr=False)  # [n, 4 + 2 columns]: what a search adds up
    _scale: np.float32 = field(init=False, repr=False)  # of a squared distance in a weight
    _paged: Nearest | None = field(init=False, repr=False)  # None: the index is asked
    _kind: Any = field(init=False, repr=False)
    _places: dict[tuple[str, ...], NDArray[np.int64]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        scored, labelled = ~np.isnan(self.scores), ~np.isnan(self.hard)
        hard, labels = np.where(labelled, self.hard, 0), labelled.astype(float)
        # of each entry its own weight, and whether it is hard; then by column, and of the
        # models without one, whether it says anything, and what
        table = [np.ones(len(self.hard)), hard]
        table += [*(scored.T + labels), labels]
        table += [*(np.where(scored, self.scores, 0).T + labels - hard), labels - hard]
        paged = Nearest(self.vectors) if len(self) <= PAGED else None
        object.__setattr__(self, "_paged", paged)
        object.__setattr__(self, "_scale", np.float32(-0.5 / self.typical**2))
        object.__setattr__(self, "_kind", _usearch().ScalarKind.F32)
        object.__setattr__(self, "_sums", np.stack(table, axis=1).astype(np.float32))

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def looked(self) -> int | None:
        """The pages that a search looks at, 0 for all of them; None where the index is asked."""
        return None if self._paged is None else self._paged.looked

    def near(self, demand: Sequence[float], count: int, abilities: tuple[str, ...]) -> Near:
        """What the ``count`` entries nearest to ``demand`` [K], fewer where there are not so
        many, say of the models of these canonical names."""
        keys, squares = self.nearest(demand, count)
        squares *= self._scale
        weights = np.exp(squares, out=squares)
        sums = weights.dot(self._sums.take(keys, 0))
        by_model = sums.take(self._at(abilities))
        return Near(float(sums[0]), float(sums[1]), by_model[0], by_model[1])

    def nearest(self, query: Sequence[float], count: int) -> tuple[NDArray[Any], Array]:
        """Which entries are nearest to ``query`` [K], nearly all of them, and their squared
        distances; in no order."""
        if self._paged is None:
            # the function under `Index.search`: what that puts round a single query takes
            # as long again as the search
            search, kind = self._index._compiled.search_many, self._kind
            keys, squares, counts, *_ = search(
                np.array(query, np.float32)[None], count, False, 1, dtype=kind
            )
            return keys[0, : counts[0]], squares[0, : counts[0]]
        return self._paged(query, count)

    def _at(self, abilities: tuple[str, ...]) -> NDArray[np.int64]:
        """Where in a sum stands what is known of each model, and what it gained [2, models]."""
        found = self._places.get(abilities)
        if found is None:
            if len(self._places) >= _CACHED_PLACES:
                self._places.clear()
            none = len(self.columns)
            known = [self.columns.get(name.partition("@")[0], none) for name in abilities]
            found = 2 + np.array([known, [none + 1 + at for at in known]])
            self._places[abilities] = found
        return found

    def holds(self, windows: Iterable[str]) -> NDArray[np.bool_]:
        """Which of these windows are in it."""
        return np.isin(np.array([_mark(w) for w in windows], np.uint64), self.windows)

    def save(self, file: Path) -> None:
        """Raises DataError where ``file`` can't be written."""
        parts = {name: getattr(self, name) for name in _PARTS if name != "index"}
        parts["index"] = np.frombuffer(self._index.save(), np.uint8)
        header = {
            "format": FORMAT,
            "encoder": self.encoder,
            "columns": list(self.columns),
            "typical": self.typical,
            "digest": _digest(parts),
        }
        try:
            with file.open("wb") as out:
                np.savez(out, header=np.frombuffer(orjson.dumps(header), np.uint8), **parts)
        except OSError as error:
            raise DataError(f"can't write the library {file}: {error.strerror}") from error


def build(
    encoder: str,
    demands: NDArray[np.float64],
    windows: Sequence[str],
    hard: NDArray[np.float64],
    scores: Mapping[str, NDArray[np.float64]],
) -> Library:
    """A library of ``demands`` [n, K] with ``hard`` [n] and ``scores`` {name: [n]}, NaN unknown.

    Built by one thread, so the same rows give the same file. Raises DataError.
    """
    n = len(demands)
    if not 1 <= n <= MOST:
        raise DataError(f"a library has 1 to {MOST} prompts, not {n}")
    vectors = np.ascontiguousarray(demands, np.float32)
    index = _empty(vectors.shape[1])
    index.add(np.arange(n), vectors, threads=1)
    rank = min(_TYPICAL, n - 1)
    sample = vectors[:: max(1, n // 1000)]
    far = [float(index.search(v, rank + 1, threads=1).distances[-1]) ** 0.5 for v in sample]
    table = np.full((n, len(scores)), np.nan, np.float32)
    for i, column in enumerate(scores.values()):
        table[:, i] = column
    parts: dict[str, Any] = {
        "vectors": vectors,
        "hard": hard.astype(np.float32),
        "scores": table,
        "windows": np.array([_mark(w) for w in windows], np.uint64),
        "index": np.frombuffer(index.save(), np.uint8),
    }
    return Library(
        encoder=encoder,
        columns={name: i for i, name in enumerate(scores)},
        typical=max(float(np.median(far)), 1e-6),
        digest=_digest(parts),
        _index=index,
        **{name: parts[name] for name in _PARTS if name != "index"},
    )


class Shelf:
    """Libraries that were read already: a file that several routes name is read once, and at a
    reload not again where it stands as it did, for a large one takes a tenth of a second."""

    def __init__(self, known: Iterable[Library] = ()) -> None:
        self._known = {each.origin: each for each in known if each.origin is not None}

    def load(self, file: Path, encoder: str) -> Library:
        """As :func:`load`."""
        with contextlib.suppress(OSError):
            found = self._known.get(_origin(file))
            if found is not None and found.encoder == encoder:
                return found
        found = load(file, encoder)
        if found.origin is not None:
            self._known[found.origin] = found
        return found


def _origin(file: Path) -> Origin:
    said = file.stat()
    return file.resolve(), said.st_mtime_ns, said.st_size


def load(file: Path, encoder: str) -> Library:
    """The library of ``file``. Raises DataError where it is damaged, or another encoder's."""
    try:
        origin = _origin(file)
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"can't read the library {file}: {error.strerror}") from error
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            header = orjson.loads(archive["header"].tobytes())
            parts = {name: archive[name] for name in _PARTS}
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']}")
        if header["digest"] != _digest(parts):
            raise ValueError("its digest does not match: it was changed or cut short")
        n, _ = parts["vectors"].shape
        if parts["scores"].shape != (n, len(header["columns"])) or parts["hard"].shape != (n,):
            raise ValueError("its parts do not fit each other")
        made_by, typical = str(header["encoder"]), float(header["typical"])
        columns = {str(name): i for i, name in enumerate(header["columns"])}
    except (KeyError, ValueError, TypeError, BadZipFile, OSError, EOFError) as error:
        raise DataError(f"{file} is not a library of `sidecar library build`: {error}") from error
    if made_by != encoder:
        raise DataError(
            f"{file} was built with encoder {made_by}, this is {encoder}: "
            "run `sidecar library build` again on the same rows"
        )
    return Library(
        encoder=made_by,
        columns=columns,
        typical=typical,
        digest=header["digest"],
        _index=_restored(parts.pop("index")),
        origin=origin,
        **parts,
    )


def _usearch() -> Any:
    try:
        from usearch import index  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise DataError(
            "libraries of prompts need usearch: pip install 'pointsman[similarity]'"
        ) from error
    return index


def _empty(width: int) -> Any:
    return _usearch().Index(ndim=width, metric="l2sq", dtype="f32", expansion_search=_EXPANSION)


def _restored(raw: NDArray[np.uint8]) -> Any:
    index = _usearch().Index.restore(bytes(raw))
    if index is None:
        raise DataError("the library's index can't be restored: build the library again")
    index.expansion_search = _EXPANSION
    return index


def _digest(parts: Mapping[str, NDArray[Any]]) -> str:
    """The first 16 hex digits of the SHA-256 of all parts, with their shapes."""
    found = hashlib.sha256()
    for name in _PARTS:
        part = np.ascontiguousarray(parts[name])
        found.update(f"{name} {part.shape} {part.dtype.str}".encode())
        found.update(part.tobytes())
    return found.hexdigest()[:16]


def _mark(window: str) -> int:
    text = window.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
