"""Charts as SVG text: small, legible in light and dark, the same bytes for the same figures.

Only what the documents need: lines over a linear axis, and bars over a logarithmic one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
_STYLE = """
 .bg { fill:#ffffff } .t { fill:#0f172a; font-size:15px; font-weight:600 }
 .s { fill:#475569; font-size:12px } .n { fill:#0f172a; font-size:12px; font-weight:600 }
 .g { stroke:#e2e8f0; stroke-width:1 } .x { stroke:#94a3b8; stroke-width:1 }
 .line { fill:none; stroke-width:2.2; stroke-linejoin:round }
 .a { stroke:#0f766e } .b { stroke:#b45309 } .c { stroke:#6366f1 } .d { stroke:#64748b }
 .fa { fill:#0f766e } .fb { fill:#b45309 } .fc { fill:#6366f1 } .fd { fill:#94a3b8 }
 .dash { stroke-dasharray:5 4; stroke-width:1.6 }
 @media (prefers-color-scheme: dark) {
  .bg { fill:#0f172a } .t, .n { fill:#f1f5f9 } .s { fill:#cbd5e1 } .g { stroke:#1e293b }
  .x { stroke:#64748b }
  .a { stroke:#2dd4bf } .b { stroke:#fbbf24 } .c { stroke:#a5b4fc } .d { stroke:#94a3b8 }
  .fa { fill:#2dd4bf } .fb { fill:#fbbf24 } .fc { fill:#a5b4fc } .fd { fill:#64748b }
 }
"""


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    points: Sequence[tuple[float, float]]
    tone: str  # a, b, c or d
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    name: str
    value: float
    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Axis:
    """``ticks`` are values with their words; the first and the last bound the axis."""

    name: str
    ticks: Sequence[tuple[float, str]]


def _page(title: str, said: str, height: int, body: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            "font-family=\"ui-sans-serif, system-ui, -apple-system, 'Segoe UI', sans-serif\" "
            'role="img" aria-labelledby="t d">',
            f'<title id="t">{escape(title)}</title>',
            f'<desc id="d">{escape(said)}</desc>',
            f"<style>{_STYLE}</style>",
            f'<rect class="bg" width="{WIDTH}" height="{height}" rx="12"/>',
            f'<text class="t" x="24" y="32">{escape(title)}</text>',
            f'<text class="s" x="24" y="51">{escape(said)}</text>',
            *body,
            "</svg>",
            "",
        ]
    )


def _text(x: float, y: float, text: str, style: str = "s", anchor: str = "start") -> str:
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def lines(title: str, said: str, x: Axis, y: Axis, series: Sequence[Line]) -> str:
    """Lines over two linear axes, each named where it ends."""
    left, right, top, bottom, height = 62, WIDTH - 178, 94, 310, 360
    low_x, high_x = x.ticks[0][0], x.ticks[-1][0]
    low_y, high_y = y.ticks[0][0], y.ticks[-1][0]

    def at_x(value: float) -> float:
        return left + (value - low_x) / (high_x - low_x) * (right - left)

    def at_y(value: float) -> float:
        return bottom - (value - low_y) / (high_y - low_y) * (bottom - top)

    body = []
    for value, word in y.ticks:
        body.append(f'<path class="g" d="M{left} {at_y(value):.1f}H{right}"/>')
        body.append(_text(left - 8, at_y(value) + 4, word, anchor="end"))
    for value, word in x.ticks:
        for i, part in enumerate(word.split("\n")):
            body.append(_text(at_x(value), bottom + 18 + 15 * i, part, anchor="middle"))
    body.append(f'<path class="x" d="M{left} {bottom}H{right}"/>')
    for i, part in enumerate(x.name.split("\n")):
        body.append(_text(right + 24, bottom + 18 + 15 * i, part))
    body.append(_text(left - 8, top - 14, y.name, anchor="end"))
    taken: list[float] = []
    for one in sorted(series, key=lambda line: at_y(line.points[-1][1])):
        path = " ".join(f"{at_x(a):.1f} {at_y(b):.1f}" for a, b in one.points)
        dash = " dash" if one.dashed else ""
        body.append(f'<path class="line {one.tone}{dash}" d="M{path}"/>')
        if not one.dashed:
            body += [
                f'<circle class="f{one.tone}" cx="{at_x(a):.1f}" cy="{at_y(b):.1f}" r="2.6"/>'
                for a, b in one.points
            ]
        end = at_y(one.points[-1][1]) + 4
        while any(abs(end - other) < 14 for other in taken):
            end += 1
        taken.append(end)
        body.append(f'<circle class="f{one.tone}" cx="{right + 14}" cy="{end - 4:.1f}" r="4"/>')
        body.append(_text(right + 23, end, one.name))
    return _page(title, said, height, body)


def bars(title: str, said: str, unit: str, rows: Sequence[Bar]) -> str:
    """Bars over a logarithmic axis, each with its figure."""
    left, right, top, pitch = 158, WIDTH - 96, 84, 27
    low = math.floor(math.log10(min(row.value for row in rows)))
    high = math.ceil(math.log10(max(row.value for row in rows)))
    bottom = top + pitch * len(rows)

    def at(value: float) -> float:
        return left + (math.log10(value) - low) / (high - low) * (right - left)

    body = []
    for power in range(low, high + 1):
        x = at(10.0**power)
        body.append(f'<path class="g" d="M{x:.1f} {top - 8}V{bottom}"/>')
        body.append(_text(x, bottom + 17, f"{10.0**power:,.0f}", anchor="middle"))
    for i, row in enumerate(rows):
        y = top + pitch * i
        body.append(_text(left - 10, y + 13, row.name, anchor="end"))
        wide = max(1.0, at(row.value) - left)
        body.append(
            f'<rect class="f{row.tone}" x="{left}" y="{y}" width="{wide:.1f}" height="17" rx="3"/>'
        )
        body.append(_text(left + wide + 8, y + 13, row.text, "n"))
    body.append(_text(right + 60, bottom + 17, unit, anchor="middle"))
    return _page(title, said, bottom + 32, body)
