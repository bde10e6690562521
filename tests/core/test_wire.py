"""Events as bytes: what is read, what is refused, and the place that an error names."""

from __future__ import annotations

import enum
import random
import resource
import struct
import time
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from http import HTTPStatus
from typing import Any, NamedTuple

import msgpack
import pytest

from mesh.core import wire
from mesh.errors import WireError

HEADER = {"message_id": b"1", "v": 3}


class Colour(enum.IntEnum):
    RED = 1


class Moment(datetime):
    pass


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (None, None),
        (True, True),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (1.5, 1.5),
        (float("inf"), float("inf")),
        ("grüß", "grüß"),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        ((1, (2,)), [1, [2]]),
        ({"a": [1], 2: None, b"c": {}}, {"a": [1], 2: None, b"c": {}}),
        (OrderedDict(a=1), {"a": 1}),
        (Colour.RED, 1),
        (datetime(2024, 2, 29, 1, 2, 3, 400, UTC), datetime(2024, 2, 29, 1, 2, 3, 400, UTC)),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)),
        (Moment(2024, 2, 29, 1, 2, 3, 400, UTC), datetime(2024, 2, 29, 1, 2, 3, 400, UTC)),
        ({Moment(1, 1, 1, tzinfo=UTC): 1}, {datetime(1, 1, 1, tzinfo=UTC): 1}),
    ],
)
def test_what_travels(value: Any, arrives: Any) -> None:
    assert wire.unpack(wire.pack(HEADER, "m", [value])) == (HEADER, "m", [arrives])
    assert wire.cannot_travel(value, "args") is None


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


class Unsayable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Untold:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("class")

    @__class__.setter
    def __class__(self, _: Any) -> None: ...


class Broken(list[int]):
    def __iter__(self) -> Any:
        raise RuntimeError("items")


def at(offset: timedelta | Exception | None) -> datetime:
    """A time of a zone that gives, or raises, this offset."""

    class Zone(tzinfo):
        def utcoffset(self, _: datetime | None) -> timedelta | None:
            if isinstance(offset, Exception):
                raise offset
            return offset

        def tzname(self, _: datetime | None) -> None: ...

        def dst(self, _: datetime | None) -> None: ...

    return datetime(2024, 1, 1, tzinfo=Zone())


def released() -> memoryview:
    view = memoryview(b"ab")
    view.release()
    return view


@pytest.mark.parametrize(
    ("args", "place"),
    [
        ([object()], "args[0] is of type object;"),
        ([1, {"a": [0, {1j}]}], "args[1]['a'][1][0] is of type complex;"),
        ([{"a": 1j}], "args[0]['a'] is of type complex;"),
        (
            [{frozenset(): 1}],
            "args[0][the key frozenset()] is a frozenset, which can't be a key where it arrives;",
        ),
        ([{(1, 2): 1}], "args[0][the key (1, 2)] is a tuple, which can't be a key where it arrives;"),
        ([[{"a": ({(): 1},)}]], "args[0][0]['a'][0][the key ()] is a tuple"),
        ([2**64], "args[0] is an integer of more than 64 bits;"),
        ([-(2**63) - 1], "args[0] is an integer of more than 64 bits;"),
        ([{10**5000: 1}], "args[0][the key a large int] is an integer of more than 64 bits;"),
        (["\ud800"], "args[0] is a text with lone surrogates"),
        ([{"\ud800": 1}], "is a text with lone surrogates"),
        ([datetime(2024, 1, 1)], "args[0] is a datetime without a time zone;"),
        ([Moment(2024, 1, 1)], "args[0] is a datetime without a time zone;"),
        ([at(None)], "args[0] is a datetime without a time zone;"),
        ([{"a": at(timedelta(days=3))}], "args[0]['a'] is a datetime whose time zone can't tell its offset"),
        ([at(KeyError("zone"))], "can't tell its offset: KeyError: 'zone';"),
        ([1, memoryview(b"abcd")[::2]], "args[1] is a memoryview with gaps"),
        ([released()], "args[0] can't be looked at: ValueError: operation forbidden on released memoryview"),
        ([[Untold()]], "args[0][0] is of type tests.core.test_wire.Untold;"),
        ([(Broken([1]),)], "args[0][0] can't be looked at: RuntimeError: items;"),
        ([Colour], "args[0] is of type enum.EnumType;"),
        ([nested(2000)], "args is nested more than 1000 levels deep"),
        (cycle(), "args is nested more than 1000 levels deep"),
        ([{Unsayable(): 1}], "is of type tests.core.test_wire.Unsayable;"),
    ],
)
def test_the_error_names_the_place_of_what_cant_travel(args: Any, place: str) -> None:
    with pytest.raises(TypeError) as caught:
        wire.pack(HEADER, "m", args)
    assert place in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_large_value_is_searched_for_its_fault_once() -> None:
    value = [list(range(100)) for _ in range(1000)]
    value[-1].append(object())  # type: ignore[arg-type]
    assert "args[999][100] is of type object" in str(wire.cannot_travel(value, "args"))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"hello",
        b"\x93",
        b"\x93\x80\xa1m\x90trailing",
        b"\x93\x80\xa1m\xdd\xff\xff\xff\xff",
        b"\x93\x80\xa2\xff\xfe\x90",
        msgpack.packb(1),
        msgpack.packb([{}, "m"]),
        msgpack.packb([{}, "m", [], 4]),
        msgpack.packb({"a": 1, "b": 2, "c": 3}),
        msgpack.packb([{}, 5, []]),
        msgpack.packb([{}, None, []]),
        b"\x93\x80\xa1m" + b"\x91" * 5000 + b"\xc0",
        b"\x93\x81\x91\x01\x01\xa1m\x90",
        b"\x93\x80\xa1m\x91" + msgpack.packb(msgpack.ExtType(5, b"x"))[:-1],
        b"\x93\x80\xa1m\x91\xd6\xff",
        b"\x93\x80\xa1m\x91\xc7\x0c\xff" + b"\xff" * 12,
    ],
)
def test_what_is_no_event_is_a_wire_error(payload: bytes) -> None:
    with pytest.raises(WireError) as caught:
        wire.unpack(payload)
    assert len(str(caught.value)) < 400


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "otherwise"


class Pair(NamedTuple):
    first: int
    second: int


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Pair(1, 2), [1, 2]),
        ((1, ({"a": (2,)},)), [1, [{"a": [2]}]]),
        (OrderedDict(a=1), {"a": 1}),
        (Text("text"), "text"),
        (HTTPStatus.OK, 200),
        (True, True),
        (type("Float", (float,), {})(1.5), 1.5),
        (type("Bytes", (bytes,), {})(b"b"), b"b"),
        (type("List", (list,), {})([1]), [1]),
        ({Text("key"): 1}, {"key": 1}),
    ],
)
def test_what_is_more_than_its_kind_travels_as_that(value: Any, plain: Any) -> None:
    (arrived,) = wire.unpack(wire.pack(HEADER, "m", [value]))[2]
    assert (type(arrived), arrived) == (type(plain), plain)


def test_a_key_that_python_cant_hold_is_said_so() -> None:
    payload = msgpack.packb([HEADER, "m", [{(1, 2): 3}]])
    with pytest.raises(WireError, match="an array or a map can't be the key of a map"):
        wire.unpack(payload)


def test_leniency_of_the_old_peers() -> None:
    assert wire.unpack(msgpack.packb([None, b"m\xff", 7])) == ({}, "m�", 7)
    assert wire.unpack(msgpack.packb([[1], "m", None])) == ({}, "m", None)


def test_the_header_of_an_unreadable_event_is_salvaged() -> None:
    header = msgpack.packb(HEADER)
    assert wire.salvage_header(b"\x93" + header + b"\xa1m\xc1") == HEADER
    assert wire.salvage_header(b"\x93" + header + b"\xa1m\x91" + b"\xc4") == HEADER


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x93",
        b"\x92\x80\x80",
        b"\xc1",
        b"\x93\x90\xa1m\x90",
        b"\x93\x81\x91\x01\x01",
        b"\x93" + msgpack.packb({"a": "x" * 5000}) + b"\xc1",
        b"\x93" + b"\x91" * 4000,
    ],
)
def test_a_header_that_cant_be_salvaged_is_none(payload: bytes) -> None:
    assert wire.salvage_header(payload) is None


@pytest.mark.parametrize(
    ("read", "size", "claimed"),
    [
        (wire.salvage_header, 4 << 10, 1 << 22),
        (wire.unpack, 4 << 10, wire.MAX_MESSAGE),
        # Takes many seconds with a msgpack before 1.2.4, which makes room for all that is claimed.
        (wire.unpack, 4 << 20, (4 << 20) - 8),
    ],
)
def test_a_few_bytes_that_claim_gigabytes_cost_little(read: Any, size: int, claimed: int) -> None:
    """Arrays within arrays, each of which says that it is as long as can be."""
    payload = (b"\x93\x81\xa1a" + (b"\xdd" + struct.pack(">I", claimed)) * 800).ljust(size, b"\xc0")
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    try:
        assert read(payload) is None
    except WireError:
        pass
    assert time.perf_counter() - began < 2.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_texts_are_clipped_in_their_middle() -> None:
    clipped = wire.clip("a" * wire.MAX_TEXT + "b" * wire.MAX_TEXT)
    assert clipped.startswith("aaa") and clipped.endswith("bbb")
    assert f"… {wire.MAX_TEXT} characters left out …" in clipped
    assert len(clipped) < wire.MAX_TEXT + 100
    assert wire.clip("short") == "short"
    assert wire.clip("\ud800") == "\\ud800"


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ("text", "text"),
        (b"b\xffy", "b�y"),
        (None, "None"),
        (7, "7"),
        ({"a": 1}, "{'a': 1}"),
        (float("nan"), "nan"),
        (msgpack.ExtType(1, b""), "ExtType(code=1, data=b'')"),
    ],
)
def test_what_a_peer_sends_for_a_text(sent: Any, text: str) -> None:
    assert wire.as_text(sent) == text


@pytest.mark.parametrize("sent", [nested(1000), ["x" * 1000] * 1000, "x" * 10**6, b"x" * 10**6])
def test_a_text_of_a_peer_has_an_end(sent: Any) -> None:
    assert len(wire.as_text(sent)) < wire.MAX_TEXT + 100


# What is passed on


def test_an_outline_is_header_and_name_whatever_the_arguments_are() -> None:
    payload = wire.pack(HEADER, "m", [{"deep": [b"x" * 10_000, 1.5, datetime(2024, 1, 1, tzinfo=UTC)]}])
    assert wire.outline(payload) == (HEADER, "m")
    not_utf_8 = msgpack.packb([HEADER, b"m", [b"\xff\xfe"]], use_bin_type=False)
    assert wire.outline(not_utf_8) == ({"message_id": "1", "v": 3}, "m")
    large_header = {**HEADER, "kwargs": {"a": "x" * 100_000}}
    assert wire.outline(wire.pack(large_header, "m", [])) == (large_header, "m")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgpack.packb([HEADER, "m"]),
        msgpack.packb([HEADER, 1, []]),
        msgpack.packb([HEADER, "m", [1]])[:-1],
        msgpack.packb([HEADER, "m", [1]]) + b"\x00",
        msgpack.packb([HEADER, "m"])[:1].replace(b"\x92", b"\x93") + b"\xdd\xff\xff\xff\xff" * 5,
        msgpack.packb({"a": 1}),
        msgpack.packb([{1: {}}, "m", []])[:-1] + b"\xc1",
    ],
)
def test_what_is_no_event_has_no_outline(payload: bytes) -> None:
    with pytest.raises(WireError):
        wire.outline(payload)


def test_an_outline_of_rubbish_raises_nothing_else() -> None:
    chance = random.Random(7)
    for _ in range(20_000):
        payload = b"\x93" * chance.randrange(2) + chance.randbytes(chance.randrange(60))
        try:
            wire.outline(payload)
        except WireError:
            pass


MAPS = (
    b"\x93"
    + msgpack.packb(HEADER)
    + b"\xa1m"
    + b"\xdd"
    + (2_000_000).to_bytes(4, "big")
    + b"\x80" * 2_000_000
)


@pytest.mark.parametrize("read", [wire.unpack, wire.outline])
def test_of_a_message_that_holds_too_many_values_nothing_is_made(read: Any) -> None:
    with pytest.raises(WireError, match=r"2000026 bytes holds more than 1000000 values.* raise max_elements"):
        read(MAPS)
    assert wire.salvage_header(MAPS) == HEADER, "its sender gets an answer"


def test_how_many_values_a_message_may_hold_can_be_set() -> None:
    payload = wire.pack(HEADER, "m", [1, 2])  # itself, a header with two keys, a name, and an array of two
    assert wire.unpack(payload, 10) == wire.unpack(payload) == (HEADER, "m", [1, 2])
    with pytest.raises(WireError, match="more than 9 values"):
        wire.unpack(payload, 9)
    assert len(wire.unpack(MAPS, 3_000_000)[2]) == 2_000_000


@pytest.mark.parametrize("value", ["x" * 3_000_000, b"x" * 3_000_000, [1.5] * 900_000])
def test_what_is_large_and_holds_few_values_passes(value: Any) -> None:
    assert wire.unpack(wire.pack(HEADER, "m", [value])) == (HEADER, "m", [value])


def test_times_at_the_ends_of_the_calendar_are_not_looked_for_among_very_many_values() -> None:
    early = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert wire.unpack(wire.pack(HEADER, "m", [early] * 10)) == (HEADER, "m", [early] * 10)
    with pytest.raises(WireError, match="ends of the calendar among more than 100000 values"):
        wire.unpack(wire.pack(HEADER, "m", [early] * 100_000))


def test_of_a_long_header_what_stands_first_is_salvaged() -> None:
    payload = wire.pack({**HEADER, "kwargs": {"rows": ["x" * 100] * 100}}, "m", [])
    assert wire.salvage_header(payload) == HEADER
