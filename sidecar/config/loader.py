"""From a file to a :class:`~sidecar.config.snapshot.Snapshot`, or to its faults.

All faults of a file are found in one go, each as ``file:line: key: message``.
A key variable that is not set is a warning and not a fault: a file is checked
on machines that have no secrets, and an upstream that needs no key works.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError

from sidecar.config import experiments, prices, routes, schema, yamlfile
from sidecar.config.faults import Findings, hint, in_order, of_validation
from sidecar.config.snapshot import (
    Abilities,
    ModelSpec,
    Price,
    RouteSpec,
    Secret,
    Snapshot,
    UpstreamSpec,
)
from sidecar.config.upstreams import replicas_of, upstream_of
from sidecar.dialects import BY_FAMILY
from sidecar.dialects.overrides import Overrides
from sidecar.errors import ConfigError, DataError
from sidecar.library import Shelf

_KEYS: Final = sorted(
    {
        field
        for section in vars(schema).values()
        if isinstance(section, type) and issubclass(section, schema.Section)
        for field in section.model_fields
    }
)
# What whoever reaches a port may do where it asks for no token.
_OPEN: Final = {"listen": "spend at your upstreams", "admin": "control the sidecar"}
# A model about which only its price is known is taken to be as able as a model
# of that price class in the catalogue: (USD per million output tokens, whose).
_PRICE_CLASSES: Final = (
    (0.25, "llama-3.1-8b-instruct"),
    (2.0, "llama-3.1-70b-instruct"),
    (float("inf"), "gpt-4o-2024-08-06"),
)


def load(
    path: Path,
    abilities: Abilities,
    env: Mapping[str, str] | None = None,
    generation: int = 1,
    unfitted: bool = False,
    *,
    before: Snapshot | None = None,
) -> Snapshot:
    """Read, check and compile ``path``; :class:`ConfigError` with every fault found.

    ``unfitted`` passes over the ensemble's weights, for the command that will write them.
    What the configuration ``before`` this one has read of large files is taken over.
    """
    document = yamlfile.load(path)
    if not isinstance(document.value, dict):
        raise ConfigError([document.fault((), "must be a mapping of sections")])
    try:
        config = schema.Config.model_validate(document.value)
    except ValidationError as exc:
        found = of_validation(document, exc, _KEYS)
        raise ConfigError(in_order([*found, *_unpriced(document)])) from None
    compiler = _Compiler(document, config, abilities, os.environ if env is None else env)
    compiler.unfitted = unfitted
    if before is not None:
        near = [route.library for route in before.routes.values()]
        compiler.shelf = Shelf(library for library in near if library is not None)
    return compiler.snapshot(generation)


def _unpriced(document: yamlfile.Document) -> list[str]:
    """The models without a price, in a file whose shape is at fault anyway."""
    models = document.value.get("models")
    if "prices" in document.value or not isinstance(models, dict):
        return []
    return [
        document.fault(("models", name, "price"), "is required")
        for name, model in models.items()
        if isinstance(model, dict) and "price" not in model
    ]


def unguarded(config: schema.Config, key: str, address: str) -> str | None:
    """What is to be said of an ``address`` for ``listen`` or ``admin`` that other machines are
    certain to reach, where that port asks for no token."""
    if getattr(config, f"{key}_token_env") is not None:
        return None
    try:
        alone = ip_address(address.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:  # a name, which may be this machine's own, or a Unix socket
        alone = True
    if alone:
        return None
    return f"others than this machine reach it, and without {key}_token_env they {_OPEN[key]}"


class _Compiler:
    """Resolves names and reads secrets, gathering faults as it goes."""

    def __init__(
        self,
        document: yamlfile.Document,
        config: schema.Config,
        abilities: Abilities,
        env: Mapping[str, str],
    ) -> None:
        self.document = document
        self.config = config
        self.env = env
        self.unfitted = False
        self.shelf = Shelf()
        self.found = Findings(document)
        self.fault, self.warn = self.found.fault, self.found.warn
        self.sheet: Mapping[str, Price] = {}
        self.price_file: Path | None = None
        if config.prices is not None:
            self.price_file = Path(document.file).parent / config.prices.file
            if not self.price_file.is_file():
                self.fault(("prices", "file"), f"no file {config.prices.file}")
            else:
                try:
                    self.sheet = prices.load(self.price_file)
                except ConfigError as exc:
                    self.found.faults += exc.faults
        self.abilities = abilities
        if config.abilities is not None:
            # beside the configuration, unless it says where from the root
            fitted = Path(document.file).parent / config.abilities
            try:
                self.abilities = abilities.joined(fitted)
            except DataError as exc:
                self.fault(("abilities",), str(exc))
        common = config.decision_cache.common
        if common is not None and not (Path(document.file).parent / common).is_file():
            self.fault(("decision_cache", "common"), f"no file {common}")

    def snapshot(self, generation: int) -> Snapshot:
        upstreams = {
            name: upstream_of(name, section, self.env, self.found)
            for name, section in self.config.upstreams.items()
        }
        models = {
            name: spec
            for name, model in self.config.models.items()
            if (spec := self.model(name, model, upstreams)) is not None
        }
        routed = {
            name: found
            for name, route in self.config.routes.items()
            if (found := self.route(name, route)) is not None
        }
        for name in list(routed):
            routed[name], faults = experiments.compiled(
                name, self.config.routes[name], routed, self.compile_route
            )
            for key, said in faults:
                self.fault(("routes", name, *key), said)
        token = self.token("listen_token_env", self.config.listen_token_env)
        admin_token = self.token("admin_token_env", self.config.admin_token_env)
        self.addresses()
        self.tracing()
        self.budgets()
        spending_password = self.spending_password()
        if self.found.faults:
            raise ConfigError(in_order(self.found.faults))
        return Snapshot(
            config=self.config,
            models=MappingProxyType(models),
            routes=MappingProxyType(routed),
            abilities=self.abilities,
            generation=generation,
            digest=self.document.digest,
            warnings=tuple(self.found.warnings),
            price_file=self.price_file,
            token=token,
            admin_token=admin_token,
            spending_password=spending_password,
        )

    def token(self, key: str, name: str | None) -> Secret | None:
        """A port's token. A missing one is a fault: serving all is not what was asked."""
        if name is None:
            return None
        value = self.env.get(name, "").strip()
        if not value:
            self.fault((key,), f"the variable {name} is not set")
        return Secret(value)

    def addresses(self) -> None:
        """Each port is its own: else apps would reach what is for operators, or nobody both."""
        taken = {self.config.listen: "listen"}
        for key in ("admin", "probes"):
            address = getattr(self.config, key)
            if address is None or address.endswith(":0"):
                continue
            if address in taken:
                self.fault(
                    (key,), f"the same address as {taken[address]}: give it a port of its own"
                )
            taken.setdefault(address, key)
        for key in _OPEN:
            note = unguarded(self.config, key, getattr(self.config, key))
            if note is not None:
                self.warn((key,), note)

    def tracing(self) -> None:
        """The collector's headers must be there; they are read where spans are sent."""
        settings = self.config.tracing
        if settings is None or settings.headers_env is None:
            return
        if not self.env.get(settings.headers_env, "").strip():
            lack = f"the variable {settings.headers_env} is not set"
            self.fault(("tracing", "headers_env"), lack)

    def budgets(self) -> None:
        """A budget of a route names one that is there."""
        for name, budget in self.config.budgets.items():
            if budget.per != "route":
                continue
            known = [*self.config.routes, *self.config.models]
            for i, route in enumerate(budget.only):
                if route not in known:
                    where: yamlfile.Key = ("budgets", name, "only", i)
                    self.fault(where, f"no route is called {route!r}{hint(route, known)}")

    def spending_password(self) -> Secret | None:
        redis = self.config.spending.redis
        if redis is None or redis.password_env is None:
            return None
        value = self.env.get(redis.password_env, "").strip()
        if not value:
            note = f"the variable {redis.password_env} is not set: no password is sent"
            key: yamlfile.Key = ("spending", "redis", "password_env")
            self.warn(key, note)
            return None
        return Secret(value)

    def model(
        self, name: str, model: schema.Model, upstreams: Mapping[str, UpstreamSpec]
    ) -> ModelSpec | None:
        key: yamlfile.Key = ("models", name)
        if name in self.config.routes:
            self.fault(("routes", name), "a model has this name too; rename one of them")
        upstream = upstreams.get(model.upstream)
        if upstream is None:
            near = hint(model.upstream, upstreams)
            self.fault((*key, "upstream"), f"no upstream is called {model.upstream!r}{near}")
            return None
        price = prices.found(self.sheet, name, model.upstream_model)
        if price is None and model.price is not None:
            price = prices.compiled(model.price)
        if price is None:
            self.fault((*key, "price"), "is required")
            return None
        return ModelSpec(
            name=name,
            upstream=upstream,
            replicas=replicas_of(upstream, self.config.upstreams[model.upstream].replicas),
            upstream_model=model.upstream_model or name,
            ability=self.ability(name, model, price),
            price=price,
            context=model.context,
            capabilities=frozenset(model.capabilities),
            dialects=BY_FAMILY[upstream.family]
            if model.dialects is None
            else frozenset(model.dialects),
            overrides=_overrides(model.overrides),
        )

    def ability(self, name: str, model: schema.Model, price: Price) -> str:
        if model.ability is not None:
            canonical = self.abilities.resolve(model.ability)
            if canonical is None:
                near = self.abilities.suggest(model.ability)
                like = f"; near it: {', '.join(near)}" if near else ""
                self.fault(
                    ("models", name, "ability"),
                    f"the catalogue has no model {model.ability!r}{like}",
                )
            return canonical or ""  # with a fault noted, no snapshot is made
        for guess in (model.upstream_model, name):
            canonical = self.abilities.resolve(guess) if guess else None
            if canonical is not None:
                return canonical
        canonical = next(who for limit, who in _PRICE_CLASSES if price.output <= limit)
        if any(name in r.models and r.policy != "fixed" for r in self.config.routes.values()):
            self.warn(
                ("models", name),
                f"has no `ability` and the catalogue does not know its name: by its price it "
                f"is taken to be as able as {canonical}; name the model it is most like",
            )
        return self.abilities.resolve(canonical) or canonical

    def compile_route(self, name: str, route: schema.Route) -> RouteSpec | list[routes.Fault]:
        return routes.compile_route(
            name,
            route,
            folder=Path(self.document.file).parent,
            encoder=self.abilities.encoder,
            unfitted=self.unfitted,
            shelf=self.shelf,
        )

    def route(self, name: str, route: schema.Route) -> RouteSpec | None:
        faults = list(routes.misnamed(route, self.config.models))
        found = self.compile_route(name, route)
        if not isinstance(found, RouteSpec):
            faults += found
        for key, said in faults:
            self.fault(("routes", name, *key), said)
        return found if isinstance(found, RouteSpec) else None


def _overrides(section: schema.Overrides | None) -> Overrides | None:
    """The section as the request path reads it; None where it changes nothing."""
    if section is None or not section.model_fields_set:
        return None
    prompt = section.system_prompt
    return Overrides(
        system_prefix=prompt.prefix if prompt else None,
        system_replace=prompt.replace if prompt else None,
        max_tokens=section.max_tokens,
        temperature=section.temperature,
        reasoning_effort=section.reasoning_effort,
        drop=frozenset(section.drop),
        rename=MappingProxyType(dict(section.rename)),
        values=MappingProxyType(dict(section.set)),
    )
