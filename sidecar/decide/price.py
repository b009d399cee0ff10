"""What one request is expected to take at one model: USD, tokens, seconds.

Input is priced as cached as far as the view says that the model's upstream should
have it. Output is priced by the length that this model's answers to such tasks
have had; where none were seen, by that of all models' answers to such tasks; else by
the encoder's guess, or by what is assumed of the task.
"""

from __future__ import annotations

import math
from typing import Final

from sidecar.config.snapshot import Abilities, ModelSpec
from sidecar.decide.able import Able
from sidecar.decide.candidates import Candidates
from sidecar.decide.lengths import DEFAULT_OUTPUT, assumed
from sidecar.decide.view import View
from sidecar.types import Call, Reading

# `Call.input_tokens` bounds from above with 3 bytes a token; prose has about 4.
_BOUND_TO_LIKELY: Final = 0.75


def candidates(
    call: Call, able: Able, reading: Reading, abilities: Abilities, view: View
) -> Candidates:
    """The models of ``able`` as a policy sees them, in their order."""
    chances = able.chances(reading, abilities)
    task, cached = reading.task, view.cached_tokens
    usual = usual_output(reading, task, view)
    limit = math.inf if call.max_output_tokens is None else float(call.max_output_tokens)
    likely, shortest = call.input_tokens * _BOUND_TO_LIKELY, min(usual, limit)
    choices = call.choices  # written side by side: they cost as many times more, and take as long
    if not view.observed and not cached:
        written = shortest * choices
        costs = [(likely * read + written * write) / 1e6 for _, read, _, write in able.prices]
        for i in able.overridden:
            costs[i] = expected(call, able.models[i], reading, view)
        return Candidates(able.names, chances, costs, abilities=able.abilities)
    look, held = view.observed.get, 0.0
    costs, reliabilities = [], []
    waits: list[float | None] = []
    for name, read, reread, write in able.prices:
        output, seen = shortest, look(name)
        if cached:
            held = min(likely, cached.get(name, 0))
        if seen is None:
            reliabilities.append(1.0)
            waits.append(None)
        else:
            reliabilities.append(seen.reliability)
            mean = seen.output_tokens.get(task)
            if mean is not None:
                output = min(mean.towards(usual), limit)
            first_s = seen.first_s
            waits.append(None if first_s is None else first_s + seen.token_s * output)
        output *= choices
        costs.append(((likely - held) * read + held * reread + output * write) / 1e6)
    for i in able.overridden:
        model = able.models[i]
        sent = as_sent(call, model)
        output, seen = output_tokens(sent, model, reading, view), look(model.name)
        costs[i] = _usd(sent, model, output, view)
        waits[i] = None if seen is None else seen.latency_s(output / sent.choices)
    return Candidates(
        able.names, chances, costs, reliabilities, abilities=able.abilities, waits=waits
    )


def expected(call: Call, model: ModelSpec, reading: Reading | None, view: View) -> float:
    """Expected USD of ``call`` at ``model``."""
    sent = as_sent(call, model)
    return _usd(sent, model, output_tokens(sent, model, reading, view), view)


def cost(call: Call, model: ModelSpec, output: float, view: View) -> float:
    """USD of ``call`` at ``model`` for ``output`` tokens of all its choices together."""
    return _usd(as_sent(call, model), model, output, view)


def as_sent(call: Call, model: ModelSpec) -> Call:
    """``call`` as ``model`` gets it: what its overrides make longer, shorter or more of."""
    return call if model.overrides is None else model.overrides.applied(call)


def output_tokens(sent: Call, model: ModelSpec, reading: Reading | None, view: View) -> float:
    """Expected tokens of ``model``'s output for a call as it is sent, all choices together."""
    task = reading.task if reading else ""
    output, seen = usual_output(reading, task, view), view.observed.get(model.name)
    if seen is not None:
        output = seen.length(task, output)
    if sent.max_output_tokens is not None:
        output = min(output, float(sent.max_output_tokens))
    return output * sent.choices


def _usd(sent: Call, model: ModelSpec, output: float, view: View) -> float:
    likely = sent.input_tokens * _BOUND_TO_LIKELY
    cached = view.cached_tokens.get(model.name, 0)
    return model.price.of(likely, output, min(likely, cached))


def usual_output(reading: Reading | None, task: str, view: View) -> float:
    """Expected tokens of any model's answer."""
    found = view.lengths.get(task)
    if found is not None:
        return found
    if reading is not None and reading.output_tokens is not None:
        return reading.output_tokens
    return assumed(task) if task else view.lengths.get("", DEFAULT_OUTPUT)
