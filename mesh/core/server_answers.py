"""What goes out for a server's calls: results, items of streams and errors, as bytes.

An answer that is the last one ends its call.
"""

from __future__ import annotations

from typing import Any

from mesh.core import wire
from mesh.core.channel import DONE, OPEN, STREAMING, Ids
from mesh.core.server_call import Limits, Peer, ServerCall
from mesh.core.values import Encode
from mesh.core.wire import ERR, OK, STREAM, STREAM_DONE, Header, clip
from mesh.errors import WireError, builtin_name, name_of, text_of


class Answers:
    """The calls that have not had their last answer: peer -> channel id -> call."""

    def __init__(self, base: bytes, limits: Limits, encode: Encode | None) -> None:
        self.channels: dict[Peer, dict[Any, ServerCall]] = {}
        self.limits = limits
        self._ids = Ids(base)
        self._pack, self._plain = wire.packer(encode)
        self._arrays = self._plain.arrays

    def answer(self, call: ServerCall, value: Any) -> bytes:
        """The OK of a call. Raises TypeError, with the place, for a value that can't travel."""
        payload = self._packed(call, OK, [value])
        self._forget(call)
        return payload

    def item(self, call: ServerCall, value: Any) -> bytes:
        """One item of a stream, which costs one credit. Raises as answer does."""
        if call.state is OPEN and len(call.header) > 2:
            # Tells a mesh client, once, that it may grant more than an old server can keep.
            call.header["mesh"] = 1
        payload = self._packed(call, STREAM, value)
        call.header.pop("mesh", None)
        call.state = STREAMING
        call.credit -= 1
        return payload

    def end_stream(self, call: ServerCall) -> bytes:
        payload = self._packed(call, STREAM_DONE, None)
        self._forget(call)
        return payload

    def failure(self, call: ServerCall, exc: BaseException, traceback: str) -> bytes:
        """The ERR of a call whose handler raised. Never raises itself, whatever `exc` does."""
        self._forget(call)
        extra: Header = {}
        name, builtin = name_of(exc), builtin_name(exc)
        if builtin and builtin != name:
            extra["builtin"] = builtin
        return self._error(call.header, name, text_of(exc), traceback, extra)

    def pong(self, request: Header, value: Any) -> bytes:
        """The OK to a ping, of which no handler knows; like that of a handler, byte for byte."""
        header: Header = {"message_id": self._ids.next(), "v": 3, "response_to": request["message_id"]}
        if "mesh" in request:
            header["mesh"] = 1
        return self._pack([header, OK, [value]])

    def unknown(self, call: ServerCall, msg: str) -> bytes:
        """The ERR to a call of a method that does not exist, named as zerorpc's servers name it."""
        self._forget(call)
        return self._error(call.header, wire.UNKNOWN_METHOD, msg, "", {"refused": True})

    def refusal(self, header: Header, name: str, msg: str) -> bytes:
        """The ERR to a request that no handler has seen."""
        return self._error(header, name, msg, "", {"refused": True})

    def cancelled(self, call: ServerCall) -> bytes:
        """The ERR that ends a call which nobody wants any more, for a hub that counts it."""
        return self._error(call.header, "LostRemote", "the caller is gone, or has cancelled", "", {})

    def _packed(self, call: ServerCall, name: str, args: Any) -> bytes:
        header: Header = {"message_id": self._ids.next(), "v": 3, "response_to": call.id}
        if "mesh" in call.header:
            header["mesh"] = 1
        try:
            payload = self._pack([header, name, args])
            if self._arrays:
                wire.check_keys(self._plain, args)
        except Exception as exc:  # noqa: BLE001 - a time zone of the program's own may raise anything
            value = args[0] if name == OK else args
            place = "the result" if name == OK else "the item"
            raise wire.cannot_travel(value, place, self._plain) or wire.not_packed(place, exc) from None
        if len(payload) > self.limits.max_message:
            raise WireError(
                f"the result of {call.method!r:.80} takes {len(payload)} bytes, the limit is "
                f"{self.limits.max_message}: return less, or {wire.RAISE_MESSAGE}"
            )
        return payload

    def _error(self, request: Header, name: str, msg: str, traceback: str, extra: Header) -> bytes:
        header: Header = {"message_id": self._ids.next(), "v": 3, "response_to": request["message_id"]}
        version = request.get("v", 1)
        args = [clip(name), clip(msg), clip(traceback)]
        if not traceback and "deadline" not in request and "heartbeat" not in request:
            # Perhaps no mesh client.
            args = wire.plain_error(args[0], args[1])
        if type(version) is not int or version < 2:
            args = [f"{args[0]}({args[1]!r})"]
        return self._pack([{**header, **extra}, ERR, args])

    def _forget(self, call: ServerCall) -> None:
        if call.state is DONE:
            return
        call.state = DONE
        theirs = self.channels[call.peer]
        if len(theirs) == 1:
            del self.channels[call.peer]
        else:
            del theirs[call.id]
