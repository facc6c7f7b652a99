"""Line charts as SVG, readable on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 72, 150, 40, 52

COLORS = {"postgresql": ("#1a5fb4", "#78aeed"), "sqlite": ("#c64600", "#ffa348")}
"""On a light page, and on a dark one."""

NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; font-size: 15px; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .line { fill: none; stroke-width: 2; }
  .floor { stroke-dasharray: 5 4; stroke-width: 1.5; }
"""

DARK = """
    text { fill: #e6edf3; }
    .grid { stroke: #3d444d; }
"""


@dataclass(frozen=True)
class Line:
    """A curve: a kind of database, and whether it is the floor's."""

    kind: str
    floor: bool
    points: Sequence[tuple[float, float]]

    @property
    def name(self) -> str:
        return f"{NAMES[self.kind]}, floor" if self.floor else NAMES[self.kind]


def charts(figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the pictures of `curves`, by name."""
    return {
        "concurrency": chart(
            "Steps/s against workflows at once",
            "workflows of ten steps at once",
            _lines(figures, "concurrency", "concurrency, floor"),
        ),
        "history": chart(
            "Steps/s against the length of a run",
            "steps of each of 50 runs at once",
            _lines(figures, "history"),
        ),
        "parked": chart(
            "Steps/s beside parked runs",
            "runs parked in the same database (the first point: none)",
            _lines(figures, "parked"),
        ),
    }


def _lines(figures: Mapping[str, Any], *curves: str) -> list[Line]:
    return [
        Line(
            kind,
            curve.endswith("floor"),
            [(float(x), one["median"]) for x, one in figures[kind][curve].items()],
        )
        for kind in NAMES
        if kind in figures
        for curve in curves
    ]


def chart(title: str, x_title: str, lines: Sequence[Line]) -> str:
    """Draw lines over a logarithmic axis of x and a straight one of steps/s, which begins at nothing."""
    # Nothing has no logarithm: it stands a decade before the first of the others.
    xs = sorted({x for line in lines for x, _ in line.points})
    least = min(x for x in xs if x > 0)
    left = math.log10(least / 10 if 0 in xs else least)
    right = math.log10(xs[-1])
    step = _step(max(y for line in lines for _, y in line.points))
    top = step * math.ceil(max(y for line in lines for _, y in line.points) / step)

    def at_x(x: float) -> float:
        place = math.log10(x) if x else left
        return LEFT + (WIDTH - LEFT - RIGHT) * (place - left) / ((right - left) or 1)

    def at_y(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / top

    parts = [f'<text class="title" x="{LEFT}" y="22">{title}</text>']
    for number in range(round(top / step) + 1):
        y = number * step
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{at_y(y) + 4:.1f}" text-anchor="end">{y:,.0f}</text>')
    parts += [
        f'<text x="{at_x(x):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{x:,.0f}</text>'
        for x in _labelled(xs)
    ]
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{x_title}</text>'
    )
    for line, label_y in zip(lines, _apart([at_y(line.points[-1][1]) for line in lines]), strict=True):
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline class="line {line.kind}{" floor" if line.floor else ""}" points="{path}"/>')
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{label_y + 4:.1f}" class="{line.kind}-name">{line.name}</text>'
        )
    body = "\n".join(f"  {part}" for part in parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">\n'
        f"<style>{STYLE}{_colors(0)}"
        f"  @media (prefers-color-scheme: dark) {{{DARK}{_colors(1)}  }}\n</style>\n{body}\n</svg>\n"
    )


def _colors(which: int) -> str:
    return "".join(
        f"  .{kind} {{ stroke: {colors[which]}; }} .{kind}-name {{ fill: {colors[which]}; }}\n"
        for kind, colors in COLORS.items()
    )


def _step(highest: float) -> float:
    """A round distance that gives four to ten lines of the grid."""
    decade = 10 ** math.floor(math.log10(highest))
    return next(decade * share for share in (0.1, 0.2, 0.25, 0.5, 1) if highest / (decade * share) <= 9)


def _labelled(xs: Sequence[float]) -> list[float]:
    """Those that have room for a label: the first and the last, and powers of ten between them."""
    return [x for x in xs if x in (xs[0], xs[-1]) or x == 10 ** round(math.log10(x))]


def _apart(places: Sequence[float]) -> list[float]:
    """Move labels that would lie over each other."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + 16)
    return moved
