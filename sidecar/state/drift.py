"""Drift while serving: each window of requests against the first one, without labels.

The first full window is the reference. With ``drift.reference`` it is kept in a file
and compared with after restarts too; delete the file to begin anew. One that cannot
be read, or that another encoder's readings are in, is kept aside.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import Final

import orjson

from sidecar.config.schema import Drift as Settings
from sidecar.observe.drift import ABSTAINED, BOUNDS, SIGNALS, Window
from sidecar.observe.metrics import Registry
from sidecar.types import Call, Decision

log = logging.getLogger("sidecar.state.drift")

_LOST: Final = 0.5  # a reading this unlike the training data was not believed


class Monitor:
    """One worker's windows."""

    def __init__(self, settings: Settings, registry: Registry, folder: Path, version: str) -> None:
        self._settings = settings
        self._version = version
        self._file = folder / settings.reference if settings.reference else None
        self._reference = _load(self._file, version) if self._file else None
        self._window = Window()
        self.index = dict.fromkeys(SIGNALS, 0.0)  # of the last full window
        registry.gauge(
            "router_drift_psi",
            "Population stability index of the last window against the reference, by signal.",
            ("signal",),
            alike=True,
            read=lambda: {(signal,): value for signal, value in self.index.items()},
        )
        self._alarms = registry.counter(
            "router_drift_alarms", "Windows whose index was over drift.alarm.", ("signal",)
        )

    def remember(self, call: Call, decision: Decision) -> None:
        """Count one request of a route."""
        reading = decision.reading
        self._window.add(
            reading.difficulty if reading else None,
            reading.ood if reading else None,
            call.input_tokens,
            decision.reason in ABSTAINED or (reading is not None and reading.ood > _LOST),
        )
        if self._window.requests >= self._settings.window:
            self._full()

    def _full(self) -> None:
        window, self._window = self._window, Window()
        if self._reference is None:
            self._reference = window
            if self._file is not None:
                self._keep(self._file, window)
            return
        self.index = window.against(self._reference)
        for signal, value in self.index.items():
            if value >= self._settings.alarm:
                self._alarms.add((signal,))
                log.warning(
                    "drift: the %s of the last %d requests is not what it was (index %.2f)",
                    signal, window.requests, value,
                )  # fmt: skip

    def _keep(self, file: Path, window: Window) -> None:
        data = orjson.dumps({"encoder": self._version, "counts": window.counts,
                             "requests": window.requests})  # fmt: skip
        with contextlib.suppress(RuntimeError):  # no loop: nobody serves
            asyncio.get_running_loop().run_in_executor(None, _write, file, data)


def _write(file: Path, data: bytes) -> None:
    try:
        beside = file.with_name(f"{file.name}.new")
        beside.write_bytes(data)
        beside.replace(file)
    except OSError as exc:
        log.error("%s cannot be written: %s", file, exc.strerror)


def _load(file: Path, version: str) -> Window | None:
    try:
        raw = orjson.loads(file.read_bytes())
        counts = {signal: [int(n) for n in raw["counts"][signal]] for signal in SIGNALS}
        if raw["encoder"] != version:
            raise ValueError(f"of encoder {raw['encoder']}, and this is {version}")
        if any(len(counts[s]) != len(BOUNDS[s]) + 1 for s in SIGNALS):
            raise ValueError("its bins are others")
        return Window(int(raw["requests"]), counts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        aside = file.with_name(f"{file.name}.unusable-{int(time.time())}")
        with contextlib.suppress(OSError):
            file.replace(aside)
        log.warning(
            "%s cannot be used (%s): it is kept as %s, and the next window is the reference",
            file, str(exc)[:200], aside.name,
        )  # fmt: skip
        return None
