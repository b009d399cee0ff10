"""What a person sees while the demo's requests run.

On a terminal: the last few decisions and a progress bar, redrawn in place and
gone when the report comes. Elsewhere: a plain line now and then, so that a log
shows progress without being flooded.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sidecar.demo.traffic import Result

_RECENT: Final = 8
_PLAIN_STEPS: Final = 8


class Feed(Protocol):
    """Shown results as they come."""

    def __enter__(self) -> Feed: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def show(self, result: Result) -> None: ...


def feed(console: Console, total: int) -> Feed:
    """The feed that suits where ``console`` writes to."""
    live = console.is_terminal and not console.is_dumb_terminal
    return LiveFeed(console, total) if live else PlainFeed(console, total)


class PlainFeed:
    """For a log: a line for every eighth of the way, and one for every failure."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._step = max(1, -(-total // _PLAIN_STEPS))

    def __enter__(self) -> PlainFeed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def show(self, result: Result) -> None:
        self._done += 1
        if result.error:
            self._print(f"{result.ask.id}: {result.error}")
        if self._done % self._step == 0 or self._done == self._total:
            self._print(f"{self._done}/{self._total} requests answered")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveFeed:
    """For a terminal: recent decisions above a progress bar."""

    def __init__(self, console: Console, total: int) -> None:
        self._recent: deque[Result] = deque(maxlen=_RECENT)
        self._progress = Progress(
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
        )
        self._task = self._progress.add_task("", total=total)
        self._failed = 0
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=8, transient=True
        )

    def __enter__(self) -> LiveFeed:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, result: Result) -> None:
        self._recent.append(result)
        self._failed += bool(result.error)
        said = f"[red]{self._failed} failed" if self._failed else ""
        self._progress.update(self._task, advance=1, description=said)

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True, min_width=14)
        table.add_column(no_wrap=True, min_width=11)
        table.add_column(no_wrap=True, justify="right", min_width=9)
        for result in self._recent:
            table.add_row(*_row(result))
        for _ in range(_RECENT - len(self._recent)):
            table.add_row("")
        return Group(table, self._progress.get_renderable())


def _row(result: Result) -> tuple[Text, Text, Text, Text]:
    said = Text(result.ask.gist, style="dim" if not result.error else "red")
    if result.error:
        return said, Text("failed", style="red"), Text(""), Text("")
    took = "" if result.decision_ms is None else f"{result.decision_ms:.2f} ms"
    return said, Text(result.model, style="cyan"), Text(result.reason), Text(took)
