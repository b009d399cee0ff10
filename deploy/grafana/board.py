"""Writes pointsman.json, the Grafana dashboard: `python -m deploy.grafana.board`.

Grafana's format says one panel in sixty lines; here it is one. The file that is
imported stands beside this one, and a test compares the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson

FILE: Final = Path(__file__).with_name("pointsman.json")
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_UNREAD: Final = 'reason=~"deadline|classifier-down"'


def series(name: str, *matchers: str) -> str:
    """A selector of one metric at the instances chosen above the board."""
    return name + "{" + ",".join((*matchers, 'instance=~"$instance"')) + "}"


def per_second(name: str, *by: str, matchers: tuple[str, ...] = ()) -> str:
    grouped = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouped} (rate({series(name, *matchers)}[$__rate_interval]))"


def quantile(share: float, name: str, *by: str) -> str:
    grouped = ", ".join(("le", *by))
    rates = f"rate({series(name + '_bucket')}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by ({grouped}) ({rates}))"


def over_range(name: str) -> str:
    return f"sum(increase({series(name)}[$__range]))"


def mean(name: str, by: str) -> str:
    return f"{per_second(name + '_sum', by)} / {per_second(name + '_count', by)}"


# (row, [(title, what it says, kind, unit, width, [(expression, legend)])])
Panel = tuple[str, str, str, str, int, list[tuple[str, str]]]
ROWS: Final[list[tuple[str, list[Panel]]]] = [
    (
        "Money",
        [
            (
                "Saved", "Against the dearest candidate of each request, for the tokens that "
                "upstreams counted, over the time shown.", "stat", "currencyUSD", 6,
                [(f"{over_range('router_cost_strong_usd_total')} - "
                  f"{over_range('router_cost_usd_total')}", "saved")],
            ),
            (
                "Saved, share", "The same as a share of what always-strongest would have cost.",
                "stat", "percentunit", 6,
                [(f"1 - {over_range('router_cost_usd_total')} / "
                  f"{over_range('router_cost_strong_usd_total')}", "saved")],
            ),
            (
                "Spent", "At the configured prices.", "stat", "currencyUSD", 6,
                [(over_range("router_cost_usd_total"), "spent")],
            ),
            (
                "Answers of unknown cost", "Their upstream counted no tokens: they are in no sum.",
                "stat", "percentunit", 6,
                # where each was counted there is no series yet, and that is none and not no data
                [(f"({over_range('router_answers_of_unknown_cost_total')} or vector(0)) / "
                  f"{over_range('router_answers_total')}", "unknown")],
            ),
            (
                "Spending an hour", "USD an hour by the model that answered, and what the dearest "
                "candidates would have cost.", "timeseries", "currencyUSD", 12,
                [(f"3600 * {per_second('router_cost_usd_total', 'model')}", "{{model}}"),
                 (f"3600 * {per_second('router_cost_strong_usd_total')}", "always strongest")],
            ),
            (
                "Tokens a second", "As the upstreams counted them.", "timeseries", "short", 12,
                [(per_second("router_tokens_total", "model", "kind"), "{{model}} {{kind}}")],
            ),
        ],
    ),
    (
        "Decisions",
        [
            (
                "By model", "Decisions a second.", "timeseries", "reqps", 8,
                [(per_second("router_decisions_total", "model"), "{{model}}")],
            ),
            (
                "By reason", "Decisions a second; the words are those of x-router-reason.",
                "timeseries", "reqps", 8,
                [(per_second("router_decisions_total", "reason"), "{{reason}}")],
            ),
            (
                "Decision time", "From the received body to the decision, against the deadline.",
                "timeseries", "s", 8,
                [(quantile(0.5, "router_decision_seconds"), "p50"),
                 (quantile(0.99, "router_decision_seconds"), "p99"),
                 (f"max({series('router_classifier_deadline_seconds')})", "deadline")],
            ),
            (
                "Time by stage", "The mean of each stage.", "timeseries", "s", 8,
                [(mean("router_stage_seconds", "stage"), "{{stage}}")],
            ),
            (
                "Without a reading", "Decisions whose classifier was late or down: their route's "
                "default answered.", "timeseries", "percentunit", 8,
                [(f"{per_second('router_decisions_total', 'reason', matchers=(_UNREAD,))} "
                  f"/ ignoring(reason) group_left {per_second('router_decisions_total')}",
                  "{{reason}}")],
            ),
            (
                "What reads prompts", "Instances by backend and encoder, and prompts that wait.",
                "timeseries", "short", 8,
                [(f"count by (backend, encoder) ({series('router_classifier_info')})",
                  "{{backend}} {{encoder}}"),
                 (f"sum({series('router_classifier_queue')})", "waiting"),
                 (f"sum({series('router_triton_degraded')})", "should be on Triton")],
            ),
        ],
    ),
    (
        "Answers",
        [
            (
                "By how they ended", "Answers a second.", "timeseries", "reqps", 8,
                [(per_second("router_answers_total", "ended"), "{{ended}}")],
            ),
            (
                "By status", "Answers a second.", "timeseries", "reqps", 8,
                [(per_second("router_answers_total", "model", "status"), "{{model}} {{status}}")],
            ),
            (
                "First content", "From the request to the upstream's first content, p50 and p99.",
                "timeseries", "s", 8,
                [(quantile(0.5, "router_first_content_seconds", "model"), "{{model}} p50"),
                 (quantile(0.99, "router_first_content_seconds", "model"), "{{model}} p99")],
            ),
            (
                "Whole answers", "From the received body to the last byte, p50 and p99.",
                "timeseries", "s", 8,
                [(quantile(0.5, "router_request_seconds", "route"), "{{route}} p50"),
                 (quantile(0.99, "router_request_seconds", "route"), "{{route}} p99")],
            ),
            (
                "Failed attempts and fallbacks", "What apps did not notice.", "timeseries",
                "reqps", 8,
                [(per_second("router_attempts_failed_total", "model"), "{{model}} failed"),
                 (per_second("router_fallbacks_total", "model"), "{{model}} stood in")],
            ),
            (
                "Refused", "Requests that the sidecar answered with an error of its own.",
                "timeseries", "reqps", 8,
                [(per_second("router_refused_total", "status", "code"), "{{status}} {{code}}")],
            ),
        ],
    ),
    (
        "Upstreams and memory",
        [
            (
                "Breakers open", "Workers that do not ask an address, for it kept failing.",
                "timeseries", "short", 8,
                [(f"sum by (upstream, replica) ({series('router_breaker_open')})",
                  "{{upstream}} {{replica}}")],
            ),
            (
                "In flight", "Requests being answered, and where.", "timeseries", "short", 8,
                [(f"sum({series('router_in_flight')})", "all"),
                 (f"sum by (upstream, replica) ({series('router_upstream_in_flight')})",
                  "{{upstream}} {{replica}}")],
            ),
            (
                "Caches", "Lookups a second by what came of them.", "timeseries", "reqps", 8,
                [(per_second("router_cache_lookups_total", "cache", "result"),
                  "{{cache}} {{result}}")],
            ),
            (
                "Scores", "The mean score that came for answers, by model.", "timeseries",
                "percentunit", 8, [(mean("router_feedback_score", "model"), "{{model}}")],
            ),
            (
                "Asked again", "Requests that asked anew what had just been answered.",
                "timeseries", "reqps", 8,
                [(per_second("router_regenerates_total", "model"), "{{model}}")],
            ),
            (
                "Conversations", "Turns a second by what became of them, and how many are kept.",
                "timeseries", "reqps", 8,
                [(per_second("router_session_turns_total", "result"), "{{result}}"),
                 (f"sum({series('router_sessions')})", "kept")],
            ),
            (
                "Drift", "Population stability index of the last window against the reference.",
                "timeseries", "short", 8,
                [(f"max by (signal) ({series('router_drift_psi')})", "{{signal}}")],
            ),
            (
                "Budgets", "The share used, by whoever used most of it.", "timeseries",
                "percentunit", 8,
                [(f"max by (budget) ({series('router_budget_used')})", "{{budget}}")],
            ),
            (
                "Budgets used up", "Requests that came when one was.", "timeseries", "reqps", 8,
                [(per_second("router_budget_exhausted_total", "budget", "at_limit"),
                  "{{budget}} {{at_limit}}")],
            ),
        ],
    ),
    (
        "The process",
        [
            (
                "CPU", "Cores in use.", "timeseries", "short", 6,
                [(per_second("router_cpu_seconds_total", "mode"), "{{mode}}")],
            ),
            (
                "Memory", "Resident, all workers together.", "timeseries", "bytes", 6,
                [(f"sum by (instance) ({series('router_resident_bytes')})", "{{instance}}")],
            ),
            (
                "Open files", "Sockets included.", "timeseries", "short", 6,
                [(f"sum by (instance) ({series('router_open_files')})", "{{instance}}")],
            ),
            (
                "Configuration", "Its generation, and whether the kill switch is on.",
                "timeseries", "short", 6,
                [(f"max by (instance) ({series('router_config_generation')})",
                  "{{instance}} generation"),
                 (f"max by (instance) ({series('router_kill_switch')})",
                  "{{instance}} kill switch")],
            ),
        ],
    ),
]  # fmt: skip


def board() -> dict[str, Any]:
    """The whole dashboard, as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append(_row(len(panels) + 1, title, y))
        y += 1
        x = tall = 0
        for each in row:
            width, height = each[4], 4 if each[2] == "stat" else 8
            if x + width > 24:
                x, y = 0, y + tall
            panels.append(_panel(len(panels) + 1, each, {"x": x, "y": y, "w": width, "h": height}))
            x, tall = x + width, height
        y += tall
    return {
        "title": "Pointsman",
        "uid": "pointsman",
        "description": "What the sidecar decides, what it costs and saves, and how it is.",
        "tags": ["llm", "routing"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), _instance()]},
        "annotations": {"list": [_reloads()]},
        "panels": panels,
    }


def _row(number: int, title: str, y: int) -> dict[str, Any]:
    place = {"x": 0, "y": y, "w": 24, "h": 1}
    return {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    title, says, kind, unit, _, targets = panel
    made: dict[str, Any] = {
        "id": number,
        "type": kind,
        "title": title,
        "description": says,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + i), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(targets)
        ],
    }
    if kind == "stat":
        del made["fieldConfig"]["defaults"]["min"]  # savings may be negative
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    else:
        made["fieldConfig"]["defaults"]["custom"] = {"fillOpacity": 8, "lineWidth": 1}
        made["options"] = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return made


def _datasource() -> dict[str, Any]:
    return {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"}


def _instance() -> dict[str, Any]:
    query = "label_values(router_build_info, instance)"
    return {
        "name": "instance",
        "label": "Instance",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "instances"},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _reloads() -> dict[str, Any]:
    return {
        "name": "Reloads",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": f"changes({series('router_config_generation')}[1m]) > 0",
        "titleFormat": "The configuration was reloaded",
    }


def text() -> bytes:
    return orjson.dumps(board(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    FILE.write_bytes(text())
