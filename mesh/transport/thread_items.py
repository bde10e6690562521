"""The items of a stream whose generator runs in native threads.

To hand each over by itself takes fifty times as long as to send it. So a thread goes on with the next ones
while the loop is on its way to the last, as far as the caller has room for them, and not for long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from functools import partial
from time import monotonic
from typing import Any, Final

from mesh.core.server_call import ServerCall
from mesh.transport import process
from mesh.transport.pump import FAIR
from mesh.transport.thread_pool import Outcome, Task, ThreadPool, outcome_of

AHEAD: Final = 64
"""Items that a thread takes before others may have it, while they are small."""
SMALL: Final = 1_000
"""Bytes, characters, items or keys of an item after which a thread takes another without the loop."""
END: Final = object()
"""In place of an item: there are no more."""
_NUMBERS: Final = frozenset({type(None), bool, int, float})


class PrefetchedItems:
    """stream: whatever has items; it is asked for them in a thread, too. context: in which they are taken.
    on_news: called in the loop when there may be something for who waits: an item, an end, or that no thread
    takes any for now.

    taking: whether a thread is in the generator, or soon will be. Only `_take` is for that thread.
    """

    def __init__(
        self,
        call: ServerCall,
        stream: Iterable[Any],
        context: Context,
        pool: ThreadPool,
        on_news: Callable[[], object],
    ) -> None:
        self._call = call
        self._stream = stream
        self._items: Iterator[Any] | None = None
        self._context = context
        self._pool = pool
        self._on_news = on_news
        self._ready: deque[Any] = deque()
        self._told = False
        """Whether the loop was told of what is ready, and has not come yet."""
        self._most = 0
        self._ended = False
        self._error: BaseException | None = None
        self.taking = False

    def must_wait(self) -> bool:
        """Whether who wants the next item has to wait for news; if so, a thread takes some. Raises what the
        generator has raised. Not once the pool is closed.
        """
        if self._ready:
            return False
        if self.taking:
            return True
        error, self._error = self._error, None
        if error is not None:
            raise error
        if self._ended:
            return False
        self._most = min(max(self._call.credit, 1), AHEAD)
        self._pool.submit(Task(partial(outcome_of, self._context, self._take), self._stopped))
        self.taking = True
        return True

    def next(self) -> Any:
        """The next item, or END. Not while one has to wait."""
        return self._ready.popleft() if self._ready else END

    @property
    def close(self) -> Callable[[], object] | None:
        """Of the generator; None where there is nothing to close. Not while a thread is in it."""
        items = self._items
        if items is None and hasattr(self._stream, "__next__"):
            return getattr(self._stream, "close", None)
        return getattr(items, "close", None)

    def _take(self) -> bool:
        """In a thread: put items where the loop finds them. Whether there are no more."""
        generation, end = process.generation(), monotonic() + FAIR
        if self._items is None:
            self._items = iter(self._stream)
        for _ in range(self._most):
            item = next(self._items, END)
            if item is END:
                return True
            if process.generation() != generation:
                return False  # the generator has forked this process, and the loop is the parent's
            self._ready.append(item)
            if not self._told:
                self._told = True
                self._pool.tell(self._arrived)
            if self._call.given_up or monotonic() > end or _is_large(item):
                return False
        return False

    def _arrived(self) -> None:
        self._told = False  # before anybody looks: what comes from now on is told of again
        self._on_news()

    def _stopped(self, outcome: Outcome) -> None:
        self.taking = False
        self._ended, self._error = bool(outcome[0]), outcome[1]
        self._on_news()


def _is_large(item: Any) -> bool:
    if type(item) in _NUMBERS:
        return False
    try:
        return len(item) > SMALL
    except Exception:  # noqa: BLE001 - whatever it is, that it can't travel is found out later
        return False
