"""Ids that no vocabulary has, made harmless in the graph that a plan is built from.

Contract: :func:`guarded` answers the ONNX graph with three comparisons in front: an id under
0 or past the vocabulary reads as the unknown token, as it does in the CPU's model
(``python_model.py``). The sidecar never sends one, but it is not a server's only client, and
what a GPU reads at a wrong address is nobody's to choose: a gather there checks nothing.
"""

from __future__ import annotations

from typing import Any, Final

from kernels.trt import PlanError
from sidecar.encoder.model import INPUT
from sidecar.encoder.tokens import UNKNOWN

KNOWN: Final = "known_ids"


def guarded(raw: bytes, vocabulary: int) -> bytes:
    """The graph ``raw`` for ids of any value. Raises PlanError for what is no such graph."""
    try:
        import onnx  # noqa: PLC0415 - the image has it; the sidecar does not need it
    except ImportError as error:
        raise PlanError(f"onnx is needed to build plans and is not installed ({error})") from error
    try:
        model = onnx.load_from_string(raw)
    except Exception as error:
        raise PlanError(f"the graph can't be read: {error}") from error
    graph = model.graph
    if [one.name for one in graph.input] != [INPUT]:
        found = ", ".join(one.name for one in graph.input) or "nothing"
        raise PlanError(f"the graph takes {found}, not {INPUT} alone")
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == INPUT:
                node.input[i] = KNOWN
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*_comparisons(onnx, graph, vocabulary), *nodes])
    return bytes(model.SerializeToString())


def _comparisons(onnx: Any, graph: Any, vocabulary: int) -> list[Any]:
    """Nodes that make KNOWN of INPUT; their constants go to the graph."""
    made = onnx.helper
    numbers = {"known_first": 0, "known_end": vocabulary, "known_else": UNKNOWN}
    for name, value in numbers.items():
        graph.initializer.append(made.make_tensor(name, onnx.TensorProto.INT32, [1, 1], [value]))
    return [
        made.make_node("Less", [INPUT, "known_first"], ["known_under"]),
        made.make_node("Less", [INPUT, "known_end"], ["known_before_end"]),
        made.make_node("Not", ["known_before_end"], ["known_past"]),
        made.make_node("Or", ["known_under", "known_past"], ["known_not"]),
        made.make_node("Where", ["known_not", "known_else", INPUT], [KNOWN]),
    ]
