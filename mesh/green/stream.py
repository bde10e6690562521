"""A stream as its caller sees it: an iterator, with flow control, that may be left at any time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn
from weakref import finalize

from greenlet import getcurrent

from mesh.core.channel import State
from mesh.core.client_session import Call
from mesh.green.loop import wait
from mesh.green.threads import loop_thread
from mesh.transport.client_endpoint import ClientEndpoint


class Stream(Iterator[Any]):
    """The items that a handler yields.

    The server sends as many ahead as the client has granted. Leaving the loop, closing the
    stream or dropping it ends the handler's generator. Raises what the handler raises, and
    TimeoutExpired when the next item takes longer than the timeout.
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
        call = self._call
        items = call.items
        if not items:
            while self._endpoint.await_item(call, getcurrent(), self._timeout):
                wait(self._endpoint, call)
            items = call.items
            if not items:
                self._ended()
        value = items.popleft()
        if (call.credit + len(items)) * 2 < call.window:
            self._endpoint.grant(call)
        return value

    def _ended(self) -> NoReturn:
        self._drop.detach()
        error = self._call.error
        if error is not None:
            self._call.error = None
            raise error
        raise StopIteration

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
        if self._call.state is not State.DONE:
            self._endpoint.give_up(self._call)
        if self._call.items:
            self._call.items.clear()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ThreadStream(Iterator[Any]):
    """A stream that lives in the loop thread, for a native thread that has no loop."""

    __mesh_unexposed__ = "a stream of another service"
    BATCH = 100

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._taken: list[Any] = []
        self._end: BaseException | None = None

    def __next__(self) -> Any:
        if not self._taken:
            if self._end is None:
                taken, self._end = loop_thread.call(self._stream.take, self.BATCH)
                self._taken = taken[::-1]
            if not self._taken:
                end, self._end = self._end, StopIteration()
                raise end or StopIteration
        return self._taken.pop()

    def close(self) -> None:
        """Leave the stream; what has not been taken is dropped."""
        self._taken, self._end = [], StopIteration()
        loop_thread.call(self._stream.close)

    def __enter__(self) -> ThreadStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
