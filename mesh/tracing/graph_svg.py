"""The call graph as a picture: an SVG file that needs nothing else, light or dark as its reader has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from itertools import pairwise
from math import log1p
from typing import Final, NamedTuple

from mesh.tracing.call_graph import Edge, Graph, busiest, plain
from mesh.tracing.layers import Layers, layered

CHAR: Final = 7.4
"""Pixels that a character of a name takes, at the most."""
SMALL: Final = 5.9
"""The same in a label."""
HIGH: Final = 40
"""Pixels of a box."""
ROW: Final = 62
"""Pixels from one place of a layer to the next."""
MARGIN: Final = 24
LONGEST: Final = 40
"""Characters of a name; the whole one is in its title."""

STYLE: Final = """
svg { background: #fff; color: #1c2430; font: 13px ui-sans-serif, system-ui, sans-serif; }
rect { fill: #f3f5f8; stroke: #b6c0cd; }
text { fill: currentColor; text-anchor: middle; }
.small { font-size: 11px; fill: #5b6675; font-variant-numeric: tabular-nums; }
.label { paint-order: stroke; stroke: #fff; stroke-width: 4px; stroke-linejoin: round; }
path { fill: none; stroke: #8593a5; }
.head { fill: #8593a5; stroke: none; }
.fails path { stroke: #c62f2f; } .fails .small { fill: #c62f2f; } .fails .head { fill: #c62f2f; }
@media (prefers-color-scheme: dark) {
svg { background: #14181e; color: #e4e8ee; }
rect { fill: #202731; stroke: #465364; }
.small { fill: #9aa7b8; }
.label { stroke: #14181e; }
.fails path { stroke: #ff7a70; } .fails .small { fill: #ff7a70; } .fails .head { fill: #ff7a70; }
}
"""


class Spot(NamedTuple):
    """Where something is: its middle, and how wide it is, in pixels."""

    x: float
    y: float
    wide: float


def svg(graph: Graph) -> Iterator[str]:
    """The lines of the file."""
    numbers = {name: number for number, name in enumerate(graph.services)}
    edges = {(numbers[edge.caller], numbers[edge.service]): edge for edge in graph.edges}
    found = layered(len(numbers), edges)
    spots, wide, high = _spots(graph, found, edges)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high:.0f}" '
        f'width="{wide:.0f}" height="{high:.0f}" role="img" aria-label="The call graph">'
    )
    yield f"<style>{STYLE}</style>"
    most = busiest(graph.edges)
    labels = []
    for places, edge in edges.items():
        yield from _edge(edge, [spots[place] for place in found.routes[places]], most)
        labels.append(_label(edge, [spots[place] for place in found.routes[places]]))
    for name, number in numbers.items():
        yield from _box(name, spots[number], graph.processes.get(name, 0))
    yield from labels
    yield "</svg>"


def _spots(
    graph: Graph, found: Layers, edges: Mapping[tuple[int, int], Edge]
) -> tuple[dict[int, Spot], float, float]:
    """The spot of each place, and how wide and high all is."""
    label = max((len(edge.label) for edge in edges.values()), default=0) * SMALL
    tallest = max((len(layer) for layer in found.layers), default=1)
    spots: dict[int, Spot] = {}
    left = float(MARGIN)
    for layer in found.layers:
        names = [graph.services[place] for place in layer if place < len(graph.services)]
        wide = max((min(len(plain(name)), LONGEST) for name in names), default=4) * CHAR + 28
        top = MARGIN + (tallest - len(layer)) * ROW / 2 + ROW / 2
        for number, place in enumerate(layer):
            spots[place] = Spot(
                left + wide / 2, top + number * ROW, wide if place < len(graph.services) else 0.0
            )
        left += wide + label + 36
    wide = max(left - label - 36 + MARGIN, 120.0)
    return spots, wide + (label if any(a == b for a, b in edges) else 0), tallest * ROW + 2 * MARGIN


def _box(name: str, spot: Spot, processes: int) -> Iterator[str]:
    text = plain(name)
    short = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    lower = f"{processes} process{'' if processes == 1 else 'es'}" if processes else ""
    yield f"<g><title>{escape(text)}</title>"
    yield (
        f'<rect x="{spot.x - spot.wide / 2:.1f}" y="{spot.y - HIGH / 2:.1f}" width="{spot.wide:.1f}" '
        f'height="{HIGH}" rx="6"/>'
    )
    yield f'<text x="{spot.x:.1f}" y="{spot.y - 2 if lower else spot.y + 5:.1f}">{escape(short)}</text>'
    if lower:
        yield f'<text class="small" x="{spot.x:.1f}" y="{spot.y + 13:.1f}">{lower}</text>'
    yield "</g>"


def _edge(edge: Edge, spots: list[Spot], most: float) -> Iterator[str]:
    """A line through all its places, the thicker the more calls go there, and its head."""
    broad = 1.2 + 2.8 * log1p(edge.rate) / log1p(most) if most else 1.2
    ends = [(spot.x, spot.y) for spot in spots]
    if len(spots) == 1:
        path, head = _loop(spots[0])
    else:
        to_right = ends[-1][0] > ends[0][0]
        way = 1 if to_right else -1
        ends[0] = (ends[0][0] + way * spots[0].wide / 2, ends[0][1])
        ends[-1] = (ends[-1][0] - way * (spots[-1].wide / 2 + 7), ends[-1][1])
        path = f"M{ends[0][0]:.1f},{ends[0][1]:.1f}"
        for (x, y), (to_x, to_y) in pairwise(ends):
            middle = (x + to_x) / 2
            path += f" C{middle:.1f},{y:.1f} {middle:.1f},{to_y:.1f} {to_x:.1f},{to_y:.1f}"
        x, y = ends[-1]
        head = f"M{x + way * 7:.1f},{y:.1f} l{-way * 9},-4.5 v9 z"
    title = escape(f"{plain(edge.caller)} → {plain(edge.service)}: {edge.label}")
    yield f'<g{_class(edge)}><title>{title}</title><path d="{path}" stroke-width="{broad:.1f}"/>'
    yield f'<path class="head" d="{head}"/></g>'


def _loop(spot: Spot) -> tuple[str, str]:
    """From a box to itself, at its right side."""
    x = spot.x + spot.wide / 2
    path = f"M{x:.1f},{spot.y - 8:.1f} c30,-14 30,30 7,16"
    return path, f"M{x:.1f},{spot.y + 8:.1f} l9,-4.5 v9 z"


def _label(edge: Edge, spots: list[Spot]) -> str:
    """Its figures, in the gap behind the layer that it leaves."""
    first, second = spots[0], spots[min(1, len(spots) - 1)]
    if len(spots) == 1:
        x, y = first.x + first.wide / 2 + 28 + len(edge.label) * SMALL / 2, first.y
    else:
        way = 1 if second.x > first.x else -1
        x = (first.x + way * first.wide / 2 + second.x - way * second.wide / 2) / 2
        y = (first.y + second.y) / 2
    text = escape(edge.label)
    return f'<g{_class(edge)}><text class="small label" x="{x:.1f}" y="{y - 5:.1f}">{text}</text></g>'


def _class(edge: Edge) -> str:
    return ' class="fails"' if edge.fails else ""
