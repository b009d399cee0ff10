"""The README's pictures, from the rows: file name to SVG.

A picture whose run is missing says so in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.report.rows import NOT_MEASURED, Results
from bench.report.svg import WIDTH, Axis, Bar, Line, bars, lines
from bench.report.tables import percent, read_share, thousands

GOAL_MS = 10.0


def charts(results: Results) -> dict[str, str]:
    return {
        "rate.svg": rate(results),
        "proxies.svg": proxies(results),
        "curve.svg": curve(results),
    }


def rate(results: Results) -> str:
    title = "How long a decision takes, by rate"
    row = results.newest("load", lambda f: len(f["rates"]) > 1)
    if row is None:
        return _absent(title, "python -m bench.load")
    found = {float(name): f for name, f in row.figures["rates"].items()}
    top = max(f["decision_ms"]["p99"] for f in found.values())
    step = 5 if top <= 25 else 10 if top <= 60 else 10 ** math.ceil(math.log10(top / 6))
    ticks = [(0.0, "")]
    ticks += [(at, f"{at:g}\n{percent(read_share(f), 0)}") for at, f in found.items()]
    series = [
        Line("p99", [(at, f["decision_ms"]["p99"]) for at, f in found.items()], "b"),
        Line("p50", [(at, f["decision_ms"]["p50"]) for at, f in found.items()], "a"),
        Line("goal for p99 at 100", [(0, GOAL_MS), (max(found), GOAL_MS)], "d", dashed=True),
    ]
    highest = math.ceil(max(top, GOAL_MS) / step) * step
    marks = [(float(at), f"{at:g}") for at in range(0, highest + 1, int(step))]
    return lines(
        title,
        f"Prompts of 128 tokens, open loop, all on {row.machine['cores']} cores; {row.moment}",
        Axis("requests a second\ndecided in time", ticks),
        Axis("ms", marks),
        series,
    )


def proxies(results: Results) -> str:
    title = "What a proxy costs: CPU a request"
    row = results.newest("rivals", lambda f: len(f.get("proxies", {})) > 1)
    if row is None:
        return _absent(title, "python -m bench.rivals --part proxies")
    table = row.figures["proxies"]
    ordered = sorted(table.items(), key=lambda item: item[1]["request"]["cpu_us"])
    rows = [
        Bar(
            name,
            f["request"]["cpu_us"],
            thousands(f["request"]["cpu_us"]),
            "a" if name.startswith("pointsman") else "d",
        )
        for name, f in ordered
    ]
    said = "The same requests in interleaved rounds, the proxy on a core of its own; " + row.moment
    return bars(title, said, "us", rows)


def curve(results: Results) -> str:
    title = "Quality by cost, two models, mmlu"
    row = results.newest("policies", lambda f: "curve" in f.get("mmlu", {}))
    if row is None:
        return _absent(title, "python -m bench.policies ROWS --source mmlu")
    found = row.figures["mmlu"]
    made = found["curve"]
    share: Sequence[float] = made["cost_share"]
    weak, strong = found["always"]["weak"], found["always"]["strong"]
    tones = {"similarity": "c", "cost_quality": "a"}
    series = [Line(name, list(zip(share, made[name], strict=True)), tones[name]) for name in tones]
    series.append(Line("drawn at random", [(0, weak), (1, strong)], "d", dashed=True))
    step = 0.02
    low = math.floor(min(weak, *(min(made[name]) for name in tones)) / step) * step
    high = math.ceil(max(strong, *(max(made[name]) for name in tones)) / step) * step
    marks = [low + step * i for i in range(round((high - low) / step) + 1)]
    return lines(
        title,
        f"{thousands(found['rows'])} rows nothing was made of, {found['abilities']['weak']} and "
        f"{found['abilities']['strong']}; {row.when[:10]}",  # no time is in it: no load
        Axis("of the gap in cost", [(i / 5, f"{i * 20} %") for i in range(6)]),
        Axis("score", [(at, f"{at:.2f}") for at in marks]),
        series,
    )


def _absent(title: str, command: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 80" role="img">'
        f'<title>{title}</title><text x="24" y="46" font-family="sans-serif" font-size="14" '
        f'fill="#64748b">{title}: {NOT_MEASURED} ({command})</text></svg>\n'
    )
