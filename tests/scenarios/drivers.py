"""One face of every driver, so that a scenario is written once: plain calls that block, each with an end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final, Protocol

import uvloop

import mesh
import mesh.aio
from tests.helpers.processes import PATIENCE
from tests.scenarios.targets import AsyncAudience, AsyncShop, Audience, Shop


class Begun(Protocol):
    """A call that is under way."""

    def result(self, timeout: float) -> Any: ...
    def cancel(self) -> object: ...


class Client(Protocol):
    """A client of one driver."""

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def begin(self, method: str, /, *args: Any, **kwargs: Any) -> Begun: ...

    def stream(self, method: str, /, *args: Any) -> Iterator[Any]:
        """Its items; to close the iterator is to leave the stream."""

    def with_options(self, **options: Any) -> Client: ...
    def close(self) -> None: ...


class Driver:
    """Makes ends of one driver, which end with their scenario.

    shop, audience: the classes whose objects its servers and receivers expose. loop_name: as `mesh serve`
    calls it.
    """

    loop_name = "gevent"
    shop: type = Shop
    audience: type = Audience

    def __init__(self, ends: ExitStack) -> None:
        self.ends = ends

    def connect(self, target: Any, **options: Any) -> Client:
        raise NotImplementedError

    def serve(self, target: Any, **options: Any) -> str:
        """A server that runs; its endpoint."""
        raise NotImplementedError

    def register(self, service: str, target: Any, hub: str, **options: Any) -> Callable[[], object]:
        """A registered worker that runs; gives what stops it, with a drain."""
        raise NotImplementedError

    def receive(self, kind: str, target: Any, handler: Any, **options: Any) -> None:
        """A Subscriber or a Puller that runs."""
        raise NotImplementedError

    def sender(self, kind: str, target: Any, **options: Any) -> Callable[..., None]:
        """Sends by a Publisher or a Pusher: (event, *args). A publisher waits for its first subscriber."""
        raise NotImplementedError


# gevent, and native threads


class GreenClient:
    def __init__(self, client: mesh.Client) -> None:
        self._client = client

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._client(method, *args, **kwargs)

    def begin(self, method: str, /, *args: Any, **kwargs: Any) -> Begun:
        return getattr(self._client, method).future(*args, **kwargs)  # type: ignore[no-any-return]

    def stream(self, method: str, /, *args: Any) -> Iterator[Any]:
        return self._client(method, *args)  # type: ignore[no-any-return]

    def with_options(self, **options: Any) -> Client:
        return type(self)(self._client.with_options(**options))

    def close(self) -> None:
        self._client.close()


class Green(Driver):
    def connect(self, target: Any, **options: Any) -> Client:
        return GreenClient(self.ends.enter_context(mesh.connect(target, **{"timeout": PATIENCE, **options})))

    def serve(self, target: Any, **options: Any) -> str:
        server = mesh.Server(target, **options)
        endpoint = server.bind("tcp://127.0.0.1:*")
        server.start()
        self.ends.callback(server.stop, timeout=0.2)
        return endpoint

    def register(self, service: str, target: Any, hub: str, **options: Any) -> Callable[[], object]:
        server = mesh.Server(target, name=service, **options)
        server.register(service, hub, heartbeat=0.5)
        server.start()
        self.ends.callback(server.stop, timeout=0.2)
        return server.stop

    def receive(self, kind: str, target: Any, handler: Any, **options: Any) -> None:
        receiver = getattr(mesh, kind)(target, handler, **options)
        receiver.start()
        self.ends.callback(receiver.stop, timeout=0.2)

    def sender(self, kind: str, target: Any, **options: Any) -> Callable[..., None]:
        sender = self.ends.enter_context(getattr(mesh, kind)(target, **options))
        if kind == "Publisher":
            sender.wait_for_subscriber(PATIENCE)
        return sender  # type: ignore[no-any-return]


class NativeClient(GreenClient):
    """Each call from a native thread that has no loop; a stream stays in the thread that began it."""

    _threads: Final = ThreadPoolExecutor(16)

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._threads.submit(mesh.fork(self._client), method, *args, **kwargs).result(PATIENCE)

    def begin(self, method: str, /, *args: Any, **kwargs: Any) -> Begun:
        begin = getattr(self._client, method).future
        return self._threads.submit(mesh.fork(begin), *args, **kwargs).result(PATIENCE)  # type: ignore[no-any-return]

    def stream(self, method: str, /, *args: Any) -> Iterator[Any]:
        with ThreadPoolExecutor(1) as thread:
            items = thread.submit(mesh.fork(self._client), method, *args).result(PATIENCE)
            end = object()
            try:
                while (item := thread.submit(next, items, end).result(PATIENCE)) is not end:
                    yield item
            finally:
                thread.submit(items.close).result(PATIENCE)


class Native(Green):
    def connect(self, target: Any, **options: Any) -> Client:
        made = NativeClient._threads.submit(mesh.connect, target, **{"timeout": PATIENCE, **options})
        return NativeClient(self.ends.enter_context(made.result(PATIENCE)))


# asyncio


class LoopThread:
    """A loop of asyncio that runs in a thread of its own until it is closed."""

    def __init__(self, make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._loop = make_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def begin(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> ThreadFuture[Any]:
        """Call it in the loop, and await what it gives where that is to be awaited."""

        async def run() -> Any:
            result = function(*args, **kwargs)
            return await result if hasattr(type(result), "__await__") else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    def do(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.begin(function, *args, **kwargs).result(PATIENCE)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class AioClient:
    def __init__(self, loop: LoopThread, client: Any) -> None:
        self._loop = loop
        self._client = client

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        return self._loop.do(self._client, method, *args, **kwargs)

    def begin(self, method: str, /, *args: Any, **kwargs: Any) -> Begun:
        return self._loop.begin(getattr(self._client, method), *args, **kwargs)

    def stream(self, method: str, /, *args: Any) -> Iterator[Any]:
        loop, client, end = self._loop, self._client, object()
        items: list[Any] = []

        async def begin() -> None:
            items.append(aiter(client(method, *args)))

        loop.do(begin)
        try:
            while (item := loop.do(anext, items[0], end)) is not end:
                yield item
        finally:
            loop.do(items[0].aclose)

    def with_options(self, **options: Any) -> Client:
        return AioClient(self._loop, self._client.with_options(**options))

    def close(self) -> None:
        self._loop.do(self._client.close)


class Aio(Driver):
    loop_name = "asyncio"
    shop = AsyncShop
    audience = AsyncAudience
    make_loop: Callable[[], asyncio.AbstractEventLoop] = staticmethod(asyncio.new_event_loop)

    def __init__(self, ends: ExitStack) -> None:
        super().__init__(ends)
        self.loop = LoopThread(self.make_loop)
        ends.callback(self.loop.close)

    def connect(self, target: Any, **options: Any) -> Client:
        client = self.loop.do(mesh.aio.connect, target, **{"timeout": PATIENCE, **options})
        self.ends.callback(self.loop.do, client.close)
        return AioClient(self.loop, client)

    def serve(self, target: Any, **options: Any) -> str:
        server = mesh.aio.Server(target, **options)
        endpoint = self.loop.do(server.bind, "tcp://127.0.0.1:*")
        self._run(server)
        return endpoint  # type: ignore[no-any-return]

    def register(self, service: str, target: Any, hub: str, **options: Any) -> Callable[[], object]:
        server = mesh.aio.Server(target, name=service, **options)
        self.loop.do(server.register, service, hub, heartbeat=0.5)
        return self._run(server)

    def receive(self, kind: str, target: Any, handler: Any, **options: Any) -> None:
        self._run(self.loop.do(getattr(mesh.aio, kind), target, handler, **options))

    def _run(self, one: Any) -> Callable[[], object]:
        running = self.loop.begin(one.serve)

        def stop(timeout: float = PATIENCE) -> None:
            self.loop.do(one.stop, timeout)
            running.result(PATIENCE)

        self.ends.callback(stop, 0.2)
        return stop

    def sender(self, kind: str, target: Any, **options: Any) -> Callable[..., None]:
        sender = self.loop.do(getattr(mesh.aio, kind), target, **options)
        self.ends.callback(self.loop.do, sender.close)
        if kind == "Publisher":
            self.loop.do(sender.wait_for_subscriber, PATIENCE)
        return lambda event, *args: self.loop.do(sender, event, *args)


class Uvloop(Aio):
    loop_name = "uvloop"
    make_loop = staticmethod(uvloop.new_event_loop)


DRIVERS: Final[dict[str, type[Driver]]] = {"green": Green, "native": Native, "asyncio": Aio, "uvloop": Uvloop}
PAIRS: Final = [
    ("green", "green"),
    ("native", "green"),
    ("asyncio", "green"),
    ("uvloop", "green"),
    ("green", "asyncio"),
    ("asyncio", "asyncio"),
    ("uvloop", "uvloop"),
]
"""(callers or senders, servers or receivers)"""
