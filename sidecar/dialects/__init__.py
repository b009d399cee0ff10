"""API formats, one a file; this is where each is registered."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.dialects.base import Dialect
from sidecar.dialects.chat import ChatDialect

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {dialect.name: dialect for dialect in (ChatDialect(),)}
)
BY_PATH: Final[Mapping[str, Dialect]] = MappingProxyType(
    {f"/v1{dialect.path}": dialect for dialect in DIALECTS.values()}
)
