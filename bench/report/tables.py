"""Runs as Markdown tables: one function a table, each from the rows to text.

A run that is missing leaves a line that says so: nothing vanishes because nobody measured
it. Milliseconds unless a column says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.report.rows import NOT_MEASURED, Results, Row

YARDSTICKS = ("plain aiohttp", "envoy")  # of bench.proxy


def markdown(head: Sequence[str], lines: Iterable[Sequence[object]], text: int = 1) -> str:
    """A table whose first ``text`` columns are text and whose others are numbers."""
    marks = ["---" if i < text else "--:" for i in range(len(head))]
    rows = [head, marks, *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def under(table: str, row: Row) -> str:
    """The table, and below it where it comes from."""
    return f"{table}\n\n{row.source}, {row.host}."


def missing(command: str) -> str:
    return f"*{NOT_MEASURED}: `{command}`*"


def ms(value: float | None) -> str:
    """Milliseconds with as many digits as mean something."""
    if value is None:
        return "–"
    return (
        f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
    )


def thousands(value: float) -> str:
    return f"{value:,.0f}"


def percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f} %"


def read_share(figures: dict[str, Any]) -> float:
    """Of the answers, those that the encoder's reading decided, or another stage in its place."""
    reasons = figures["reasons"]
    late = reasons.get("deadline", 0) + reasons.get("classifier-down", 0)
    return 1 - late / max(1, sum(reasons.values()))


def stages(results: Results) -> str:
    row = results.newest("decision")
    if row is None:
        return missing("python -m bench.decision")
    found = row.figures
    lines: list[Sequence[object]] = [
        (name, *(ms(spread[q]) for q in ("p50", "p90", "p99", "max")))
        for name, spread in {"**decision**": found["decision_ms"], **found["stages_ms"]}.items()
    ]
    table = markdown(("stage", "p50", "p90", "p99", "max"), lines)
    added = found["added_ms"]
    return under(
        f"{table}\n\nBeside the same requests sent straight to the upstream in between, "
        f"a whole request took {ms(added['p50'])} ms more (p50; p99 {ms(added['p99'])}), "
        f"{thousands(found['cpu_us_per_request'])} us of CPU among them.",
        row,
    )


def _load(results: Results, what: str, head: str) -> str:
    row = results.newest("load")
    if row is None:
        return missing("python -m bench.load")
    lines = [
        (
            name,
            thousands(f["requests"]),
            f"{f['per_s']:.0f}",
            *(ms(f["decision_ms"][q]) for q in ("p50", "p90", "p99")),
            ms(f["total_ms"]["p50"]),
            ms(f["total_ms"]["p99"]),
            percent(read_share(f), 0),
            thousands(f["sidecar_cpu_us"]),
            f["errors"],
        )
        for name, f in row.figures[what].items()
    ]
    columns = ("requests", "a second", "decision p50", "p90", "p99", "whole p50", "p99")
    return under(markdown((head, *columns, "decided in time", "CPU us", "errors"), lines), row)


def by_clients(results: Results) -> str:
    return _load(results, "clients", "clients (closed loop)")


def by_rate(results: Results) -> str:
    return _load(results, "rates", "asked a second (open loop)")


def by_length(results: Results) -> str:
    return _load(results, "lengths", "tokens of the prompt")


def scenarios(results: Results) -> str:
    row = results.newest("scenarios")
    if row is None:
        return missing("python -m bench.scenarios")
    lines = []
    for name, f in row.figures.items():
        decided, first, gap = f["decision_ms"], f["added_first_content_ms"], f["added_gap_ms"]
        failed = sum(f["errors"].values()) if isinstance(f["errors"], dict) else f["errors"]
        lines.append(
            (
                name.replace("_", " "),
                f["requests"],
                ms(decided and decided["p50"]),
                ms(decided and decided["p99"]),
                ms(first and first["p50"]),
                ms(gap and gap["p50"]),
                failed,
                f["errors_direct"],
            )
        )
    head = ("scenario", "requests", "decision p50", "p99", "added to the first content, p50")
    further = ("added between chunks, p50", "errors", "errors without the sidecar")
    return under(markdown((*head, *further), lines), row)


def proxies(results: Results) -> str:
    row = results.newest("rivals", lambda f: f.get("proxies"))
    if row is None:
        return missing("python -m bench.rivals --part proxies")
    table = row.figures["proxies"]
    ordered = sorted(table.items(), key=lambda item: item[1]["request"]["cpu_us"])
    lines = []
    for name, f in ordered:
        cells = [f"**{name}**" if name.startswith("pointsman") else name]
        for case in ("request", "stream"):
            told = f.get(case)
            cells += (
                [
                    thousands(told["cpu_us"]),
                    f"{told['times_ours']:.2g}"
                    if told["times_ours"] < 10
                    else f"{told['times_ours']:.0f}",
                ]
                if told
                else ["–", "–"]
            )
        bad = sum(f[case]["errors"] for case in ("request", "stream") if case in f)
        cells += [
            thousands(f["request"]["per_s"]),
            f"{f['rss_mb']:.0f}",
            f"{f['start_s']:.1f}",
            str(bad),
        ]
        lines.append(cells)
    head = ("proxy", "CPU us a request", "times ours", "CPU us a stream", "times ours")
    made = markdown((*head, "requests a second", "MB", "start, s", "errors"), lines)
    return under(made + _absent(row.figures.get("cannot_run_here", {})), row)


def thin(results: Results) -> str:
    """What a request and a stream cost beside plain aiohttp, nginx and Envoy."""
    row = results.newest("proxy", lambda f: all(y in f["request"] for y in YARDSTICKS))
    if row is None:
        return missing("python -m bench.proxy --requests 3000 --rounds 5")
    lines = []
    for case, named in row.figures.items():
        for name, f in named.items():
            low, high = f["cpu_us_spread"]
            shares = (f"{f[f'vs {y}']:.2f}" if f"vs {y}" in f else "–" for y in YARDSTICKS)
            first = f.get("first_added_ms")
            lines.append(
                (
                    case,
                    f"**{name}**" if name.startswith("sidecar") else name,
                    f"{thousands(f['cpu_us'])} ({thousands(low)} to {thousands(high)})",
                    *shares,
                    ms(first) if first is not None and case == "first chunk" else "",
                )
            )
    head = ("", "proxy", "CPU us, median (all rounds)", *(f"of {y}'s" for y in YARDSTICKS))
    return under(markdown((*head, "first chunk later by, ms"), lines, text=2), row)


def _absent(why: dict[str, str]) -> str:
    if not why:
        return ""
    return (
        "\n\nCannot run here: " + "; ".join(f"{name} ({text})" for name, text in why.items()) + "."
    )


def classifiers(results: Results) -> str:
    row = results.newest("rivals", lambda f: f.get("classifiers"))
    if row is None:
        return missing("python -m bench.rivals --part classifiers")
    found = row.figures["classifiers"]
    sources = {name.split()[0]: told for name, told in found["quality"].items() if told["rows"]}
    lines = [
        (
            f"**{name}**" if name == "pointsman" else name,
            ms(took["p50"]),
            ms(took["p99"]),
            f"{took['times_ours_p50']:.2g}",
            *(_quality(told.get(name)) for told in sources.values()),
        )
        for name, took in found["latency_ms"].items()
    ]
    columns = (f"{source}, {told['rows']} rows: AUC, APGR" for source, told in sources.items())
    made = markdown(("", "p50", "p99", "times ours", *columns), lines)
    return under(made + _absent(row.figures.get("classifiers_that_cannot_run_here", {})), row)


def _quality(told: dict[str, float | None] | None) -> str:
    if told is None:
        return NOT_MEASURED
    return ", ".join("–" if v is None else f"{v:.3f}" for v in (told["auc"], told["apgr"]))


def soak(results: Results) -> str:
    hour = results.newest("soak", lambda f: f["seconds"] >= 3600 and "over_time" in f)
    row = hour or results.newest("soak", lambda f: "over_time" in f)
    if row is None:
        return missing("python -m bench.soak")
    found = row.figures
    kinds = ("rss_mb", "files", "threads", "tasks")
    names = ("resident memory, MB", "open files", "threads", "tasks of the event loop")
    growth = [
        (
            name,
            *(f"{found[kind][key]:g}" for key in ("first", "settled", "most", "last")),
            f"{found[kind]['slope']['per_hour']:+g} ± {found[kind]['slope']['error']:g}",
        )
        for name, kind in zip(names, kinds, strict=True)
    ]
    grew = markdown(("", "first", "after the warm-up", "most", "last", "slope an hour"), growth)
    width = found["seconds"] / len(found["over_time"]) / 60
    lines = [
        (
            f"{i * width:g} to {(i + 1) * width:g}",
            w["requests"],
            *(ms(w.get(f"decision_{q}_ms")) for q in ("p50", "p99")),
            ms(w.get("generator_late_p99_ms")),
            *(w.get(key, "–") for key in ("failed", "cpu_us_per_request", "rss_mb", "load")),
        )
        for i, w in enumerate(found["over_time"])
    ]
    head = ("minutes", "requests", "decision p50", "p99", "generator late, p99")
    head += ("failed", "CPU us a request", "MB", "load")
    faults = ", ".join(f"{count} x {name}" for name, count in found["injected"].items())
    told = sum(found["errors"].values()) - found["lost"]
    idle = found["idle"]
    half = found["rss_mb"]["slope_second_half"]
    return under(
        f"{thousands(found['requests'])} requests in {found['seconds'] / 60:g} minutes, "
        f"{thousands(found['hang_ups'])} of them hung up by the caller; injected: {faults}. "
        f"Lost: **{found['lost']}**; told honestly that it failed: {told}; answered by "
        f"another model: {found['fallbacks']['in the faults']} within the faults, "
        f"{found['fallbacks']['between them']} between them.\n\n{grew}\n\n"
        f"Memory over the second half alone: {half['per_hour']:+g} ± {half['error']:g} MB an hour. "
        f"Idle before and after: {idle['before']['tasks']} and {idle['after']['tasks']} tasks, "
        f"{idle['before']['files']} and {idle['after']['files']} files.\n\n"
        f"{markdown(head, lines, text=1)}",
        row,
    )


def demo(results: Results) -> str:
    row = results.newest("pictures", lambda f: f.get("demo"))
    if row is None:
        return missing("python -m bench.pictures")
    return f"```console\n$ make demo\n\n{row.figures['demo']}\n```\n\n*{row.source}.*"
