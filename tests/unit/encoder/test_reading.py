"""What the packaged encoder says, of good text and of bad."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import OnnxEncoder, pad
from sidecar.encoder.tokens import MAX_TOKENS, cut_middle
from sidecar.features import features_of
from sidecar.types import DOMAINS, TASKS, TIERS, Prompt, Reading

STRANGE = [
    "",
    "x",
    "😀" * 50,
    "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo=" * 4,
    "Привет, как дела? Расскажи мне о погоде",
    "مرحبا كيف حالك",
    "\x00\x07\x1b[31m",
    "\ud800 half a pair",
    "a" * 10_000_000,
    "你好世界" * 100,
]


def read(encoder: OnnxEncoder, *texts: str) -> list[Reading]:
    return encoder.read([features_of(Prompt(user=t)).window for t in texts])


def test_a_reading_is_complete(encoder: OnnxEncoder, bundle: Bundle) -> None:
    (reading,) = read(encoder, "What is the capital of France?")
    assert 0 <= reading.difficulty <= 1
    assert 0 <= reading.ood <= 1
    assert reading.demand is not None
    assert len(reading.demand) == bundle.demand
    for probs, labels in (
        (reading.task_probs, TASKS),
        (reading.domain_probs, DOMAINS),
        (reading.tier_probs, TIERS),
    ):
        assert len(probs) == len(labels)
        assert math.isclose(sum(probs), 1, abs_tol=1e-3)
    assert reading.version == bundle.version


def test_nothing_in_gives_nothing_out(encoder: OnnxEncoder) -> None:
    assert encoder.read([]) == []
    assert encoder.read_ids([]) == []


@pytest.mark.parametrize("text", STRANGE, ids=[str(i) for i in range(len(STRANGE))])
def test_strange_text_gets_a_finite_answer(encoder: OnnxEncoder, text: str) -> None:
    (reading,) = read(encoder, text)
    assert math.isfinite(reading.difficulty)
    assert all(map(math.isfinite, reading.demand or ()))


@settings(max_examples=40)
@given(st.lists(st.text(alphabet=st.characters(), max_size=300), min_size=1, max_size=5))
def test_any_batch_is_answered_in_full(texts: list[str]) -> None:
    encoder = _ENCODER.get()
    assert len(read(encoder, *texts)) == len(texts)


def test_a_batch_keeps_its_order(encoder: OnnxEncoder) -> None:
    texts = ["hi", "Prove the Riemann hypothesis. " * 20, "Translate to French: hello", "2+2?"]
    alone = [read(encoder, t)[0] for t in texts]
    together = read(encoder, *texts)
    for one, other in zip(alone, together, strict=True):
        # int8 activations share one scale a batch, so a neighbour moves a number a little.
        assert one.difficulty == pytest.approx(other.difficulty, abs=0.08)
        assert one.task == other.task or max(one.task_probs) < 0.6


def test_the_same_prompt_is_read_the_same_way(encoder: OnnxEncoder) -> None:
    assert read(encoder, "Explain entropy.") == read(encoder, "Explain entropy.")


def test_noise_is_further_from_the_training_data_than_a_question(encoder: OnnxEncoder) -> None:
    question, noise, base64 = read(
        encoder, "Who wrote the novel Moby-Dick?", "qzx9!!k@@ #vv%% zzqk", STRANGE[3]
    )
    assert question.ood < 0.5 < min(noise.ood, base64.ood)


def test_a_greeting_is_easier_than_a_graduate_problem(encoder: OnnxEncoder) -> None:
    easy, hard = read(
        encoder,
        "hi there!",
        "Let G be a finite group of order p^2 q. Prove that G has a normal Sylow subgroup, "
        "then classify all such groups up to isomorphism when p divides q - 1.",
    )
    assert easy.difficulty < hard.difficulty


def test_a_long_prompt_costs_at_most_the_bound(encoder: OnnxEncoder) -> None:
    windows = [features_of(Prompt(user="字" * 100_000)).window]
    (ids,) = encoder.tokens.encode(windows)
    assert len(ids) <= MAX_TOKENS


def test_cutting_keeps_both_ends() -> None:
    ids = np.arange(1, 1001, dtype=np.int32)
    kept = cut_middle(ids, 256, 7)
    assert len(kept) == 256
    assert kept[0] == 1
    assert kept[-1] == 1000
    assert 7 in kept


def test_padding_is_invisible(encoder: OnnxEncoder) -> None:
    (ids,) = encoder.tokens.encode([features_of(Prompt(user="What is a monad?")).window])
    assert pad([ids]).shape[1] % 8 == 0
    longer = np.concatenate([ids, np.zeros(64, np.int32)])
    (short,), (padded,) = encoder.read_ids([ids]), encoder.read_ids([longer])
    assert short.difficulty == pytest.approx(padded.difficulty, abs=0.02)


def test_one_encoder_a_thread_never_collides(bundle: Bundle) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            own = OnnxEncoder(bundle)
            for _ in range(20):
                own.read([features_of(Prompt(user="Explain recursion to a child.")).window] * 3)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


class _Lazy:
    """Hypothesis may not use fixtures of a function's scope; one encoder serves its examples."""

    def __init__(self) -> None:
        self._encoder: OnnxEncoder | None = None

    def get(self) -> OnnxEncoder:
        if self._encoder is None:
            self._encoder = OnnxEncoder(Bundle.load())
        return self._encoder


_ENCODER = _Lazy()
