"""What an event is called, without a look at its arguments, which may be large. Pure."""

from __future__ import annotations

from typing import Final

import msgpack

from mesh.core import wire

_LOOKED_AT: Final = 4096
"""Bytes at the beginning of an event in which its name has to stand."""
_ERR: Final = b"\xa3ERR"
_NEAR: Final = 512
_NO_EVENT: Final = (
    msgpack.exceptions.UnpackException,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    RecursionError,
    MemoryError,
)


def name_of(payload: bytes) -> str | None:
    """The name of an event; None for what is none, or has too long a header."""
    reader = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=_LOOKED_AT)
    try:
        reader.feed(payload[:_LOOKED_AT])
        if reader.read_array_header() != 3:
            return None
        reader.skip()
        name = reader.unpack()
    except _NO_EVENT:
        return None
    return name if type(name) is str else None


def is_error(payload: bytes) -> bool:
    """Whether an answer is an ERR; costs next to nothing for one that is not."""
    return payload.find(_ERR, 0, _NEAR) > 0 and name_of(payload) == wire.ERR


def is_beat(payload: bytes) -> bool:
    """Whether an answer is no more than a heartbeat."""
    return name_of(payload) == wire.BEAT
