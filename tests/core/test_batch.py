"""The frame in which a worker and a hub give each other several calls or answers."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.core import majordomo as mdp
from mesh.core.batch import BUNDLED, SMALLEST, Batch, Bundle, holds_events, limit_of, pack_events, read_events
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


@given(st.lists(st.binary(max_size=300), min_size=2, max_size=40))
def test_the_events_of_a_bundle_come_out(events: list[bytes]) -> None:
    bundle = Bundle()
    assert all(map(bundle.add, events))
    (frame,) = bundle.frames()
    assert len(frame) <= bundle.size
    assert holds_events(frame) and read_events(frame) == events


def test_a_lone_event_of_a_bundle_goes_as_ever() -> None:
    bundle = Bundle()
    bundle.add(b"event")
    assert bundle.frames() == [b"", b"event"]


def test_a_bundle_stays_below_its_limit() -> None:
    bundle = Bundle()
    while bundle.add(b"x" * 2_000):
        pass
    assert mdp.MAX_BATCH - 4_000 < len(bundle.frames()[0]) <= mdp.MAX_BATCH


def test_a_bundle_holds_no_more_than_a_turn_takes_in() -> None:
    bundle = Bundle()
    while bundle.add(b"x" * 50):
        pass
    assert len(read_events(bundle.frames()[0])) == BUNDLED


@given(
    VALUES | st.lists(VALUES, max_size=20) | st.lists(st.binary(max_size=3), max_size=20),
    st.binary(max_size=3),
)
def test_what_is_no_list_of_events_is_refused_in_words(value: Any, more: bytes) -> None:
    frame = msgpack.packb(value) + more
    good = type(value) is list and value and all(type(one) is bytes for one in value) and not more
    if good:
        assert holds_events(frame) and read_events(frame) == value
    else:
        with pytest.raises(WireError, match="a batch is an array of events"):
            read_events(frame)


def test_a_frame_that_is_too_large_is_not_read() -> None:
    with pytest.raises(WireError):
        read_events(pack_events([b"x" * 100] * 1000))


@pytest.mark.parametrize("event", [b"", b"\x93", b"\xdc", b"\x93\x81\xa1v\x03\xa1x\xc0", b"\xdc\x00\x03\x80"])
def test_what_is_one_event_is_not_taken_for_several(event: bytes) -> None:
    assert not holds_events(event)


@pytest.mark.parametrize("number", [1, 5, 1_000])
def test_a_batch_is_known_by_itself(number: int) -> None:
    frame = mdp.batch([mdp.FINAL, b"token", b"event"] * number)
    assert mdp.size_of_batch(frame) == number


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x93",
        b"\xdc",
        mdp.batch([mdp.FINAL, b"token"]),
        mdp.batch([1, b"token", b"event"]),
        mdp.batch([mdp.FINAL, b"token", b"x" * mdp.MAX_BATCH]),
        msgpack.packb([{}, "echo", []]),
    ],
)
def test_what_is_no_batch_has_no_size(frame: bytes) -> None:
    assert mdp.size_of_batch(frame) == 0
