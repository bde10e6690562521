"""What travels of values that MessagePack has no form for, and what `encode` gives for the rest."""

from __future__ import annotations

import enum
import ipaddress
from array import array
from collections import Counter, OrderedDict, UserString, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgpack
import pytest

from mesh.core import wire
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.events import Packer
from mesh.core.server_session import ServerSession
from mesh.core.values import NATIVE
from tests.helpers.pair import Pair

HEADER = {"message_id": b"1", "v": 3}
Pair2 = namedtuple("Pair2", "a b")


class Colour(enum.Enum):
    RED = "red"
    BOTH = ("red", "blue")


class Word(enum.StrEnum):
    YES = "yes"


class Level(enum.IntFlag):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    x: int
    y: Any = 2


@dataclass(frozen=True, slots=True)
class Place:
    name: str
    points: list[Point] = field(default_factory=list)


class Money(Decimal):
    pass


class Ids(deque[UUID]):
    pass


SEVEN = UUID(int=7)
NETWORK = ipaddress.ip_network("10.0.0.0/8")

TABLE: list[tuple[Any, Any]] = [
    (Point(1), {"x": 1, "y": 2}),
    (Place("a", [Point(1, Decimal("1.10"))]), {"name": "a", "points": [{"x": 1, "y": "1.10"}]}),
    (Pair2(1, {2}), [1, [2]]),
    (Colour.RED, "red"),
    (Colour.BOTH, ["red", "blue"]),
    (Word.YES, "yes"),
    (Level.LOW | Level.HIGH, 3),
    (SEVEN, "00000000-0000-0000-0000-000000000007"),
    (Decimal("1.10"), "1.10"),
    (Money("NaN"), "NaN"),
    (Fraction(1, 3), "1/3"),
    (date(2026, 1, 2), "2026-01-02"),
    (time(3, 4, tzinfo=UTC), "03:04:00+00:00"),
    (timedelta(days=1, milliseconds=5), 86400.005),
    ({1}, [1]),
    (frozenset({"a"}), ["a"]),
    (range(2, 8, 2), [2, 4, 6]),
    (range(MAX_ELEMENTS)[:3], [0, 1, 2]),
    ({"a": {1}}.keys(), ["a"]),
    ({"a": {1}}.values(), [[1]]),
    ({"a": 1}.items(), [["a", 1]]),
    (deque([SEVEN], 3), [str(SEVEN)]),
    (Ids([SEVEN]), [str(SEVEN)]),
    (OrderedDict(a=1), {"a": 1}),
    (Counter("aa"), {"a": 2}),
    (defaultdict(set, a={1}), {"a": [1]}),
    (MappingProxyType({"a": (1,)}), {"a": [1]}),
    (PurePosixPath("/a/b"), "/a/b"),
    (Path("/a"), "/a"),
    (PureWindowsPath("c:/a"), "c:\\a"),
    (ipaddress.ip_address("::1"), "::1"),
    (NETWORK, "10.0.0.0/8"),
    (ipaddress.ip_interface("10.0.0.1/8"), "10.0.0.1/8"),
    (array("d", [1.5]), [1.5]),
    (array("u", "ab"), ["a", "b"]),
    (memoryview(b"ab"), b"ab"),
    ({SEVEN: 1, Colour.RED: 2, date(2026, 1, 2): 3}, {str(SEVEN): 1, "red": 2, "2026-01-02": 3}),
]


@pytest.mark.parametrize(("value", "arrives"), TABLE, ids=lambda value: type(value).__name__)
def test_what_each_arrives_as(value: Any, arrives: Any) -> None:
    payload = wire.pack(HEADER, "m", [value, {"a": [value]}])
    _, _, args = wire.unpack(payload)
    assert args == [arrives, {"a": [arrives]}]
    assert [*map(type, args)] == [type(arrives), dict]
    assert msgpack.unpackb(payload, strict_map_key=False)[2] == args, "an old peer reads the same"
    assert wire.cannot_travel(value, "args") is None, "who packs and who names the place agree"


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (2**70, "args[0] is an integer of more than 64 bits;"),
        (Point(1, 2**70), "args[0]['y'] is an integer of more than 64 bits;"),
        (Point(1, {SEVEN: [object()]}), "args[0]['y'][UUID('0000000...000000000007')][0] is of type object;"),
        ({1: {2j}}, "args[0][1][0] is of type complex;"),
        (datetime(2026, 1, 2), "args[0] is a datetime without a time zone;"),
        (range(MAX_ELEMENTS + 1), "args[0] is a range of more than 1000000 numbers;"),
        (range(2**70), "args[0] is a range of more than 1000000 numbers;"),
        ([range(-(2**70), -(2**70) + 1)], "args[0][0][0] is an integer of more than 64 bits;"),
        ({Pair2(1, 2): 1}, "args[0][the key Pair2(a=1, b=2)] is a Pair2, which can't be a key"),
        ({Colour.BOTH: 1}, "is a Colour, which can't be a key where it arrives;"),
        (
            Point(1, {frozenset({1}): 1}),
            "args[0]['y'][the key frozenset({1})] is a frozenset, which can't be",
        ),
        ({range(3): 1}, "is a range, which can't be a key where it arrives;"),
        ({1: UserString("a")}, "args[0][1] is of type collections.UserString;"),
        (Point, "args[0] is of type type;"),
        ({10**5000: 1}, "args[0][the key a large int] is an integer of more than 64 bits;"),
        (object.__new__(Place), "args[0] can't be looked at: AttributeError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cant_travel_names_its_place(value: Any, fault: str) -> None:
    with pytest.raises(TypeError) as caught:
        wire.pack(HEADER, "m", [value])
    assert fault in str(caught.value)
    assert "encode=" in str(caught.value) and len(str(caught.value)) < 600


class Vector:
    """Stands for what a library has, as numpy's arrays and pydantic's models."""

    def __init__(self, *items: Any) -> None:
        self.items = items


def packed(value: Any, encode: Any) -> Any:
    pack, plain = wire.packer(encode)
    try:
        payload = pack(value)
        if plain.arrays:
            wire.check_keys(plain, value)
        return msgpack.unpackb(payload, strict_map_key=False)
    except Exception as exc:  # noqa: BLE001 - as each packer of a session does
        raise (wire.cannot_travel(value, "args", plain) or wire.not_packed("args", exc)) from None


def to_items(value: Any) -> Any:
    if isinstance(value, Vector):
        return value.items
    raise TypeError(f"no {type(value).__name__}")


def test_a_function_of_the_programs_own_encodes_the_rest() -> None:
    assert packed([Vector(1, Vector(Decimal(2)))], to_items) == [[1, ["2"]]]
    assert packed({"a": Point(1, Vector())}, to_items) == {"a": {"x": 1, "y": []}}
    assert packed([2**70, 5], str) == [str(2**70), 5], "also for a number that is too large"
    assert packed({Vector("a"): 1}, lambda vector: vector.items[0]) == {"a": 1}
    assert packed(Vector(1), lambda value: value.items[0] if value.items else None) == 1


@pytest.mark.parametrize(
    ("value", "encode", "fault"),
    [
        (
            [Vector(1j)],
            to_items,
            "args[0][0] is of type complex, for which encode raised TypeError: no complex;",
        ),
        ([Vector()], lambda value: value, "Vector, which encode gives back as it is;"),
        ([Vector()], lambda value: Vector(), "Vector, for which encode gives ever other objects;"),
        ([Vector()], lambda value: [Vector()], "args is nested more than 1000 levels deep"),
        ({Vector(1): 2}, to_items, "is a Vector, which can't be a key where it arrives;"),
        ([Vector()], lambda value: 2**70, "args[0] is an integer of more than 64 bits;"),
        ([Vector()], lambda value: datetime(2026, 1, 1), "args[0] is a datetime without a time zone;"),
    ],
)
def test_an_encode_that_does_not_help_is_named_with_the_place(value: Any, encode: Any, fault: str) -> None:
    with pytest.raises(TypeError) as caught:
        packed(value, encode)
    assert fault in str(caught.value)


def test_encode_is_asked_for_nothing_that_travels_by_itself() -> None:
    asked: list[Any] = []
    values = [value for value, _ in TABLE] + [None, True, 1, 1.5, "a", b"a", [1], {"a": 1}]
    packed(values, asked.append)
    assert not asked and {type(None), int, str} <= NATIVE


def test_results_items_and_events_travel_by_the_same_table() -> None:
    pair = Pair()
    call, served = pair.begun("get")
    pair.server.answer(served, Point(1, SEVEN))
    pair.advance()
    assert call.value == {"x": 1, "y": str(SEVEN)}
    session = ServerSession(b"5" * 24, 5.0, encode=to_items)
    session.receive(b"peer", wire.pack({"message_id": b"1", "v": 3}, "m", []), 0.0)
    served = session.ready.popleft()
    assert session.begin(served, 0.0)
    assert wire.unpack(session.item(served, Vector(1, {2})))[2] == [1, [2]]
    with pytest.raises(TypeError, match="the item is of type complex, for which encode raised"):
        session.item(served, 1j)
    event = Packer(b"a" * 24, 10_000, to_items).pack("done", [Vector(1)], {"at": date(2026, 1, 2)})
    header, _, args = wire.unpack(event)
    assert args == [[1]] and header["kwargs"] == {"at": "2026-01-02"}
