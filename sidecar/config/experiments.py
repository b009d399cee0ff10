"""Shadows and splits, compiled: the routes they name are there, the arms are whole routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, get_args

from sidecar.config import schema
from sidecar.config.faults import hint
from sidecar.config.routes import Fault
from sidecar.config.snapshot import ArmSpec, RouteSpec

_POLICIES: Final = get_args(schema.Route.model_fields["policy"].annotation)


def compiled(
    name: str,
    route: schema.Route,
    routes: Mapping[str, RouteSpec],
    compile_route: Callable[[str, schema.Route], RouteSpec | list[Fault]],
) -> tuple[RouteSpec, list[Fault]]:
    """The route with its shadow and its arms, and what is wrong with them."""
    spec, faults = routes[name], list[Fault]()
    if route.shadow is not None and (lack := _lack(route.shadow, name, routes)):
        faults.append((("shadow",), lack))
    arms: list[ArmSpec] = []
    upto = 0.0
    for label, arm in (route.split.arms if route.split else {}).items():
        upto += arm.percent / 100
        here = ("split", "arms", label)
        target = spec
        if arm.policy is not None:
            if arm.policy not in _POLICIES:
                known = ", ".join(_POLICIES)
                faults.append(((*here, "policy"), f"{arm.policy!r} is unknown; use {known}"))
                continue
            found = compile_route(name, route.model_copy(update={"policy": arm.policy}))
            if not isinstance(found, RouteSpec):
                faults += [((*here, "policy"), said) for _, said in found]
                continue
            target = found
        elif arm.route is not None:
            lack = _lack(arm.route, name, routes)
            if lack:
                faults.append(((*here, "route"), lack))
                continue
            target = replace(routes[arm.route], name=name)
        arms.append(ArmSpec(label, upto, target))
    split = route.split
    return replace(
        spec,
        shadow=route.shadow,
        arms=tuple(arms),
        split_by=split.by if split else "",
        salt=split.salt if split else "",
    ), faults


def _lack(wanted: str, name: str, routes: Mapping[str, RouteSpec]) -> str | None:
    if wanted == name:
        return "is the route itself"
    if wanted not in routes:
        return f"no route is called {wanted!r}{hint(wanted, routes)}"
    return None
