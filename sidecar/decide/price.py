"""What one request is expected to cost at one model."""

from __future__ import annotations

from typing import Final

from sidecar.config.snapshot import ModelSpec
from sidecar.types import Call, Reading

# Where the encoder says nothing of the answer's length: about the mean of the
# answers in public chat logs. It is the same for every candidate, so it moves
# the sum and hardly the order.
_DEFAULT_OUTPUT: Final = 400.0
# `Call.input_tokens` bounds from above with 3 bytes a token; prose has about 4.
_BOUND_TO_LIKELY: Final = 0.75


def expected(call: Call, model: ModelSpec, reading: Reading | None) -> float:
    """Expected USD of ``call`` at ``model``: input, and output as far as it is known."""
    output = reading.output_tokens if reading else None
    likely = _DEFAULT_OUTPUT if output is None else output
    if call.max_output_tokens is not None:
        likely = min(likely, float(call.max_output_tokens))
    return model.price.of(call.input_tokens * _BOUND_TO_LIKELY, likely)
