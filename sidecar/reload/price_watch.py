"""The price file, looked at now and then: a provider that gets dearer loses traffic.

A file that cannot be read or has a fault changes nothing: the last good prices stay,
the fault is logged once and a gauge says so until the file is good again. Every
worker watches for itself.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from sidecar.config import prices
from sidecar.errors import ConfigError
from sidecar.runtime import Runtime

log = logging.getLogger("sidecar.prices")

_IDLE_S: Final = 10.0  # between looks whether a file was configured meanwhile

Sign = tuple[int, int, int] | None  # of a file that is there: when written, how long, which


class PriceWatch:
    """Swaps in new prices when the file changes."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._seen: tuple[Path, Sign] | None = None
        self._stale = runtime.telemetry.registry.gauge(
            "router_prices_stale",
            "1 while the price file is faulty and older prices stand in for it.",
            alike=True,
        )

    async def run(self) -> None:
        """Look for ever; the task is cancelled at the end."""
        while True:
            settings = self._runtime.snapshot.config.prices
            await asyncio.sleep(settings.check_s if settings else _IDLE_S)
            await self.look()

    async def look(self) -> None:
        """Take the file's prices if it changed since the last look."""
        file = self._runtime.snapshot.price_file
        if file is None:
            return
        now = (file, await asyncio.to_thread(_sign, file))
        if now == self._seen:
            return
        self._seen = now
        try:
            sheet = await asyncio.to_thread(prices.load, file)
        except ConfigError as exc:
            self._stale.value = 1
            log.error("the last good prices stay: %s", "; ".join(exc.faults))
            return
        self._runtime.reprice(sheet)
        self._stale.value = 0


def _sign(file: Path) -> Sign:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
