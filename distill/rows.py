"""Prepared rows as arrays, and batches of them bucketed by length.

A batch holds about ``token_budget`` tokens: prompts of like length share one, so
little is spent on padding (most prompts are under 150 tokens).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill import ordinary, synthetic, variants
from distill.augment import augment
from distill.common import NEVER, SCORED, work_dir
from distill.padding import statements
from distill.placement import place
from distill.strange import strange
from sidecar.encoder.tokens import cut_middle
from sidecar.features import features_of
from sidecar.types import Prompt

UNTOLD = 0.4  # of the rows without soft labels, in an epoch of distillation


@dataclass
class Table:
    """Rows of some splits; ``scores`` [N, columns] with NaN where a model was not run."""

    ids: list[str]
    sources: NDArray[np.str_]
    prompts: list[str]
    scores: NDArray[np.float32]
    task: NDArray[np.int64]
    domain: NDArray[np.int64]
    tier: NDArray[np.int64]
    domain_weight: NDArray[np.float32]
    tier_weight: NDArray[np.float32]
    difficulty: NDArray[np.float32]  # NaN where unknown
    columns: list[dict[str, str]]
    ability: NDArray[np.float32]  # of every model by name, relative to a small one, in logits

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: NDArray[np.int64]) -> Table:
        """The rows at ``index``, in its order."""
        picked = {
            f.name: getattr(self, f.name)[index]
            for f in fields(self)
            if f.name not in ("ids", "prompts", "columns", "ability")
        }
        ids, prompts = ([column[i] for i in index] for column in (self.ids, self.prompts))
        return replace(self, ids=ids, prompts=prompts, **picked)


def load_columns() -> list[dict[str, str]]:
    return json.loads((work_dir() / "columns.json").read_text())


def load(split: str, without: tuple[str, ...] = (), beside: int = 0) -> Table:
    """The rows of one split, scored sources in ``without`` left out whole.

    To training rows come those that programs here write, and ``beside`` texts near them
    that only a teacher labels (:mod:`distill.variants`).
    """
    columns = load_columns()
    where = {(c["source"], c["raw"]): i for i, c in enumerate(columns)}
    rows: list[dict[str, Any]] = []
    with (work_dir() / "rows.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["split"] != split or row["source"] in without:
                continue
            if split != "ood_test" and row["source"] in NEVER:
                continue
            if split == "train" and row["bad_label"]:
                row["scores"] = {}
            rows.append(row)
    if split == "train":
        some = min(1500, len(rows) // 10 + 1)
        near = variants.rows(rows, beside) if beside else []
        rows += synthetic.prompts(some) + ordinary.prompts(some) + near
    scores = np.full((len(rows), len(columns)), np.nan, np.float32)
    for i, row in enumerate(rows):
        for model, value in row["scores"].items():
            j = where.get((row["source"], model))
            if j is not None:
                scores[i, j] = value
    tier = np.array([r["tier"] for r in rows])
    difficulty, ability = rasch(scores, columns)
    for i in np.flatnonzero(np.isnan(difficulty)):
        difficulty[i] = place(rows[i]["source"], rows[i]["tier"], rows[i]["raw_task"])
    return Table(
        [r["id"] for r in rows],
        np.array([r["source"] for r in rows]),
        [r["prompt"] for r in rows],
        scores,
        np.array([r["task"] for r in rows]),
        np.array([r["domain"] for r in rows]),
        tier,
        np.array([0.2 if r["domain_weak"] else 1.0 for r in rows], np.float32),
        np.array([0.25 if r["tier_weak"] else 1.0 for r in rows], np.float32),
        difficulty,
        columns,
        ability,
    )


def rasch(
    scores: NDArray[np.float32], columns: list[dict[str, str]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Each row's chance that a small instruct model fails, on one scale over all sources,
    and each model's ability on it relative to that small one (models in sorted order).

    A one-parameter item-response model: logit P = ability[model] + quirk[column] - d[row],
    with priors N(0, 2) on d and N(0, 0.5) on the quirks, by alternating Newton steps.
    Models that were run on several sources tie the sources' scales together.
    """
    if not len(scores):
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    models = sorted({c["model"] for c in columns})
    model_of = np.array([models.index(c["model"]) for c in columns])
    seen = ~np.isnan(scores)
    y = np.where(seen, scores, 0.0)
    ability, quirk = np.zeros(len(models)), np.zeros(len(columns))
    row = np.zeros(len(scores))
    for _ in range(40):
        p = 1 / (1 + np.exp(-(ability[model_of] + quirk - row[:, None])))
        gap, weight = np.where(seen, y - p, 0), np.where(seen, p * (1 - p), 0)
        row -= np.clip((gap.sum(1) + row / 4) / (weight.sum(1) + 0.25), -1, 1)
        p = 1 / (1 + np.exp(-(ability[model_of] + quirk - row[:, None])))
        gap, weight = np.where(seen, y - p, 0), np.where(seen, p * (1 - p), 0)
        g, w = gap.sum(0), weight.sum(0)
        quirk += np.clip((g - quirk * 4) / (w + 4), -1, 1) * 0.5
        ability += (
            np.clip(
                np.bincount(model_of, g, len(models)) / (np.bincount(model_of, w, len(models)) + 1),
                -1,
                1,
            )
            * 0.5
        )
    small = [
        i for i, m in enumerate(models) if m in ("llama-3.1-8b-instruct", "mixtral-8x7b-instruct")
    ]
    reference = ability[small].mean() if small else ability.mean()
    out = 1 / (1 + np.exp(reference - row))
    out[~seen.any(1)] = np.nan
    return out.astype(np.float32), (ability - reference).astype(np.float32)


def windows(prompts: list[str]) -> list[str]:
    return [features_of(Prompt(user=p)).window for p in prompts]


def encode(
    tokenizer: Tokenizer, texts: list[str], limit: int, ends: tuple[int, ...] = ()
) -> list[NDArray[np.int32]]:
    """Ids of each window, at most ``limit``, cut in the middle; ``ends`` = (first, last) id."""
    cut = tokenizer.token_to_id("\ue002")
    out = []
    for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
        ids = cut_middle(np.array(encoding.ids or [1], np.int32), limit - len(ends), cut)
        out.append(np.concatenate([[ends[0]], ids, [ends[1]]]).astype(np.int32) if ends else ids)
    return out


def pad(ids: list[NDArray[np.int32]]) -> NDArray[np.int64]:
    out = np.zeros((len(ids), max(map(len, ids))), np.int64)
    for i, one in enumerate(ids):
        out[i, : len(one)] = one
    return out


@dataclass
class Batch:
    index: NDArray[np.int64]  # rows of the table; -1 for a strange text
    ids: NDArray[np.int64]  # [B, L], 0 = padding


def batches(
    table: Table,
    order: NDArray[np.int64],
    tokenizer: Tokenizer,
    limit: int,
    token_budget: int,
    rng: random.Random | None,
    ends: tuple[int, ...] = (),
    strange_rate: float = 0.0,
    **shares: float,
) -> Iterator[Batch]:
    """Batches over ``order``; with ``rng`` prompts are augmented and batches shuffled.

    ``shares``: of what :func:`distill.augment.augment` does.
    """
    pool_size = 4096 if rng else 1 << 30
    unscored = np.flatnonzero(np.isnan(table.scores).all(1))
    sentences = statements(table.prompts[i] for i in unscored) if rng else ()
    for start in range(0, len(order), pool_size):
        index = order[start : start + pool_size]
        if rng:
            prompts = [augment(rng, table.prompts[i], sentences, **shares) for i in index]
            odd = [strange(rng) for _ in range(int(len(index) * strange_rate))]
            texts = [features_of(p, claims=True).window for p in prompts + odd]
            index = np.concatenate([index, np.full(len(odd), -1)])
        else:
            texts = windows([table.prompts[i] for i in index])
        ids = encode(tokenizer, texts, limit, ends)
        by_length = np.argsort([len(i) for i in ids], kind="stable")
        groups: list[list[int]] = [[]]
        for position in by_length:
            if groups[-1] and (len(groups[-1]) + 1) * len(ids[position]) > token_budget:
                groups.append([])
            groups[-1].append(int(position))
        if rng:
            rng.shuffle(groups)
        for group in groups:
            yield Batch(index[group], pad([ids[g] for g in group]))


def epoch_order(
    table: Table,
    rng: np.random.Generator,
    open_share: float,
    told: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """A shuffled epoch: every scored row (gsm8k twice, it is small) and a share of the rest.

    With ``told``, the rows that have soft labels: all of those, and UNTOLD of every other.
    """
    scored = np.flatnonzero(np.isin(table.sources, SCORED) & ~np.isnan(table.scores).all(1))
    small = np.flatnonzero(table.sources == "gsm8k")
    rest = np.setdiff1d(np.arange(len(table)), scored)
    rest = rng.permutation(rest)[: int(len(rest) * open_share)]
    order = rng.permutation(np.concatenate([scored, small, rest]))
    if told is None:
        return order
    return order[told[order] | (rng.random(len(order)) < UNTOLD)]
