"""A deployment for a plan that names none: mock models and a sidecar, of this machine."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sidecar.demo import processes
from sidecar.demo.site import ROUTE, lay_out
from sidecar.load.client import Address
from sidecar.load.plan import Plan, Price
from sidecar.load.run import Site

SPEED: Final = 4.0  # times the mocks' natural pace


@asynccontextmanager
async def deployment(plan: Plan, speed: float = SPEED) -> AsyncIterator[tuple[Plan, Site]]:
    """The plan with the prices of what was started, and where that is; gone at the end."""
    key = secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as name:
        folder = Path(name)
        async with processes.mock_upstream(folder, speed, key) as upstream:
            site = lay_out(folder, upstream)
            async with processes.sidecar(site, folder, key):
                prices = {
                    model: Price(input=p.input, cached_input=p.cached_input, output=p.output)
                    for model, p in site.prices.items()
                }
                yield (
                    plan.model_copy(update={"prices": prices}),
                    Site(
                        Address(site.base_url),
                        ROUTE,
                        Address(upstream, key),
                        site.upstream_models,
                    ),
                )
