"""The encoder in process: ONNX Runtime over the int8 weights, one call a batch.

Window in, :class:`~sidecar.types.Reading` out. The graph takes int32 ids
[batch, length] with 0 as padding and derives the mask itself, so a Triton server
takes exactly the same tensor. Batches are padded to a multiple of :data:`STEP`
tokens. One instance belongs to one worker thread: the tokenizer is not shared.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

# ONNX Runtime's Linux wheels report usage to their maker unless told not to before
# the import. Nothing of this process leaves the premises on its own account.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort
from numpy.typing import NDArray

from sidecar.encoder.bundle import Bundle
from sidecar.encoder.tokens import PAD, Ids, Tokens
from sidecar.errors import EncoderError
from sidecar.types import DOMAINS, TASKS, TIERS, Reading

STEP: Final = 8
INPUT: Final = "input_ids"
OUTPUTS: Final = ("demand", "task", "domain", "tier", "difficulty", "ood")


def pad(ids: Sequence[Ids], length: int | None = None) -> NDArray[np.int32]:
    """Rows of ids as one [batch, length] array, length a multiple of STEP by default."""
    longest = length or -(-max(map(len, ids)) // STEP) * STEP
    out = np.full((len(ids), longest), PAD, np.int32)
    for row, one in zip(out, ids, strict=True):
        row[: len(one)] = one
    return out


def readings(outputs: Mapping[str, NDArray[Any]], version: str) -> list[Reading]:
    """The named output tensors of one batch, whoever ran it, as readings.

    ``demand`` [B, K]; ``task``, ``domain``, ``tier`` [B, labels] probabilities;
    ``difficulty``, ``ood`` [B] in 0..1. Raises EncoderError on values that are not
    finite: a reading that can't be trusted is no reading.
    """
    if not all(np.isfinite(outputs[name]).all() for name in OUTPUTS):
        raise EncoderError("the encoder answered with numbers that are not finite")
    columns = [outputs[name].tolist() for name in OUTPUTS]
    return [
        Reading(
            difficulty=difficulty,
            demand=tuple(demand),
            task_probs=tuple(task),
            domain_probs=tuple(domain),
            tier_probs=tuple(tier),
            ood=ood,
            version=version,
        )
        for demand, task, domain, tier, difficulty, ood in zip(*columns, strict=True)
    ]


class OnnxEncoder:
    """A loaded encoder. Raises EncoderError when the graph is not the one it needs."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.version = bundle.version
        self.tokens = Tokens(bundle.tokenizer)
        if self.tokens.size != bundle.vocabulary:
            raise EncoderError(
                f"{bundle.path}/tokenizer.json has {self.tokens.size} pieces, the manifest "
                f"says {bundle.vocabulary}: the files do not belong together"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                bundle.onnx, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EncoderError(f"{bundle.path}/model.int8.onnx can't be loaded: {error}") from error
        names = {o.name: o.shape for o in self._session.get_outputs()}
        inputs = [i.name for i in self._session.get_inputs()]
        widths = {"task": len(TASKS), "domain": len(DOMAINS), "tier": len(TIERS)}
        widths["demand"] = bundle.demand
        if inputs != [INPUT] or not set(OUTPUTS) <= set(names):
            raise EncoderError(f"{bundle.path}/model.int8.onnx has other inputs or outputs")
        for name, width in widths.items():
            if names[name][-1] != width:
                raise EncoderError(
                    f"{bundle.path}/model.int8.onnx: output {name} is {names[name][-1]} wide, "
                    f"not {width}"
                )

    def read(self, windows: Sequence[str]) -> list[Reading]:
        """One reading a window, in order."""
        return self.read_ids(self.tokens.encode(windows)) if windows else []

    def read_ids(self, ids: Sequence[Ids]) -> list[Reading]:
        """One reading a row of ids (see :meth:`Tokens.encode`), in order."""
        if not ids:
            return []
        values = self._session.run(list(OUTPUTS), {INPUT: pad(ids)})
        return readings(dict(zip(OUTPUTS, values, strict=True)), self.version)
