"""For the tests of events on asyncio: a loop of each kind, ends that end with their test, what was heard."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from functools import wraps
from typing import Any, Final, TypeVar

import pytest
import uvloop
import zmq

from mesh.aio.events import Publisher, Pusher
from mesh.aio.receivers import Puller, Subscriber
from tests.helpers.processes import PATIENCE

ANY_PORT: Final = "tcp://127.0.0.1:*"
PAIRS: Final = [(Publisher, Subscriber), (Pusher, Puller)]
LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

Sender = TypeVar("Sender", Publisher, Pusher)
Receiver = TypeVar("Receiver", Subscriber, Puller)


def run(main: Coroutine[Any, Any, Any], kind: str = "asyncio") -> Any:
    """Run it in a loop of its own, which is closed then."""
    with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        return runner.run(asyncio.wait_for(main, 2 * PATIENCE))


def in_each_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine: run in a loop of each kind, with `ends` of its own."""

    @wraps(test)
    def wrapper(loop_kind: str, **fixtures: Any) -> None:
        async def main() -> None:
            async with AsyncExitStack() as stack:
                await test(Ends(stack), **fixtures)

        run(main(), loop_kind)

    _, *others = inspect.signature(test).parameters.values()
    own = inspect.Parameter("loop_kind", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wrapper.__signature__ = inspect.Signature([own, *others])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("loop_kind", LOOPS)(wrapper)


async def until(
    condition: Callable[[], Any], what: Callable[[], object] | str = "that", patience: float = PATIENCE
) -> Any:
    """Let the loop turn until the condition is true; gives its value."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited for {what() if callable(what) else what}"
        await asyncio.sleep(0.005)
    return value


class Heard(list[Any]):
    """A handler that keeps each event as [name, *args]."""

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.append([name, *args, kwargs] if kwargs else [name, *args])

    async def wait(self, *events: list[Any]) -> None:
        """Until exactly these have been heard, in this order."""
        await until(lambda: len(self) >= len(events), lambda: f"{events}, heard {self}")
        assert self == list(events)


class Ends:
    """Makes publishers, subscribers, pushers, pullers and raw sockets, and closes them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self._context = zmq.Context()
        stack.callback(self._context.destroy, 0)

    def bound(self, kind: type[Sender], **options: Any) -> tuple[Sender, str]:
        end = self.sender(kind, None, **options)
        return end, end.bind(ANY_PORT)

    def sender(self, kind: type[Sender], target: Any, **options: Any) -> Sender:
        end = kind(target, **options)
        self.stack.push_async_callback(end.close, 0.0)
        return end

    def receiver(self, kind: type[Receiver], target: Any, handler: Any, **options: Any) -> Receiver:
        end = kind(target, handler, **options)

        async def stop() -> None:
            await end.stop(1.0)

        self.stack.push_async_callback(stop)
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


async def received(socket: zmq.Socket[bytes]) -> list[bytes]:
    """The next message of a raw socket."""
    await until(lambda: socket.poll(0), "a message")
    return socket.recv_multipart()


async def ready(sender: Publisher | Pusher) -> None:
    """Wait until what is sent reaches somebody; a pusher does so itself."""
    if isinstance(sender, Publisher):
        await sender.wait_for_subscriber(PATIENCE)


async def reaches(publisher: Publisher, *all_heard: Heard) -> None:
    """Publish until all of them hear it; then their lists are empty again."""
    while not all(all_heard):
        await publisher("_hello")
        await asyncio.sleep(0.005)
    await publisher("_done")
    for each in all_heard:
        await until(lambda each=each: ["_done"] in each, "the last of it")
        each.clear()


async def caught(error: type[BaseException], awaitable: Awaitable[object]) -> str:
    with pytest.raises(error) as info:
        await awaitable
    return str(info.value)
