"""How well the caches do: hits by kind, and how old what they found was."""

from __future__ import annotations

from typing import Final

from sidecar.observe.metrics import Registry

_AGE_BOUNDS: Final = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)


class Meter:
    """The metrics that the caches share, made once in a process."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._lookups = registry.counter(
            "router_cache_lookups", "Lookups in a cache, by its result.", ("cache", "result")
        )
        self._age = registry.histogram(
            "router_cache_hit_age_seconds",
            "Age of what a cache found.",
            ("cache",),
            _AGE_BOUNDS,
        )

    def hit(self, cache: str, kind: str, age_s: float) -> None:
        self._lookups.add((cache, kind))
        self._age.observe((cache,), age_s)

    def miss(self, cache: str) -> None:
        self._lookups.add((cache, "miss"))
