"""Stage 2b, lexical: a second voice beside the teacher, words alone.

For every column with enough rows, a logistic regression on the TF-IDF of words and
word pairs of the prompts of its source (the baseline of DATA.md). It knows names and
terms that six layers fine-tuned for an epoch have not picked up, and it has nothing to
say of another source, so it speaks of a row's own columns only. On training rows it
speaks out of fold, with prompts that begin alike in one fold. Writes
``<work>/lexical/{train,dev,test}.npz``: ids and column logits, NaN where it is silent.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from distill.common import SCORED, say, seed_all, work_dir
from distill.rows import Table, load

FOLDS = 4
LEAST = 150  # rows a column needs
STRENGTH = 1.0  # of the logistic regression, inverse ridge; chosen on dev, LOG.md section 9
ALIKE = 40  # characters of a prompt's beginning that keep it in one fold with its like


def folds(prompts: list[str]) -> NDArray[np.int64]:
    """A fold for each prompt, the same for prompts with the same beginning."""
    starts = {start: i for i, start in enumerate(sorted({p[:ALIKE].lower() for p in prompts}))}
    of = np.random.default_rng(0).integers(0, FOLDS, len(starts))
    return of[[starts[p[:ALIKE].lower()] for p in prompts]]


def fitted(x: csr_matrix, y: NDArray[np.float32], rows: NDArray[np.int64]) -> LogisticRegression:
    """One column's regression over ``rows``; a score between 0 and 1 is a weighted pair."""
    right = y[rows] >= 0.5
    model = LogisticRegression(C=STRENGTH, solver="liblinear", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x[rows], right)


def speak(train: Table, others: list[Table]) -> list[NDArray[np.float16]]:
    """Column logits [rows, columns] of every table, out of fold for the first."""
    tables = [train, *others]
    out = [np.full(t.scores.shape, np.nan, np.float16) for t in tables]
    for source in SCORED:
        here = [np.flatnonzero(t.sources == source) for t in tables]
        if not len(here[0]):
            continue
        words = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), dtype=np.float32)
        x = words.fit_transform([train.prompts[i] for i in here[0]])
        rest = [
            words.transform([t.prompts[i] for i in rows]) if len(rows) else None
            for t, rows in zip(others, here[1:], strict=True)
        ]
        fold = folds([train.prompts[i] for i in here[0]])
        mine = [j for j, c in enumerate(train.columns) if c["source"] == source]
        for j in mine:
            y = train.scores[here[0], j]
            seen = np.flatnonzero(~np.isnan(y))
            if len(seen) < LEAST or min((y[seen] >= 0.5).sum(), (y[seen] < 0.5).sum()) < 8:
                continue
            for f in range(FOLDS):
                known = seen[fold[seen] != f]
                if len(set(y[known] >= 0.5)) > 1:
                    told = np.flatnonzero(fold == f)
                    out[0][here[0][told], j] = fitted(x, y, known).decision_function(x[told])
            whole = fitted(x, y, seen)
            for values, rows, their in zip(out[1:], here[1:], rest, strict=True):
                if their is not None:
                    values[rows, j] = whole.decision_function(their)
        say(f"lexical: {source}, {len(here[0])} prompts, {len(mine)} columns")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="lexical")
    parser.add_argument("--without", action="append", default=[])
    args = parser.parse_args()
    seed_all()
    splits = ("train", "dev", "test")
    tables = [load(split, tuple(args.without)) for split in splits]
    folder = work_dir() / args.name
    folder.mkdir(parents=True, exist_ok=True)
    for split, table, columns in zip(splits, tables, speak(tables[0], tables[1:]), strict=True):
        np.savez(folder / f"{split}.npz", ids=np.array(table.ids), columns=columns)
        say(f"lexical: {(~np.isnan(columns)).any(1).sum()} of {len(table)} {split} rows")


if __name__ == "__main__":
    main()
