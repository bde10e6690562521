"""What a server's answers are on the wire: results, items of streams and errors, as bytes.

Knows nothing of which calls are open; that is the session's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any, Final

from mesh.core import wire
from mesh.core.channel import OPEN, Ids, control
from mesh.core.server_call import Limits, ServerCall
from mesh.core.values import Encode
from mesh.core.wire import ERR, OK, STREAM, Header, clip
from mesh.errors import WireError, builtin_name, name_of, text_of

MAX_HEADER: Final = 512
"""Bytes of an event that answers a call, without its arguments, at the most."""
_STREAM: Final = wire.packer()[0](STREAM)


class AnswerWriter:
    """base: 24 hex digits that begin no other session's message ids. encode: as a server is given it."""

    __slots__ = (
        "_arrays",
        "_ids",
        "_max_message",
        "_most_of_item",
        "_pack",
        "_plain",
        "idempotent",
        "is_mesh",
    )

    def __init__(self, base: bytes, limits: Limits, encode: Encode | None) -> None:
        self.idempotent: Container[str] = ()
        """The methods whose answers say that they may be carried out twice."""
        self.is_mesh: Callable[[bytes], bool] = lambda peer: True
        """Whether a client that has come by itself is known to be of mesh."""
        self._max_message = limits.max_message
        # Of more bytes an item is looked at in its event.
        self._most_of_item = limits.max_message - MAX_HEADER
        self._ids = Ids(base)
        self._pack, self._plain = wire.packer(encode)
        self._arrays = self._plain.arrays

    def item(self, call: ServerCall, value: Any) -> bytes:
        """One item of a stream. Raises as `packed` does."""
        if call.state is OPEN and len(call.header) > 2:
            # Tells a mesh client, once, that it may grant more than an old server can keep.
            call.header["mesh"] = 1
        payload = self.packed(call, STREAM, value)
        call.header.pop("mesh", None)
        return payload

    def value(self, call: ServerCall, value: Any) -> bytes:
        """An item, of several that may go in one event. Raises as `packed` does."""
        try:
            payload = self._pack(value)
            if self._arrays:
                wire.check_keys(self._plain, value)
        except Exception as exc:  # noqa: BLE001 - a time zone of the program's own may raise anything
            fault = wire.cannot_travel(value, "the item", self._plain)
            raise fault or wire.not_packed("the item", exc) from None
        if len(payload) > self._most_of_item:
            self._check_size(call, len(self.items(call, [payload])))
        return payload

    def items(self, call: ServerCall, values: Sequence[bytes]) -> bytes:
        """Several items of a stream in one event; one as `item` has it."""
        number = len(values)
        header: Header = {"message_id": self._ids.next(), "v": 3, "response_to": call.id}
        if number == 1:
            return b"".join((b"\x93", self._pack(header), _STREAM, *values))
        header["items"] = number
        return b"".join((b"\x93", self._pack(header), _STREAM, b"\xdc", number.to_bytes(2, "big"), *values))

    def failure(self, call: ServerCall, exc: BaseException, traceback: str) -> bytes:
        """The ERR of a call whose handler raised. Never raises itself, whatever `exc` does."""
        extra: Header = {}
        name, builtin = name_of(exc), builtin_name(exc)
        if builtin and builtin != name:
            extra["builtin"] = builtin
        if call.late:
            self._tell_trace(call, extra)
        elif call.unrecorded:
            extra["trace_id"] = ""
        return self.error(call.header, name, text_of(exc), traceback, extra)

    def at_once(self, request: Header, value: Any) -> bytes:
        """The OK to what no handler knows of, as a ping; like that of a handler, byte for byte."""
        header: Header = {"message_id": self._ids.next(), "v": 3, "response_to": request["message_id"]}
        if "mesh" in request:
            header["mesh"] = 1
        if "batch" in request:
            header["batch"] = 1
        return self._pack([header, OK, [value]])

    def refusal(self, header: Header, name: str, msg: str, wait: float | None = None) -> bytes:
        """The ERR to a request that no handler has seen. wait: seconds after which to come again."""
        extra: Header = {"refused": True}
        if wait is not None:
            extra["pause"] = int(wait * 1000)
        return self.error(header, name, msg, "", extra)

    def cancelled(self, call: ServerCall) -> bytes:
        """The ERR that ends a call which nobody wants any more, for a hub that counts it."""
        return self.error(call.header, "LostRemote", "the caller is gone, or has cancelled", "", {})

    def beat(self, call: ServerCall) -> bytes:
        """A heartbeat on its channel."""
        return control(self._ids, call.id, wire.BEAT, 0)

    def packed(self, call: ServerCall, name: str, args: Any) -> bytes:
        """An event that answers a call. Raises TypeError, with the place, for a value that can't travel."""
        header: Header = {"message_id": self._ids.next(), "v": 3, "response_to": call.id}
        if "mesh" in call.header:
            header["mesh"] = 1
        if self.idempotent and call.method in self.idempotent and "deadline" in call.header:
            # To a client of mesh, which may take it to heart.
            header["idempotent"] = True
        if "batch" in call.header:
            # Once: what its client has asked with its first call.
            header["batch"] = call.header.pop("batch")
        if call.late:
            self._tell_trace(call, header)
        try:
            payload = self._pack([header, name, args])
            if self._arrays:
                wire.check_keys(self._plain, args)
        except Exception as exc:  # noqa: BLE001 - a time zone of the program's own may raise anything
            value = args[0] if name == OK else args
            place = "the result" if name == OK else "the item"
            raise wire.cannot_travel(value, place, self._plain) or wire.not_packed(place, exc) from None
        if "deadline" not in call.header and self._may_be_old(call):
            wire.check_for_old_peers(payload, "the result" if name == OK else "the item")
        self._check_size(call, len(payload))
        return payload

    def _may_be_old(self, call: ServerCall) -> bool:
        """Whether a call without a deadline may be zerorpc-python's. One through a hub may be anybody's, and
        zerorpc-node's message ids are no bytes.
        """
        if type(call.peer) is not bytes or type(call.id) is not bytes or "heartbeat" in call.header:
            return False
        return not self.is_mesh(call.peer)

    def _tell_trace(self, call: ServerCall, header: Header) -> None:
        """Have an answer say which trace its call belongs to, as its client knows of none."""
        header["trace_id"], header["span_id"] = call.header["trace_id"], call.header["span_id"]

    def _check_size(self, call: ServerCall, size: int) -> None:
        if size > self._max_message:
            raise WireError(
                f"the result of {call.method!r:.80} takes {size} bytes, the limit is "
                f"{self._max_message}: return less, or {wire.RAISE_MESSAGE}"
            )

    def error(self, request: Header, name: str, msg: str, traceback: str, extra: Header) -> bytes:
        """An ERR in the form that the sender of the request knows. extra: goes into its header."""
        header: Header = {"message_id": self._ids.next(), "v": 3, "response_to": request["message_id"]}
        if "batch" in request:
            header["batch"] = 1
        version = request.get("v", 1)
        args = [clip(name), clip(msg), clip(traceback)]
        if not traceback and "deadline" not in request and "heartbeat" not in request:
            # Perhaps no mesh client.
            args = wire.plain_error(args[0], args[1])
        if type(version) is not int or version < 2:
            args = [f"{args[0]}({args[1]!r})"]
        return self._pack([{**header, **extra}, ERR, args])
