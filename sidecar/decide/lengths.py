"""How long an answer is expected to be before any was seen, by what is asked.

Tokens of output, by task. They are assumptions and not measurements: no public set of
prompts with scores that this router was made from has the answers themselves. They say
what anybody would: a label is short, a story is long. What an upstream counts takes their
place, by model and task, with the weight of ``LENGTH_PRIOR`` answers
(:mod:`sidecar.decide.observed`). Serving, budgets and simulation share them.

They are the same for every model, so they move the order of two models only where one is
dearer to ask and cheaper to listen to than the other; what they move is the sum: what a
request is expected to cost, against a limit, a budget, or the cache that a switch loses.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# Where not even the task is known: about the mean of the answers in public chat logs.
DEFAULT_OUTPUT: Final = 400.0
BY_TASK: Final[Mapping[str, float]] = MappingProxyType(
    {
        "classification": 20.0,
        "chitchat": 80.0,
        "extraction": 120.0,
        "qa": 200.0,
        "agentic": 200.0,
        "summarization": 200.0,
        "translation": 250.0,
        "rewrite": 300.0,
        "assistant": 300.0,
        "critique": 400.0,
        "math": 400.0,
        "brainstorming": 450.0,
        "drafting": 450.0,
        "reasoning": 500.0,
        "code": 500.0,
        "planning": 600.0,
        "creative_writing": 700.0,
    }
)


def assumed(task: str) -> float:
    """Expected tokens of an answer where none was seen."""
    return BY_TASK.get(task, DEFAULT_OUTPUT)
