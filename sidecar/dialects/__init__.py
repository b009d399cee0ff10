"""API formats, one a file; this is where each is registered."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.dialects.base import Dialect
from sidecar.dialects.chat import ChatDialect
from sidecar.dialects.completions import CompletionsDialect
from sidecar.dialects.embeddings import EmbeddingsDialect
from sidecar.dialects.messages import MessagesDialect
from sidecar.dialects.responses import ResponsesDialect

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            ChatDialect(),
            CompletionsDialect(),
            ResponsesDialect(),
            EmbeddingsDialect(),
            MessagesDialect(),
        )
    }
)
# What an upstream of each family is taken to speak, unless its models say otherwise.
BY_FAMILY: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        family: frozenset(d.name for d in DIALECTS.values() if d.family == family)
        for family in ("openai", "anthropic")
    }
)
BY_PATH: Final[Mapping[str, Dialect]] = MappingProxyType(
    {f"/v1{dialect.path}": dialect for dialect in DIALECTS.values()}
)
