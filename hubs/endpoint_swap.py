"""Hubs of one process that want each other's endpoints, as two that change places in a reload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hubs.endpoint_conflicts import clash
from hubs.hub import Hub
from hubs.spec import HubSpec
from mesh.errors import ConfigError


class Move(NamedTuple):
    """What a running hub is, and is to become."""

    hub: Hub
    before: HubSpec
    after: HubSpec


def swappable(moves: Sequence[Move]) -> Sequence[Move]:
    """Those that wait for each other: each wants what another of them leaves, and leaves what one wants."""
    while True:
        rest = [
            one
            for one in moves
            if any(_gives(one, other) for other in moves) and any(_gives(other, one) for other in moves)
        ]
        if len(rest) == len(moves):
            return rest
        moves = rest


def swap(moves: Sequence[Move]) -> tuple[dict[str, ConfigError], dict[str, ConfigError]]:
    """Have all leave their endpoints before the first takes its new ones; where one can't, all go back.

    Gives the errors, by the names of the hubs, and those of hubs that could not go back.
    """
    problems = _take(moves, [move.after for move in moves])
    return problems, _take(moves, [move.before for move in moves]) if problems else {}


def _take(moves: Sequence[Move], specs: Sequence[HubSpec]) -> dict[str, ConfigError]:
    problems: dict[str, ConfigError] = {}
    for move, spec in zip(moves, specs, strict=True):
        try:
            move.hub.vacate(spec)
        except ConfigError as error:
            problems[spec.name] = error
    for move, spec in zip(moves, specs, strict=True):
        try:
            move.hub.reconfigure(spec)
            problems.pop(spec.name, None)  # it was only late to leave
        except ConfigError as error:
            problems[spec.name] = error
    return problems


def _gives(one: Move, other: Move) -> bool:
    """Whether the one leaves what the other wants."""
    wanted = _only_in(other.after, other.before)
    left = _only_in(one.before, one.after)
    return one is not other and any(clash(endpoint, want) for endpoint in left for want in wanted)


def _only_in(one: HubSpec, other: HubSpec) -> list[str]:
    """What the one binds at a side where the other does not."""
    return [
        endpoint
        for side, its in ((one.in_, other.in_), (one.out, other.out))
        for endpoint in side.bind
        if endpoint not in its.bind
    ]
