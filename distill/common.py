"""What every stage shares: where data and work files are, labels, seeds, progress.

Data are read from ``DATA_DIR`` (default ``../shared/data`` beside the repository),
everything that a stage makes goes to ``DISTILL_WORK`` (default ``~/distill-work``).
A stage reads what an earlier one wrote and can be run alone.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.types import DOMAINS, TASKS, TIERS

ROOT = Path(__file__).resolve().parent.parent
SEED = 20261122
SCORED = ("mmlu", "mmlu_pro", "llmrouter", "gsm8k")  # sources with scores that may train
NEVER = ("math_l5", "bbh_direct_vs_cot")  # scored sources that only evaluate

TASK_OF = {
    "qa_mcq": "qa",
    "qa_open": "qa",
    "qa_closed": "qa",
    "code_generation": "code",
    "code_reasoning": "code",
    "assistant_command": "assistant",
    "customer_support": "assistant",
}


SAME_MODEL = {
    "mixtral-8x7b-instruct-v0.1": "mixtral-8x7b-instruct",
    "mistral-large-2": "mistral-large-2407",
}

# Weights without instruction tuning: who writes "llama-3-8b" today means the chat model.
BASE = {
    "gemma-7b",
    "llama-2-7b",
    "llama-2-13b",
    "llama-2-70b",
    "llama-3-8b",
    "llama-3-70b",
    "llama-3.1-8b",
    "llama-3.1-70b",
    "mistral-7b-v0.1",
    "mistral-7b-v0.2",
    "mixtral-8x7b-v0.1",
    "mixtral-8x22b",
    "qwen1.5-110b",
    "yi-6b",
    "yi-34b",
}


def data_dir() -> Path:
    path = Path(os.environ.get("DATA_DIR", ROOT.parent / "shared" / "data"))
    if not (path / "routing.jsonl.gz").exists():
        raise SystemExit(f"no routing.jsonl.gz in {path}: set DATA_DIR to the data folder")
    return path


def work_dir() -> Path:
    path = Path(os.environ.get("DISTILL_WORK", "~/distill-work")).expanduser()
    path.mkdir(parents=True, exist_ok=True)
    return path


def read_gz(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def task_index(label: str | None) -> int:
    label = TASK_OF.get(label or "", label)
    return TASKS.index(label) if label in TASKS else -1


def domain_index(label: str | None) -> int:
    return DOMAINS.index(label) if label in DOMAINS else -1


def tier_index(label: str | None) -> int:
    return TIERS.index(label) if label in TIERS else -1


def canonical(raw: str) -> str:
    """The catalogue's name of a model of the data: lower case, no organisation's prefix.

    ``@`` marks a second measurement of the same model, ``-hf`` and ``-turbo`` a
    format and a host's name for it.
    """
    name = raw.split("@", maxsplit=1)[0] if not raw.startswith("text-") else raw.replace("@", "-")
    name = name.lower().removeprefix("meta-").removesuffix("-hf")
    for ending in ("instruct-turbo", "inst-turbo"):
        if name.endswith(ending):
            name = name.removesuffix("-turbo")
    if name.endswith("-inst"):
        name = name + "ruct"
    name = SAME_MODEL.get(name, name)
    return f"{name}-base" if name in BASE else name


def seed_all(seed: int = SEED) -> np.random.Generator:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        import torch  # noqa: PLC0415 - two stages need none

        torch.manual_seed(seed)
    except ImportError:
        pass
    return np.random.default_rng(seed)


def say(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)
