"""The call graph as a picture: an SVG file that needs nothing else, light or dark as its reader has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
LINE: Final = 14
"""Pixels from one label to the next below it."""
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


Places = tuple[int, int]
"""An edge: the numbers of two services."""


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
    lines = _lines(edges, found, spots)
    most = busiest(graph.edges)
    for places, edge in edges.items():
        yield from _edge(edge, lines[places], most)
    for name, number in numbers.items():
        yield from _box(name, spots[number], _processes(graph, name))
    for edge, (x, y) in zip(edges.values(), _labels(edges, lines), strict=True):
        text = f'<text class="small label" x="{x:.1f}" y="{y:.1f}">{escape(edge.label)}</text>'
        yield f"<g{_class(edge)}>{text}</g>"
    yield "</svg>"


def _spots(graph: Graph, found: Layers, edges: Mapping[Places, Edge]) -> tuple[dict[int, Spot], float, float]:
    """The spot of each place, and how wide and high all is."""
    label = max((len(edge.label) for edge in edges.values()), default=0) * SMALL
    tallest = max((len(layer) for layer in found.layers), default=1)
    spots: dict[int, Spot] = {}
    left = float(MARGIN)
    for layer in found.layers:
        names = [graph.services[place] for place in layer if place < len(graph.services)]
        wide = max((min(len(plain(name)), LONGEST) for name in names), default=4) * CHAR + 28
        wide = max([wide] + [len(_processes(graph, name)) * SMALL + 20 for name in names])
        top = MARGIN + (tallest - len(layer)) * ROW / 2 + ROW / 2
        for number, place in enumerate(layer):
            is_box = place < len(graph.services)
            spots[place] = Spot(left + wide / 2, top + number * ROW, wide if is_box else 0.0)
        left += wide + label + 36
    wide = max(left - label - 36 + MARGIN, 120.0)
    return spots, wide + (label if any(a == b for a, b in edges) else 0), tallest * ROW + 2 * MARGIN


def _processes(graph: Graph, name: str) -> str:
    number = graph.processes.get(name, 0)
    return f"{number} process{'' if number == 1 else 'es'}" if number else ""


def _box(name: str, spot: Spot, lower: str) -> Iterator[str]:
    text = plain(name)
    short = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    yield f"<g><title>{escape(text)}</title>"
    yield (
        f'<rect x="{spot.x - spot.wide / 2:.1f}" y="{spot.y - HIGH / 2:.1f}" width="{spot.wide:.1f}" '
        f'height="{HIGH}" rx="6"/>'
    )
    yield f'<text x="{spot.x:.1f}" y="{spot.y - 2 if lower else spot.y + 5:.1f}">{escape(short)}</text>'
    if lower:
        yield f'<text class="small" x="{spot.x:.1f}" y="{spot.y + 13:.1f}">{lower}</text>'
    yield "</g>"


def _lines(
    edges: Iterable[Places], found: Layers, spots: Mapping[int, Spot]
) -> dict[Places, list[tuple[float, float]]]:
    """The points that each edge goes through. Those at one side of a box end beside each other, in the order
    in which they come from above and below.
    """
    lines = {}
    sides: dict[tuple[int, int], list[tuple[float, Places, int]]] = {}
    for edge in edges:
        route = found.routes[edge]
        lines[edge] = [(spots[place].x, spots[place].y) for place in route]
        for end, beside in ((0, 1), (-1, -2)) if len(route) > 1 else ():
            box, other = spots[route[end]], spots[route[beside]]
            way = 1 if other.x > box.x else -1
            sides.setdefault((route[end], way), []).append((other.y, edge, end))
    for (place, way), ends in sides.items():
        box = spots[place]
        gap = min(8.0, (HIGH - 10) / len(ends))
        for number, (_, edge, end) in enumerate(sorted(ends)):
            y = box.y + (number - (len(ends) - 1) / 2) * gap
            lines[edge][end] = (box.x + way * (box.wide / 2 + (7 if end else 0)), y)
    for edge in edges:
        if len(found.routes[edge]) == 1:
            box = spots[edge[0]]
            lines[edge] = [(box.x + box.wide / 2, box.y)]
    return lines


def _edge(edge: Edge, points: Sequence[tuple[float, float]], most: float) -> Iterator[str]:
    """A line through these points, the thicker the more calls go there, and its head."""
    broad = 1.2 + 2.8 * log1p(edge.rate) / log1p(most) if most else 1.2
    x, y = points[-1]
    if len(points) == 1:
        path, head = f"M{x:.1f},{y - 8:.1f} c30,-14 30,30 7,16", f"M{x:.1f},{y + 8:.1f} l9,-4.5 v9 z"
    else:
        path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
        for (from_x, from_y), (to_x, to_y) in pairwise(points):
            middle = (from_x + to_x) / 2
            path += f" C{middle:.1f},{from_y:.1f} {middle:.1f},{to_y:.1f} {to_x:.1f},{to_y:.1f}"
        way = 1 if x > points[-2][0] else -1
        head = f"M{x + way * 7:.1f},{y:.1f} l{-way * 9},-4.5 v9 z"
    title = escape(f"{plain(edge.caller)} → {plain(edge.service)}: {edge.label}")
    yield f'<g{_class(edge)}><title>{title}</title><path d="{path}" stroke-width="{broad:.1f}"/>'
    yield f'<path class="head" d="{head}"/></g>'


def _labels(
    edges: Mapping[Places, Edge], lines: Mapping[Places, Sequence[tuple[float, float]]]
) -> Iterator[tuple[float, float]]:
    """The middle of each edge's label: in the gap beside the box that it leaves, below others there."""
    taken: list[tuple[float, float, float]] = []
    for places, edge in edges.items():
        points = lines[places]
        wide = len(edge.label) * SMALL
        x, y = points[0]
        if len(points) == 1:
            x += 28 + wide / 2
        else:
            x, y = (x + points[1][0]) / 2, (y + points[1][1]) / 2 - 5
        while any(
            abs(y - row) < LINE and abs(x - middle) < (wide + broad) / 2 for middle, row, broad in taken
        ):
            y += LINE / 2
        taken.append((x, y, wide))
        yield x, y


def _class(edge: Edge) -> str:
    return ' class="fails"' if edge.fails else ""
