"""A plot of a few lines over time with a logarithmic scale, as SVG: text, so that no library is needed."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 56
COLOURS = ("#0b7285", "#e8590c", "#868e96", "#5f3dc4")


@dataclass(frozen=True, slots=True)
class Line:
    """points: of seconds and values, which are more than 0."""

    name: str
    points: list[tuple[float, float]]


class _Scale:
    """Where a time and a value are on the sheet."""

    def __init__(self, lines: list[Line]) -> None:
        times = [time for line in lines for time, _ in line.points]
        values = [max(value, 1e-3) for line in lines for _, value in line.points]
        self.end = ceil(max(times))
        self.low, self.high = floor(log10(min(values))), ceil(log10(max(values)))

    def x(self, time: float) -> float:
        return round(LEFT + time / self.end * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (log10(max(value, 10.0**self.low)) - self.low) / max(self.high - self.low, 1)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def draw(lines: list[Line], title: str, shade: tuple[float, float, str]) -> str:
    """shade: a while that is set off, from when to when, and what is said of it."""
    scale = _Scale(lines)
    begin, end, what = shade
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<rect x="{scale.x(begin)}" y="{TOP}" width="{scale.x(end) - scale.x(begin):.1f}"'
        f' height="{HEIGHT - TOP - BOTTOM}" fill="#f1f3f5"/>',
        _text(WIDTH / 2, 18, title, "middle", "14"),
        _text((scale.x(begin) + scale.x(end)) / 2, TOP + 14, what, "middle"),
        *_grid(scale),
    ]
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{scale.x(time)},{scale.y(value)}" for time, value in line.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        place = LEFT + 10 + number * 150
        parts.append(f'<rect x="{place}" y="{HEIGHT - 16}" width="14" height="4" fill="{colour}"/>')
        parts.append(_text(place + 20, HEIGHT - 10, line.name, "start"))
    return "\n".join([*parts, "</svg>", ""])


def _grid(scale: _Scale) -> list[str]:
    parts = []
    for power in range(scale.low, scale.high + 1):
        height = scale.y(10.0**power)
        parts.append(f'<path d="M{LEFT} {height}H{WIDTH - RIGHT}" stroke="#dee2e6"/>')
        parts.append(_text(LEFT - 6, height + 4, f"{10.0**power:,g}", "end"))
    times = range(0, scale.end + 1, max(scale.end // 6, 1))
    return parts + [_text(scale.x(time), HEIGHT - BOTTOM + 18, f"{time} s", "middle") for time in times]


def _text(x: float, y: float, text: str, anchor: str, size: str = "12") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
