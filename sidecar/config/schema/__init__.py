"""The shape of the configuration file.

Unknown keys are errors, secrets come only by environment variable or file, and
every default stands here, a section a module. These models only say what a file
may contain; what the request path reads is the :mod:`sidecar.config.snapshot`
compiled from them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sidecar.config.schema.base import (
    EnvName,
    Listen,
    ListenOrSocket,
    Name,
    Seconds,
    Section,
    matching,
)
from sidecar.config.schema.budgets import Budget, Redis, Spending
from sidecar.config.schema.classifier import Classifier, Triton
from sidecar.config.schema.drift import Drift
from sidecar.config.schema.experiments import Arm, Split
from sidecar.config.schema.learning import Feedback, Learning
from sidecar.config.schema.memory import DecisionCache, ResponseCache, Sessions
from sidecar.config.schema.overrides import Overrides, SystemPrompt
from sidecar.config.schema.policies import Cascade, Ensemble, Similarity
from sidecar.config.schema.routes import Route, Rule, TimeWindow, When
from sidecar.config.schema.service import Dashboard, DecisionLog, Limits, Log, Tracing
from sidecar.config.schema.upstreams import Model, Price, Prices, Timeouts, Upstream

__all__ = [
    "Arm",
    "Budget",
    "Cascade",
    "Classifier",
    "Config",
    "Dashboard",
    "DecisionCache",
    "DecisionLog",
    "Drift",
    "Ensemble",
    "Feedback",
    "Learning",
    "Limits",
    "Log",
    "Model",
    "Overrides",
    "Price",
    "Prices",
    "Redis",
    "ResponseCache",
    "Route",
    "Rule",
    "Section",
    "Sessions",
    "Similarity",
    "Spending",
    "Split",
    "SystemPrompt",
    "TimeWindow",
    "Timeouts",
    "Tracing",
    "Triton",
    "Upstream",
    "When",
]


HostName = Annotated[
    str,
    matching(
        r"[A-Za-z0-9._-]{1,253}",
        "write a host's name without scheme and port, as in pointsman.internal",
    ),
]


class Config(Section):
    listen: ListenOrSocket = "127.0.0.1:8080"
    admin: Listen = "127.0.0.1:9090"
    probes: Listen | None = None  # the reading half of `admin`, where others must reach it
    # what callers must send as their key, where `listen` is not theirs alone
    listen_token_env: EnvName | None = None
    # the same for `admin`, and the names, beside addresses, that it answers to
    admin_token_env: EnvName | None = None
    admin_hosts: tuple[HostName, ...] = ()
    classifier: Classifier = Classifier()
    abilities: str | None = None  # a file that `sidecar fit` wrote, beside this one
    upstreams: Annotated[dict[Name, Upstream], Field(min_length=1)]
    prices: Prices | None = None
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    routes: dict[Name, Route] = Field(default={})
    upstream_client: Literal["lean", "aiohttp"] = "lean"
    decision_log: DecisionLog | None = None
    feedback: Feedback = Feedback()
    learning: Learning | None = None
    decision_cache: DecisionCache = DecisionCache()
    sessions: Sessions = Sessions()
    dashboard: Dashboard = Dashboard()
    log: Log = Log()
    tracing: Tracing | None = None
    budgets: dict[Name, Budget] = Field(default={})
    spending: Spending = Spending()
    drift: Drift = Drift()
    limits: Limits = Limits()
    drain_s: Seconds = 30.0
