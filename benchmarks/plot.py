"""Plot the table as SVG: how far each figure is above or below its target."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from common import Row

LEFT, WIDTH, LINE, TOP = 430, 360, 22, 40
LEAST, MOST = -2, 5  # powers of two at the ends of the axis
COLOURS = {True: "#2a7f62", False: "#c1443c"}


def svg(rows: Sequence[Row]) -> str:
    """Draw bars from the target, in powers of two: to the right better, to the left worse."""
    height = TOP + LINE * len(rows) + 16
    zero = place(1)
    view = f'viewBox="0 0 {LEFT + WIDTH + 170} {height}"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {view} font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="100%" height="{height}" fill="white"/>',
    ]
    for power in range(LEAST, MOST + 1):
        x = place(2.0**power)
        label = "target" if power == 0 else f"{2**power}x" if power > 0 else f"1/{2**-power}"
        out.append(f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{height - 12}" stroke="#ddd"/>')
        out.append(f'<text x="{x}" y="{TOP - 14}" text-anchor="middle" fill="#555">{label}</text>')
    for number, row in enumerate(rows):
        y, x = TOP + LINE * number, place(row.margin)
        begin, length = min(zero, x), max(abs(x - zero), 2)
        figure = html.escape(f"{row.figure:.3g} {row.unit} (target {row.goal:g})")
        out.append(f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{html.escape(row.what)}</text>')
        out.append(
            f'<rect x="{begin}" y="{y + 3}" width="{length}" height="{LINE - 8}" fill="{COLOURS[row.reached]}"/>'
        )
        out.append(f'<text x="{LEFT + WIDTH + 10}" y="{y + 14}" fill="#555">{figure}</text>')
    out.append(f'<line x1="{zero}" y1="{TOP - 8}" x2="{zero}" y2="{height - 12}" stroke="#333" stroke-width="1.5"/>')
    return "\n".join([*out, "</svg>", ""])


def place(margin: float) -> float:
    """The x coordinate of a figure that is `margin` times better than its target."""
    power = min(max(math.log2(max(margin, 1e-9)), LEAST), MOST)
    return round(LEFT + WIDTH * (power - LEAST) / (MOST - LEAST), 1)
