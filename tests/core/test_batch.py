"""The frame in which a worker and a hub give each other several calls or answers."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.core import majordomo as mdp
from mesh.core.batch import SMALLEST, Batch, limit_of
from mesh.errors import WireError

ITEMS = st.lists(st.tuples(st.sampled_from([2, 3, 4]), st.binary(max_size=300), st.binary(max_size=300)))
VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | st.binary(max_size=5) | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=9,
)


@given(ITEMS)
def test_what_is_put_in_comes_out(items: list[tuple[int, bytes, bytes]]) -> None:
    batch = Batch(100_000)
    for item in items:
        assert batch.add(*item)
    size = batch.size
    frame = batch.take()
    assert len(frame) <= size
    assert not batch.items
    if items:
        assert frame[:1] >= mdp.BATCHED
        assert list(mdp.read_batch(frame)) == items


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=400)), max_size=60))
def test_it_stays_below_its_limit(items: list[tuple[bytes, bytes]]) -> None:
    batch = Batch(500)
    for token, event in items:
        if not batch.add(mdp.FINAL, token, event):
            assert len(batch.take()) <= 500
            assert batch.add(mdp.FINAL, token, event)
    assert len(batch.take()) <= 500


@given(VALUES | st.lists(VALUES, max_size=7), st.binary(max_size=3))
def test_rubbish_is_refused_in_words(value: Any, more: bytes) -> None:
    frame = msgpack.packb(value) + more
    try:
        items = list(mdp.read_batch(frame))
    except WireError:
        return
    assert items and not more
    for code, token, event in items:
        assert code in (2, 3, 4) and type(token) is type(event) is bytes


@pytest.mark.parametrize(
    "items",
    [
        [],
        [4],
        [4, b"t"],
        [4, b"t", b"e", 4],
        [4, b"t", b"e", 4, b"t"],
        [7, b"t", b"e"],
        [4, "t", b"e"],
        [4, b"t", "e"],
        [[4], b"t", b"e"],
        [b"\x04", b"t", b"e"],
        {4: b"t"},
        b"text",
        None,
    ],
    ids=repr,
)
def test_what_is_no_batch(items: Any) -> None:
    with pytest.raises(WireError, match="a batch is an array of codes, tokens and events"):
        mdp.read_batch(msgpack.packb(items))


@pytest.mark.parametrize(
    "frame",
    [b"\xdd\xff\xff\xff\xff", b"\x91" * 5_000, b"\x93\x04", b""],
    ids=["huge", "deep", "short", "none"],
)
def test_damaged_frames(frame: bytes) -> None:
    with pytest.raises(WireError):
        mdp.read_batch(frame)


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        (SMALLEST, SMALLEST),
        (10**9, mdp.MAX_BATCH),
        (SMALLEST - 1, 0),
        (0, 0),
        (-1, 0),
        ("9999", 0),
        (True, 0),
        (None, 0),
    ],
)
def test_how_much_a_peer_takes(said: Any, limit: int) -> None:
    assert limit_of({"batch": said}) == limit
    assert limit_of({}) == 0
