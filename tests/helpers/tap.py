"""A wire tap: a plain ZeroMQ device between a client and a server that keeps what each of them sent."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import msgpack
import zmq

Side = Literal["client", "server"]


class Sent(NamedTuple):
    """A message as its sender's socket was given it, without routing ids."""

    sender: Side
    frames: list[bytes]

    @property
    def event(self) -> list[Any]:
        """The header, name and arguments, decoded without mesh."""
        event: list[Any] = msgpack.unpackb(self.frames[-1], strict_map_key=False, timestamp=3)
        return event

    @property
    def name(self) -> str:
        name: str = self.event[1]
        return name


class Tap:
    """Stands at `endpoint` in front of the server. A context manager."""

    def __init__(self, server: str) -> None:
        self.seen: list[Sent] = []
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._back = self._context.socket(zmq.DEALER)
        self._stop = self._context.socket(zmq.PAIR)
        self._stopped = self._context.socket(zmq.PAIR)
        for one in (self._front, self._back, self._stop, self._stopped):
            one.linger = 0
            one.set_hwm(0)  # a tap that drops would be seen as a peer that does
        self._stopped.bind("inproc://stop")
        self._stop.connect("inproc://stop")
        self._front.bind("tcp://127.0.0.1:*")
        self.endpoint = self._front.getsockopt_string(zmq.LAST_ENDPOINT)
        self._back.connect(server)
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def sent_by(self, sender: Side) -> list[Sent]:
        return [one for one in list(self.seen) if one.sender == sender]

    def _carry(self) -> None:
        poller = zmq.Poller()
        for one in (self._front, self._back, self._stopped):
            poller.register(one, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._stopped in ready:
                return
            if self._front in ready:
                self._pass("client", self._front, self._back)
            if self._back in ready:
                self._pass("server", self._back, self._front)

    def _pass(self, sender: Side, source: zmq.Socket[bytes], target: zmq.Socket[bytes]) -> None:
        frames = source.recv_multipart()
        self.seen.append(Sent(sender, frames[1:]))
        target.send_multipart(frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.send(b"")
        self._thread.join()
        self._context.destroy(linger=0)
