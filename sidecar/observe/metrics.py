"""Counters, gauges and histograms cheap enough for every request.

A dict and an addition each; Prometheus's own client turns them into its text
when it scrapes, through its custom-collector seam. Its metric objects take a
lock and a chain of lookups for each label set, which at a dozen samples a
request costs more than relaying the request does. One thread writes: the event
loop's.

What something else knows already (a queue's length, a breaker's state) is not
counted twice: give ``read`` and it is asked when Prometheus scrapes. A
:class:`Registry` makes them all, and :meth:`Registry.summed` adds the dumps of
other workers to its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest

Labels = tuple[str, ...]
Read = Callable[[], float | Mapping[Labels, float]]


class Sum:
    """A counter's sum for one label set, to be added to in place."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Counter:
    """A sum for each label set, or what ``read`` says of one kept elsewhere."""

    def __init__(self, name: str, text: str, labels: Labels = (), read: Read | None = None) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._sums: dict[Labels, Sum] = {}
        self._read = read

    def of(self, labels: Labels) -> Sum:
        """The sum of one label set: for who adds to it often, and looks it up once."""
        found = self._sums.get(labels)
        if found is None:
            found = self._sums[labels] = Sum()
        return found

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        self.of(labels).value += amount

    def values(self) -> Mapping[Labels, float]:
        """The sum for each label set that was ever counted."""
        if self._read is not None:
            return _by_labels(self._read())
        return {labels: each.value for labels, each in self._sums.items()}

    def blank(self) -> Self:
        return type(self)(self.name, self.text, self.labels)

    def dump(self) -> Any:
        return list(self.values().items())

    def absorb(self, dump: Any) -> None:
        for labels, total in dump:
            self.add(tuple(labels), total)

    def collect(self) -> Metric:
        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, total in self.values().items():
            family.add_metric(labels, total)
        return family


class Gauge:
    """What is so now: ``value`` as it was last set, or what ``read`` says.

    Over several workers the sum, or, of what all have ``alike``, the largest.
    """

    def __init__(
        self,
        name: str,
        text: str,
        labels: Labels = (),
        *,
        alike: bool = False,
        read: Read | None = None,
    ) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.value = 0.0  # of one without labels and without ``read``
        self._alike = alike
        self._read = read
        self._absorbed: dict[Labels, float] | None = None

    def values(self) -> Mapping[Labels, float]:
        """The value for each label set."""
        if self._absorbed is not None:
            return self._absorbed
        return {(): self.value} if self._read is None else _by_labels(self._read())

    def blank(self) -> Self:
        made = type(self)(self.name, self.text, self.labels, alike=self._alike)
        made._absorbed = {}
        return made

    def dump(self) -> Any:
        return list(self.values().items())

    def absorb(self, dump: Any) -> None:
        own = self._absorbed
        assert own is not None  # only a blank one takes others' values
        for key, value in dump:
            labels = tuple(key)
            if labels not in own:
                own[labels] = value
            elif self._alike:
                own[labels] = max(own[labels], value)
            else:
                own[labels] += value

    def collect(self) -> Metric:
        family = GaugeMetricFamily(self.name, self.text, labels=self.labels)
        for labels, value in self.values().items():
            family.add_metric(labels, value)
        return family


class Bins:
    """A histogram's counts for one label set, and the sum of what was counted."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        at = 0
        for bound in self._bounds:  # most are small, and the compiler's loop beats a call
            if value <= bound:
                break
            at += 1
        self.counts[at] += 1
        self.total += value


class Histogram:
    """Counts below each bound, for each label set."""

    def __init__(self, name: str, text: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.bounds = bounds
        self._bins: dict[Labels, Bins] = {}

    def of(self, labels: Labels) -> Bins:
        """The bins of one label set: for who counts often, and looks them up once."""
        found = self._bins.get(labels)
        if found is None:
            found = self._bins[labels] = Bins(self.bounds)
        return found

    def observe(self, labels: Labels, value: float) -> None:
        self.of(labels).observe(value)

    def values(self) -> Mapping[Labels, tuple[list[int], float]]:
        """For each label set the count in each bucket, the last one unbounded, and the sum."""
        return {labels: (each.counts, each.total) for labels, each in self._bins.items()}

    def blank(self) -> Self:
        return type(self)(self.name, self.text, self.labels, self.bounds)

    def dump(self) -> Any:
        return [(labels, each.counts, each.total) for labels, each in self._bins.items()]

    def absorb(self, dump: Any) -> None:
        for key, counts, total in dump:
            own = self.of(tuple(key))
            own.counts = [a + b for a, b in zip(own.counts, counts, strict=True)]
            own.total += total

    def collect(self) -> Metric:
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, each in self._bins.items():
            below, buckets = 0, []
            for bound, count in zip((*map(str, self.bounds), "+Inf"), each.counts, strict=True):
                below += count
                buckets.append((bound, below))
            family.add_metric(labels, buckets, each.total)
        return family


M = TypeVar("M", bound=Counter | Gauge | Histogram)


class Registry:
    """Makes metrics and knows them all; every name is made once.

    Every name is documented in docs/metrics.md, and a test compares the two.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}

    def counter(
        self, name: str, text: str, labels: Labels = (), *, read: Read | None = None
    ) -> Counter:
        return self._add(Counter(name, text, labels, read))

    def gauge(
        self,
        name: str,
        text: str,
        labels: Labels = (),
        *,
        alike: bool = False,
        read: Read | None = None,
    ) -> Gauge:
        return self._add(Gauge(name, text, labels, alike=alike, read=read))

    def histogram(
        self, name: str, text: str, labels: Labels, bounds: tuple[float, ...]
    ) -> Histogram:
        return self._add(Histogram(name, text, labels, bounds))

    def _add(self, metric: M) -> M:
        if metric.name in self._metrics:
            raise ValueError(f"{metric.name} is made twice")
        self._metrics[metric.name] = metric
        return metric

    def values(self, name: str) -> Mapping[Labels, float]:
        """The value for each label set of a counter or gauge; KeyError for neither."""
        metric = self._metrics[name]
        if isinstance(metric, Histogram):
            raise KeyError(name)
        return metric.values()

    def observed(self, name: str) -> Histogram:
        """The histogram of this name; KeyError for none."""
        metric = self._metrics[name]
        if not isinstance(metric, Histogram):
            raise KeyError(name)
        return metric

    def dump(self) -> dict[str, Any]:
        """Every value, JSON-able, for :meth:`summed` in another process."""
        return {name: metric.dump() for name, metric in self._metrics.items()}

    def summed(self, others: Iterable[Mapping[str, Any]] = ()) -> Registry:
        """These and other workers' values together, as they are now."""
        total = Registry()
        for metric in self._metrics.values():
            total._add(metric.blank())
        for dump in (self.dump(), *others):
            for name, values in dump.items():
                if name in total._metrics:
                    total._metrics[name].absorb(values)
        return total

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        asked = CollectorRegistry()
        asked.register(self)
        return generate_latest(asked)

    def collect(self) -> Iterator[Metric]:
        for metric in self._metrics.values():
            yield metric.collect()


def _by_labels(said: float | Mapping[Labels, float]) -> Mapping[Labels, float]:
    return said if isinstance(said, Mapping) else {(): said}
