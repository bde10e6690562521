"""The Majordomo protocol's frames, versions 0.1 (ZeroMQ RFC 7) and 0.2 (RFC 18).

Owns the reading and writing of commands, without the address that a ROUTER puts before them.
What a command means to a broker is the hub's matter. A leading empty frame, which 0.1 has and
0.2 has not, is taken either way and answered in kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

import msgpack

from mesh.core.wire import UNREADABLE
from mesh.errors import WireError

MAX_SERVICE: Final = 255
"""Bytes of a service name."""
MAX_ABOUT: Final = 4096
"""Bytes of what mesh adds to a command; more is not looked at."""
MAX_REASON: Final = 1024
MANAGEMENT: Final = "mmi."
"""What the names of a broker's own services begin with (RFC 8)."""
MAX_BATCH: Final = 65_536
"""Bytes of a batch."""
LONE: Final = 16_384
"""Bytes from which an event goes by itself, in the frames of the RFC: to copy it would cost more."""
BATCHED: Final = b"\x90"
"""What a batch begins with, or more; no other frame of a worker or to one does."""
REQUEST: Final = 2
PARTIAL: Final = 3
FINAL: Final = 4
"""The codes in a batch, those of 0.2."""
STATUS: Final = "mmi.status"
"""A mesh hub's own service: what it has, as a map for an event and as JSON for a Majordomo client."""

CALLS: Final = "mmi.calls"
"""Another one: what is open there, and with the number of a worker what is open in that."""


class Command(Enum):
    """What a worker and a broker say to each other. FINAL is 0.1's REPLY."""

    READY = "READY"
    REQUEST = "REQUEST"
    PARTIAL = "PARTIAL"
    FINAL = "FINAL"
    HEARTBEAT = "HEARTBEAT"
    DISCONNECT = "DISCONNECT"


_CODES: Final[dict[int, dict[bytes, Command]]] = {
    1: {
        b"\x01": Command.READY,
        b"\x02": Command.REQUEST,
        b"\x03": Command.FINAL,
        b"\x04": Command.HEARTBEAT,
        b"\x05": Command.DISCONNECT,
    },
    2: {
        b"\x01": Command.READY,
        b"\x02": Command.REQUEST,
        b"\x03": Command.PARTIAL,
        b"\x04": Command.FINAL,
        b"\x05": Command.HEARTBEAT,
        b"\x06": Command.DISCONNECT,
    },
}
_BYTES: Final = {version: {c: code for code, c in codes.items()} for version, codes in _CODES.items()}
_WORKER: Final = {b"MDPW01": 1, b"MDPW02": 2}
_CLIENT: Final = {b"MDPC01": 1, b"MDPC02": 2}
_HEADERS: Final = {1: (b"MDPW01", b"MDPC01"), 2: (b"MDPW02", b"MDPC02")}
_BATCHED: Final = frozenset({REQUEST, PARTIAL, FINAL})
_LONG_ARRAY: Final = b"\xdc"
_CLIENT_CODES: Final = {Command.REQUEST: b"\x01", Command.PARTIAL: b"\x02", Command.FINAL: b"\x03"}


class Style(NamedTuple):
    """How a peer writes: its version, and whether an empty frame comes first."""

    version: int
    empty: bool

    @property
    def lead(self) -> list[bytes]:
        return [b""] if self.empty else []


STANDARD: Final = {1: Style(1, True), 2: Style(2, False)}


class FromWorker(NamedTuple):
    """A command of the worker's protocol, in either direction.

    address: the client's, of REQUEST, PARTIAL and FINAL. service: of READY. about: of READY and
    HEARTBEAT, what mesh adds to them. reason: of DISCONNECT, in words, where mesh gives one.
    """

    style: Style
    command: Command
    service: str = ""
    about: dict[str, Any] | None = None
    address: bytes = b""
    body: tuple[bytes, ...] = ()
    reason: str = ""


class FromClient(NamedTuple):
    """A client's REQUEST."""

    style: Style
    service: str
    body: tuple[bytes, ...]


def read(frames: Sequence[bytes]) -> FromWorker | FromClient | None:
    """The command in a message; None where it is no Majordomo message at all.

    Raises WireError for one that is, and breaks the protocol.
    """
    empty = bool(frames) and not frames[0]
    rest = frames[1:] if empty else frames
    if not rest or len(rest[0]) != 6:
        return None
    head = bytes(rest[0])
    if head in _WORKER:
        return _read_worker(Style(_WORKER[head], empty), rest[1:])
    if head in _CLIENT:
        return _read_client(Style(_CLIENT[head], empty), rest[1:])
    if head[:3] == b"MDP":
        raise WireError(f"{head!r} is no Majordomo protocol that is spoken here (0.1 and 0.2 are)")
    return None


def salvage(frames: Sequence[bytes]) -> tuple[Style, dict[str, Any] | None] | None:
    """How a worker writes whose message breaks the protocol, and what it says of itself with a READY; None
    where the message is no worker's. What speaks another version is answered in 0.2."""
    empty = bool(frames) and not frames[0]
    rest = frames[1:] if empty else frames
    if not rest or len(rest[0]) != 6 or rest[0][:5] != b"MDPW0":
        return None
    return Style(_WORKER.get(bytes(rest[0]), 2), empty), _about(rest[3:])


def turn_away(frames: Sequence[bytes], reason: str) -> list[bytes] | None:
    """The answer to a worker of mesh that would register where there is no hub; None for other messages."""
    sender = salvage(frames)
    return None if sender is None or sender[1] is None else disconnect(sender[0], reason)


def _read_worker(style: Style, frames: Sequence[bytes]) -> FromWorker:
    if not frames:
        raise WireError("a worker's message lacks its command")
    command = _CODES[style.version].get(bytes(frames[0]))
    if command is None:
        raise WireError(f"{bytes(frames[0][:8])!r} is no command of Majordomo 0.{style.version}")
    rest = frames[1:]
    if command is Command.READY:
        if not rest:
            raise WireError("READY lacks the service's name")
        return FromWorker(style, command, service_name(rest[0]), _about(rest[1:]))
    if command is Command.HEARTBEAT:
        return FromWorker(style, command, about=_about(rest))
    if command is Command.DISCONNECT:
        return FromWorker(style, command, reason=_reason(rest))
    if len(rest) < 3 or not rest[0] or rest[1]:
        raise WireError(f"{command.value} needs one client address, an empty frame and a body")
    return FromWorker(style, command, address=bytes(rest[0]), body=tuple(rest[2:]))


def _read_client(style: Style, frames: Sequence[bytes]) -> FromClient:
    if style.version == 2:
        if not frames or frames[0] != _CLIENT_CODES[Command.REQUEST]:
            raise WireError("a client may send nothing but REQUEST")
        frames = frames[1:]
    if len(frames) < 2:
        raise WireError("a client's REQUEST needs a service name and a body")
    return FromClient(style, service_name(frames[0]), tuple(frames[1:]))


def service_name(frame: bytes) -> str:
    """The text of a service name. Raises WireError for what is not printable or too long."""
    if not 0 < len(frame) <= MAX_SERVICE:
        raise WireError(f"a service name has 1 to {MAX_SERVICE} bytes, not {len(frame)}")
    try:
        name = bytes(frame).decode()
    except UnicodeDecodeError:
        raise WireError(f"a service name must be text, not {bytes(frame[:20])!r}") from None
    if not name.isprintable():
        raise WireError(f"a service name must be printable, not {name[:40]!r}")
    return name


def _about(frames: Sequence[bytes]) -> dict[str, Any] | None:
    """What mesh says in the first frame after those of the protocol; None from any other."""
    if not frames or len(frames[0]) > MAX_ABOUT:
        return None
    try:
        about = msgpack.unpackb(frames[0], raw=False)
    except (ValueError, TypeError, OverflowError):
        return None
    if type(about) is not dict or not all(type(key) is str for key in about):
        return None
    return about


def _reason(frames: Sequence[bytes]) -> str:
    text = bytes(frames[0][:MAX_REASON]).decode("utf-8", "replace") if frames else ""
    return "".join(char if char.isprintable() else " " for char in text)


def ready(service: str, about: dict[str, Any] | None = None, style: Style = STANDARD[2]) -> list[bytes]:
    """A worker's registration. about: what mesh adds, in a frame that a strict broker ignores."""
    extra = [msgpack.packb(about)] if about is not None else []
    return [*_worker_head(style, Command.READY), service.encode(), *extra]


def heartbeat(style: Style = STANDARD[2], about: dict[str, Any] | None = None) -> list[bytes]:
    """about: to a mesh peer alone."""
    extra = [msgpack.packb(about)] if about is not None else []
    return [*_worker_head(style, Command.HEARTBEAT), *extra]


def disconnect(style: Style = STANDARD[2], reason: str = "") -> list[bytes]:
    """reason: in words, to a mesh peer alone."""
    extra = [reason.encode("utf-8", "replace")] if reason else []
    return [*_worker_head(style, Command.DISCONNECT), *extra]


def carried(style: Style, command: Command, address: bytes, body: Sequence[bytes]) -> list[bytes]:
    """A REQUEST to a worker, or its PARTIAL or FINAL."""
    return [*_worker_head(style, command), address, b"", *body]


def batch(items: Sequence[int | bytes]) -> bytes:
    """REQUESTs, PARTIALs and FINALs of 0.2 in one frame, between a worker and a hub of mesh that have agreed
    on it in what they say of themselves: six frames for each cost several times as much.

    items: the command's code, the token and the event of each, one after the other.
    """
    frame: bytes = msgpack.packb(items)
    return frame


def read_batch(frame: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The code, the token and the event of each. Raises WireError, also for more bytes than a batch has: what
    they hold would take many times as much."""
    if len(frame) > MAX_BATCH:
        raise WireError(f"a batch of {len(frame)} bytes is too large: {MAX_BATCH} at most")
    try:
        items = msgpack.unpackb(frame)
        codes, tokens, events = items[::3], items[1::3], items[2::3]
        good = (
            {*map(type, tokens), *map(type, events)} == {bytes}
            and len(tokens) == len(codes) == len(events)
            and _BATCHED.issuperset(codes)
        )
    except UNREADABLE:
        good = False
    if not good:
        raise WireError("a batch is an array of codes, tokens and events")
    return zip(codes, tokens, events, strict=True)


def first_item(frame: bytes) -> bytes:
    """The byte that the first item of a MessagePack array begins with; b"" where it has none."""
    at = 3 if frame[:1] == _LONG_ARRAY else 1
    return frame[at : at + 1]


def size_of_batch(frame: bytes) -> int:
    """How many calls or answers are in a frame; 0 where it is no batch, which its beginning tells mostly."""
    if not _BATCHED.issuperset(first_item(frame)):
        return 0
    try:
        return len(list(read_batch(frame)))
    except WireError:
        return 0


def answer(style: Style, command: Command, service: str, body: Sequence[bytes]) -> list[bytes]:
    """What a client gets: PARTIAL, which 0.1 lacks, or FINAL."""
    head = [*style.lead, _HEADERS[style.version][1]]
    if style.version == 2:
        head.append(_CLIENT_CODES[command])
    return [*head, service.encode(), *body]


def request(service: str, body: Sequence[bytes], style: Style = STANDARD[2]) -> list[bytes]:
    """A client's REQUEST."""
    return answer(style, Command.REQUEST, service, body)


def _worker_head(style: Style, command: Command) -> list[bytes]:
    return [*style.lead, _HEADERS[style.version][0], _BYTES[style.version][command]]
