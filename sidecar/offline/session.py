"""What the offline commands share: a loaded encoder, and rows read through it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle
from sidecar.errors import DataError
from sidecar.offline.backends import Encoder, load
from sidecar.offline.rows import Row, scored_rows
from sidecar.offline.score import CHUNK, demands, read_windows
from sidecar.types import Reading

Array = NDArray[np.float64]
T = TypeVar("T")


class Session:
    """The packaged encoder and its catalogue. Raises EncoderError or DataError.

    ``make`` loads an encoder that is not of this package's backends: one that opens sockets.
    """

    def __init__(
        self,
        abilities: Path | None = None,
        bundle: Path | None = None,
        backend: str = "onnx",
        make: Callable[[Bundle], Encoder] | None = None,
    ) -> None:
        loaded = Bundle.load(bundle)
        self.catalogue = Catalogue.of(loaded, abilities)
        self.encoder = make(loaded) if make else load(backend, loaded)

    def read(self, windows: Sequence[str]) -> list[Reading]:
        return read_windows(self.encoder, windows)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models on the same rows: their scores and what the encoder makes of each row."""

    weak: Array
    strong: Array
    rank: Array
    weak_probability: Array | None
    strong_probability: Array | None
    ranked_by: str  # a sentence for the report


def pair(session: Session, file: Path, weak: str, strong: str) -> Pair:
    """The rows of ``file`` that score both models. Raises DataError when there are none."""
    rows = list(scored_rows(file, [weak, strong]))
    if not rows:
        raise DataError(f"no row of {file} has scores for both {weak!r} and {strong!r}")
    vectors, difficulty = read_with_progress(session, rows)
    names = [session.catalogue.resolve(weak), session.catalogue.resolve(strong)]
    known = [name for name in names if name is not None]
    scores = np.array([[row.scores[weak], row.scores[strong]] for row in rows])
    if len(known) < 2:
        missing = weak if names[0] is None else strong
        near = ", ".join(session.catalogue.suggest(missing)) or "nothing"
        return Pair(
            scores[:, 0],
            scores[:, 1],
            difficulty,
            None,
            None,
            f"difficulty: the catalogue does not know {missing!r} (near it: {near}); "
            "`sidecar fit` can add it",
        )
    said = session.catalogue.matrix(vectors, known)
    return Pair(
        scores[:, 0],
        scores[:, 1],
        said[:, 1] - said[:, 0],
        said[:, 0],
        said[:, 1],
        f"P({known[1]}) - P({known[0]})",
    )


def read_with_progress(session: Session, rows: list[Row]) -> tuple[Array, Array]:
    """Demand vectors and difficulties of ``rows``, with a progress bar on stderr."""
    parts = [
        demands(rows[start : start + CHUNK], session.read)
        for start in track(range(0, len(rows), CHUNK), "reading prompts", len(rows) // CHUNK + 1)
    ]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def track(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """``items`` with a progress bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks
    from rich.progress import track as bar  # noqa: PLC0415

    yield from bar(items, description=title, total=total, console=Console(stderr=True))


def need_folder(file: Path | None) -> None:
    """Raises DataError where what is to be written has no folder to be in: before the work."""
    if file is not None and not file.parent.is_dir():
        raise DataError(f"can't write {file}: there is no folder {file.parent}")


def save_figure(figure: object, file: Path) -> None:
    """Write a matplotlib figure. Raises DataError when the place can't be written."""
    try:
        figure.savefig(file, dpi=120)  # type: ignore[attr-defined]
    except (OSError, ValueError) as error:
        raise DataError(f"can't write the plot {file}: {error}") from error


def need_matplotlib() -> None:
    """Raises DataError that names the extra when matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401, PLC0415
    except ImportError as error:
        raise DataError("--plot needs matplotlib: pip install 'pointsman[plot]'") from error
