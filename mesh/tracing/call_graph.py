"""Which service calls which: the graph that a collector tells, and how it is written as text, DOT or Mermaid.

What goes in is the answer of `Collector.graph`. Names are texts of other programs: each form escapes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from mesh.tracing.live import brief, per_second

MOST: Final = 300
"""Edges that are shown, those of most calls."""
FAILING: Final = 0.01
"""The share of errors from which an edge is marked."""
AGAIN: Final = "(as above)"
CYCLE: Final = "↻ cycle"


class Edge(NamedTuple):
    """The calls of one service to another. rate: calls/s. p99: seconds. error_share: 0 to 1."""

    caller: str
    service: str
    rate: float
    p99: float
    error_share: float

    @property
    def label(self) -> str:
        """As "45/s p99 10ms 9.9% fail"."""
        return " ".join(part for part in figures(self) if part)

    @property
    def fails(self) -> bool:
        return self.error_share >= FAILING


class Graph(NamedTuple):
    """services: in the order of their names. edges: those of most calls first. more: edges left out."""

    services: list[str]
    edges: list[Edge]
    processes: Mapping[str, int]
    more: int = 0

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """What a collector has told."""
        every = sorted(
            (
                Edge(edge["caller"], edge["service"], edge["rate"], edge["p99"], edge["error_share"])
                for edge in answer["edges"]
                if edge["rate"]
            ),
            key=lambda edge: (-edge.rate, edge.caller, edge.service),
        )
        edges = every[:MOST]
        processes = {node["service"]: node["processes"] for node in answer["nodes"] if node["rate"]}
        names = {name for edge in edges for name in (edge.caller, edge.service)} | set(list(processes)[:MOST])
        return cls(sorted(names), edges, processes, len(every) - len(edges))


def figures(edge: Edge) -> tuple[str, str, str]:
    """Calls a second, p99 and share of errors, "" for none."""
    share = edge.error_share * 100
    failing = f"{share:.1f}% fail" if 0.05 <= share < 9.95 else f"{share:.0f}% fail" if share > 1 else ""
    return f"{per_second(edge.rate)}/s", f"p99 {brief(edge.p99)}", failing


def plain(text: str) -> str:
    """A name on one line, without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text) or "-"


# As a tree


class Branch(NamedTuple):
    """A line of the tree. above: of each level whether another branch follows there. edge: None at a root.
    mark: AGAIN where what it calls stands further up, CYCLE where it is one of its own callers, "".
    """

    service: str
    above: tuple[bool, ...]
    edge: Edge | None
    mark: str = ""

    @property
    def name(self) -> str:
        """With its place in the tree."""
        if not self.above:
            return plain(self.service)
        *outer, last = self.above
        lines = "".join("│  " if goes_on else "   " for goes_on in outer)
        return f"{lines}{'├─ ' if last else '└─ '}{plain(self.service)}"


def tree(graph: Graph) -> Iterator[Branch]:
    """The services below those that call them, from those on that nobody calls; each once with what it
    calls.
    """
    called: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        called.setdefault(edge.caller, []).append(edge)
    told: set[str] = set()
    for root in _roots(graph):
        if root in told:
            continue
        todo: list[tuple[Branch, tuple[str, ...]]] = [(Branch(root, (), None), ())]
        while todo:
            branch, callers = todo.pop()
            service = branch.service
            below = called.get(service, [])
            if service in callers:
                yield branch._replace(mark=CYCLE)
            elif below and service in told:
                yield branch._replace(mark=AGAIN)
            else:
                yield branch
                told.add(service)
                todo += [
                    (Branch(edge.service, (*branch.above, edge is not below[-1]), edge), (*callers, service))
                    for edge in reversed(below)
                ]


def _roots(graph: Graph) -> list[str]:
    """Those that nobody else calls, then all others, as some are in a cycle that nothing leads to."""
    called = {edge.service for edge in graph.edges if edge.caller != edge.service}
    busy = {edge.caller: None for edge in graph.edges}
    return [name for name in (*busy, *graph.services) if name not in called] + [*busy, *graph.services]


# As text for other programs


def dot(graph: Graph) -> Iterator[str]:
    """For Graphviz."""
    yield "digraph mesh {"
    yield "  rankdir=LR;"
    yield '  node [shape=box, style=rounded, fontname="sans-serif"];'
    yield '  edge [fontname="sans-serif", fontsize=10];'
    for name in graph.services:
        yield f"  {_quoted(name)};"
    for edge in graph.edges:
        colour = ", color=red, fontcolor=red" if edge.fails else ""
        yield f"  {_quoted(edge.caller)} -> {_quoted(edge.service)} [label={_quoted(edge.label)}{colour}];"
    yield "}"


def _quoted(text: str) -> str:
    escaped = plain(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def mermaid(graph: Graph) -> Iterator[str]:
    """For Mermaid, as in a page of GitHub."""
    yield "flowchart LR"
    numbers = {name: number for number, name in enumerate(graph.services)}
    for name, number in numbers.items():
        yield f'  s{number}["{_entities(name)}"]'
    for edge in graph.edges:
        yield f'  s{numbers[edge.caller]} -->|"{_entities(edge.label)}"| s{numbers[edge.service]}'
    failing = [str(number) for number, edge in enumerate(graph.edges) if edge.fails]
    if failing:
        yield f"  linkStyle {','.join(failing)} stroke:red,color:red"


def _entities(text: str) -> str:
    """All but letters, digits and a few others as Mermaid's entities."""
    return "".join(char if char.isalnum() or char in " -_./:@%" else f"#{ord(char)};" for char in plain(text))


def busiest(edges: Sequence[Edge]) -> float:
    """Calls/s of the edge with most; 0.0 where there is none."""
    return max((edge.rate for edge in edges), default=0.0)
