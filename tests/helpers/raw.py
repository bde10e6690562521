"""Peers without any library: plain ZeroMQ sockets that say exactly what a test tells them."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import gevent
import msgpack
import zmq

from tests.helpers.processes import PATIENCE

Header = dict[str, Any]
Event = tuple[Header, str, Any]


class _Socket:
    def __init__(self, kind: int) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(kind)
        self.socket.linger = 0
        self.peer = b""

    def receive(self, timeout: float = PATIENCE) -> Event:
        """The next event; other greenlets go on meanwhile. Fails the test after `timeout` seconds."""
        event = self._next(timeout)
        assert event is not None, f"nothing came within {timeout:g} s"
        return event

    def answer(self, timeout: float = PATIENCE) -> Event:
        """The next event that is no heartbeat."""
        while True:
            event = self.receive(timeout)
            if event[1] != "_zpc_hb":
                return event

    def all_within(self, seconds: float) -> list[Event]:
        """Whatever comes in that time."""
        end = time.monotonic() + seconds
        events = []
        while (event := self._next(end - time.monotonic())) is not None:
            events.append(event)
        return events

    def send(self, header: Any, name: Any, args: Any) -> None:
        self.send_payload(msgpack.packb([header, name, args]))

    def send_payload(self, payload: bytes) -> None:
        self.socket.send_multipart([*self._envelope(), b"", payload])

    def _envelope(self) -> list[bytes]:
        return [self.peer] if self.peer else []

    def _next(self, timeout: float) -> Event | None:
        end = time.monotonic() + timeout
        while not self.socket.poll(0):
            if time.monotonic() >= end:
                return None
            gevent.sleep(0.002)
        *envelope, empty, payload = self.socket.recv_multipart()
        assert empty == b""
        if envelope:
            (self.peer,) = envelope
        header, name, args = msgpack.unpackb(payload)
        return header, name, args

    def close(self) -> None:
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RawClient(_Socket):
    """A DEALER connected to `endpoint`."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(zmq.DEALER)
        self.socket.connect(endpoint)


class RawServer(_Socket):
    """A ROUTER bound at `endpoint`; it answers the peer that it heard last."""

    def __init__(self) -> None:
        super().__init__(zmq.ROUTER)
        self.socket.bind("tcp://127.0.0.1:*")
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
