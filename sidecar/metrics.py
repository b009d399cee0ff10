"""Counters and histograms cheap enough for every request.

A dict and an addition each; Prometheus's own client turns them into its text
when it scrapes, through its custom-collector seam. Its metric objects take a
lock and a chain of lookups for each label set, which at a dozen samples a
request costs more than relaying the request does. One thread writes: the event
loop's. :meth:`dump` and :meth:`absorb` carry a worker's counts to its leader.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

Labels = tuple[str, ...]


class Counter:
    """A sum for each label set."""

    def __init__(self, name: str, text: str, labels: Labels) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._sums: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        self._sums[labels] = self._sums.get(labels, 0.0) + amount

    def dump(self) -> Any:
        return list(self._sums.items())

    def absorb(self, dump: Any) -> None:
        for labels, total in dump:
            self.add(tuple(labels), total)

    def collect(self) -> Metric:
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, total in self._sums.items():
            family.add_metric(labels, total)
        return family


class Gauge:
    """One value, without labels. Over several workers the sum, or what all have alike."""

    def __init__(self, name: str, text: str, *, alike: bool = False) -> None:
        self.name, self.text = name, text
        self.value = 0.0
        self._alike = alike

    def dump(self) -> Any:
        return self.value

    def absorb(self, dump: Any) -> None:
        self.value = max(self.value, dump) if self._alike else self.value + dump

    def collect(self) -> Metric:
        return GaugeMetricFamily(self.name, self.text, value=self.value)


class Histogram:
    """Counts below each bound, for each label set."""

    def __init__(self, name: str, text: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._bounds = bounds
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, labels: Labels, value: float) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def dump(self) -> Any:
        return [(labels, counts, self._sums[labels]) for labels, counts in self._counts.items()]

    def absorb(self, dump: Any) -> None:
        for key, counts, total in dump:
            labels = tuple(key)
            own = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
            self._counts[labels] = [a + b for a, b in zip(own, counts, strict=True)]
            self._sums[labels] = self._sums.get(labels, 0.0) + total

    def collect(self) -> Metric:
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, counts in self._counts.items():
            below, buckets = 0, []
            for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
                below += count
                buckets.append((bound, below))
            family.add_metric(labels, buckets, self._sums[labels])
        return family


class Collector:
    """What Prometheus's registry asks at each scrape."""

    def __init__(self, metrics: Iterable[Counter | Gauge | Histogram]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterator[Metric]:
        for metric in self._metrics:
            yield metric.collect()
