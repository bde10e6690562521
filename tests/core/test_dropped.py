"""What is counted of what was dropped, and what the log says of it."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import wire
from mesh.core.dropped import MAX_DETAIL, Dropped
from mesh.core.server_session import Limits
from tests.helpers.pair import Pair


def test_it_is_told_once_a_second() -> None:
    dropped = Dropped()
    assert dropped.news(0.0) == ""
    dropped.add("malformed", "no array")
    assert dropped.news(10.0) == "1 malformed (no array)"
    for _ in range(5):
        dropped.add("malformed", "no text")
    dropped.add("unwanted", quiet=True)
    assert dropped.news(10.9) == ""
    dropped.add("not read", number=7)
    assert dropped.news(11.0) == "5 malformed (the last: no text); 7 not read"
    assert dropped.news(13.0) == ""
    assert dropped == {"malformed": 6, "unwanted": 1, "not read": 7}


def test_where_it_came_from() -> None:
    dropped = Dropped()
    dropped.add("malformed", "no array")
    dropped.fresh = "malformed"
    dropped.came_from("10.0.0.7")
    assert not dropped.fresh
    assert dropped.news(1.0) == "1 malformed (no array, from 10.0.0.7)"


def test_its_state_is_bounded() -> None:
    dropped = Dropped()
    for number in range(1_000):
        dropped.add("malformed", f"{number}" + "x" * 10_000)
    assert len(dropped.news(1.0)) < MAX_DETAIL + 50
    assert len(dropped) == len(dropped._details) == 1


HEAD: dict[str, Any] = {"message_id": b"1", "v": 3}


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (wire.pack({"v": 3}, "save", []), "1 malformed ('save' without a message id)"),
        (wire.pack(HEAD, "save", "no array"), "1 refused ('save': the arguments must be an array)"),
        (wire.pack(HEAD, wire.BEAT, []), "1 stray (_zpc_hb on no channel)"),
        (wire.pack({**HEAD, "response_to": b""}, "save", []), "1 malformed ('save' with no id of a channel)"),
        (b"\xc1", "1 malformed (an event of 1 bytes is not MessagePack: FormatError)"),
        (wire.pack({**HEAD, "response_to": b"gone"}, "save", []), ""),
    ],
)
def test_what_a_server_tells(payload: bytes, line: str) -> None:
    session = Pair().server.session
    session.receive(b"peer", payload, 1.0)
    assert session.dropped.news(2.0) == line
    assert bool(session.dropped.fresh) == bool(line)


def test_a_full_queue_is_told_with_the_method() -> None:
    session = Pair(limits=Limits(queue=1)).server.session
    for number in range(3):
        session.receive(b"peer", wire.pack({"message_id": b"%d" % number, "v": 3}, "save", []), 1.0)
    assert session.dropped.news(2.0) == "2 refused (the last: 'save': 1 calls wait already (the limit is 1))"
