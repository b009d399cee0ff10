"""The capability mask: what a request needs, against what a model declares."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sidecar.config.snapshot import ModelSpec
from sidecar.errors import NoCapableModel
from sidecar.types import Call


def missing(call: Call, model: ModelSpec) -> tuple[str, ...]:
    """What ``model`` lacks for ``call``, in words; empty where it can serve it."""
    lack = sorted(call.needs - model.capabilities) if call.needs else []
    if call.dialect not in model.dialects:
        lack.append(f"{call.dialect} dialect")
    if not has_room(call, model):
        wanted = model.context - room(model) + wanted_room(call)
        lack.append(f"room for {wanted} tokens")
    return tuple(lack)


def room(model: ModelSpec) -> int:
    """Tokens of a request, question and answer, for which ``model`` has room."""
    return model.context - (model.overrides.tokens if model.overrides is not None else 0)


def wanted_room(call: Call) -> int:
    """Tokens that must fit into a model's window at once."""
    asked = call.input_tokens if call.largest_tokens is None else call.largest_tokens
    return asked + (call.max_output_tokens or 0)


def has_room(call: Call, model: ModelSpec) -> bool:
    return wanted_room(call) <= room(model)


def lacks(call: Call, models: Iterable[ModelSpec]) -> dict[str, tuple[str, ...]]:
    """The models that cannot serve ``call``, and what each lacks."""
    return {model.name: lack for model in models if (lack := missing(call, model))}


def _how(call: Call, models: Iterable[ModelSpec]) -> str:
    """Where it is said which API a model speaks, where none speaks the caller's."""
    if any(call.dialect in model.dialects for model in models):
        return ""
    return f": one whose upstream's `dialect` is that of {call.dialect}"


def require(call: Call, models: Collection[ModelSpec]) -> dict[str, tuple[str, ...]]:
    """What each lacks, as :func:`lacks`; :class:`NoCapableModel` if none can serve ``call``."""
    lacking = lacks(call, models)
    if len(lacking) == len(models):
        said = "; ".join(f"{name} has no {', '.join(lack)}" for name, lack in lacking.items())
        raise NoCapableModel(
            f"No configured model of {call.model!r} can serve this request: {said}. "
            f"Change the request, or add a model that can{_how(call, models)}.",
            param="model",
        )
    return lacking
