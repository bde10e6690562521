"""How many values a message holds, counted without making any of them."""

from __future__ import annotations

import resource
import time
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
KEYS = st.text(max_size=9) | st.integers(-9, 2**40)
VALUES = st.recursive(
    SCALARS | RUNS,
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


@given(st.binary(max_size=100), st.integers(1, 100))
def test_rubbish_gives_an_answer(message: bytes, most: int) -> None:
    within(message, most)


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


def costs_little(message: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    assert not within(message, MANY)
    assert time.process_time() - began < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * 1024


def test_one_large_value_costs_no_time() -> None:
    message = memoryview(msgpack.packb([b"x" * (64 << 20)]))
    began = time.process_time()
    assert within(message, MANY)
    assert time.process_time() - began < 0.01
