"""How many values a message holds, counted without making any of them."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.core.elements import VALUE_BYTES, weight, within

MANY = 1_000_000
NUMBERS = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(), st.integers(-200, 300))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.text(max_size=300),
    st.binary(max_size=300),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=300)),
    st.builds(msgpack.Timestamp, st.integers(0, 2**40), st.integers(0, 10**9 - 1)),
)
RUNS = st.tuples(NUMBERS, st.integers(0, 40)).map(lambda run: [run[0]] * run[1])
# Long rows of the same and of others, as what is counted in blocks is the many, with strays among them.
ROWS = st.lists(st.tuples(st.lists(SCALARS, max_size=6), st.integers(0, 150)), max_size=6).map(
    lambda parts: [value for row, times in parts for value in row * times]
)
KEYS = st.text(max_size=9) | st.integers(-9, 2**40)
VALUES = st.recursive(
    SCALARS | RUNS | ROWS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(KEYS, inner, max_size=20),
    max_leaves=20,
)


def count(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(map(count, value))
    if isinstance(value, dict):
        return 1 + sum(count(key) + count(item) for key, item in value.items())
    return 1


@given(VALUES)
def test_each_item_key_and_value_counts_once(value: Any) -> None:
    message, number = msgpack.packb(value), count(value)
    assert within(message, number) and within(memoryview(message), number)
    assert not within(message, number - 1)
    assert weight(message) == len(message) + VALUE_BYTES * number


FIXED = {
    **dict.fromkeys(b"\xcc\xd0", 1),
    **dict.fromkeys(b"\xcd\xd1\xdc\xde", 2),
    **dict.fromkeys(b"\xca\xce\xd2\xdd\xdf", 4),
    **dict.fromkeys(b"\xcb\xcf\xd3", 8),
    **dict(zip(b"\xd4\xd5\xd6\xd7\xd8", (2, 3, 5, 9, 17), strict=True)),
}
LENGTHS = dict(zip(b"\xc4\xd9\xc5\xda\xc6\xdb\xc7\xc8\xc9", (1, 1, 2, 2, 4, 4, 1, 2, 4), strict=True))


def value_by_value(message: bytes) -> int:
    """The count by the table of the MessagePack specification, one value after the other."""
    at = number = 0
    while at < len(message):
        code = message[at]
        at, number = at + 1, number + 1
        if code in LENGTHS:
            digits = LENGTHS[code]
            at += digits + int.from_bytes(message[at : at + digits], "big") + (code in b"\xc7\xc8\xc9")
        else:
            at += code - 0xA0 if 0xA0 <= code < 0xC0 else FIXED.get(code, 0)
    return number


BYTES = st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 150))).map(
    lambda parts: b"".join(part * times for part, times in parts)
)


@given(st.binary(max_size=100) | BYTES, st.integers(-3, 3), st.integers(1, 300))
def test_rubbish_counts_as_if_walked_value_by_value(message: bytes, more: int, most: int) -> None:
    number = value_by_value(message)
    for limit in (max(number + more, 0), most):
        assert within(message, limit) is (number <= limit)


@given(VALUES, st.integers(0, 9_000))
def test_what_is_cut_off_counts_as_if_walked_value_by_value(value: Any, cut: int) -> None:
    message = msgpack.packb(value)[:-cut]
    number = value_by_value(message)
    assert within(message, number) and (number == 0 or not within(message, number - 1))


@pytest.mark.parametrize("code", range(256))
def test_many_values_of_each_kind(code: int) -> None:
    number = 300 if code in LENGTHS else 1_000  # by then each kind of step has been made
    for length in range(256) if code in LENGTHS else [0]:
        digits, kind = LENGTHS.get(code, 0), code in b"\xc7\xc8\xc9"
        size = length + kind if digits else code - 0xA0 if 0xA0 <= code < 0xC0 else FIXED.get(code, 0)
        message = (bytes([code]) + length.to_bytes(digits, "big") + b"\xc4" * size) * number
        assert within(message, number) and not within(message, number - 1)


@pytest.mark.parametrize("length", [0, 31, 255, 65_535, 70_000])
@pytest.mark.parametrize("kind", [str, bytes])
def test_large_texts_and_bytes_are_one_value(length: int, kind: Any) -> None:
    message = msgpack.packb(["x" * length if kind is str else b"x" * length] * 3)
    assert within(message, 4) and not within(message, 3)


def array(item: bytes) -> bytes:
    """Of 8 MiB."""
    number = (8 << 20) // len(item)
    return b"\xdd" + number.to_bytes(4, "big") + item * number


@pytest.mark.parametrize(
    "item", [b"\x80", b"\x90", b"\x81\x01\x02", b"\xcd\x01\x02", b"\xa1a\x05"], ids=bytes.hex
)
def test_an_array_full_of_values_costs_little_time_and_no_memory(item: bytes) -> None:
    costs_little(array(item))


def test_arrays_in_arrays_that_are_not_over_cost_little_time_and_no_memory() -> None:
    costs_little((b"\xdd" + MANY.to_bytes(4, "big") + b"\xcc\x00" * 400_000) * 10)


@pytest.mark.parametrize("far", [1, 2, 63, 64, 65, 127])
def test_what_no_pattern_knows_costs_little_time_wherever_it_stands(far: int) -> None:
    costs_little(array((b"\xcd\x01\x02\x00" * far)[: 4 * far - 4] + b"\xda\x00\x00"))


def numbers_of_all_sizes() -> list[int]:
    return [(index * 7919) % (1 << 8 * (index % 4) + 7) for index in range(300_000)]


def rows_of_a_table() -> list[dict[str, Any]]:
    return [
        {"id": index, "name": f"user {index}", "ok": True, "score": index / 3, "key": "f" * 40}
        for index in range(30_000)
    ]


@pytest.mark.parametrize("make", [numbers_of_all_sizes, rows_of_a_table])
def test_to_count_takes_not_much_longer_than_to_decode(make: Callable[[], Any]) -> None:
    values = make()
    message = msgpack.packb(values)
    number = count(values)

    def counted() -> None:
        assert not within(message, number - 1)

    assert any(ratio(counted, lambda: msgpack.unpackb(message)) < 2 for _ in range(3))


def ratio(one: Callable[[], Any], other: Callable[[], Any]) -> float:
    """Of the quickest of some times each, in turns: a machine may be slow for a while."""
    times = [(seconds(one), seconds(other)) for _ in range(5)]
    return min(first for first, _ in times) / min(second for _, second in times)


def seconds(work: Callable[[], Any]) -> float:
    """Of the processor."""
    began = time.process_time()
    work()
    return time.process_time() - began


@cache
def seconds_of_a_million_additions() -> float:
    """By which a slow machine is known."""

    def add() -> None:
        total = 0
        for number in range(1_000_000):
            total += number

    return min(seconds(add) for _ in range(5))


def costs_little(message: bytes) -> None:
    def refused() -> None:
        assert not within(message, MANY)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert any(seconds(refused) < 25 * seconds_of_a_million_additions() for _ in range(5)), (
        "a busy machine is slow for a while, not each time"
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * 1024


def test_one_large_value_costs_no_time() -> None:
    message = memoryview(msgpack.packb([b"x" * (64 << 20)]))
    began = time.process_time()
    assert within(message, MANY)
    assert time.process_time() - began < 0.01
