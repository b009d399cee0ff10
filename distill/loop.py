"""The training loop that teacher and student share: losses, schedule, checkpoints.

A run is a folder ``<work>/<name>`` with ``checkpoint.pt``; started again it goes on
where it stopped. The schedule is linear warm-up, then cosine to a twentieth.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from distill.common import SEED, say, work_dir
from distill.network import Heads, grown, halved
from distill.rows import Table, batches, epoch_order

COLUMNS_WEIGHT = {"gsm8k": 0.7, "mmlu": 1.0, "mmlu_pro": 1.0, "llmrouter": 1.2}


@dataclass
class Plan:
    """One run's settings."""

    name: str
    epochs: float = 4
    steps: int | None = None  # instead of epochs
    rate: float = 1e-3
    embedding_rate: float = 5e-4
    head_rate: float | None = None  # of what is new, where the encoder itself is pre-trained
    token_budget: int = 3072
    limit: int = 192  # tokens
    open_share: float = 1.0
    warm: int = 150
    threads: int = 1
    minutes: float = 1e9  # wall clock after which the run ends its schedule
    strange_rate: float = 0.06
    label_share: float = 1.0  # weight of hard labels where soft ones exist
    ends: tuple[int, ...] = ()
    padded: float = 0.12  # shares of what augmentation does
    claimed: float = 0.25
    start_from: str | None = None  # a run whose weights are the first ones
    matrices: str = "adamw"  # or "muon": what steps the blocks' matrices
    gap: float = 0.0  # weight of the differences between models on one prompt


@dataclass
class Soft:
    """What a teacher said of the table's rows."""

    columns: NDArray[np.float16]  # logits [N, columns]
    task: NDArray[np.float16]
    domain: NDArray[np.float16]
    tier: NDArray[np.float16]
    difficulty: NDArray[np.float16]
    pooled: NDArray[np.float16]  # [N, teacher width]


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    known = target >= 0
    if not known.any():
        return logits.sum() * 0
    loss = F.cross_entropy(logits[known], target[known], reduction="none", label_smoothing=0.03)
    return (loss * weight[known]).sum() / len(target)


def tensor(values: NDArray[np.float16], rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(values[rows].astype(np.float32))


def apart(error: Tensor, group: Tensor) -> Tensor:
    """[B]: mean squared error of the differences between two columns of one row's group.

    ``error`` [B, columns] is what was said less what is true, NaN where nothing is known;
    ``group`` [columns] is the source: models of two sources were asked in two ways, and their
    difference says nothing. What ranks prompts for a pair is ``P(strong) - P(weak)``, and a
    prompt's own difficulty, which most of the other losses is about, cancels in it. The mean
    over all pairs of ``((p_i - p_j) - (y_i - y_j))^2`` is twice the variance of the error.
    """
    seen = ~error.isnan()
    found = F.one_hot(group).to(error.dtype)  # [columns, sources]
    number = seen.to(error.dtype) @ found
    centre = (error.nan_to_num() @ found) / number.clamp(min=1)
    rest = (error - centre[:, group]).nan_to_num().square() @ found
    several = number > 1
    variance = rest / (number - 1).clamp(min=1) * several
    return 2 * variance.sum(1) / several.sum(1).clamp(min=1)


def softened(
    out: dict[str, Tensor],
    logits: Tensor,
    mask: Tensor,
    told: Tensor,
    rows: NDArray[np.int64],
    soft: Soft,
    heads: Heads,
    gap: float,
) -> dict[str, Tensor]:
    """The distillation losses over the batch's rows that the teacher spoke of.

    Where it said nothing of columns and difficulty (open prompts without a place), its
    task, domain and tier still teach.
    """
    target = tensor(soft.columns, rows)
    placed = ~target.isnan().any(1)
    share = placed.float().mean()
    target, logits = target[placed], logits[told][placed]
    parts = (
        {
            "soft": F.binary_cross_entropy_with_logits(logits, target.sigmoid()) * 2.0 * share,
            "shape": F.smooth_l1_loss(logits, target) * 0.5 * share,
        }
        if placed.any()
        else {}
    )
    if gap and placed.any():
        error = logits.sigmoid() - target.sigmoid()
        parts["soft_gap"] = apart(error, heads.source_of).mean() * 2.0 * gap * share
    for name, weight in (("task", 0.35), ("domain", 0.5), ("tier", 0.5)):
        parts[f"soft_{name}"] = weight * F.kl_div(
            out[name][mask][told].log_softmax(-1),
            tensor(getattr(soft, name), rows).log_softmax(-1),
            log_target=True,
            reduction="batchmean",
        )
    if placed.any():
        parts["soft_difficulty"] = (
            0.4
            * share
            * F.binary_cross_entropy_with_logits(
                out["difficulty"][mask][told][placed],
                tensor(soft.difficulty, rows)[placed].sigmoid(),
            )
        )
    return parts


def losses(
    out: dict[str, Tensor],
    heads: Heads,
    table: Table,
    index: NDArray[np.int64],
    soft: Soft | None,
    label_share: float,
    project: nn.Linear | None,
    pooled: Tensor,
    gap: float = 0.0,
) -> dict[str, Tensor]:
    """The loss's parts over one batch; rows with index -1 teach the ood head alone."""
    real = index >= 0
    rows = index[real]
    mask = torch.from_numpy(real)
    odd = (~mask).float()
    parts = {"ood": F.binary_cross_entropy_with_logits(out["ood"], odd) * 0.2}
    if not len(rows):
        return parts
    z = out["demand"][mask]
    logits = heads.columns(z)
    scores = torch.from_numpy(table.scores[rows])
    seen = ~scores.isnan()
    share = torch.tensor([COLUMNS_WEIGHT.get(s, 0.0) for s in table.sources[rows]])
    hard = F.binary_cross_entropy_with_logits(logits, scores.nan_to_num(), reduction="none")
    hard = (hard * seen).sum(1) / seen.sum(1).clamp(min=1)
    parts["columns"] = (hard * share).mean() * (label_share if soft else 1.0)
    if gap:
        wrong = apart(torch.where(seen, logits.sigmoid() - scores, torch.nan), heads.source_of)
        parts["gap"] = (wrong * share).mean() * gap * (label_share if soft else 1.0)
    scored = torch.from_numpy(
        np.where(np.isin(table.sources[rows], list(COLUMNS_WEIGHT)), 0.3, 1.0)
    )
    parts["task"] = 0.25 * cross_entropy(
        out["task"][mask], torch.from_numpy(table.task[rows]), scored.float()
    )
    parts["domain"] = 0.2 * cross_entropy(
        out["domain"][mask],
        torch.from_numpy(table.domain[rows]),
        torch.from_numpy(table.domain_weight[rows]),
    )
    parts["tier"] = 0.25 * cross_entropy(
        out["tier"][mask],
        torch.from_numpy(table.tier[rows]),
        torch.from_numpy(table.tier_weight[rows]),
    )
    hardness = torch.from_numpy(table.difficulty[rows])
    known = ~hardness.isnan()
    if known.any():
        parts["difficulty"] = (
            0.4
            * F.binary_cross_entropy_with_logits(
                out["difficulty"][mask][known], hardness[known], reduction="sum"
            )
            / len(rows)
        )
    placed = known & (~seen).all(1)  # an open prompt with a tier: its place on the Rasch scale
    if placed.any():
        easier = -torch.logit(hardness[placed], 1e-3)
        wanted = (torch.from_numpy(table.ability)[None] + easier[:, None]).sigmoid()
        loss = F.binary_cross_entropy_with_logits(
            heads.serving(z[placed]), wanted, reduction="none"
        ).mean(1)
        parts["placed"] = 0.5 * loss.sum() / len(rows)
    parts["small"] = z.square().mean() * 1e-3 + heads.shrinkage() * 0.02
    if soft is not None:
        told = ~np.isnan(soft.tier[rows, 0])  # long unscored texts have no soft labels
        if told.any():
            parts |= softened(
                out, logits, mask, torch.from_numpy(told), rows[told], soft, heads, gap
            )
            if project is not None:
                cosine = F.cosine_similarity(
                    project(pooled[mask][torch.from_numpy(told)]),
                    tensor(soft.pooled, rows[told]),
                    dim=-1,
                )
                parts["hidden"] = (1 - cosine).mean() * 0.5
    return parts


def clip(module: nn.Module, most: float) -> None:
    """Gradients scaled to a norm of at most ``most``.

    torch's own writes every gradient back, clipped or not: a fifth of a profile's samples with
    the larger teacher.
    """
    found = [p.grad.view(-1) for p in module.parameters() if p.grad is not None]
    norm = math.sqrt(sum(torch.dot(g, g).item() for g in found))
    if norm > most:
        torch._foreach_mul_(found, most / norm)


def fitting(first: dict[str, Tensor], parts: nn.ModuleDict) -> dict[str, Tensor]:
    """``first`` without a projection to another voice's width: that one begins anew."""
    own = parts.state_dict()
    return {
        name: value
        for name, value in first.items()
        if not name.startswith("project.") or (name in own and own[name].shape == value.shape)
    }


def steppers(plan: Plan, parts: nn.ModuleDict) -> list[torch.optim.Optimizer]:
    """AdamW for everything, with tables at a rate of their own; of ``plan.matrices`` "muon",
    the blocks' matrices step by Muon (Jordan et al., 2024: the momentum made orthogonal),
    scaled to AdamW's size of step so that one rate serves both."""
    tables = ("encoder.tokens", "heads.ability", "heads.easiness", "heads.gain", "heads.d_")
    groups: dict[float, dict[bool, list[Tensor]]] = {}
    orthogonal: list[Tensor] = []
    for name, parameter in parts.named_parameters():
        if not parameter.requires_grad:
            continue
        in_blocks = name.startswith("encoder.blocks")
        if plan.matrices == "muon" and in_blocks and parameter.ndim == 2:
            orthogonal.append(parameter)
            continue
        is_table = name.startswith(tables)
        fresh = plan.head_rate is not None and not in_blocks
        rate = plan.embedding_rate if is_table else plan.head_rate if fresh else plan.rate
        groups.setdefault(rate or plan.rate, {}).setdefault(is_table, []).append(parameter)
    out: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                {"params": found, "lr": rate, "top": rate, "weight_decay": 0.0 if table else 0.02}
                for rate, kinds in groups.items()
                for table, found in kinds.items()
            ],
            betas=(0.9, 0.98),
            foreach=False,
            fused=True,
        )
    ]
    if orthogonal:
        out.append(
            torch.optim.Muon(
                [{"params": orthogonal, "lr": plan.rate, "top": plan.rate}],
                weight_decay=0.02,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return out


def train(
    plan: Plan,
    encoder: nn.Module,
    heads: Heads,
    table: Table,
    tokenizer: Tokenizer,
    soft: Soft | None = None,
) -> Path:
    """Trains in place and returns the folder of the run."""
    torch.set_num_threads(plan.threads)
    folder = work_dir() / plan.name
    folder.mkdir(parents=True, exist_ok=True)
    parts = nn.ModuleDict({"encoder": encoder, "heads": heads})
    project = None
    if soft is not None:  # it only teaches: no graph has it
        project = parts["project"] = nn.Linear(encoder.width, soft.pooled.shape[1])
    optimizers = steppers(plan, parts)
    told = None if soft is None else ~np.isnan(soft.tier[:, 0])
    order = epoch_order(table, np.random.default_rng(SEED), plan.open_share, told)
    probe = sum(
        1 for _ in batches(table, order, tokenizer, plan.limit, plan.token_budget, None, plan.ends)
    )
    steps = plan.steps or max(1, int(probe * plan.epochs * 1.12))
    state = folder / "checkpoint.pt"
    step, skip, epoch = 0, 0, 0
    if plan.start_from and not state.exists():
        before = torch.load(work_dir() / plan.start_from / "checkpoint.pt", weights_only=True)
        first = grown(before["parts"], len(encoder.blocks))
        parts.load_state_dict(fitting(first, parts), strict=project is None)
    if state.exists():
        saved = torch.load(state, weights_only=True)
        parts.load_state_dict(saved["parts"])
        for optimizer, past in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(past)
        step, epoch, skip = saved["step"], saved["epoch"], saved["within"]
        say(f"{plan.name}: goes on at step {step}")
        if saved["done"]:
            return folder
    say(f"{plan.name}: {len(order)} rows an epoch, about {steps} steps")
    began, saved_at, spent = time.monotonic(), time.monotonic(), 0.0
    running: dict[str, float] = {}

    def save(done: bool, within: int) -> None:
        torch.save(
            {
                "parts": parts.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "step": step,
                "epoch": epoch,
                "within": within,
                "done": done,
            },
            folder / "new.pt",
        )
        (folder / "new.pt").replace(state)

    parts.train()
    while True:
        rng = random.Random(SEED + epoch)
        order = epoch_order(table, np.random.default_rng(SEED + epoch), plan.open_share, told)
        for within, batch in enumerate(
            batches(
                table,
                order,
                tokenizer,
                plan.limit,
                plan.token_budget,
                rng,
                plan.ends,
                plan.strange_rate,
                padded=plan.padded,
                claimed=plan.claimed,
            )
        ):
            if within < skip:
                continue
            spent = time.monotonic() - began
            progress = max(step / steps, spent / 60 / plan.minutes)
            if progress >= 1:
                save(True, within)
                say(f"{plan.name}: done after {step} steps, {spent / 60:.1f} min")
                return folder
            scale = min(1.0, (step + 1) / plan.warm) * (
                0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2
            )
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["top"] * scale
            with halved():
                pooled = encoder(torch.from_numpy(batch.ids))
            pooled = pooled.float()
            found = losses(
                heads(pooled),
                heads,
                table,
                batch.index,
                soft,
                plan.label_share,
                project,
                pooled,
                plan.gap,
            )
            total = torch.stack(list(found.values())).sum()
            parts.zero_grad(set_to_none=True)
            total.backward()
            clip(parts, 1.0)
            for optimizer in optimizers:
                optimizer.step()
            step += 1
            for name, value in found.items():
                running[name] = 0.98 * running.get(name, value.item()) + 0.02 * value.item()
            if step % 100 == 0:
                figures = " ".join(f"{k} {v:.3f}" for k, v in running.items())
                say(f"{plan.name}: step {step}/{steps} {spent / 60:.1f} min {figures}")
            if time.monotonic() - saved_at > 180:
                save(False, within + 1)
                saved_at = time.monotonic()
        epoch, skip = epoch + 1, 0
