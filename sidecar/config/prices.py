"""A price file: what models cost, kept apart from the configuration and watched.

YAML or JSON, ``{NAME: {input, output, cached_input, cache_write}}`` in USD per million tokens. A
name is a configured model's or its upstream's; names of models that are not
configured are passed over, so that several sidecars can share one file. A price of
zero is refused here: such files are written by programs, and one empty field would
draw all traffic. A model of one's own that costs nothing says so in the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import Field, RootModel, ValidationError

from sidecar.config import schema, yamlfile
from sidecar.config.faults import in_order, of_validation
from sidecar.config.schema.base import Section
from sidecar.config.snapshot import ModelSpec, Price, Snapshot
from sidecar.errors import ConfigError

Paid = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Paid(Section):
    input: Paid
    output: Paid
    cached_input: Paid | None = None
    cache_write: Paid | None = None


class _Sheet(RootModel[dict[str, _Paid]]):
    pass


_KEYS: Final = tuple(_Paid.model_fields)


def load(file: Path) -> Mapping[str, Price]:
    """The prices of ``file`` by name; :class:`ConfigError` with every fault found."""
    document = yamlfile.load(file)
    if not isinstance(document.value, dict) or not document.value:
        raise ConfigError([document.fault((), "must be a mapping of model names to prices")])
    try:
        sheet = _Sheet.model_validate(document.value)
    except ValidationError as exc:
        raise ConfigError(in_order(of_validation(document, exc, _KEYS))) from None
    return MappingProxyType({name: compiled(paid) for name, paid in sheet.root.items()})


def compiled(price: schema.Price | _Paid) -> Price:
    """A price; input read from a cache, or written to it, costs what input does unless said."""
    cached = price.input if price.cached_input is None else price.cached_input
    return Price(price.input, cached, price.output, price.cache_write)


def found(sheet: Mapping[str, Price], name: str, upstream_model: str | None) -> Price | None:
    """The price of a model by its own name, or else by its upstream's."""
    own = sheet.get(name)
    return own if own is not None or upstream_model is None else sheet.get(upstream_model)


def repriced(snapshot: Snapshot, sheet: Mapping[str, Price]) -> Snapshot:
    """``snapshot`` with the prices of ``sheet``; a model that it leaves out keeps its own.

    It is a generation of its own: what was decided at other prices is not decided any more.
    """

    def at(model: ModelSpec) -> ModelSpec:
        price = found(sheet, model.name, model.upstream_model)
        return model if price is None else replace(model, price=price)

    models: dict[str, Any] = {name: at(model) for name, model in snapshot.models.items()}
    if models == dict(snapshot.models):
        return snapshot
    return replace(snapshot, models=MappingProxyType(models), generation=snapshot.generation + 1)
