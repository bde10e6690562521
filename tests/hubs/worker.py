"""A worker of zerorpc events that needs nothing but a socket; also a program.

It speaks Majordomo 0.2 and says how many calls it takes at once. Its methods: echo VALUE, pid, count NUMBER
(a stream, with credit), hold (is never answered), cancelled (calls that were), die.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import zmq

from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.channel import Ids
from mesh.core.majordomo import STANDARD, Command, FromWorker
from mesh.errors import WireError

HEARTBEAT = 0.2


class Worker:
    """One worker of one hub; `turn` serves for a while."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, service: str, capacity: int) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.reconnect_ivl = 20
        self.socket.connect(endpoint)
        self.registered = 0
        self._service, self._capacity = service, capacity
        self._ids = Ids(os.urandom(12).hex().encode())
        # Token -> channel, items sent, items wanted, items paid for.
        self._streams: dict[bytes, list[Any]] = {}
        self._channels: dict[bytes, Any] = {}
        self._cancelled = 0
        self.register()

    def register(self) -> None:
        self.registered += 1
        self.socket.send_multipart(mdp.ready(self._service, {"capacity": self._capacity}))

    def turn(self, timeout_ms: int = 50) -> None:
        """A heartbeat, and all that has come."""
        self.socket.send_multipart(mdp.heartbeat())
        while self.socket.poll(timeout_ms):
            self.take(self.socket.recv_multipart())

    def take(self, frames: Sequence[bytes]) -> None:
        message = mdp.read(frames)
        assert isinstance(message, FromWorker)
        if message.command is Command.DISCONNECT:
            self.register()
        elif message.command is Command.REQUEST:
            try:
                self._event(message.address, *wire.unpack(message.body[0]))
            except (WireError, LookupError):
                answer = mdp.carried(message.style, Command.FINAL, message.address, [b"that is no call"])
                self.socket.send_multipart(answer)

    def _event(self, token: bytes, header: wire.Header, name: str, args: Any) -> None:
        if "response_to" in header:
            self._follow_up(token, header, name, args)
            return
        self._channels[token] = header["message_id"]
        if name == "count":
            self._streams[token] = [0, args[0], 1]
            self._go_on(token)
        elif name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif name != "hold":
            values = {"echo": args and args[0], "pid": os.getpid(), "cancelled": self._cancelled}
            self._answer(token, Command.FINAL, wire.OK, [values[name]])

    def _follow_up(self, token: bytes, header: wire.Header, name: str, args: Any) -> None:
        if header.get("cancel"):
            self._cancelled += 1
            self._answer(token, Command.FINAL, wire.ERR, ["Cancelled", "", ""])
        elif name == wire.BEAT:
            self._answer(token, Command.PARTIAL, wire.BEAT, [0])
        elif name == wire.MORE and token in self._streams:
            self._streams[token][2] += args[0]
            self._go_on(token)

    def _go_on(self, token: bytes) -> None:
        stream = self._streams[token]
        while stream[0] < stream[1] and stream[2]:
            self._answer(token, Command.PARTIAL, wire.STREAM, stream[0])
            stream[0] += 1
            stream[2] -= 1
        if stream[0] == stream[1]:
            del self._streams[token]
            self._answer(token, Command.FINAL, wire.STREAM_DONE, None)

    def _answer(self, token: bytes, command: Command, name: str, args: Any) -> None:
        header = {"message_id": self._ids.next(), "v": wire.VERSION, "response_to": self._channels[token]}
        self.socket.send_multipart(mdp.carried(STANDARD[2], command, token, [wire.pack(header, name, args)]))


def main(endpoint: str, service: str, capacity: str) -> None:
    worker = Worker(zmq.Context(), endpoint, service, int(capacity))
    print("ready", flush=True)
    while True:
        worker.turn()


if __name__ == "__main__":
    main(*sys.argv[1:])
