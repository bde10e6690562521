"""One-way events of PUB/SUB and of pipelines: their frames, who handles them, who wants them.

An event is one frame, `[header, name, args]` as zerorpc's Publisher and Pusher send it; a topic
goes before it as a frame of its own, which an old receiver skips. Knows no socket and no loop.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final

from mesh.core import wire
from mesh.core.channel import Ids
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.exposure import LeftOut, made
from mesh.core.methods import MethodTable, is_async, is_generator
from mesh.core.recording import Recorder
from mesh.core.span import UNRECORDED, Span, bound, current_span, span_in
from mesh.core.trace_record import GOOD, Kind
from mesh.core.values import Encode
from mesh.core.wire import Header
from mesh.errors import WireError

MAX_TOPIC: Final = 1_000
"""Bytes of a topic."""
MAX_KNOWN: Final = 100_000
"""Prefixes that are remembered of the subscribers; what is over only costs knowledge."""

Topic = str | bytes
Handler = Callable[..., Any]


def topic_bytes(topic: Topic) -> bytes:
    """A topic, or a prefix of topics, as it travels. Raises TypeError and ValueError."""
    if not isinstance(topic, (str, bytes)):
        raise TypeError(f"a topic must be str or bytes, not {type(topic).__name__}")
    try:
        encoded = topic.encode() if isinstance(topic, str) else topic
    except UnicodeEncodeError:
        raise ValueError(f"the topic {topic!r:.80} has lone surrogates, which have no UTF-8") from None
    if len(encoded) > MAX_TOPIC:
        raise ValueError(f"a topic of {len(encoded)} bytes is too long: {MAX_TOPIC} at most")
    return encoded


def prefixes_of(topics: Topic | Iterable[Topic] | None) -> list[bytes]:
    """What a subscriber subscribes to; None, or an empty prefix, is everything."""
    if topics is None:
        return [b""]
    each = [topics] if isinstance(topics, (str, bytes)) else topics
    if not isinstance(each, Iterable):
        raise TypeError(f"topics must be text, bytes, or several of them; not {topics!r:.80}")
    return list(dict.fromkeys(map(topic_bytes, each)))


class Packer:
    """Makes events of one sender; not to be shared by threads. base: as for Ids. sender: its name in records.
    recorder: keeps what is to be told of events; None where nothing is.
    """

    def __init__(
        self,
        base: bytes,
        max_message: int,
        encode: Encode | None = None,
        sender: str = "",
        recorder: Recorder | None = None,
    ) -> None:
        self._sender = sender
        self._recorder = recorder
        self._ids = Ids(base)
        self._pack, self._plain = wire.packer(encode)
        self._max_message = max_message

    def pack(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> bytes:
        """One event. Raises TypeError for what can't travel, WireError for what is too large."""
        header: Header = {"message_id": self._ids.next(), "v": wire.VERSION}
        span, recorder = current_span(), self._recorder
        if recorder is not None and bound.get() is not UNRECORDED:
            span = recorder.event_span(span, name)
        if span is not None:
            header["trace_id"], header["span_id"] = span.trace_id, span.span_id
        if kwargs:
            header["kwargs"] = kwargs
        try:
            payload = self._pack([header, name, [*args]])
            if self._plain.arrays:
                wire.check_keys(self._plain, [header, args])
        except Exception as exc:  # noqa: BLE001 - a time zone of the program's own may raise anything
            plain = self._plain
            error = wire.cannot_travel(args, "args", plain) or wire.cannot_travel(kwargs, "kwargs", plain)
            raise error or wire.not_packed(f"the event {name!r:.80}", exc) from None
        if len(payload) > self._max_message:
            raise WireError(
                f"the event {name!r:.80} takes {len(payload)} bytes, the limit is {self._max_message}: "
                "send less at once, or raise max_message here, at the receiver and in a hub.yml between them"
            )
        if recorder is not None and span is not None:
            now = recorder.clock()
            recorder.event(Kind.SENT, self._sender, name, span, now, now, GOOD)
        return payload


def unpack(
    frame: bytes, max_elements: int = MAX_ELEMENTS
) -> tuple[str, list[Any], dict[str, Any], Span | None]:
    """The name, arguments and keyword arguments of an event, and the span that it was sent in. Raises
    WireError."""
    header, name, args = wire.unpack(frame, max_elements)
    if type(args) is not list:
        raise WireError(f"the arguments of {name!r:.80} must be an array, not {type(args).__name__}")
    kwargs = header.get("kwargs") or {}
    if type(kwargs) is not dict or not all(type(key) is str for key in kwargs):
        raise WireError(f"the keyword arguments of {name!r:.80} must be a map of names")
    return name, args, kwargs, span_in(header)


class EventHandlers:
    """Who handles the events of a receiver, by their name.

    target: something callable, which gets (name, *args) of every event; or a module, object,
    class or dict, exposed as a server's. coroutines: what a handler gives is awaited. Raises ValueError where
    nothing is exposed, or something of which no event would carry anything out.
    """

    def __init__(self, target: Any, *, coroutines: bool) -> None:
        if inspect.isclass(target):
            target = made(target)
        self._table: MethodTable | None = None
        self._all: Handler | None = None
        if callable(target):
            self._all = target
            functions = {getattr(target, "__qualname__", type(target).__name__): self._all}
        else:
            self._table = MethodTable(target)
            functions = self._table.exposed
        for name, function in functions.items():
            if why := _carries_out_nothing(function, coroutines):
                raise ValueError(f"{name!r:.80} can't handle events: it {why}")

    def find(self, event: str) -> Handler | None:
        """The function to call with the event's arguments; None where nobody handles it."""
        if self._table is not None:
            return self._table.exposed.get(event)
        assert self._all is not None
        return partial(self._all, event)

    @property
    def hidden(self) -> dict[str, str]:
        """As MethodTable's."""
        return self._table.hidden if self._table is not None else {}

    @property
    def left_out(self) -> dict[str, LeftOut]:
        """As MethodTable's."""
        return self._table.left_out if self._table is not None else {}

    def unknown(self, event: str) -> str:
        """What to say of an event that nobody handles."""
        return self._table.unknown(event) if self._table else ""


def _carries_out_nothing(function: Handler, coroutines: bool) -> str:
    """Why to call it does nothing, as far as it tells; "" where it does something."""
    if is_generator(function):
        kind = "plain function or `async def`" if coroutines else "plain function"
        return (
            f"is a generator (it has `yield`), and nobody reads what it would give: write a {kind} "
            "without one, or begin its name with _ where it is not for events"
        )
    if is_async(function) and not coroutines:
        return (
            "is a coroutine function (async def), which mesh.Subscriber and mesh.Puller can't carry out: "
            "take those of mesh.aio"
        )
    return ""


class Subscribed:
    """The prefixes that somebody has subscribed to, as an XPUB socket tells of them."""

    def __init__(self) -> None:
        self._prefixes: set[bytes] = set()
        self._lengths: Counter[int] = Counter()

    def take(self, message: bytes) -> None:
        """One message of the socket: 1 or 0, then the prefix that is now wanted, or no longer."""
        prefix = message[1:]
        if message[:1] == b"\x01":
            if len(self._prefixes) < MAX_KNOWN and prefix not in self._prefixes:
                self._prefixes.add(prefix)
                self._lengths[len(prefix)] += 1
        elif message[:1] == b"\x00" and prefix in self._prefixes:
            self._prefixes.remove(prefix)
            self._lengths[len(prefix)] -= 1
            if not self._lengths[len(prefix)]:
                del self._lengths[len(prefix)]

    def match(self, topic: bytes) -> bool:
        """Whether somebody gets what is sent with this topic, or with this first frame."""
        return any(topic[:length] in self._prefixes for length in self._lengths if length <= len(topic))
