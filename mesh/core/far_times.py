"""Times at the ends of the calendar, which have no year in UTC: in the first hours of year 1, east of
Greenwich, and in the last of 9999, west of it.

They travel as seconds since 1970 like all others, and arrive equal, with an offset from UTC that keeps
them within the calendar.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import msgpack

from mesh.core.elements import within
from mesh.errors import WireError

_EPOCH: Final = datetime(1970, 1, 1)
_HOUR: Final = timedelta(hours=1)
_MOST: Final = timedelta(hours=24) - timedelta.resolution
"""The largest offset that there is."""
MAX_ELEMENTS: Final = 100_000
"""Values of an event in which such a time is looked for: it takes microseconds for each."""


def unpack(payload: bytes) -> Any:
    """One MessagePack value in which there is such a time. Raises WireError for one that is farther, and
    where there is too much to look through."""
    if not within(payload, MAX_ELEMENTS):
        raise WireError(
            f"an event of {len(payload)} bytes has a time at the ends of the calendar among more than "
            f"{MAX_ELEMENTS} values: send fewer at once"
        )
    try:
        whole = [msgpack.unpackb(payload, raw=False, strict_map_key=False)]
        waiting: list[Any] = [whole]
        while waiting:
            one = waiting.pop()
            for key, value in list(one.items() if type(one) is dict else enumerate(one)):
                if type(key) is msgpack.Timestamp:
                    del one[key]
                    key = _time(key)
                    one[key] = value
                if type(value) is msgpack.Timestamp:
                    one[key] = _time(value)
                elif type(value) in (dict, list):
                    waiting.append(value)
    except OverflowError:
        raise WireError(f"an event of {len(payload)} bytes has a time that is in no calendar") from None
    return whole[0]


def _time(stamp: msgpack.Timestamp) -> datetime:
    since = timedelta(seconds=stamp.seconds, microseconds=stamp.nanoseconds // 1000)
    early, late = datetime.min - _EPOCH - since, since - (datetime.max - _EPOCH)
    missing = max(early, late)
    if missing <= timedelta(0):
        return (_EPOCH + since).replace(tzinfo=UTC)
    offset = min(-(-missing // _HOUR) * _HOUR, _MOST)
    offset = offset if early > late else -offset
    return (_EPOCH + (since + offset)).replace(tzinfo=timezone(offset))
