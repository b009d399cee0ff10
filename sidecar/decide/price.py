"""What one request is expected to take at one model: USD, tokens, seconds.

Input is priced as cached as far as the view says that the model's upstream should
have it. Output is priced by the length that this model's answers to such tasks
have had, where any were seen; else by the encoder's guess; else by a constant.
"""

from __future__ import annotations

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
    task, found = reading.task, []
    for model, chance in zip(able, chances, strict=True):
        output = output_tokens(call, model.name, reading, task, view)
        seen = view.observed.get(model.name)
        found.append(
            Candidate(
                model=model.name,
                probability=chance,
                cost_usd=cost(call, model, output, view),
                latency_s=None if seen is None else seen.latency_s(view.now, output),
                reliability=1.0 if seen is None else seen.reliability(view.now),
            )
        )
    return tuple(found)


def expected(call: Call, model: ModelSpec, reading: Reading | None, view: View) -> float:
    """Expected USD of ``call`` at ``model``."""
    task = reading.task if reading else ""
    return cost(call, model, output_tokens(call, model.name, reading, task, view), view)


def cost(call: Call, model: ModelSpec, output: float, view: View) -> float:
    """USD of ``call`` at ``model`` for an answer of ``output`` tokens."""
    likely = call.input_tokens * _BOUND_TO_LIKELY
    cached = view.cached_tokens.get(model.name, 0)
    return model.price.of(likely, output, min(likely, cached))


def output_tokens(call: Call, model: str, reading: Reading | None, task: str, view: View) -> float:
    """Expected tokens of ``model``'s answer, within what the caller allows."""
    seen = view.observed.get(model)
    likely = seen.length(task) if seen else None
    if likely is None:
        said = reading.output_tokens if reading else None
        likely = DEFAULT_OUTPUT if said is None else said
    return likely if call.max_output_tokens is None else min(likely, float(call.max_output_tokens))
