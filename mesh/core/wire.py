"""The zerorpc v3 event: three MessagePack values, `[header, name, args]`, in one frame.

Owns packing, unpacking and the limits of a message. Knows nothing of sockets or of what an
event means. The events and header keys are described in docs/wire.md.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgpack

from mesh.errors import WireError

VERSION: Final = 3
MAX_MESSAGE: Final = 128 * 1024 * 1024
"""Bytes of one event, in either direction, unless a client or server is told otherwise."""

OK: Final = "OK"
ERR: Final = "ERR"
STREAM: Final = "STREAM"
STREAM_DONE: Final = "STREAM_DONE"
MORE: Final = "_zpc_more"
BEAT: Final = "_zpc_hb"

Header = dict[str, Any]
Event = tuple[Header, str, Any]
Pack = Callable[[Any], bytes]

TRAVELS: Final = "None, bool, int of 64 bits, float, str, bytes, list, tuple, dict and datetime travel"
_PACK_ERRORS = (TypeError, ValueError, OverflowError, RecursionError)
_UNPACK_ERRORS = (*_PACK_ERRORS, KeyError, MemoryError)


def packer() -> Pack:
    """A function that packs one value; not to be shared by threads."""
    return msgpack.Packer(use_bin_type=True, datetime=True).pack  # type: ignore[no-any-return]


def pack(header: Header, name: str, args: Any) -> bytes:
    """One event as bytes. Raises TypeError, with the place, for a value that can't travel."""
    try:
        return packer()((header, name, args))
    except _PACK_ERRORS as exc:
        raise cannot_travel(args, "args") or TypeError(str(exc)) from None


def unpack(payload: bytes) -> Event:
    """The (header, name, args) of a frame.

    A header that is no mapping counts as empty, as in zerorpc. Raises WireError for all else
    that is no event.
    """
    try:
        event = msgpack.unpackb(payload, raw=False, strict_map_key=False, timestamp=3)
    except _UNPACK_ERRORS as exc:
        raise WireError(f"an event of {len(payload)} bytes is not MessagePack: {_reason(exc)}") from None
    if type(event) is not list or len(event) != 3:
        raise WireError("an event must be an array of header, name and arguments")
    header, name, args = event
    if type(name) is not str:
        if type(name) is not bytes:
            raise WireError(f"the name of an event must be text, not {type(name).__name__}")
        name = name.decode("utf-8", "replace")
    if type(header) is not dict:
        header = {}
    return header, name, args


def salvage_header(payload: bytes) -> Header | None:
    """The header of an event whose rest can't be read, so that its sender gets an answer."""
    reader = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=MAX_MESSAGE)
    try:
        reader.feed(payload[:4096])
        if reader.read_array_header() != 3:
            return None
        header = reader.unpack()
    except (*_UNPACK_ERRORS, msgpack.exceptions.UnpackException):
        return None
    return header if type(header) is dict else None


def cannot_travel(value: Any, place: str) -> TypeError | None:
    """The error that names the place of the first value in `value` that can't be packed."""
    found = _find(value, place, 0)
    return None if found is None else TypeError(f"{found[0]} {found[1]}; {TRAVELS}")


def _find(value: Any, place: str, depth: int) -> tuple[str, str] | None:
    if value is None or isinstance(value, (bool, float, bytes, bytearray, memoryview)):
        return None
    if isinstance(value, int):
        fits = -(2**63) <= value < 2**64
        return None if fits else (place, "is an integer of more than 64 bits")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return place, "is a text with lone surrogates, which has no UTF-8"
        return None
    if isinstance(value, datetime):
        return None if value.tzinfo else (place, "is a datetime without a time zone")
    if depth > 500:
        return place, "is nested more than 500 levels deep"
    if isinstance(value, dict):
        return _find_in_dict(value, place, depth)
    if isinstance(value, (list, tuple)):
        inner = (_find(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(value))
        return next((found for found in inner if found), None)
    return place, f"is a {type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")


def _find_in_dict(value: dict[Any, Any], place: str, depth: int) -> tuple[str, str] | None:
    for key, item in value.items():
        found = _find(key, f"the key {key!r:.60} of {place}", depth + 1)
        found = found or _find(item, f"{place}[{key!r:.60}]", depth + 1)
        if found:
            return found
    return None


def _reason(exc: BaseException) -> str:
    return f"{type(exc).__name__} {exc}".strip()[:200]
