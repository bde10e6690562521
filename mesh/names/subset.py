"""Which of very many endpoints one client uses.

Each connection costs descriptors at both ends, and each server would know each client. So of more than MOST a
client takes those that its own id claims most strongly: every client others, all endpoints equally many
clients, and nearly the same ones still when some come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, TypeVar

from mesh.core.rendezvous import strongest
from mesh.names.model import Endpoint

MOST: Final = 32

T = TypeVar("T")


def used_by(client: bytes, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Those that a client of this id uses."""
    return subset(client, endpoints, lambda one: one.priority, lambda one: one.address, MOST)


def subset(
    key: bytes, among: Sequence[T], priority: Callable[[T], int], name: Callable[[T], str], most: int
) -> Sequence[T]:
    """`most` of them, as this key chooses: of the preferred ones first, and of others what is missing."""
    if len(among) <= most:
        return among
    chosen: list[T] = []
    for _, tier in groupby(sorted(among, key=priority), key=priority):
        chosen += strongest(key, tier, most - len(chosen), name)
        if len(chosen) == most:
            break
    return chosen
