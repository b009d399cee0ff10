"""Where a demo runs: its configuration file, its addresses, its prices.

The configuration is the ``sidecar.yaml`` beside this file with the addresses
filled in, so that what a person reads there is what runs, and prices are read
back from it: the bill and the routing can't disagree.
"""

from __future__ import annotations

import socket
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import yaml

KEY_ENV: Final = "POINTSMAN_DEMO_KEY"
ROUTE: Final = "auto"
_TEMPLATE: Final = Path(__file__).with_name("sidecar.yaml")


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens."""

    input: float
    cached_input: float
    output: float

    def of(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """USD for these tokens; the cached ones are among the input's."""
        fresh = input_tokens - cached_tokens
        micro = fresh * self.input + cached_tokens * self.cached_input + output_tokens * self.output
        return micro / 1e6


@dataclass(frozen=True, slots=True)
class Site:
    """One demo's place: everything that its parts need to find each other."""

    config_file: Path
    listen: str
    admin: str
    prices: Mapping[str, Price]  # by configured name, in the order of the file
    upstream_models: Mapping[str, str]  # configured name -> the name that the upstream knows

    @property
    def base_url(self) -> str:
        return f"http://{self.listen}/v1"

    @property
    def admin_url(self) -> str:
        return f"http://{self.admin}"

    @property
    def strongest(self) -> str:
        """The dearest model: what "always strong" would use."""
        return max(self.prices, key=lambda name: self.prices[name].output)


def lay_out(folder: Path, upstream_url: str, triton: str | None = None) -> Site:
    """Write the configuration into ``folder``, on ports that are free now.

    ``triton`` is the address of a server that is to read the prompts.
    """
    listen, admin = (f"127.0.0.1:{port}" for port in _free_ports(2))
    text = string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        listen=listen, admin=admin, upstream=upstream_url, key_env=KEY_ENV
    )
    if triton is not None:
        text = text.replace("backend: auto", f"backend: triton\n  triton: {{url: '{triton}'}}")
    config_file = folder / "sidecar.yaml"
    config_file.write_text(text, encoding="utf-8")
    models: dict[str, Any] = yaml.safe_load(text)["models"]
    return Site(
        config_file=config_file,
        listen=listen,
        admin=admin,
        prices=MappingProxyType({name: _price(row["price"]) for name, row in models.items()}),
        upstream_models=MappingProxyType(
            {name: row.get("upstream_model", name) for name, row in models.items()}
        ),
    )


def _price(row: Mapping[str, float]) -> Price:
    return Price(row["input"], row.get("cached_input", row["input"]), row["output"])


def _free_ports(count: int) -> list[int]:
    # all held at once, so that no two are the same
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
