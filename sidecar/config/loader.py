"""From a file to a :class:`~sidecar.config.snapshot.Snapshot`, or to its faults.

All faults of a file are found in one go, each as ``file:line: key: message``.
A key variable that is not set is a warning and not a fault: a file is checked
on machines that have no secrets, and an upstream that needs no key works.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError

from sidecar.config import schema, yamlfile
from sidecar.config.faults import hint, in_order, of_validation
from sidecar.config.snapshot import (
    Abilities,
    ModelSpec,
    Price,
    RouteSpec,
    RuleSpec,
    Secret,
    Snapshot,
    UpstreamSpec,
)
from sidecar.dialects import BY_FAMILY
from sidecar.dialects.base import CAPABILITIES
from sidecar.errors import ConfigError, DataError
from sidecar.types import DOMAINS, TASKS, TIERS

_KEYS: Final = sorted(
    {
        field
        for section in vars(schema).values()
        if isinstance(section, type) and issubclass(section, schema.Section)
        for field in section.model_fields
    }
)
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
) -> Snapshot:
    """Read, check and compile ``path``; :class:`ConfigError` with every fault found."""
    document = yamlfile.load(path)
    if not isinstance(document.value, dict):
        raise ConfigError([document.fault((), "must be a mapping of sections")])
    try:
        config = schema.Config.model_validate(document.value)
    except ValidationError as exc:
        raise ConfigError(in_order(of_validation(document, exc, _KEYS))) from None
    compiler = _Compiler(document, config, abilities, os.environ if env is None else env)
    return compiler.snapshot(generation)


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
        self.faults: list[str] = []
        self.warnings: list[str] = []
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

    def fault(self, key: yamlfile.Key, message: str) -> None:
        self.faults.append(self.document.fault(key, message))

    def snapshot(self, generation: int) -> Snapshot:
        upstreams = {name: self.upstream(name, u) for name, u in self.config.upstreams.items()}
        models = {
            name: spec
            for name, model in self.config.models.items()
            if (spec := self.model(name, model, upstreams)) is not None
        }
        routes = {name: self.route(name, route) for name, route in self.config.routes.items()}
        token = self.token("listen_token_env", self.config.listen_token_env)
        admin_token = self.token("admin_token_env", self.config.admin_token_env)
        if self.faults:
            raise ConfigError(in_order(self.faults))
        return Snapshot(
            config=self.config,
            models=MappingProxyType(models),
            routes=MappingProxyType(routes),
            abilities=self.abilities,
            generation=generation,
            digest=self.document.digest,
            warnings=tuple(self.warnings),
            token=token,
            admin_token=admin_token,
        )

    def token(self, key: str, name: str | None) -> Secret | None:
        """A port's token. A missing one is a fault: serving all is not what was asked."""
        if name is None:
            return None
        value = self.env.get(name, "").strip()
        if not value:
            self.fault((key,), f"the variable {name} is not set")
        return Secret(value)

    def upstream(self, name: str, upstream: schema.Upstream) -> UpstreamSpec:
        auth = upstream.auth
        if auth is None:
            auth = "x-api-key" if upstream.dialect == "anthropic" else "bearer"
        if upstream.ca_file and not Path(upstream.ca_file).is_file():
            self.fault(("upstreams", name, "ca_file"), f"no file {upstream.ca_file}")
        return UpstreamSpec(
            name=name,
            base_url=upstream.base_url.rstrip("/"),
            family=upstream.dialect,
            auth=auth,
            key=self.secret(name, upstream),
            ca_file=upstream.ca_file,
            stream_usage=upstream.stream_usage,
            max_connections=upstream.max_connections,
            timeouts=upstream.timeouts,
        )

    def replicas(self, name: str, first: UpstreamSpec) -> tuple[UpstreamSpec, ...]:
        urls = (url.rstrip("/") for url in self.config.upstreams[name].replicas)
        others = [url for url in dict.fromkeys(urls) if url != first.base_url]
        return (first, *(replace(first, base_url=url) for url in others))

    def secret(self, name: str, upstream: schema.Upstream) -> Secret | None:
        if upstream.api_key_env:
            value = self.env.get(upstream.api_key_env, "").strip()
            key, lack = "api_key_env", f"the variable {upstream.api_key_env} is not set"
        elif upstream.api_key_file:
            key = "api_key_file"
            try:
                value = Path(upstream.api_key_file).read_text(encoding="utf-8").strip()
                lack = f"the file {upstream.api_key_file} is empty"
            except (OSError, UnicodeDecodeError):
                value, lack = "", f"the file {upstream.api_key_file} cannot be read"
        else:
            return None
        if not value:
            note = f"{lack}: requests to this upstream carry no key"
            self.warnings.append(self.document.fault(("upstreams", name, key), note))
            return None
        if not value.isascii() or not value.isprintable():
            self.fault(("upstreams", name, key), "the key has characters no header may carry")
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
        return ModelSpec(
            name=name,
            upstream=upstream,
            replicas=self.replicas(model.upstream, upstream),
            upstream_model=model.upstream_model or name,
            ability=self.ability(name, model),
            price=Price(
                input=model.price.input,
                cached_input=(
                    model.price.input
                    if model.price.cached_input is None
                    else model.price.cached_input
                ),
                output=model.price.output,
            ),
            context=model.context,
            capabilities=frozenset(model.capabilities),
            dialects=BY_FAMILY[upstream.family]
            if model.dialects is None
            else frozenset(model.dialects),
        )

    def ability(self, name: str, model: schema.Model) -> str:
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
        canonical = next(who for limit, who in _PRICE_CLASSES if model.price.output <= limit)
        if any(name in r.models and r.policy != "fixed" for r in self.config.routes.values()):
            self.warnings.append(
                self.document.fault(
                    ("models", name),
                    f"has no `ability` and the catalogue does not know its name: by its price it "
                    f"is taken to be as able as {canonical}; name the model it is most like",
                )
            )
        return self.abilities.resolve(canonical) or canonical

    def route(self, name: str, route: schema.Route) -> RouteSpec:
        key: yamlfile.Key = ("routes", name)
        named: list[tuple[yamlfile.Key, str]] = [(("default",), route.default)]
        named += [(("models", i), model) for i, model in enumerate(route.models)]
        named += [(("rules", i, "model"), rule.model) for i, rule in enumerate(route.rules)]
        for where, model in named:
            if model not in self.config.models:
                near = hint(model, self.config.models)
                self.fault((*key, *where), f"no model is called {model!r}{near}")
        seen: set[str] = set()
        for i, rule in enumerate(route.rules):
            if rule.name in seen:
                self.fault((*key, "rules", i, "name"), f"a rule before it is called {rule.name!r}")
            seen.add(rule.name)
            for field, known in (
                ("task", TASKS),
                ("domain", DOMAINS),
                ("tier", TIERS),
                ("needs", CAPABILITIES),
            ):
                for label in getattr(rule.when, field):
                    if label not in known:
                        where = (*key, "rules", i, "when", field)
                        self.fault(where, f"{label!r} is unknown; use {', '.join(known)}")
        return RouteSpec(
            name=name,
            policy=route.policy,
            models=route.models,
            default=route.default,
            quality=route.quality,
            threshold=route.threshold,
            rules=tuple(
                RuleSpec(
                    name=rule.name,
                    when=rule.when,
                    model=rule.model,
                    needs_reading=bool(rule.when.task or rule.when.domain or rule.when.tier),
                )
                for rule in route.rules
            ),
            max_cost_usd=route.max_cost_usd,
            usd_per_s=route.usd_per_s,
        )
