"""What one request is expected to take at one model: USD, tokens, seconds.

Input is priced as cached as far as the view says that the model's upstream should
have it. Output is priced by the length that this model's answers to such tasks
have had; where none were seen, by that of all models' answers to such tasks; else by
the encoder's guess, by all answers, or by a constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from sidecar.config.snapshot import Abilities, ModelSpec
from sidecar.decide.view import View
from sidecar.types import Call, Candidate, Reading

# Where nothing is known of the answer's length: about the mean of the answers in
# public chat logs. It is the same for every candidate, so it moves the sum and
# hardly the order.
DEFAULT_OUTPUT: Final = 400.0
# `Call.input_tokens` bounds from above with 3 bytes a token; prose has about 4.
_BOUND_TO_LIKELY: Final = 0.75


def candidates(
    call: Call, models: Iterable[ModelSpec], reading: Reading, abilities: Abilities, view: View
) -> tuple[Candidate, ...]:
    """``models`` as a policy sees them, in their order."""
    able = tuple(models)
    chances = abilities.probabilities(reading, [model.ability for model in able])
    task, observed, cached = reading.task, view.observed, view.cached_tokens
    usual = usual_output(reading, task, view)
    limit = math.inf if call.max_output_tokens is None else float(call.max_output_tokens)
    likely = call.input_tokens * _BOUND_TO_LIKELY
    found = []
    for model, chance in zip(able, chances, strict=True):
        name, output, price = model.name, usual, model.price
        held = min(likely, cached.get(name, 0)) if cached else 0.0
        seen = observed.get(name)
        if seen is None:
            usd = price.of(likely, min(output, limit), held)
            found.append(Candidate(name, chance, usd))
            continue
        if task in seen.output_tokens:
            output = seen.length(task, usual)
        output = min(output, limit)
        usd = price.of(likely, output, held)
        found.append(Candidate(name, chance, usd, seen.latency_s(output), seen.reliability))
    return tuple(found)


def expected(call: Call, model: ModelSpec, reading: Reading | None, view: View) -> float:
    """Expected USD of ``call`` at ``model``."""
    task = reading.task if reading else ""
    output, seen = usual_output(reading, task, view), view.observed.get(model.name)
    if seen is not None:
        output = seen.length(task, output)
    if call.max_output_tokens is not None:
        output = min(output, float(call.max_output_tokens))
    return cost(call, model, output, view)


def cost(call: Call, model: ModelSpec, output: float, view: View) -> float:
    """USD of ``call`` at ``model`` for an answer of ``output`` tokens."""
    likely = call.input_tokens * _BOUND_TO_LIKELY
    cached = view.cached_tokens.get(model.name, 0)
    return model.price.of(likely, output, min(likely, cached))


def usual_output(reading: Reading | None, task: str, view: View) -> float:
    """Expected tokens of any model's answer."""
    found = view.lengths.get(task)
    if found is None and reading is not None:
        found = reading.output_tokens
    return view.lengths.get("", DEFAULT_OUTPUT) if found is None else found
