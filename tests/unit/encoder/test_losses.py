"""What the training losses say, against their formulas written out."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: the extra `train`")

from distill.loop import apart  # noqa: E402


def test_apart_is_the_mean_over_pairs_of_one_source_written_out() -> None:
    nan = float("nan")
    group = torch.tensor([0, 0, 0, 1, 1, 2])
    error = torch.tensor(
        [
            [0.5, -0.25, nan, nan, nan, nan],
            [0.1, 0.2, 0.4, -0.3, 0.6, 0.9],
            [nan, nan, nan, nan, 0.6, nan],  # one column: no pair
        ]
    )
    wanted = []
    for row in error.tolist():
        means = []
        for source in (0, 1, 2):
            known = [e for e, g in zip(row, group.tolist(), strict=True) if g == source and e == e]
            pairs = [(a - b) ** 2 for a, b in itertools.combinations(known, 2)]
            means += [sum(pairs) / len(pairs)] if pairs else []
        wanted.append(sum(means) / len(means) if means else 0.0)
    assert apart(error, group).tolist() == pytest.approx(wanted, abs=1e-6)


def test_apart_does_not_see_a_difficulty_that_every_model_shares() -> None:
    group = torch.tensor([0, 0, 1, 1])
    error = torch.tensor([[0.3, 0.1, -0.2, 0.4]])
    shared = error + torch.tensor([[0.5, 0.5, -0.1, -0.1]])
    assert apart(shared, group).tolist() == pytest.approx(apart(error, group).tolist(), abs=1e-6)
    assert apart(error, group).item() > 0.1


def test_apart_has_a_gradient_where_nothing_is_known() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    seen = torch.tensor([[True, True, False], [False, False, False]])
    error = torch.where(seen, logits.sigmoid() - torch.tensor([1.0, 0.0, 0.0]), torch.nan)
    apart(error, torch.tensor([0, 0, 0])).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]
    assert not logits.grad[1].any()
