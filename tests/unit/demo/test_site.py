"""The demo's configuration is one that the sidecar takes, on ports of its own."""

from __future__ import annotations

from pathlib import Path

from sidecar.config import loader
from sidecar.demo import roster
from sidecar.demo.site import KEY_ENV, ROUTE, Price, lay_out
from sidecar.encoder.abilities import Catalogue
from sidecar.encoder.bundle import Bundle

URL = "http://127.0.0.1:9/v1"


def test_the_configuration_loads_without_a_warning(tmp_path: Path) -> None:
    site = lay_out(tmp_path, URL)
    catalogue = Catalogue.of(Bundle.load())
    snapshot = loader.load(site.config_file, catalogue, {KEY_ENV: "k"})
    assert snapshot.warnings == ()
    assert snapshot.routes[ROUTE].default == site.strongest
    for name, price in site.prices.items():
        spec = snapshot.models[name]
        assert (spec.price.input, spec.price.output) == (price.input, price.output)
        assert spec.price.cached_input == price.cached_input
        assert spec.upstream_model == site.upstream_models[name]


def test_the_mock_can_just_what_the_configuration_says(tmp_path: Path) -> None:
    site = lay_out(tmp_path, URL)
    snapshot = loader.load(site.config_file, Catalogue.of(Bundle.load()), {KEY_ENV: "k"})
    served = roster.by_name(roster.DEFAULT_MODELS)
    for spec in snapshot.models.values():
        mock = served[spec.upstream_model]
        can = {"tools": mock.tools, "json_schema": mock.json_schema, "vision": mock.vision}
        assert {name for name, yes in can.items() if yes} == set(spec.capabilities)
        assert mock.context == spec.context


def test_its_addresses_are_loopback_and_differ(tmp_path: Path) -> None:
    site = lay_out(tmp_path, URL)
    assert site.listen != site.admin
    assert site.listen.startswith("127.0.0.1:")
    assert site.admin.startswith("127.0.0.1:")


def test_cached_tokens_are_priced_as_cached() -> None:
    price = Price(input=2.5, cached_input=1.25, output=10)
    assert price.of(1_000_000, 400_000, 100_000) == 0.6 * 2.5 + 0.4 * 1.25 + 1.0
