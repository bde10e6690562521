"""The call graph: as a tree, as text for other programs, and as a picture."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest

from mesh.tracing.call_graph import AGAIN, CYCLE, MOST, Graph, dot, mermaid, tree
from mesh.tracing.graph_svg import HIGH, svg
from mesh.tracing.layers import layered

SHOP = {
    ("web", "api"): (120.0, 0.0),
    ("web", "auth"): (60.0, 0.0),
    ("api", "orders"): (100.0, 0.0),
    ("api", "users"): (40.0, 0.0),
    ("auth", "users"): (60.0, 0.0),
    ("orders", "stock"): (90.0, 0.0),
    ("orders", "bank"): (30.0, 0.05),
    ("stock", "orders"): (2.0, 0.0),
    ("users", "db"): (44.0, 0.0),
}
EVIL = 'a"]<b>&\\\x1b[2J\n'


def graph(edges: dict[tuple[str, str], tuple[float, float]]) -> Graph:
    told: list[dict[str, Any]] = [
        {"caller": caller, "service": service, "rate": rate, "p99": 0.05, "error_share": share}
        for (caller, service), (rate, share) in edges.items()
    ]
    nodes = [{"service": "orders", "rate": 100.0, "p99": 0.1, "error_share": 0.0, "processes": 2}]
    return Graph.of({"edges": told, "nodes": nodes})


def lines(edges: dict[tuple[str, str], tuple[float, float]]) -> list[str]:
    return [f"{branch.name} {branch.mark}".rstrip() for branch in tree(graph(edges))]


def test_a_tree_tells_each_service_once_and_marks_cycles() -> None:
    assert lines(SHOP) == [
        "web",
        "├─ api",
        "│  ├─ orders",
        "│  │  ├─ stock",
        f"│  │  │  └─ orders {CYCLE}",
        "│  │  └─ bank",
        "│  └─ users",
        "│     └─ db",
        "└─ auth",
        f"   └─ users {AGAIN}",
    ]


def test_a_cycle_that_nothing_leads_to_and_a_service_that_calls_itself() -> None:
    assert lines({("a", "b"): (1.0, 0), ("b", "a"): (2.0, 0), ("c", "c"): (3.0, 0)}) == [
        "c",
        f"└─ c {CYCLE}",
        "orders",  # that nobody calls
        "b",
        "└─ a",
        f"   └─ b {CYCLE}",
    ]


def test_as_much_as_can_be_looked_at() -> None:
    found = graph({(f"a{n}", f"b{n}"): (float(n + 1), 0.0) for n in range(MOST + 5)})
    assert (len(found.edges), found.more) == (MOST, 5)
    assert found.edges[0].rate == MOST + 5
    deep = {(f"s{n:03}", f"s{n + 1:03}"): (1.0, 0.0) for n in range(MOST)}
    assert len(lines(deep)) == MOST + 2
    empty = Graph.of({"edges": [], "nodes": []})
    assert list(tree(empty)) == []
    assert ElementTree.fromstring("\n".join(svg(empty))).tag.endswith("svg")


def test_dot() -> None:
    text = "\n".join(dot(graph({("web", EVIL): (4.0, 0.1)})))
    assert '"web" -> "a\\"]<b>&\\\\ [2J " [label="4.0/s p99 50ms 10% fail", color=red' in text
    assert "\x1b" not in text


def test_mermaid() -> None:
    text = "\n".join(mermaid(graph({**SHOP, ("web", EVIL): (4.0, 0.0)})))
    assert re.search(r'^  s\d+ -->\|"30.0/s p99 50ms 5.0% fail"\| s\d+$', text, re.MULTILINE)
    assert '["a#34;#93;#60;b#62;#38;#92; #91;2J "]' in text
    failing = [n for n, edge in enumerate(graph({**SHOP, ("web", EVIL): (4.0, 0.0)}).edges) if edge.fails]
    assert f"linkStyle {failing[0]} stroke:red" in text


def test_a_picture_holds_all_and_boxes_do_not_touch() -> None:
    found = graph({**SHOP, ("web", EVIL): (4.0, 0.0), ("db", "db"): (1.0, 0.0)})
    root = ElementTree.fromstring("\n".join(svg(found)))
    texts = ["".join(one.itertext()) for one in root.iter() if one.tag.endswith("}text")]
    assert {"web", "orders", "2 processes", 'a"]<b>&\\ [2J '} <= set(texts)
    assert sum("p99" in text for text in texts) == len(found.edges)
    boxes = [
        tuple(float(one.attrib[name]) for name in ("x", "y", "width", "height"))
        for one in root.iter()
        if one.tag.endswith("}rect")
    ]
    assert len(boxes) == len(found.services)
    wide, high = (float(root.attrib[name]) for name in ("width", "height"))
    for number, (x, y, width, height) in enumerate(boxes):
        assert x > 0 and x + width < wide and y > 0 and y + height < high and height == HIGH
        for other_x, other_y, other_width, _ in boxes[number + 1 :]:
            assert x + width < other_x or other_x + other_width < x or abs(y - other_y) > HIGH


@pytest.mark.parametrize("seed", range(5))
def test_edges_lead_from_layer_to_layer_but_those_that_close_a_cycle(seed: int) -> None:
    chance = random.Random(seed)
    nodes = 30
    edges = {(chance.randrange(nodes), chance.randrange(nodes)) for _ in range(60)}
    found = layered(nodes, sorted(edges))
    places = [place for layer in found.layers for place in layer]
    assert len(places) == len(set(places)) and set(range(nodes)) <= set(places)
    layer_of = {place: number for number, layer in enumerate(found.layers) for place in layer}
    for edge in edges:
        route = [layer_of[place] for place in found.routes[edge]]
        if edge[0] != edge[1]:
            steps = {after - before for before, after in pairwise(route)}
            assert steps in ({1}, {-1})
        assert found.routes[edge][0] == edge[0] and found.routes[edge][-1] == edge[1]


def test_lines_that_need_not_cross_do_not() -> None:
    found = layered(6, [(0, 5), (1, 4), (2, 3)])
    first, second = found.layers
    assert [found.routes[a, 5 - a][-1] for a in first] == second
