"""A reading that is remembered is the encoder's own, and of that very text."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sidecar.classify.base import Classifier
from sidecar.errors import ClassifierLate
from sidecar.features import features_of
from sidecar.observe.metrics import Registry
from sidecar.state.decision_cache import AGREE, RECHECK, DecisionCache
from sidecar.state.meter import Meter
from sidecar.state.precompute import precompute
from sidecar.types import DOMAINS, TASKS, TIERS, Features, Prompt, Reading

V = "encoder-1"


def said(difficulty: float = 0.5, demand: tuple[float, ...] | None = (1.0, 2.0)) -> Reading:
    def even(among: tuple[str, ...]) -> tuple[float, ...]:
        return tuple(1 / (i + 2) for i in range(len(among)))

    return Reading(
        difficulty=difficulty,
        demand=demand,
        task_probs=even(TASKS),
        domain_probs=even(DOMAINS),
        tier_probs=even(TIERS),
        version=V,
    )


def cache(limit: int = 100, **kw: bool) -> DecisionCache:
    return DecisionCache(limit, 60.0, **kw)


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    numbers,
    st.none() | st.lists(numbers, max_size=8).map(tuple),
    st.booleans(),
    st.none() | st.floats(0, 1e6),
)
def test_a_reading_comes_back_to_the_last_bit(
    difficulty: float, demand: tuple[float, ...] | None, labels: bool, length: float | None
) -> None:
    reading = Reading(
        difficulty=difficulty,
        demand=demand,
        task_probs=tuple(0.1 * i for i in range(len(TASKS))) if labels else (),
        tier_probs=(0.2, 0.3, 0.5) if labels else (),
        output_tokens=length,
        version=V,
    )
    kept = cache()
    kept.keep("text", reading)
    found = kept.look("text", V)
    assert found is not None
    assert found.remembered == "exact"
    for field in ("difficulty", "demand", "task_probs", "domain_probs", "tier_probs", "ood",
                  "output_tokens", "version"):  # fmt: skip
        assert getattr(found, field) == getattr(reading, field)


def test_no_text_gets_another_texts_reading() -> None:
    """Ten thousand texts that differ in a word, a space, an accent: each its own or none."""
    rng = random.Random(3)
    words = ["order", "Order", "ordre", "ordér", " ", "  ", "\n", "ﬀ", "ff", "1", "2", "١"]
    kept = cache(5_000, near=False)
    texts: dict[str, float] = {}
    for i in range(10_000):
        text = "".join(rng.choice(words) for _ in range(rng.randint(1, 12)))
        texts.setdefault(text, float(i))
        kept.keep(text, said(texts[text]))
    found = 0
    for text, difficulty in texts.items():
        reading = kept.look(text, V)
        if reading is not None:
            found += 1
            assert reading.difficulty == difficulty
    assert 0 < found <= 5_000


def test_another_encoder_is_asked_anew() -> None:
    kept = cache()
    kept.keep("text", said())
    assert kept.look("text", "encoder-2") is None


def test_a_limit_of_none_keeps_none() -> None:
    kept = cache(0)
    kept.keep("text", said())
    assert kept.look("text", V) is None
    assert len(kept) == 0


def test_a_near_duplicate_is_believed_only_after_the_encoder_found_it_to_be_one() -> None:
    kept = cache()
    for i in range(AGREE + 1):
        text = f"Where is order {10_000 + i}?"
        assert kept.look(text, V) is None
        kept.keep(text, said(demand=(1.0, 2.0 + 0.01 * i)))
    found = kept.look("where is order 77777?", V)
    assert found is not None
    assert (found.remembered, found.demand) == ("near", (1.0, 2.0))
    assert kept.look("where is order 7?", V) is None  # another form: fewer digits
    assert kept.look("where is orders 77777?", V) is None


def test_one_that_disagrees_is_never_believed_after() -> None:
    kept = cache()
    for i in range(10):
        kept.keep(f"What is 1{i} * 23?", said(demand=(1.0, 2.0 if i != 1 else -2.0)))
    assert kept.look("What is 99 * 23?", V) is None


def test_a_near_duplicate_with_another_label_disagrees() -> None:
    kept = cache()
    kept.keep("case 1", said())
    for i in (2, 3, 4):
        other = (*reversed(said().task_probs),)
        kept.keep(f"case {i}", Reading(0.5, (1.0, 2.0), task_probs=other, version=V))
    assert kept.look("case 5", V) is None


def test_the_same_text_twice_proves_nothing() -> None:
    kept = cache()
    for _ in range(10):
        kept.keep("case 1", said())
    assert kept.look("case 2", V) is None


def test_a_form_is_read_again_from_time_to_time() -> None:
    kept = cache()
    for i in range(AGREE + 1):
        kept.keep(f"case {i}", said(demand=(1.0, 2.0 + i / 100)))
    asked = [kept.look(f"case {chr(48 + i % 10)}", V) for i in range(10)]
    assert all(asked)
    misses = sum(kept.look("CASE 9", V) is None for _ in range(RECHECK + 1))
    assert misses > 0


def test_near_duplicates_can_be_switched_off() -> None:
    kept = cache(near=False)
    for i in range(AGREE + 1):
        kept.keep(f"case {i}", said(demand=(1.0, 2.0 + i / 100)))
    assert kept.look("case 9", V) is None


def test_lookups_and_ages_are_counted() -> None:
    registry = Registry()
    time = [0.0]
    kept = DecisionCache(10, 60.0, meter=Meter(registry), now=lambda: time[0])
    kept.look("text", V)
    kept.keep("text", said())
    time[0] = 30.0
    kept.look("text", V)
    kept.look("text", V, count=False)  # explain asks, no request does
    text = registry.exposition().decode()
    assert 'router_cache_lookups_total{cache="decision",result="miss"} 1.0' in text
    assert 'router_cache_lookups_total{cache="decision",result="exact"} 1.0' in text
    assert 'router_cache_hit_age_seconds_sum{cache="decision"} 30.0' in text
    assert "router_decision_cache_entries 1.0" in text


class Encoder(Classifier):
    name = "test"
    version = V

    def __init__(self, late: int = 0) -> None:
        self.late = late
        self.asked = 0

    async def classify(self, features: Features) -> Reading:
        self.asked += 1
        if self.asked <= self.late:
            raise ClassifierLate("busy")
        return said(len(features.window) / 100)

    async def close(self) -> None: ...


async def test_common_prompts_are_read_ahead_and_neither_age_nor_make_room() -> None:
    time = [0.0]
    kept = DecisionCache(3, 60.0, now=lambda: time[0])
    prompts = [Prompt(user=text) for text in ("one", "", "three", "four", "five")]
    assert await precompute(kept, Encoder(late=1), prompts, features_of) == 3
    time[0] = 1e6
    for i in range(10):
        kept.keep(f"other {i}", said())
    for text, known in (("one", True), ("four", True), ("five", False)):
        assert (kept.look(features_of(Prompt(user=text)).window, V) is not None) is known
