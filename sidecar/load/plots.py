"""The run in pictures, as SVG text: needs matplotlib (the extra ``plot``).

Figures are drawn without pyplot, so nothing global changes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sidecar.load.run import DIRECT, ROUTED, Leg
from sidecar.load.verdict import Summary, quantile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK: Final = "#334155"
_COLOUR: Final = {ROUTED: "#0f766e", DIRECT: "#94a3b8"}
_MISSED: Final = "#b91c1c"
_SLICES: Final = 40  # points of the plot over time
_STEPS: Final = 400  # points of a distribution: more would only make the file large


def drawn(summary: Summary, legs: Sequence[Leg]) -> dict[str, str]:
    """Title -> SVG, in the order in which they are worth looking at.

    Raises ImportError where matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    def figure() -> tuple[Figure, Any]:
        made = Figure(figsize=(7.2, 2.9), layout="constrained")
        axes = made.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(which="both", colors=_INK, labelsize=8)
        return made, axes

    limits = {v.objective: v.limit for v in summary.verdicts}
    pictures: dict[str, str] = {}
    decisions = [s.decision_ms for leg in legs for s in leg.samples if s.decision_ms is not None]
    if decisions:
        made, axes = figure()
        _cumulative(axes, {"decision": decisions}, {"decision": _COLOUR[ROUTED]})
        if "decision_p99_ms" in limits:
            _limit(axes, limits["decision_p99_ms"], "objective, p99")
        axes.set_xlabel("decision, ms (log)", color=_INK, fontsize=8)
        pictures["Time to decide"] = _svg(made)
    first = {via: [_ for leg in legs if leg.via == via for _ in _first(leg)] for via in _COLOUR}
    if any(first.values()):
        made, axes = figure()
        _cumulative(axes, {k: v for k, v in first.items() if v}, _COLOUR)
        axes.set_xlabel("from due to first content, ms (log)", color=_INK, fontsize=8)
        axes.legend(frameon=False, fontsize=8, labelcolor=_INK)
        pictures["Time to the first content"] = _svg(made)
    over = _over_time(legs)
    if len(over) > 1:
        made, axes = figure()
        xs = [x for x, _, _ in over]
        axes.plot(xs, [p50 for _, p50, _ in over], color=_COLOUR[ROUTED], label="p50")
        axes.plot(xs, [p99 for _, _, p99 in over], color=_COLOUR[ROUTED], ls=":", label="p99")
        axes.set_xlabel("seconds of routed load", color=_INK, fontsize=8)
        axes.set_ylabel("decision, ms", color=_INK, fontsize=8)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8, labelcolor=_INK)
        pictures["Over time"] = _svg(made)
    if summary.models:
        made, axes = figure()
        _bars(axes, summary.models)
        pictures["Who answered"] = _svg(made)
    return pictures


def _first(leg: Leg) -> Iterable[float]:
    return (s.first_ms for s in leg.samples if s.first_ms is not None and not s.error)


def _cumulative(axes: Any, series: Mapping[str, list[float]], colours: Mapping[str, str]) -> None:
    for name, values in series.items():
        ordered = sorted(max(v, 1e-3) for v in values)
        steps = min(_STEPS, len(ordered))
        ranks = sorted({-(-len(ordered) * (i + 1) // steps) for i in range(steps)} | {1})
        axes.step(
            [ordered[rank - 1] for rank in ranks],
            [rank / len(ordered) for rank in ranks],
            where="post",
            color=colours[name],
            label=name,
        )
    axes.set_xscale("log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(_plain)  # 40, where matplotlib would write 4 x 10^1
    axes.set_ylim(0, 1.01)
    axes.set_ylabel("share of requests", color=_INK, fontsize=8)
    axes.grid(alpha=0.25, linewidth=0.5)


def _plain(value: float, _: int) -> str:
    """A tick's words: those at 1, 2 and 5 of a decade, which never crowd."""
    leading = f"{value:e}"[0]
    return f"{value:g}" if leading in "125" and f"{value:.0e}"[0] == leading else ""


def _limit(axes: Any, at: float, label: str) -> None:
    axes.axvline(at, color=_MISSED, linewidth=0.9, linestyle="--")
    axes.text(at, 0.04, f" {label} {at:g} ms", color=_MISSED, fontsize=8, va="bottom")


def _over_time(legs: Sequence[Leg]) -> list[tuple[float, float, float]]:
    """(seconds, p50, p99) of the decision, over slices of the routed legs end to end."""
    points: list[tuple[float, float]] = []
    offset = 0.0
    for leg in legs:
        if leg.via != ROUTED or not leg.samples:
            continue
        timed = ((s.due_s, s.decision_ms) for s in leg.samples if s.decision_ms is not None)
        points += [(offset + due, ms) for due, ms in timed]
        offset += leg.samples[-1].due_s
    if not points:
        return []
    width = max(1e-9, points[-1][0] / _SLICES)
    slices: dict[int, list[float]] = {}
    for at, ms in points:
        slices.setdefault(int(at / width), []).append(ms)
    return [
        ((i + 0.5) * width, quantile(sorted(values), 0.5), quantile(sorted(values), 0.99))
        for i, values in sorted(slices.items())
    ]


def _bars(axes: Any, counts: Mapping[str, int]) -> None:
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: item[1])
    axes.barh([name for name, _ in ordered], [n for _, n in ordered], color=_COLOUR[ROUTED])
    for y, (_, n) in enumerate(ordered):
        axes.text(n, y, f" {n / total:.0%}", va="center", fontsize=8, color=_INK)
    axes.set_xlabel("answers", color=_INK, fontsize=8)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg")  # on white: the Markdown may be read on black
    text = out.getvalue()
    return text[text.index("<svg") :]
