"""For the tests of events: ends that end with their test, and what receivers have heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import pytest
import zmq

import mesh
from tests.helpers.processes import eventually

ANY_PORT = "tcp://127.0.0.1:*"
PATIENCE = 20.0
PAIRS = [(mesh.Publisher, mesh.Subscriber), (mesh.Pusher, mesh.Puller)]

Emitter = TypeVar("Emitter", mesh.Publisher, mesh.Pusher)
Receiver = TypeVar("Receiver", mesh.Subscriber, mesh.Puller)


class Heard(list[Any]):
    """A handler that keeps each event as [name, *args]."""

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.append([name, *args, kwargs] if kwargs else [name, *args])

    def wait(self, *events: list[Any]) -> None:
        """Until exactly these have been heard, in this order."""
        eventually(lambda: len(self) >= len(events), timeout=PATIENCE, what=lambda: f"{events}, heard {self}")
        assert self == list(events)


class Ends:
    """Makes publishers, subscribers, pushers, pullers and raw sockets, and closes them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._context = zmq.Context()
        stack.callback(self._context.destroy, 0)

    def bound(self, kind: type[Emitter], **options: Any) -> tuple[Emitter, str]:
        end = self.emitter(kind, None, **options)
        return end, end.bind(ANY_PORT)

    def emitter(self, kind: type[Emitter], target: Any, **options: Any) -> Emitter:
        end = kind(target, **options)
        self._stack.callback(end.close, 0.0)
        return end

    def receiver(self, kind: type[Receiver], target: Any, handler: Any, **options: Any) -> Receiver:
        end = kind(target, handler, **options)
        self._stack.callback(end.stop, 1.0)
        end.start()
        return end

    def heard(self, kind: type[Receiver], target: Any, **options: Any) -> Heard:
        heard = Heard()
        self.receiver(kind, target, heard, **options)
        return heard

    def raw(self, kind: int, **options: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.linger = 0
        for name, value in options.items():
            setattr(socket, name, value)
        return socket

    def raw_bound(self, kind: int, **options: int) -> tuple[zmq.Socket[bytes], str]:
        socket = self.raw(kind, **options)
        socket.bind(ANY_PORT)
        return socket, socket.getsockopt_string(zmq.LAST_ENDPOINT)


@pytest.fixture
def ends() -> Iterator[Ends]:
    with ExitStack() as stack:
        yield Ends(stack)


def received(socket: zmq.Socket[bytes]) -> list[bytes]:
    """The next message of a raw socket."""
    eventually(lambda: socket.poll(0), timeout=PATIENCE, what="a message")
    return socket.recv_multipart()


def ready(emitter: mesh.Publisher | mesh.Pusher) -> None:
    """Wait until what is sent reaches somebody; a pusher does so itself."""
    if isinstance(emitter, mesh.Publisher):
        emitter.wait_for_subscriber(PATIENCE)


def reaches(publisher: mesh.Publisher, *all_heard: Heard) -> None:
    """Publish until all of them hear it; then their lists are empty again."""

    def heard() -> bool:
        publisher("_hello")
        return all(all_heard)

    eventually(heard, timeout=PATIENCE, what="all subscribers")
    publisher("_done")
    for each in all_heard:
        eventually(lambda each=each: ["_done"] in each, timeout=PATIENCE, what="the last of it")
        each.clear()


def caught(error: type[BaseException], function: Callable[[], object]) -> str:
    with pytest.raises(error) as info:
        function()
    return str(info.value)
