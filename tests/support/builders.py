"""Values of the request path, built in one line: for tests that need no socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from sidecar.config import schema
from sidecar.config.rules import compiled
from sidecar.config.snapshot import (
    ModelSpec,
    Price,
    RouteSpec,
    RuleSpec,
    Secret,
    Snapshot,
    UpstreamSpec,
)
from sidecar.dialects import BY_FAMILY
from sidecar.types import Call, Hints, Prompt, Reading


def spec(
    auth: str = "bearer", key: str | None = "up-key", family: str = "openai", name: str = "local"
) -> UpstreamSpec:
    """An upstream that nobody will connect to."""
    return UpstreamSpec(
        name=name,
        base_url="http://127.0.0.1:1/v1",
        family=family,
        auth=auth,
        key=Secret(key) if key else None,
        ca_file=None,
        stream_usage=True,
        max_connections=10,
        timeouts=schema.Timeouts(),
    )


def model(
    name: str,
    price: float = 1.0,
    *,
    context: int = 8192,
    can: Sequence[str] = (),
    family: str = "openai",
) -> ModelSpec:
    """A model whose ability has its own name and whose tokens all cost ``price``."""
    upstream = spec(family=family)
    return ModelSpec(
        name=name,
        upstream=upstream,
        replicas=(upstream,),
        upstream_model=f"up-{name}",
        ability=name,
        price=Price(price, price, price),
        context=context,
        capabilities=frozenset(can),
        dialects=BY_FAMILY[family],
    )


def rule(name: str, to: str, **when: Any) -> RuleSpec:
    return compiled(schema.Rule(name=name, when=schema.When(**when), model=to))


def snapshot(
    models: Sequence[ModelSpec],
    *,
    policy: str = "cost_quality",
    among: Sequence[str] | None = None,
    default: str | None = None,
    quality: float = 0.9,
    threshold: float = 0.5,
    rules: Sequence[RuleSpec] = (),
    **route_keys: Any,
) -> Snapshot:
    """These models and one route, ``auto``, over them (or over ``among``)."""
    names = tuple(among or [m.name for m in models])
    route = RouteSpec(
        name="auto",
        policy=policy,
        models=names,
        default=default or names[-1],
        quality=quality,
        threshold=threshold,
        rules=tuple(rules),
        **route_keys,
    )
    config = schema.Config.model_validate(
        {
            "upstreams": {"local": {"base_url": "http://127.0.0.1:1/v1"}},
            "models": {
                m.name: {"upstream": "local", "price": {"input": 1, "output": 1}} for m in models
            },
        }
    )
    return Snapshot(
        config=config,
        models=MappingProxyType({m.name: m for m in models}),
        routes=MappingProxyType({"auto": route}),
        abilities=FakeAbilities(),
        generation=1,
        digest="0" * 12,
    )


def call(
    model: str = "auto",
    user: str = "hello",
    *,
    needs: Sequence[str] = (),
    input_tokens: int = 10,
    max_output_tokens: int | None = None,
    choices: int = 1,
    hints: Hints | None = None,
) -> Call:
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": user}]})
    return Call(
        request_id="req_test",
        dialect="chat",
        model=model,
        body=body,
        model_span=(9, 11 + len(model)),
        stream=False,
        prompt=Prompt(user=user),
        needs=frozenset(needs),
        input_tokens=input_tokens,
        max_output_tokens=max_output_tokens,
        choices=choices,
        hints=hints or Hints(),
    )


def reading(
    difficulty: float = 0.5, *, ood: float = 0.0, output_tokens: float | None = None, **labels: str
) -> Reading:
    """A reading; ``task="code"`` and the like put all probability on that label."""
    from sidecar.types import DOMAINS, TASKS, TIERS

    def certain(among: tuple[str, ...], name: str) -> tuple[float, ...]:
        return tuple(float(label == labels.get(name)) for label in among) if name in labels else ()

    return Reading(
        difficulty=difficulty,
        ood=ood,
        output_tokens=output_tokens,
        task_probs=certain(TASKS, "task"),
        domain_probs=certain(DOMAINS, "domain"),
        tier_probs=certain(TIERS, "tier"),
        version="test",
    )


class FakeAbilities:
    """Abilities that a test sets: a probability by name, and names that are known."""

    encoder = "test"

    def __init__(self, probabilities: Mapping[str, float] | None = None) -> None:
        self.known = dict(probabilities or {})

    def probabilities(self, reading: Reading, names: Sequence[str]) -> list[float]:
        return [self.known[name] for name in names]

    def resolve(self, name: str) -> str | None:
        return name if name in self.known else None

    def suggest(self, name: str) -> list[str]:
        return [known for known in self.known if known[:3] == name[:3]]

    def joined(self, file: Path) -> FakeAbilities:
        return FakeAbilities({**self.known, **orjson.loads(file.read_bytes())})
