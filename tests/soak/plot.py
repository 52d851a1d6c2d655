"""Lines over time as an SVG, one panel below the other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

__all__ = ["svg"]

WIDTH: Final = 900
HEIGHT: Final = 140
MARGIN: Final = 60


def svg(seconds: Sequence[float], lines: Mapping[str, Sequence[float]], marks: Sequence[float]) -> str:
    """``lines`` by name, each over ``seconds``; ``marks`` are points in time that are shown in all panels."""
    panels = [_panel(number * (HEIGHT + MARGIN), name, seconds, values, marks) for number, (name, values) in enumerate(lines.items())]
    height = len(panels) * (HEIGHT + MARGIN)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 2 * MARGIN}" height="{height}" font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *panels, "</svg>\n"])


def _panel(top: int, name: str, seconds: Sequence[float], values: Sequence[float], marks: Sequence[float]) -> str:
    most, until = max(values, default=0) or 1, max(seconds, default=0) or 1

    def x(second: float) -> float:
        return MARGIN + WIDTH * second / until

    def y(value: float) -> float:
        return top + MARGIN / 2 + HEIGHT * (1 - value / most)

    points = " ".join(f"{x(second):.1f},{y(value):.1f}" for second, value in zip(seconds, values, strict=True))
    ticks = "".join(f'<line x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{y(0):.1f}" y2="{y(most):.1f}" stroke="#ddd"/>' for mark in marks)
    return (
        f'{ticks}<polyline fill="none" stroke="#1f5fa8" points="{points}"/>'
        f'<line x1="{MARGIN}" x2="{MARGIN + WIDTH}" y1="{y(0):.1f}" y2="{y(0):.1f}" stroke="black"/>'
        f'<text x="{MARGIN}" y="{top + MARGIN / 2 - 6:.1f}">{escape(name)}, up to {most:,.0f}</text>'
        f'<text x="{MARGIN + WIDTH}" y="{y(0) + 14:.1f}" text-anchor="end">{until:,.0f} s</text>'
    )
