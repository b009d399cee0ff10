"""The chart's GPU pool, and what Prometheus is told to watch."""

from __future__ import annotations

import yaml

from tests.deploy.conftest import ROOT, Render, only
from tests.deploy.values import CHART, GPU, TRITON

# -- the GPU pool -----------------------------------------------------------------------


def test_triton_has_time_to_build_its_plans_before_it_is_restarted(chart: Render) -> None:
    deployment = only(chart(GPU), "Deployment", TRITON)["spec"]["template"]["spec"]
    (container,) = deployment["containers"]
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 1800
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in (
        deployment["tolerations"]
    )


def test_triton_scales_by_a_metric_that_the_rules_record(chart: Render) -> None:
    values = {"triton": {"enabled": True, "autoscaling": {"enabled": True}}}
    objects = chart({**values, "monitoring": {"enabled": True}})
    scaler = only(objects, "HorizontalPodAutoscaler")["spec"]
    assert "replicas" not in only(objects, "Deployment", TRITON)["spec"]
    assert scaler["scaleTargetRef"]["name"] == TRITON
    (metric,) = scaler["metrics"]
    rules = only(objects, "PrometheusRule")["spec"]["groups"]
    recorded = {rule.get("record") for group in rules for rule in group["rules"]}
    assert metric["pods"]["metric"]["name"] in recorded


def test_only_injected_pods_reach_triton_and_triton_reaches_nobody(chart: Render) -> None:
    policy = only(chart(GPU), "NetworkPolicy", TRITON)["spec"]
    ask, scrape = policy["ingress"]
    assert ask["from"][0]["podSelector"] == {"matchLabels": {"pointsman.dev/injected": "true"}}
    assert [each["port"] for each in ask["ports"]] == ["grpc"]
    assert [each["port"] for each in scrape["ports"]] == ["metrics"]
    assert policy["egress"] == []


# -- what is watched --------------------------------------------------------------------


def test_what_is_scraped_is_there(chart: Render) -> None:
    objects = chart({**GPU, "monitoring": {"enabled": True}})
    for monitor in (each for each in objects if each["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        services = [
            each
            for each in objects
            if each["kind"] == "Service" and wanted.items() <= each["metadata"]["labels"].items()
        ]
        (service,) = services
        ports = {each["name"] for each in service["spec"]["ports"]}
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= ports


def test_the_rules_are_those_of_the_files(chart: Render) -> None:
    rules = only(chart({"monitoring": {"enabled": True}}), "PrometheusRule")["spec"]["groups"]
    wanted = []
    for name in ("rules.yaml", "cluster-rules.yaml"):
        file = CHART / "files" / name
        if file.exists():
            wanted += yaml.safe_load(file.read_text())["groups"]
    assert rules == wanted


def test_the_charts_copy_of_the_alert_rules_is_the_one_in_deploy() -> None:
    source = ROOT / "deploy" / "prometheus" / "rules.yaml"
    copy = CHART / "files" / "rules.yaml"
    assert copy.exists() == source.exists()
    if source.exists():
        assert copy.read_text() == source.read_text(), (
            "cp deploy/prometheus/rules.yaml deploy/chart/files/"
        )
