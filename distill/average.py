"""Stage 4b, average: the mean of the weights of runs that went on from one another.

A run that goes on at a high rate ends in another place of the same valley; the mean of both
ends is as good on dev and somewhat steadier (Wortsman et al. 2022, arXiv:2203.05482).

    python -m distill.average --name NAME --of RUN --of RUN
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from distill.common import say, work_dir


def mean(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of every weight; what is no weight (an index) is the first run's.

    Raises SystemExit where the runs are not of one shape.
    """
    first = parts[0]
    for other in parts[1:]:
        if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in other.items()}:
            raise SystemExit("runs of different shapes have no mean")
    return {
        name: torch.stack([one[name] for one in parts]).mean(0)
        if value.is_floating_point()
        else value
        for name, value in first.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the run to write")
    parser.add_argument("--of", action="append", required=True, help="a run to read; twice or more")
    args = parser.parse_args()
    runs = [work_dir() / run for run in args.of]
    saved = [torch.load(run / "checkpoint.pt", weights_only=True)["parts"] for run in runs]
    folder = work_dir() / args.name
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("shape.json", "columns.json", "without.json"):
        (folder / name).write_text((runs[0] / name).read_text())
    torch.save({"parts": mean(saved), "step": 0, "done": True}, folder / "checkpoint.pt")
    say(f"the mean of {' and '.join(args.of)} -> {folder}")


if __name__ == "__main__":
    main()
