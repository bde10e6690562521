"""A stream as its caller sees it: an iterator, with flow control, that may be left at any time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import finalize

from greenlet import getcurrent

from mesh.core import misuse
from mesh.core.client_session import Call
from mesh.green.loop import wait
from mesh.green.threads import loop_thread
from mesh.transport import native
from mesh.transport.client_endpoint import ClientEndpoint
from mesh.transport.native import get_ident

_NO_ASYNC_WITH = misuse.advice(
    "this stream is left by `with` or close(), and gone through by `for`; one for asyncio comes from a "
    "client of mesh.aio.connect"
)


class Stream(Iterator[Any]):
    """The items that a handler yields.

    The server sends as many ahead as the client has granted. Leaving the loop, closing the
    stream or dropping it ends the handler's generator. Raises what the handler raises,
    TimeoutExpired when the next item takes longer than the timeout, RuntimeError in another thread or loop
    than the one that it was begun in, and LostRemote in the child of a fork.
    """

    __slots__ = ("__weakref__", "_call", "_client", "_drop", "_endpoint", "_timeout")
    __mesh_unexposed__ = "a stream of another service"

    def __init__(self, client: object, endpoint: ClientEndpoint, call: Call, timeout: float | None) -> None:
        self._client = client  # which closes its connections when nobody has it any more
        self._endpoint = endpoint
        self._call = call
        self._timeout = timeout
        self._drop = finalize(self, endpoint.drop, call)
        self._drop.atexit = False

    def __next__(self) -> Any:
        call, endpoint = self._call, self._endpoint
        if get_ident() != endpoint.home:
            endpoint.refuse_reader(call)
        items = call.items
        if not items:
            while endpoint.await_item(call, getcurrent(), self._timeout):
                wait(endpoint, call)
            items = call.items
            if not items:
                self._drop.detach()
                raise call.take_error() or StopIteration
        value = items.popleft()
        if len(items) < call.low:
            endpoint.grant(call)
        return value

    def take(self, most: int) -> tuple[list[Any], BaseException | None]:
        """Up to `most` items that are there, at least one of them waited for; and how it ended."""
        taken: list[Any] = []
        try:
            taken.append(next(self))
            while self._call.items and len(taken) < most:
                taken.append(next(self))
        except Exception as exc:  # noqa: BLE001 - StopIteration or what the handler raised
            return taken, exc
        return taken, None

    def close(self) -> None:
        """Leave the stream; what has not been taken is dropped."""
        self._drop.detach()
        self._endpoint.leave(self._call)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    if not TYPE_CHECKING:  # a checker knows by itself that it is no context of that kind
        __aenter__ = __aexit__ = _NO_ASYNC_WITH


class ThreadStream(Iterator[Any]):
    """A stream that lives in the loop thread, for native threads without a loop. Any of them may read it."""

    __mesh_unexposed__ = "a stream of another service"
    BATCH = 100

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._call = stream._call
        self._endpoint = stream._endpoint
        self._lock = native.allocate_lock()
        self._taken: list[Any] = []
        self._end: BaseException | None = None

    def __next__(self) -> Any:
        if self._endpoint.home is None:
            self._endpoint.refuse_reader(self._call)
        try:
            return self._taken.pop()
        except IndexError:
            return self._next()

    def _next(self) -> Any:
        """After the next items have been fetched, or the end."""
        with self._lock:
            if not self._taken and self._end is None:
                taken, self._end = loop_thread.call(self._stream.take, self.BATCH)
                self._taken = taken[::-1]
            if self._taken:
                return self._taken.pop()
            end, self._end = self._end, StopIteration()
            raise end or StopIteration

    def close(self) -> None:
        """Leave the stream; what has not been taken is dropped."""
        self._taken, self._end = [], StopIteration()
        loop_thread.call(self._stream.close)

    def __enter__(self) -> ThreadStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    if not TYPE_CHECKING:
        __aenter__ = __aexit__ = _NO_ASYNC_WITH
