"""What the nearest known prompts say of each model moves its chance, as far as they are near."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar import library
from sidecar.config.schema import Similarity
from sidecar.decide import Question, choose, plan
from sidecar.errors import DataError
from sidecar.library import Library
from sidecar.types import Decision, Features, Reading
from tests.support.builders import FakeAbilities, call, model, reading, snapshot

CHEAP, DEAR = model("cheap", 1.0), model("dear", 20.0)
HERE, THERE = (1.0, 0.0), (0.0, 1.0)
NAN = np.nan


def made(hard: list[float], scores: dict[str, list[float]] | None = None) -> Library:
    """Ten prompts about HERE and ten about THERE, and what is known of each half."""
    rng = np.random.default_rng(0)
    around = np.repeat([HERE, THERE], 10, axis=0) + rng.normal(0, 0.02, (20, 2))
    return library.build(
        "test", around, [f"w{i}" for i in range(20)], np.repeat(hard, 10),
        {name: np.repeat(of, 10) for name, of in (scores or {}).items()},
    )  # fmt: skip


def decide(
    known: Library | None, at: tuple[float, float], *, cheap: float = 0.6, **said: Any
) -> Decision:
    over = snapshot(
        [CHEAP, DEAR], policy="similarity", quality=0.9, library=known,
        similarity=Similarity(neighbours=5, trust=said.pop("trust", 2.0)),
    )  # fmt: skip
    over = replace(over, abilities=FakeAbilities({"cheap": cheap, "dear": 0.9}))
    asked = plan(call(), Features("hello"), over)
    assert isinstance(asked, Question)
    seen: Reading = replace(reading(**said), demand=at)
    return choose(asked, call(), seen, over)


def test_prompts_labelled_easy_draw_their_like_down_and_hard_ones_up() -> None:
    known = made([0.0, 1.0])
    assert decide(known, HERE).model == "cheap"
    assert decide(known, THERE).model == "dear"
    # the encoder alone would have said otherwise
    assert decide(None, HERE).model == "dear"
    assert decide(known, THERE, cheap=0.85).model == "dear"
    said = str(decide(known, HERE).steps[-1].verdict)
    # the chances that it went by, and not the encoder's
    found = re.search(
        r"neighbours that weigh .*, and the encoder: cheap (0\.\d+), dear 0\.9\d+", said
    )
    assert found is not None
    assert float(found[1]) > 0.6


def test_scores_of_a_model_count_for_that_model() -> None:
    known = made([NAN, NAN], {"cheap": [1.0, 0.0], "dear": [1.0, 1.0]})
    assert decide(known, HERE).model == "cheap"
    assert decide(known, THERE, cheap=0.85).model == "dear"


def test_far_from_everything_known_the_encoder_stands() -> None:
    known = made([0.0, 0.0])
    assert decide(known, (30.0, 30.0)).model == "dear"
    assert decide(known, (30.0, 30.0), cheap=0.85).model == "cheap"
    assert decide(known, (30.0, 30.0), trust=0.0).model == "dear"


def test_trust_is_how_much_the_encoder_outweighs_the_neighbours() -> None:
    known = made([0.0, 0.0])
    assert decide(known, HERE, trust=1.0).model == "cheap"
    assert decide(known, HERE, trust=1000.0).model == "dear"


def test_without_a_demand_vector_there_are_no_neighbours() -> None:
    over = snapshot([CHEAP, DEAR], policy="similarity", quality=0.9, library=made([0.0, 0.0]))
    over = replace(over, abilities=FakeAbilities({"cheap": 0.6, "dear": 0.9}))
    asked = plan(call(), Features("hello"), over)
    assert isinstance(asked, Question)
    assert choose(asked, call(), reading(), over).model == "dear"


def test_text_unlike_the_training_data_goes_to_the_dearest() -> None:
    assert decide(made([0.0, 0.0]), HERE, ood=0.9).model == "dear"


# -- the file -------------------------------------------------------------------------


def test_a_library_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    known = made([0.0, 1.0], {"cheap": [1.0, NAN]})
    known.save(tmp_path / "a.library")
    back = library.load(tmp_path / "a.library", "test")
    assert (len(back), back.digest, back.columns) == (20, known.digest, {"cheap": 0})
    one, two = known.near(HERE, 4, ("cheap",)), back.near(HERE, 4, ("cheap",))
    assert one.weight == pytest.approx(two.weight)
    np.testing.assert_array_equal(one.gained, two.gained)
    made([0.0, 1.0], {"cheap": [1.0, NAN]}).save(tmp_path / "b.library")
    assert (tmp_path / "a.library").read_bytes() == (tmp_path / "b.library").read_bytes()
    assert back.holds(["w3", "other"]).tolist() == [True, False]


def test_a_library_has_no_text_in_it(tmp_path: Path) -> None:
    secret = "the secret window"
    known = library.build("test", np.ones((1, 2)), [secret], np.array([1.0]), {})
    known.save(tmp_path / "a.library")
    assert secret.encode() not in (tmp_path / "a.library").read_bytes()


@pytest.mark.parametrize(("paged", "recall"), [(3000, 1.0), (0, 0.85)])
@pytest.mark.parametrize(("entries", "count"), [(3000, 16), (300, 16), (120, 16), (10, 16)])
def test_the_search_finds_the_nearest(
    entries: int, count: int, paged: int, recall: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as anything is like these, which are like nothing: by pages all, by an index
    nearly all."""
    monkeypatch.setattr(library, "PAGED", paged)
    rng = np.random.default_rng(1)
    points = rng.normal(size=(entries, 32))
    known = library.build(
        "test", points, [str(i) for i in range(entries)], np.full(entries, NAN), {}
    )
    found = total = 0
    for query in rng.normal(size=(50, 32)):
        near, squares = known.nearest(query.astype(np.float32), count)
        away = ((points - query) ** 2).sum(1)
        best = np.argsort(away)[:count].tolist()
        found, total = found + len({*near.tolist()} & {*best}), total + len(best)
        assert len(near) == len(best)
        np.testing.assert_allclose(squares, away[near], rtol=1e-3)
    assert found / total >= recall


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "text", "missing"])
def test_a_damaged_library_is_refused_with_a_sentence(tmp_path: Path, harm: str) -> None:
    file = tmp_path / "a.library"
    made([0.0, 1.0]).save(file)
    raw = bytearray(file.read_bytes())
    if harm == "cut":
        file.write_bytes(raw[: len(raw) // 2])
    elif harm == "flipped":
        raw[len(raw) // 2] ^= 0xFF
        file.write_bytes(raw)
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "text":
        file.write_text("hello")
    else:
        file.unlink()
    with pytest.raises(DataError, match=r"a\.library"):
        library.load(file, "test")


def test_a_library_of_another_encoder_says_what_to_do(tmp_path: Path) -> None:
    made([0.0, 1.0]).save(tmp_path / "a.library")
    with pytest.raises(DataError, match="built with encoder test, this is other: run"):
        library.load(tmp_path / "a.library", "other")


def test_an_empty_library_is_refused() -> None:
    with pytest.raises(DataError, match="a library has 1 to"):
        library.build("test", np.empty((0, 2)), [], np.empty(0), {})
