"""The README's table: what was promised, what was measured, and by which command."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bench.report.quality import POLICIES
from bench.report.rows import NOT_MEASURED, Results, Row
from bench.report.tables import YARDSTICKS, markdown, ms, percent, read_share, thousands


class _Line(NamedTuple):
    what: str
    measured: str
    goal: str
    command: str
    row: Row | None = None  # that it was measured by


def headline(results: Results) -> str:
    """Every figure the README quotes; what nobody measured stands there as such.

    Machines differ by more than most figures do: where there are several, a line names its own.
    """
    lines = [make(results) for make in _LINES]
    hosts = sorted({line.row.host for line in lines if line.row is not None})
    named = dict(zip(hosts, string.ascii_uppercase, strict=False)) if len(hosts) > 1 else {}
    cells = [(line.what, line.measured, line.goal, _from(line, named)) for line in lines]
    table = markdown(("", "measured", "goal", "command, when, load of the machine"), cells, text=4)
    if not hosts:
        return table
    if not named:
        return f"{table}\n\nOn {hosts[0]}."
    told = "; ".join(f"{letter} is {host}" for host, letter in named.items())
    return f"{table}\n\nThe machines: {told}."


def _from(line: _Line, named: dict[str, str]) -> str:
    if line.row is None:
        return f"`{line.command}`"
    machine = f", on {named[line.row.host]}" if named else ""
    return f"{line.row.source}{machine}"


def _line(
    what: str, goal: str, command: str, row: Row | None, tell: Callable[[dict[str, Any]], str]
) -> _Line:
    measured = f"*{NOT_MEASURED}*" if row is None else tell(row.figures)
    return _Line(what, measured, goal, command, row)


def _decision(results: Results) -> _Line:
    return _line(
        "decision, one client, prompts of 10 to 128 tokens, no caches",
        "",
        "python -m bench.decision --requests 700",
        results.newest("decision"),
        lambda f: (
            f"p50 {ms(f['decision_ms']['p50'])} ms, p99 {ms(f['decision_ms']['p99'])} ms over "
            f"{thousands(f['requests'])} requests; {percent(read_share(f))} decided in time"
        ),
    )


def _open_loop(results: Results) -> _Line:
    return _line(
        "decision at 100 requests a second, open loop, prompts of 128 tokens, load generator "
        "and mock upstream on the same cores",
        "p99 under 10 ms",
        "python -m bench.load",
        results.newest("load", lambda f: "100" in f["rates"]),
        lambda f: (
            f"p50 {ms(f['rates']['100']['decision_ms']['p50'])} ms, "
            f"p99 {ms(f['rates']['100']['decision_ms']['p99'])} ms; "
            f"{percent(read_share(f['rates']['100']), 0)} decided in time, the others by default"
        ),
    )


def _classified(results: Results) -> _Line:
    def tell(f: dict[str, Any]) -> str:
        took = f["classifiers"]["latency_ms"]
        ours, theirs = took["pointsman"]["p50"], took["semantic-router"]["p50"]
        return f"{ms(ours)} ms against {ms(theirs)} ms (p50), {theirs / ours:.1f} times"

    return _line(
        "one prompt classified, beside aurelio semantic-router over all-MiniLM-L6-v2, the same "
        "prompts in turn",
        "8 times",
        "python -m bench.rivals --part classifiers",
        results.newest(
            "rivals", lambda f: "semantic-router" in f.get("classifiers", {}).get("latency_ms", {})
        ),
        tell,
    )


def _judged(results: Results) -> _Line:
    def tell(f: dict[str, Any]) -> str:
        quality = f["classifiers"]["quality"].values()

        def told(name: str) -> str:
            return ", ".join(f"{q[name]['auc']:.3f}" for q in quality if q["rows"])

        names = ("semantic-router", "litellm-complexity")
        there = [name for name in names if all(name in q for q in quality if q["rows"])]
        return "; ".join([f"ours {told('pointsman')}", *(f"{n} {told(n)}" for n in there)])

    return _line(
        'the same: AUC of "the cheap model is right" on test rows of mmlu, mmlu_pro, llmrouter',
        "",
        "python -m bench.rivals --part classifiers",
        results.newest("rivals", lambda f: f.get("classifiers")),
        tell,
    )


def _cpu(results: Results) -> _Line:
    def tell(f: dict[str, Any]) -> str:
        table = f["proxies"]
        ours = table["pointsman"]["request"]["cpu_us"]
        told = [f"{thousands(ours)} us"]
        for name in ("portkey", "litellm"):
            if name in table:
                share = ours / table[name]["request"]["cpu_us"]
                told.append(f"1/{1 / share:.0f} of {name}")
            else:
                told.append(f"{name} {NOT_MEASURED}")
        return ", ".join(told)

    return _line(
        "proxy CPU for a request that names its model, beside other gateways",
        "under 1/10 of portkey, 1/50 of litellm",
        "python -m bench.rivals --part proxies",
        results.newest("rivals", lambda f: "pointsman" in f.get("proxies", {})),
        tell,
    )


def _thin(results: Results) -> _Line:
    def tell(f: dict[str, Any]) -> str:
        names = {"sidecar (compiled)": "compiled, as in the image", "sidecar": "from sources"}
        told = []
        for name, how in names.items():
            row = f["request"].get(name)
            if row is not None:
                shares = (f"{row[f'vs {other}']:.2f} of {other}" for other in YARDSTICKS)
                told.append(f"{thousands(row['cpu_us'])} us {how}: {', '.join(shares)}")
        return "; ".join(told)

    return _line(
        "the same beside thin proxies, in one interleaved run",
        "0.35 of plain aiohttp, 1.1 of envoy",
        "python -m bench.proxy",
        results.newest("proxy", lambda f: all(y in f["request"] for y in YARDSTICKS)),
        tell,
    )


def _policies(results: Results) -> _Line:
    def tell(f: dict[str, Any]) -> str:
        found = sorted(f["mmlu"]["at_the_cost_of_rules"].items(), key=lambda item: item[1])
        return ", ".join(f"{name} {score:.3f}" for name, score in found)

    return _line(
        "quality at the cost of rules, mmlu, 1,325 test rows",
        "",
        POLICIES,
        results.newest("policies", lambda f: "mmlu" in f),
        tell,
    )


def _faults(results: Results) -> _Line:
    def tell(f: dict[str, Any]) -> str:
        found = f["failure_pressure"]
        failed = sum(found["errors"].values())
        return (
            f"{failed} of {found['requests']} requests failed; without the sidecar "
            f"{found['errors_direct']}"
        )

    return _line(
        "an upstream that fails in a tenth of its answers",
        "",
        "python -m bench.scenarios",
        results.newest("scenarios", lambda f: "failure_pressure" in f),
        tell,
    )


def _soak(results: Results) -> _Line:
    def tell(f: dict[str, Any]) -> str:
        memory = f["rss_mb"]
        slope = memory["slope"]
        return (
            f"{f['seconds'] / 60:g} minutes, {thousands(f['requests'])} requests, "
            f"{f['lost']} lost; memory {memory['last']:g} MB, "
            f"{slope['per_hour']:+g} ± {slope['error']:g} MB an hour after the warm-up"
        )

    whole = results.newest("soak", lambda f: f["seconds"] >= 3600 and "over_time" in f)
    return _line(
        "soak with faults, hang-ups, reloads and the kill switch",
        "none lost, no slope",
        "python -m bench.soak",
        whole or results.newest("soak", lambda f: "over_time" in f),
        tell,
    )


def _start(results: Results) -> _Line:
    return _line(
        "start to the first 200 of `/readyz`; resident memory",
        "",
        "python -m bench.decision --requests 700",
        results.newest("decision"),
        lambda f: f"{f['ready_s']:.2f} s; {f['rss_mb']:.0f} MB",
    )


def _webhook(results: Results) -> _Line:
    return _line(
        "admission of a pod, 50 reviews a second",
        "",
        "python -m bench.inject",
        results.newest("inject"),
        lambda f: f"p50 {ms(f['review_ms']['p50'])} ms, p99 {ms(f['review_ms']['p99'])} ms",
    )


def _dashboard(results: Results) -> _Line:
    return _line(
        "the dashboard's first paint in Chromium, by the browser's own clock; its size",
        "300 ms; 150 KB",
        "python -m bench.dashboard",
        results.newest("dashboard"),
        lambda f: (
            f"{f['first_contentful_paint_ms']['p50']:.0f} ms (median of {f['loads']} cold loads, "
            f"{f['first_contentful_paint_ms']['min']:.0f} to "
            f"{f['first_contentful_paint_ms']['max']:.0f}); {f['bytes'] / 1000:.0f} KB"
        ),
    )


def _gpu(results: Results) -> _Line:
    return _line(
        "the encoder on a GPU, behind Triton",
        "",
        "python -m bench.gpu",
        results.newest("gpu"),
        lambda f: "see docs/gpu.md",
    )


_LINES: Sequence[Callable[[Results], _Line]] = (
    *(_decision, _open_loop, _classified, _judged, _policies, _cpu, _thin),
    *(_start, _faults, _soak, _webhook, _dashboard, _gpu),
)
