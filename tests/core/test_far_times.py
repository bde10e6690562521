"""Times that have no year in UTC arrive as what they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgpack
import pytest

from mesh.core import wire
from mesh.errors import WireError

HEADER: dict[str, Any] = {"message_id": "1", "v": 3}
ENDS = [datetime.min, datetime(1, 1, 1, 13, 59), datetime(9999, 12, 31, 10), datetime.max]
OFFSETS = [timedelta(hours=hours) for hours in (-14, -5.5, -1, 0, 1, 5.75, 14)]
OFFSETS += [sign * (timedelta(hours=24) - timedelta.resolution) for sign in (-1, 1)]


@pytest.mark.parametrize("offset", OFFSETS, ids=str)
@pytest.mark.parametrize("end", ENDS, ids=str)
def test_they_arrive_equal(end: datetime, offset: timedelta) -> None:
    there = end.replace(tzinfo=timezone(offset))
    near = datetime(2024, 1, 1, tzinfo=UTC)
    value = [{"at": there, 1: [near, b"x"]}, [[there]], {there: there, near: 1}, None]
    header, name, args = wire.unpack(wire.pack(HEADER, "m", value))
    assert (header, name, args) == (HEADER, "m", value)
    assert args[0][1][0].tzinfo is UTC
    assert wire.unpack(wire.pack(HEADER, "m", args))[2] == value, "and may be sent on"


def test_their_own_offset_is_kept_where_that_is_whole_hours() -> None:
    there = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    arrived = wire.unpack(wire.pack(HEADER, "m", [there]))[2][0]
    assert arrived.isoformat() == "0001-01-01T00:00:00+14:00"


def test_in_a_header_that_is_passed_on() -> None:
    there = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
    header = {**HEADER, "kwargs": {"at": there}}
    assert wire.outline(wire.pack(header, "m", [1])) == (header, "m")


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 253402300800 + 86400, -62135596800 - 86401])
def test_what_no_datetime_can_be(seconds: int) -> None:
    payload = msgpack.packb([HEADER, "m", [msgpack.Timestamp(seconds, 0)]])
    with pytest.raises(WireError, match="a time that is in no calendar"):
        wire.unpack(payload)


@pytest.mark.parametrize(
    "rubbish", [b"\xc1", b"\x92", b"\xa2\xff\xff", b"\x81\x90\x90", b"\x91" * 2_000 + b"\x90"]
)
def test_rubbish_behind_one(rubbish: bytes) -> None:
    far = msgpack.packb(msgpack.Timestamp(-62135596801, 0))
    with pytest.raises(WireError, match="is not MessagePack"):
        wire.unpack(b"\x93\x80" + far + rubbish)


def test_a_deep_one() -> None:
    there = datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))
    value: Any = there
    for _ in range(400):
        value = [value]
    assert wire.unpack(wire.pack(HEADER, "m", value))[2] == value
