"""Plain ZeroMQ sockets for the tests of hubs, and specs of hubs on free ports."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import zmq

from hubs.spec import HubSpec, Side
from tests.helpers.processes import PATIENCE

ANY = "tcp://127.0.0.1:*"

Socket = zmq.Socket[bytes]


def spec(kind: str, name: str = "one", **more: Any) -> HubSpec:
    """A hub with a free port on each side; a queue is one for anonymous workers."""
    sides = {"in_": Side((ANY,)), "out": Side((ANY,))}
    return HubSpec(name, kind, **{**sides, "anonymous": kind == "queue", "heartbeat": 0.2, **more})


class Wires:
    """Makes sockets that give up after some seconds instead of hanging. A context manager."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        # A socket that nobody holds closes itself.
        self._sockets: list[Socket] = []

    def __call__(
        self, kind: int, *endpoints: str, bind: str | None = None, subscribe: bytes | None = None
    ) -> Socket:
        socket = self._context.socket(kind)
        self._sockets.append(socket)
        socket.linger = 0
        socket.rcvtimeo = socket.sndtimeo = int(PATIENCE * 1000)
        if subscribe is not None:
            socket.subscribe(subscribe)
        for endpoint in endpoints:
            socket.connect(endpoint)
        if bind:
            socket.bind(bind)
        return socket

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)
