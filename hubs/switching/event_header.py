"""An event's header and name, without a look at its arguments, which may be large. Pure."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgpack

from mesh.core import wire
from mesh.core.elements import MAX_ELEMENTS, within
from mesh.errors import WireError

_LOOKED_AT: Final = 4096
"""Bytes at the beginning of an event in which its name has to stand."""
_WALKED: Final = 1024 * 1024
"""Bytes in which the end of a header is looked for whatever they hold; a longer one holds no more than
MAX_ELEMENTS values, all of its event counted."""
_MAX_KEYS: Final = 1_000
"""Keys of a header; it has some ten."""
_CONTAINERS: Final = frozenset(bytes((code,)) for code in (*range(0x80, 0xA0), *range(0xDC, 0xE0)))
"""What an array or a map begins with."""
_ERR: Final = b"\xa3ERR"
_OK: Final = b"\xa2OK\x91"
_NO_END: Final = (wire.BEAT, wire.MORE, wire.STREAM)
_KEY: Final = b"\xa3key"
_NEAR: Final = 512
_PING_END: Final = b"\xad_zerorpc_ping\x90"
"""The name, and no arguments."""
_NEAR_ID: Final = 256
_UNMISTAKABLE: Final = 16

_ID: Final = b"\xaamessage_id\xc4\x20"
_ID_BEGINS: Final = 2 + len(_ID)
_ID_ENDS: Final = _ID_BEGINS + 32
_ANSWERS: Final = b"\xa1v\x03\xabresponse_to\xc4\x20"
_RESULT_ENDS: Final = _ID_ENDS + len(_ANSWERS) + 32 + len(_OK)
_REMEMBERED: Final = 512
"""Bytes of a header, at the most, that the next is compared with."""
_UNKNOWN: Final = 2**63
"""Where a header ends of which that is of no use."""

# What most events begin with, byte by byte as zeromesh and zerorpc-python write it.
_USUAL: Final = re.compile(
    rb"\x93([\x82-\x87])\xaamessage_id\xc4\x20(.{32})\xa1v\x03(?:\xabresponse_to\xc4\x20(.{32}))?"
    rb"(?:\xa8deadline(?:([\x00-\x7f])|\xcd(..)|\xce(....)))?"
    rb"(?:\xa8trace_id\xd9\x20(.{32})\xa7span_id\xb0(.{16}))?(?:\xa7service([\xa1-\xbf]))?",
    re.DOTALL,
).match


class EventHeader(NamedTuple):
    """What a hub wants to know of an event: the values of these keys, None for what its header lacks."""

    message_id: Any
    response_to: Any
    deadline: Any
    service: Any
    cancel: Any
    idempotent: Any
    batch: Any
    key: Any
    trace_id: Any
    span_id: Any


_WANTED: Final = frozenset(EventHeader._fields)
_new: Final = tuple.__new__
"""Makes an EventHeader in a third of the time that calling it takes."""


class HeaderReader:
    """Reads the headers of the events that one hub gets.

    That of a call mostly differs from the one before in its id alone. What stands behind the id is compared
    with the bytes of before, in place of being read again.
    """

    __slots__ = ("_begin", "_rest", "_values")

    def __init__(self) -> None:
        # The bytes before and behind the id of the last call's header, and the values that these hold.
        self._begin = self._rest = b"none so far"
        self._values: tuple[Any, ...] = ()

    def read(self, payload: bytes) -> EventHeader | None:
        """None for what has no header."""
        if payload.startswith(self._rest, _ID_ENDS) and payload.startswith(self._begin):
            return _new(EventHeader, (payload[_ID_BEGINS:_ID_ENDS], *self._values))
        header, end = _read(payload)
        if (
            header is not None
            and header.response_to is None
            and header.key is header.trace_id is None  # as another call has another
            and end <= min(len(payload), _REMEMBERED)
            and payload[2:_ID_BEGINS] == _ID
            and payload.find(_ID[:-2], _ID_ENDS, end) < 0  # a second one would be what counts
        ):
            self._begin, self._rest = payload[:_ID_BEGINS], payload[_ID_ENDS:end]
            self._values = header[1:]
        return header


def header_of(payload: bytes) -> EventHeader | None:
    """None for what has no header."""
    return _read(payload)[0]


def _read(payload: bytes) -> tuple[EventHeader | None, int]:
    """The header, and where it ends; that counts only where it is within the payload."""
    match = _USUAL(payload)
    if match is None:
        return _read_header(payload)
    fields, message_id, channel, tiny, small, large, trace, span, length = match.groups()
    count = 0x82 if channel is None else 0x83
    deadline = service = None
    number = large or small or tiny
    if number is not None:
        deadline = int.from_bytes(number, "big")
        count += 1
    if trace is not None:
        if not (trace.isascii() and span.isascii()):
            return _read_header(payload)
        trace, span = trace.decode(), span.decode()
        count += 2
    end = match.end()
    if length is not None:
        begin, end = end, end + length[0] - 0xA0
        name = payload[begin:end]
        if not name.isascii():
            return _read_header(payload)
        service = name.decode()
        count += 1
    if fields[0] == count:
        return _new(
            EventHeader, (message_id, channel, deadline, service, None, None, None, None, trace, span)
        ), end
    if fields[0] == count + 1 and (key := _usual_key(payload, end)) is not None:
        return _new(
            EventHeader, (message_id, channel, deadline, service, None, None, None, key, trace, span)
        ), _UNKNOWN
    return _read_header(payload)


def _usual_key(payload: bytes, at: int) -> str | bytes | int | None:
    """The key of a call, where it is a short one and stands there, behind all else of its header."""
    if payload[at : at + 4] != _KEY:
        return None
    begin = at + 5
    code = payload[at + 4] if len(payload) > begin else 0xC0
    if code < 0x80:
        return code
    if 0xA0 <= code < 0xC0:
        end = begin + code - 0xA0
        key = payload[begin:end]
        return key.decode() if key.isascii() and len(payload) > end else None
    if code == 0xC4:
        end = begin + 1 + payload[begin]
        return payload[begin + 1 : end] if len(payload) > end else None
    return None


def _read_header(payload: bytes) -> tuple[EventHeader | None, int]:
    """As _read, for any form; the values of other keys, such as keyword arguments, are walked over.

    Of a header that holds too much to be looked through, what stands before that: whoever carries the call
    out tells its sender.
    """
    most = len(payload)
    header: wire.Header = {}
    end = _UNKNOWN
    for size in (_LOOKED_AT, _WALKED, most):
        if size > _WALKED and not within(payload, MAX_ELEMENTS):
            break
        reader = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=max(size, 1))
        try:
            reader.feed(payload[:size])
            if reader.read_array_header() != 3:
                return None, end
            number = reader.read_map_header()
            if number > _MAX_KEYS:
                return None, end
            header = {}
            for _ in range(number):
                _read_entry(reader, payload, header)
            end = reader.tell()
            break
        except msgpack.OutOfData:
            if size >= most:
                return None, end
        except wire.UNREADABLE:
            return None, end
    return EventHeader._make(map(header.get, EventHeader._fields)), end


def _read_entry(reader: Any, payload: bytes, header: wire.Header) -> None:
    """Keep what is wanted; an array or a map, of which nothing is, is made of nothing."""
    if payload[reader.tell() : reader.tell() + 1] in _CONTAINERS:
        raise WireError("an array or a map can't be the key of a header")
    key = reader.unpack()
    if key not in _WANTED:
        reader.skip()
    elif payload[reader.tell() : reader.tell() + 1] in _CONTAINERS:
        reader.skip()
        header[key] = ()
    else:
        header[key] = reader.unpack()


def name_of(payload: bytes) -> str | None:
    """The name of an event; None for what is none, or has too long a header."""
    reader = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=_LOOKED_AT)
    try:
        reader.feed(payload[:_LOOKED_AT])
        if reader.read_array_header() != 3:
            return None
        reader.skip()
        name = reader.unpack()
    except wire.UNREADABLE:
        return None
    return name if type(name) is str else None


def is_result(payload: bytes, channel: Any) -> bool:
    """Whether it is the OK to that call as zeromesh and zerorpc-python write it, which most last answers are;
    others may be an OK, too."""
    return type(channel) is bytes and payload[_ID_ENDS:_RESULT_ENDS] == _ANSWERS + channel + _OK


def is_answer(payload: bytes, channel: bytes | str) -> bool:
    """Whether it is an event for that call. Costs next to nothing where the id is one that is not
    met by chance, and stands where it should."""
    if len(channel) >= _UNMISTAKABLE:
        wanted = channel.encode() if isinstance(channel, str) else channel
        if payload.find(wanted, 0, _NEAR_ID) > 0:
            return True
    header = header_of(payload)
    return header is not None and header.response_to == channel


def is_error(payload: bytes) -> bool:
    """Whether an answer is an ERR; costs next to nothing for one that is not."""
    return payload.find(_ERR, 0, _NEAR) > 0 and name_of(payload) == wire.ERR


def is_ping(payload: bytes) -> bool:
    """Whether an event asks whether its service is there; costs next to nothing for one that does not."""
    return payload.endswith(_PING_END) and name_of(payload) == wire.PING


def leaves_open(payload: bytes) -> bool:
    """Whether its client goes on to wait after an answer; costs next to nothing for a usual OK."""
    return payload.find(_OK, 0, _NEAR) < 0 and name_of(payload) in _NO_END


def is_beat(payload: bytes) -> bool:
    """Whether an answer is no more than a heartbeat."""
    return name_of(payload) == wire.BEAT
