"""The decision cache: what the encoder said of a text, said again without it.

What is kept is the *reading*, not the model that was chosen. A reading depends on
the encoder's version and the text window alone, and both are the key; everything
else that a decision depends on (the route, its policy and abilities, what the
request needs, its length and prices, the caller's wishes, the session) is worked
out from it anew each time, in a fraction of what the encoder takes. So a hit
decides exactly as the encoder would have, and a reload, a feedback or another
tenant cannot be answered with yesterday's choice.

**Near-duplicates.** Texts that differ only in case and in the digits of numbers
(``order 10045`` and ``order 20311``) share a *form*. A form is believed only
once the encoder has read ``AGREE`` other texts of it and found the same demand
vector within ``CLOSE`` and the same labels; every ``RECHECK``-th use is read
again, and one that disagrees is never believed after. So it is the demand vector
that says what a near-duplicate is, and the wording only proposes it.

No text is kept: keys are Python's keyed hashes, readings are packed numbers, about
1 KB an entry; those of the texts that come most are kept unpacked beside. A process's
own, not shared between workers.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sidecar.observe.metrics import Registry
from sidecar.state.lru import Lru
from sidecar.state.meter import Meter
from sidecar.types import DOMAINS, TASKS, TIERS, Reading

AGREE: Final = 2  # further texts of a form that must read alike before it is believed
RECHECK: Final = 50  # uses of a form between two readings of it
CLOSE: Final = 0.15  # of the demand vector's length, in Euclidean distance
_READY: Final = 256  # readings kept ready for use
_LABELS: Final = (len(TASKS), len(DOMAINS), len(TIERS))
_FOLD: Final = bytes.maketrans(b"123456789", b"000000000")


@dataclass(slots=True)
class _Form:
    """Texts that differ in case and digits only, and whether they read alike."""

    packed: bytes
    agreed: int = 0
    refuted: bool = False
    used: int = 0  # since the encoder last read one


class DecisionCache:
    """Readings by text, bounded and aging. ``limit`` 0 keeps nothing."""

    def __init__(
        self,
        limit: int,
        ttl_s: float,
        *,
        near: bool = True,
        meter: Meter | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._near = near
        self._exact: Lru[int, bytes] = Lru(limit, ttl_s, now)
        self._forms: Lru[int, _Form] = Lru(limit, ttl_s, now)
        self._standing: dict[int, bytes] = {}  # from the file of common prompts
        self._ready: dict[int, tuple[bytes, Reading]] = {}  # unpacked, with what they were
        self._meter = meter or Meter(Registry())
        self._meter.registry.gauge(
            "router_decision_cache_entries", "Readings kept.", read=lambda: float(len(self))
        )

    def __len__(self) -> int:
        return len(self._exact) + len(self._standing)

    @property
    def limit(self) -> int:
        return self._exact.limit

    def bound(self, limit: int, ttl_s: float, *, near: bool) -> None:
        """Take the bounds of another configuration; what is beyond them goes."""
        self._near = near
        self._exact.bound(limit, ttl_s)
        self._forms.bound(limit, ttl_s)

    def look(self, window: str, version: str, *, count: bool = True) -> Reading | None:
        """The reading of ``window`` by the encoder ``version``, if it is known."""
        if not self._exact.limit:
            return None
        key = _key(window, version)
        packed, result, age = self._standing.get(key), "exact", 0.0
        if packed is None:
            found = self._exact.with_age(key, used=count)
            if found is not None:
                packed, age = found
            elif self._near:
                packed, result = self._by_form(window, version, count=count), "near"
        if packed is None:
            if count:
                self._meter.miss("decision")
            return None
        if count:
            self._meter.hit("decision", result, age)
        if result != "exact":
            return _unpacked(packed, version, result)
        ready = self._ready.get(key)
        if ready is None or ready[0] is not packed:
            if len(self._ready) >= _READY:
                self._ready.clear()
            ready = self._ready[key] = packed, _unpacked(packed, version, result)
        return ready[1]

    def keep(self, window: str, reading: Reading, *, standing: bool = False) -> None:
        """Remember what the encoder said; ``standing`` entries neither age nor make room."""
        if not self._exact.limit or reading.remembered:
            return
        packed = _packed(reading)
        if standing:
            if len(self._standing) < self._exact.limit:
                self._standing[_key(window, reading.version)] = packed
            return
        self._exact.put(_key(window, reading.version), packed)
        if self._near:
            self._learn(_form_key(window, reading.version), packed, reading)

    def _by_form(self, window: str, version: str, *, count: bool) -> bytes | None:
        form = self._forms.get(_form_key(window, version), used=count)
        if form is None or form.refuted or form.agreed < AGREE or form.used >= RECHECK:
            return None
        form.used += count
        return form.packed

    def _learn(self, key: int, packed: bytes, reading: Reading) -> None:
        form = self._forms.get(key)
        if form is None:
            self._forms.put(key, _Form(packed))
            return
        if packed == form.packed:  # the same text again, most likely: it proves nothing
            return
        form.used = 0
        if alike(_unpacked(form.packed, reading.version, ""), reading):
            form.agreed += 1
        else:
            form.refuted = True


def alike(one: Reading, other: Reading) -> bool:
    """Whether two readings ask the same of a model: their demand, and every label."""
    if (one.task, one.domain, one.tier) != (other.task, other.domain, other.tier):
        return False
    if (one.ood >= 0.5) is not (other.ood >= 0.5):
        return False
    if one.demand is None or other.demand is None:
        return one.demand is other.demand and abs(one.difficulty - other.difficulty) <= 0.02
    gap = sum((a - b) ** 2 for a, b in zip(one.demand, other.demand, strict=True))
    return gap <= CLOSE**2 * sum(a * a for a in one.demand)


def _key(window: str, version: str) -> int:
    # Python's keyed string hash: fast, and nobody outside can aim at a key of it
    return hash((window, version))


def _form_key(window: str, version: str) -> int:
    return hash((window.encode().lower().translate(_FOLD), version))


def _packed(reading: Reading) -> bytes:
    """The numbers of a reading, without loss: encoders give float32, others may not."""
    demand = reading.demand or ()
    numbers = (
        reading.difficulty,
        reading.ood,
        -1.0 if reading.output_tokens is None else reading.output_tokens,
        *reading.task_probs,
        *reading.domain_probs,
        *reading.tier_probs,
        *demand,
    )
    there = (
        bool(reading.task_probs)
        | bool(reading.domain_probs) << 1
        | bool(reading.tier_probs) << 2
        | (reading.demand is not None) << 3
    )
    single = struct.pack(f"{len(numbers)}f", *numbers)
    if struct.unpack(f"{len(numbers)}f", single) == numbers:
        return bytes((there,)) + single
    return bytes((there | 16,)) + struct.pack(f"{len(numbers)}d", *numbers)


def _unpacked(packed: bytes, version: str, remembered: str) -> Reading:
    there = packed[0]
    width, code = (8, "d") if there & 16 else (4, "f")
    numbers = struct.unpack_from(f"{(len(packed) - 1) // width}{code}", packed, 1)
    at = 3
    parts: list[tuple[float, ...]] = []
    for i, labels in enumerate(_LABELS):
        end = at + labels if there >> i & 1 else at
        parts.append(numbers[at:end])
        at = end
    return Reading(
        difficulty=numbers[0],
        demand=numbers[at:] if there & 8 else None,
        task_probs=parts[0],
        domain_probs=parts[1],
        tier_probs=parts[2],
        ood=numbers[1],
        output_tokens=None if numbers[2] < 0 else numbers[2],
        version=version,
        remembered=remembered,
    )
