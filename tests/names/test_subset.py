"""Which of very many endpoints a client uses."""

from __future__ import annotations

from collections import Counter

from mesh.names.model import Endpoint
from mesh.names.subset import MOST, used_by

MANY = [Endpoint(f"tcp://host{number}:4242") for number in range(200)]


def test_few_are_used_all() -> None:
    assert used_by(b"client", MANY[:MOST]) == MANY[:MOST]


def test_each_client_uses_others_and_stays_with_them() -> None:
    first, second = used_by(b"first", MANY), used_by(b"second", MANY)
    assert len(first) == len(second) == MOST and set(first) != set(second)
    assert used_by(b"first", MANY[::-1]) == first[::-1]
    assert len(set(first) & set(used_by(b"first", MANY[:-10]))) >= MOST - 10


def test_all_are_used_by_nearly_as_many() -> None:
    uses = Counter(one for number in range(400) for one in used_by(b"client%d" % number, MANY))
    assert set(uses) == set(MANY)
    assert max(uses.values()) < 2.5 * min(uses.values())


def test_those_that_are_preferred_come_first() -> None:
    preferred = [Endpoint(f"tcp://near{number}:1", priority=1) for number in range(20)]
    others = [Endpoint(f"tcp://far{number}:1", priority=2) for number in range(50)]
    chosen = used_by(b"client", [*others, *preferred])
    assert set(preferred) <= set(chosen) and len(chosen) == MOST
    near = [Endpoint(f"tcp://near{number}:1") for number in range(50)]
    assert not set(used_by(b"client", [*others, *near])) & set(others)
