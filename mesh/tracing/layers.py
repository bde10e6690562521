"""Where the nodes of a directed graph are drawn: in layers, so that edges lead from one layer to later ones.

Knows numbers alone. The steps are those of Sugiyama, Tagawa and Toda (1981): cycles are opened, each node is
put behind all that lead to it, edges over several layers get a place in each, and the places of a layer are
ordered by where their neighbours are, so that few edges cross.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

SWEEPS: Final = 8
"""Times that all layers are ordered, to and fro."""

Edge = tuple[int, int]


@dataclass(slots=True)
class Layers:
    """layers: of each layer its places from the first to the last. Places below the number of nodes are
    nodes, the others are where a long edge passes. routes: of each edge all its places, from its tail to its
    head; of one that leads from a node to itself only that.
    """

    layers: list[list[int]] = field(default_factory=list)
    routes: dict[Edge, list[int]] = field(default_factory=dict)


def layered(nodes: int, edges: Iterable[Edge]) -> Layers:
    """nodes: how many there are, numbered from 0; the order in which they come decides where all else is
    equal.
    """
    every = list(dict.fromkeys(edges))
    backward = _backward(nodes, every)
    forward = [
        (head, tail) if (tail, head) in backward else (tail, head) for tail, head in every if tail != head
    ]
    layer_of = _longest_paths(nodes, forward)
    found = Layers([[] for _ in range(max(layer_of, default=-1) + 1)])
    for node in range(nodes):
        found.layers[layer_of[node]].append(node)
    links = _route(found, layer_of, every, backward, nodes)
    _order(found.layers, links)
    return found


def _backward(nodes: int, edges: Sequence[Edge]) -> set[Edge]:
    """The edges that close a cycle where one walks from node to node, first from those nothing leads to."""
    following: list[list[int]] = [[] for _ in range(nodes)]
    reached = set()
    for tail, head in edges:
        if tail != head:
            following[tail].append(head)
            reached.add(head)
    found: set[Edge] = set()
    state = [0] * nodes  # 1: on the way, 2: done
    for root in sorted(range(nodes), key=lambda node: node in reached):
        if state[root]:
            continue
        state[root] = 1
        way = [(root, iter(following[root]))]
        while way:
            node, left = way[-1]
            for head in left:
                if state[head] == 1:
                    found.add((node, head))
                elif not state[head]:
                    state[head] = 1
                    way.append((head, iter(following[head])))
                    break
            else:
                state[node] = 2
                way.pop()
    return found


def _longest_paths(nodes: int, edges: Sequence[Edge]) -> list[int]:
    """The layer of each node: one more than the last of those that lead to it. Without cycles."""
    following: list[list[int]] = [[] for _ in range(nodes)]
    missing = [0] * nodes
    for tail, head in edges:
        following[tail].append(head)
        missing[head] += 1
    layer = [0] * nodes
    ready = [node for node in range(nodes) if not missing[node]]
    for node in ready:  # grows meanwhile
        for head in following[node]:
            layer[head] = max(layer[head], layer[node] + 1)
            missing[head] -= 1
            if not missing[head]:
                ready.append(head)
    return layer


def _route(
    found: Layers, layer_of: Sequence[int], edges: Sequence[Edge], backward: set[Edge], nodes: int
) -> list[Edge]:
    """Give each edge its places; gives the links between places of neighbouring layers."""
    links: list[Edge] = []
    following = nodes
    for edge in edges:
        tail, head = edge
        if tail == head:
            found.routes[edge] = [tail]
            continue
        first, last = (head, tail) if edge in backward else edge
        between = range(layer_of[first] + 1, layer_of[last])
        places = [first, *range(following, following + len(between)), last]
        following += len(between)
        for layer, place in zip(between, places[1:-1], strict=True):
            found.layers[layer].append(place)
        links += pairwise(places)
        found.routes[edge] = places[::-1] if edge in backward else places
    return links


def _order(layers: list[list[int]], links: Sequence[Edge]) -> None:
    """Order each layer by the mean place of the neighbours on one side, from both sides in turn."""
    before: dict[int, list[int]] = {}
    after: dict[int, list[int]] = {}
    for tail, head in links:
        before.setdefault(head, []).append(tail)
        after.setdefault(tail, []).append(head)
    place = {one: number for layer in layers for number, one in enumerate(layer)}
    best, fewest = [list(layer) for layer in layers], _crossings(layers, after, place)
    for sweep in range(SWEEPS):
        beside = before if sweep % 2 == 0 else after
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            means = {one: _mean(place, beside.get(one, [one])) for one in layer}
            layer.sort(key=lambda one: means[one])
            place.update((one, number) for number, one in enumerate(layer))
        crossings = _crossings(layers, after, place)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best


def _mean(place: Mapping[int, int], some: Sequence[int]) -> float:
    return sum(place[one] for one in some) / len(some)


def _crossings(layers: Sequence[Sequence[int]], after: dict[int, list[int]], place: dict[int, int]) -> int:
    """How many links cross. Of a layer with very many links only the first are looked at."""
    total = 0
    for layer in layers:
        links = [(place[one], place[other]) for one in layer for other in after.get(one, ())][:1_000]
        for number, (tail, head) in enumerate(links):
            total += sum(1 for other, end in links[number + 1 :] if (tail - other) * (head - end) < 0)
    return total
