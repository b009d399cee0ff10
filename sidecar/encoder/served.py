"""One encoder as a Triton server offers it: buckets, names, what travels with it.

Contract: :meth:`Served.of` reads a verified bundle's manifest and nothing else, so a
retrained encoder needs no change here. The same description writes every
``config.pbtxt`` (``model_repo``) and checks a running server's (:func:`faults`): a model
with other labels, another tokenizer or version would answer nonsense with confidence, so
it is not asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sidecar.encoder.bundle import Bundle
from sidecar.encoder.model import INPUT, OUTPUTS
from sidecar.errors import EncoderError

BUCKETS: Final = (64, 128, 256, 512)  # tokens; those the encoder reads are served
MODEL: Final = "router"
LABELLED: Final = ("task", "domain", "tier")


@dataclass(frozen=True, slots=True)
class Served:
    """What a server must offer, to be asked."""

    version: str
    buckets: tuple[int, ...]
    widths: Mapping[str, int]  # output -> numbers a row; a scalar is 1 wide
    labels: Mapping[str, tuple[str, ...]]
    parameters: Mapping[str, str]
    model: str = MODEL

    @classmethod
    def of(cls, bundle: Bundle, model: str = MODEL) -> Served:
        """What ``bundle`` must look like on a server, as ``model``."""
        limit = bundle.manifest["max_tokens"]
        labels = {name: tuple(bundle.manifest["labels"][name]) for name in LABELLED}
        widths = {name: len(labels[name]) for name in LABELLED} | {"demand": bundle.demand}
        return cls(
            version=bundle.version,
            buckets=(*(b for b in BUCKETS if b < limit), limit),
            widths={name: widths.get(name, 1) for name in OUTPUTS},
            labels=labels,
            parameters={
                "encoder_version": bundle.version,
                "tokenizer_sha256": bundle.manifest["files"]["tokenizer.json"],
                "vocabulary": str(bundle.vocabulary),
                **{f"labels_{name}": json.dumps(labels[name]) for name in LABELLED},
            },
            model=model,
        )

    def name(self, bucket: int) -> str:
        """The model of one bucket, the same on every server."""
        return f"{self.model}_{bucket}"

    def bucket(self, length: int) -> int:
        """The smallest bucket that holds ``length`` ids.

        Raises EncoderError for a row longer than the last: it must be cut before.
        """
        for size in self.buckets:
            if length <= size:
                return size
        raise EncoderError(f"{length} ids fit no bucket, the longest is {self.buckets[-1]}")


def faults(config: Mapping[str, Any], served: Served, bucket: int) -> list[str]:
    """What is wrong with a server's model, one sentence each; empty if it may be asked.

    ``config`` is a ``config.pbtxt`` or a server's answer as plain values: protobuf's
    JSON form with its original field names.
    """
    wrong = []
    name = config.get("name")
    if name != served.name(bucket):
        wrong.append(f"the model is called {name}, not {served.name(bucket)}")
    given = {i["name"]: (i["data_type"], _dims(i)) for i in config.get("input", [])}
    if given != {INPUT: ("TYPE_INT32", [bucket])}:
        wrong.append(f"{name} takes {given}, not int32 {INPUT} of {bucket} ids")
    answered = {o["name"]: (o["data_type"], _dims(o)) for o in config.get("output", [])}
    wanted = {n: ("TYPE_FP32", [width]) for n, width in served.widths.items()}
    if answered != wanted:
        wrong.append(f"{name} answers {answered}, not {wanted}")
    parameters = {k: v.get("string_value") for k, v in config.get("parameters", {}).items()}
    for key, value in served.parameters.items():
        if parameters.get(key) != value:
            wrong.append(f"{name} has {key} {parameters.get(key)}, this sidecar's is {value}")
    return wrong


def _dims(tensor: Mapping[str, Any]) -> list[int]:
    return [int(d) for d in tensor.get("dims", [])]
