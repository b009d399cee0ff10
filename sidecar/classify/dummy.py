"""A reader for tests and drills: scripted readings, scripted faults."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sidecar.types import Reading


class DummyReader:
    """Gives what ``answer`` says of a window, after ``delay_s``.

    ``answer`` may raise: a drill for what the request path does then.
    """

    version = "dummy-1"

    def __init__(self, answer: Callable[[str], Reading], delay_s: float = 0.0) -> None:
        self.answer = answer
        self.delay_s = delay_s
        self.batches: list[int] = []

    def read(self, windows: Sequence[str]) -> list[Reading]:
        self.batches.append(len(windows))
        if self.delay_s:
            time.sleep(self.delay_s)
        return [self.answer(window) for window in windows]
