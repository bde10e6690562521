"""The zerorpc v3 event: three MessagePack values, `[header, name, args]`, in one frame.

Owns packing, unpacking and the limits of a message. Knows nothing of sockets or of what an
event means. The events and header keys are described in docs/wire.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from reprlib import Repr
from typing import Any, Final

import msgpack

from mesh.core import far_times
from mesh.core.elements import MAX_ELEMENTS, within
from mesh.core.values import NATIVE, CannotTravel, Encode, Plain, has_odd_key
from mesh.errors import WireError, name_of, text_of

VERSION: Final = 3
MAX_MESSAGE: Final = 128 * 1024 * 1024
"""Bytes of one event, in either direction, unless a client or server is told otherwise."""

RAISE_MESSAGE: Final = (
    "raise max_message at both ends: of connect and Server, --max-message of a command, max_message of a "
    "hub.yml between them"
)
"""What to do about an event of more bytes than may be."""

OK: Final = "OK"
ERR: Final = "ERR"
STREAM: Final = "STREAM"
STREAM_DONE: Final = "STREAM_DONE"
MORE: Final = "_zpc_more"
BEAT: Final = "_zpc_hb"
PING: Final = "_zerorpc_ping"
"""The method of every server that says whether it is there."""
OPEN_CALLS: Final = "_mesh_calls"
"""The method of every server and hub of mesh that tells the calls that are open there."""
OWN_QUESTIONS: Final = frozenset((PING, OPEN_CALLS))
"""What mesh asks by itself, or for whoever looks at it: no part of what a program does."""
UNKNOWN_METHOD: Final = "NameError"
"""The name in the ERR for a method that does not exist, as zerorpc's clients know it."""

Header = dict[str, Any]
Event = tuple[Header, str, Any]
Pack = Callable[[Any], bytes]

TRAVELS: Final = (
    "None, bool, int of 64 bits, float, str, bytes, list, tuple, dict, datetime and what docs/calls.md lists "
    "travel, other types by encode="
)
_DEPTH: Final = 1_000
"""Levels of nesting, about as many as MessagePack implementations take."""
_SALVAGED: Final = 4096
"""Bytes at the beginning of an unreadable event in which its header is looked for."""
_LONG_INT: Final = 1_000
"""Bits of an integer that is not written out."""
MAX_TEXT: Final = 64 * 1024
"""Characters of a name, message or traceback that an error carries, at the most."""
_short: Final = Repr()
UNREADABLE: Final = (
    msgpack.exceptions.UnpackException,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    RecursionError,
    MemoryError,
)
"""What msgpack raises for bytes that are none of its own."""


def packer(encode: Encode | None = None) -> tuple[Pack, Plain]:
    """A function that packs one value, and what gives it the plain form of those that MessagePack lacks.

    Not to be shared by threads. Whoever packs calls `check_keys` where `arrays` is not empty after it.
    """
    plain = Plain(encode)
    pack = msgpack.Packer(use_bin_type=True, datetime=True, strict_types=True, default=plain).pack
    return pack, plain


def check_keys(plain: Plain, value: Any) -> None:
    """Raise TypeError for a dict with a tuple or the like among its keys, which no receiver could read."""
    plain.arrays.clear()
    odd = has_odd_key(value, plain)
    plain.arrays.clear()
    if odd:
        raise TypeError("a dict has a tuple or the like for a key")


class UnreadableKey(TypeError):
    """A dict has a key that is neither text nor bytes: zerorpc-python can't read it, and drops the event."""


def check_for_old_peers(payload: bytes, place: str) -> None:
    """Raise UnreadableKey for an event that zerorpc-python would drop in silence. place: what it carries."""
    try:
        msgpack.unpackb(payload, raw=False, strict_map_key=True)
    except ValueError as exc:
        kind = str(exc).partition(" ")[0]
        if "strict_map_key" not in str(exc) or kind in ("list", "dict"):  # which nobody reads
            return
        raise UnreadableKey(
            f"{place} has a dict with a key of type {kind}, and zerorpc's Python peers read no keys but text "
            "and bytes: give them text"
        ) from None


def pack(header: Header, name: str, args: Any) -> bytes:
    """One event as bytes. Raises TypeError, with the place, for a value that can't travel."""
    pack, plain = packer()
    try:
        payload = pack([header, name, args])
        if plain.arrays:
            check_keys(plain, [header, args])
        return payload
    except Exception as exc:  # noqa: BLE001 - a time zone of the program's own may raise anything
        raise cannot_travel(args, "args", plain) or not_packed("args", exc) from None


def plain_error(name: str, text: str) -> list[str]:
    """The arguments of an ERR that has no traceback.

    zerorpc-python prints the traceback and nothing else, so the text stands there as well.
    """
    return [name, text, f"{name}: {text}\n" if text else f"{name}\n"]


def unpack(payload: bytes, max_elements: int = MAX_ELEMENTS) -> Event:
    """The (header, name, args) of a frame.

    A header that is no mapping counts as empty, as in zerorpc. Raises WireError for all else
    that is no event, and for one of more than `max_elements` values, of which nothing is made.
    """
    if len(payload) > max_elements:
        _check_elements(payload, max_elements)
    try:
        try:
            event = msgpack.unpackb(payload, raw=False, strict_map_key=False, timestamp=3)
        except OverflowError:
            event = far_times.unpack(payload)
    except UNREADABLE as exc:
        if isinstance(exc, WireError):
            raise
        raise WireError(f"an event of {len(payload)} bytes is not MessagePack: {_reason(exc)}") from None
    if type(event) is not list or len(event) != 3:
        raise WireError("an event must be an array of header, name and arguments")
    header, name, args = event
    if type(name) is not str:
        name = _name(name)
    if type(header) is not dict:
        header = {}
    return header, name, args


def _check_elements(payload: bytes, most: int) -> None:
    if not within(payload, most):
        raise WireError(
            f"a message of {len(payload)} bytes holds more than {most} values, each item, key and value "
            "counted: send less at once, or raise max_elements of whoever reads it (connect, Server, "
            "Subscriber, Puller, --max-elements of a command)"
        )


def _name(name: Any) -> str:
    if type(name) is bytes:
        return name.decode("utf-8", "replace")
    if type(name) is not str:
        raise WireError(f"the name of an event must be text, not {type(name).__name__}")
    return name


def outline(payload: bytes, max_elements: int = MAX_ELEMENTS) -> tuple[Header, str]:
    """The header and the name of an event that is passed on: its arguments are walked over, not decoded.

    Raises WireError for what unpack refuses, but for what is within the arguments.
    """
    if len(payload) > max_elements:
        _check_elements(payload, max_elements)
    reader = msgpack.Unpacker(raw=False, strict_map_key=False, timestamp=3, max_buffer_size=len(payload) or 1)
    try:
        reader.feed(payload)
        if reader.read_array_header() != 3:
            raise WireError("an event must be an array of header, name and arguments")
        header, name = reader.unpack(), reader.unpack()
        reader.skip()
    except OverflowError:
        header, name, _ = unpack(payload, max_elements)
        return header, name
    except UNREADABLE as exc:
        if isinstance(exc, WireError):
            raise
        raise WireError(f"an event of {len(payload)} bytes is not MessagePack: {_reason(exc)}") from None
    if reader.tell() != len(payload):
        raise WireError("an event is one MessagePack value, with nothing after it")
    return header if type(header) is dict else {}, _name(name)


def without(payload: bytes, key: str) -> bytes:
    """An event that is passed on, less a key of its header that is meant for this end alone.

    payload: what `outline` takes. What can't be packed again stays as it is.
    """
    reader = msgpack.Unpacker(raw=False, strict_map_key=False, timestamp=3, max_buffer_size=len(payload))
    try:
        reader.feed(payload)
        reader.read_array_header()
        header = reader.unpack()
        del header[key]
        return b"".join((b"\x93", msgpack.packb(header, datetime=True), payload[reader.tell() :]))
    except UNREADABLE:
        return payload


def salvage_header(payload: bytes) -> Header | None:
    """The header of an event whose rest can't be read, so that its sender gets an answer.

    Of a header that is long or can't be read, as where keyword arguments hold too much, what stands before
    that.
    """
    # The size also bounds the arrays that a few bytes can claim to be.
    reader = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=_SALVAGED)
    header: Header = {}
    try:
        reader.feed(payload[:_SALVAGED])
        if reader.read_array_header() != 3:
            return None
        for _ in range(reader.read_map_header()):
            key = reader.unpack()
            header[key] = reader.unpack()
    except UNREADABLE:
        return header or None
    return header


def not_packed(what: str, exc: Exception) -> TypeError:
    """The error for what can't be packed, where `cannot_travel` finds no place."""
    return TypeError(f"{what} can't be packed: {_said(exc)}")


def cannot_travel(value: Any, place: str, plain: Plain | None = None) -> TypeError | None:
    """The error that names the place of the first value in `value` that can't be packed. plain: of the
    packer that has failed, where it has an `encode`."""
    plain = plain or Plain()
    path = [place]
    open_containers: list[Iterator[tuple[str, Any]]] = [iter([("", value)])]
    while open_containers:
        step = next(open_containers[-1], None)
        if step is None:
            open_containers.pop()
            path.pop()
            continue
        label, item = step
        form, fault = _look(item, plain, is_key=label.startswith("[the key "))
        if len(open_containers) > _DEPTH:
            return TypeError(f"{place} is nested more than {_DEPTH} levels deep")
        if fault is not None:
            return TypeError(f"{''.join(path)}{label} {fault}; {_advice(item)}")
        if isinstance(form, (dict, list)):
            open_containers.append(_items(form))
            path.append(label)
    return None


def _advice(value: Any) -> str:
    """What to do about a value that can't travel."""
    kind = type(value)
    if hasattr(kind, "__await__"):
        return "nobody has awaited it: write `await` before what gives it, in a function that is `async def`"
    if hasattr(kind, "__anext__"):
        return "a method of a mesh.aio.Server that returns it streams its items, and nothing else does"
    return TRAVELS


def _look(value: Any, plain: Plain, *, is_key: bool) -> tuple[Any, str | None]:
    """What travels of a value, and what keeps it, but not what it contains, from travelling."""
    try:
        form = value
        if type(value) not in NATIVE or not _has_form(value):
            form = plain(value)
        if is_key and type(form) in (list, dict):
            return form, f"is a {type(value).__name__}, which can't be a key where it arrives"
        return form, _fault(form)
    except CannotTravel as exc:
        return None, (type(value) in NATIVE and _fault(value)) or text_of(exc)[:200]
    except Exception as exc:  # noqa: BLE001 - of a class of the program's own
        return None, f"can't be looked at: {_said(exc)}"


def _has_form(value: Any) -> bool:
    """Whether MessagePack packs this value of a type that it knows, or asks for another in its place."""
    return not (type(value) is int or type(value) is datetime) or _fault(value) is None


def _items(value: dict[Any, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            shown = _shown(key)
            yield f"[the key {shown}]", key
            yield f"[{shown}]", item
    else:
        for number, item in enumerate(value):
            yield f"[{number}]", item


def _shown(key: Any) -> str:
    try:
        if isinstance(key, int) and key.bit_length() > _LONG_INT:
            return f"a large {type(key).__name__}"
        return _short.repr(key)[:60]
    except ValueError:  # of an integer with thousands of digits within it
        return f"a large {type(key).__name__}"
    except Exception:  # noqa: BLE001 - of a class of the program's own
        return "…"


def _fault(value: Any) -> str | None:
    """What keeps this one value, of a type that MessagePack has a form for, from travelling."""
    kind = type(value)
    if kind is int:
        return None if -(2**63) <= value < 2**64 else "is an integer of more than 64 bits"
    if kind is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return "is a text with lone surrogates, which has no UTF-8"
    elif kind is datetime:
        return _fault_of_time(value)
    elif kind is memoryview and not value.c_contiguous:
        return "is a memoryview with gaps; bytes(…) of it travels"
    return None


def _fault_of_time(value: datetime) -> str | None:
    try:
        offset = datetime.utcoffset(value)
    except Exception as exc:  # noqa: BLE001 - of a time zone of the program's own
        return f"is a datetime whose time zone can't tell its offset: {_said(exc)}"
    return "is a datetime without a time zone" if offset is None else None


def _said(exc: Exception) -> str:
    return f"{name_of(exc)}: {text_of(exc)}"[:200]


def clip(text: str, most: int = MAX_TEXT) -> str:
    """Text that travels: no lone surrogates, and not without an end; about `most` characters."""
    if len(text) > most:
        half, left_out = most // 2, len(text) - most
        text = f"{text[:half]}\n… {left_out} characters left out …\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


def as_text(value: Any) -> str:
    """What a peer sent for a text, whatever it is; never longer than a clipped one."""
    if type(value) is bytes:
        value = value[: 4 * MAX_TEXT].decode("utf-8", "replace")
    return clip(value if type(value) is str else _short.repr(value))


def _reason(exc: BaseException) -> str:
    if "unhashable" in str(exc):
        return "an array or a map can't be the key of a map"
    return f"{type(exc).__name__} {exc}".strip()[:200]
