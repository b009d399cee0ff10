"""The configuration as the request path reads it.

A :class:`Snapshot` is whole, checked and immutable: names are resolved,
secrets are read, and a request that began with one keeps it while a reload
swaps in the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import orjson

from sidecar.config.patterns import Pattern
from sidecar.config.schema import Cascade, Config, ResponseCache, Similarity, Timeouts, When
from sidecar.dialects.overrides import Overrides
from sidecar.library import Library
from sidecar.stack import Stack
from sidecar.types import Reading, Usage

_SIMILARITY: Final = Similarity()
_CASCADE: Final = Cascade()


class Secret:
    """A key that does not show: not in ``repr``, not in logs, not in errors."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return repr(self)


_KEY_HEADERS: Final = {
    "bearer": ("Authorization", "Bearer "),
    "x-api-key": ("x-api-key", ""),
    "api-key": ("api-key", ""),
}


@dataclass(frozen=True, slots=True)
class UpstreamSpec:
    """Where an upstream is and how it is spoken to."""

    name: str
    base_url: str  # without a trailing slash
    family: str  # openai | anthropic
    auth: str  # bearer | x-api-key | api-key | none | passthrough
    key: Secret | None
    ca_file: str | None
    stream_usage: bool  # may be asked for `stream_options.include_usage`
    max_connections: int
    timeouts: Timeouts
    headers: tuple[tuple[str, Secret], ...] = ()  # sent to it, in place of the caller's
    query: tuple[tuple[str, Secret], ...] = ()  # the same, of the URL
    retries: int = 0  # of a model none of whose addresses answered
    retry_budget: float = 0.2  # share of requests that may be asked again
    hedge_after_s: float | None = None
    # worked out once, for every request: what goes up, and whose place it takes
    sent: bytes = field(init=False, repr=False, compare=False)  # header lines, key and all
    asked: str = field(init=False, repr=False, compare=False)  # the query, without a "?"
    replaced: frozenset[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        said = [(name, value.reveal()) for name, value in self.headers]
        if self.key is not None and self.auth in _KEY_HEADERS:
            name, scheme = _KEY_HEADERS[self.auth]
            said.append((name, scheme + self.key.reveal()))
        lines = "".join(f"{name}: {value}\r\n" for name, value in said)
        pairs = [(name, value.reveal()) for name, value in self.query]
        object.__setattr__(self, "sent", lines.encode("latin-1"))
        object.__setattr__(self, "asked", urlencode(pairs))
        names = frozenset(name.lower().encode() for name, _ in self.headers)
        object.__setattr__(self, "replaced", names)


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens."""

    input: float
    cached_input: float
    output: float
    cache_write: float | None = None  # of input that a cache takes in; None is as any other

    @property
    def fresh(self) -> float:
        """Of input that is not cached, at its dearest."""
        return self.input if self.cache_write is None else max(self.input, self.cache_write)

    def of(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0.0) -> float:
        """USD for one request; ``cached_tokens`` are a part of ``input_tokens``."""
        fresh = input_tokens - cached_tokens if input_tokens > cached_tokens else 0.0
        return (
            fresh * self.input + cached_tokens * self.cached_input + output_tokens * self.output
        ) / 1e6

    def charged(self, usage: Usage) -> float | None:
        """USD for what an upstream counted; None where it did not say."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        usd = self.of(usage.input_tokens, usage.output_tokens, usage.cached_tokens or 0)
        return usd + self.writing(usage)

    def writing(self, usage: Usage) -> float:
        """USD that writing to a cache adds to what :meth:`of` says."""
        if self.cache_write is None or not usage.written_tokens:
            return 0.0
        fresh = max(0, (usage.input_tokens or 0) - (usage.cached_tokens or 0))
        return (self.cache_write - self.input) * min(usage.written_tokens, fresh) / 1e6


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One configured model."""

    name: str
    upstream: UpstreamSpec
    replicas: tuple[UpstreamSpec, ...]  # ``upstream`` at each of its addresses
    upstream_model: str
    ability: str  # whose ability it has, by the catalogue's canonical name
    price: Price
    context: int
    capabilities: frozenset[str]
    dialects: frozenset[str]  # the API formats its upstream speaks
    overrides: Overrides | None = None  # what is changed in requests that go here
    # worked out once, for every request: its name there, as JSON
    quoted: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quoted", orjson.dumps(self.upstream_model))


@dataclass(frozen=True, slots=True)
class Window:
    """Some hours of some days, by the clock of one place."""

    days: frozenset[int]  # 0 is Monday; none is every day
    start: time
    end: time  # not in it; one before ``start`` is of the next day
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class RuleSpec:
    """A rule, compiled, and whether it can be judged before the encoder has read the prompt."""

    name: str
    when: When
    model: str
    needs_reading: bool
    patterns: tuple[Pattern, ...] = ()  # any of them
    window: Window | None = None
    headers: tuple[tuple[str, tuple[str, ...]], ...] = ()  # lower-case name, one of these values


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """One arm of a split: its route whole, under the name of the route that is split."""

    name: str
    upto: float  # the end of its share of the keys, 0..1; it begins where the one before ends
    route: RouteSpec


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One route: a policy over some models."""

    name: str
    policy: str
    models: tuple[str, ...]
    default: str
    quality: float
    threshold: float
    rules: tuple[RuleSpec, ...]
    max_cost_usd: float | None = None  # for one request, where the caller sets no limit
    usd_per_s: float = 0.0  # what a second of waiting is worth
    worth_usd: float | None = None  # what an answer that suffices is worth, in place of `quality`
    similarity: Similarity = _SIMILARITY
    library: Library | None = None  # of prompts whose outcome is known
    stack: Stack | None = None  # of the policy `ensemble`
    shadow: str | None = None  # the route whose decisions are logged beside
    arms: tuple[ArmSpec, ...] = ()
    split_by: str = ""  # session | tenant | request
    salt: str = ""
    cascade: Cascade = _CASCADE
    response_cache: ResponseCache | None = None  # where answers may be given again


class Abilities(Protocol):
    """What the configuration and the decision ask of the catalogue of abilities."""

    @property
    def encoder(self) -> str:
        """The version of the encoder whose demands they weigh."""
        ...

    def resolve(self, name: str) -> str | None:
        """The canonical name for ``name``, or None."""
        ...

    def suggest(self, name: str) -> list[str]:
        """Known names that look like ``name``."""
        ...

    def probabilities(self, reading: Reading, names: Sequence[str]) -> list[float]:
        """P(model suffices) for each canonical name."""
        ...

    def joined(self, file: Path) -> Abilities:
        """These and the models of a file that ``sidecar fit`` wrote."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a request needs of the configuration."""

    config: Config
    models: Mapping[str, ModelSpec]
    routes: Mapping[str, RouteSpec]
    abilities: Abilities
    generation: int
    digest: str  # the first 12 hex digits of the file's SHA-256
    warnings: tuple[str, ...] = field(default=())
    price_file: Path | None = None  # watched, where one is configured
    token: Secret | None = None  # what a caller must send, where one is asked for
    admin_token: Secret | None = None  # the same for the admin port
    spending_password: Secret | None = None  # of the server that keeps what was spent
    learnt: int = 0  # moves with each ability that scores of answers changed
    # what the decision works out of it, once for each route; a changed copy begins anew
    worked_out: dict[int, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def upstreams(self) -> list[UpstreamSpec]:
        """Every address that a request may go to."""
        return [spec for model in self.models.values() for spec in model.replicas]
