"""Calls as they pass, for one page: read from the collector in a greenlet, so that a page which has gone is
found out also while nothing passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import gevent
from gevent.queue import Empty, Queue

from mesh.errors import MeshError
from mesh.tracing.dashboard.feeds import ALIVE
from mesh.tracing.dashboard.source import to_json

MOST: Final = 500
"""Records that wait for the page. Beyond that the collector passes over some, and counts them."""


class Tapped:
    """The events of one page. ask: gives the collector's stream, and may take its time. closed: called once
    the page has gone.
    """

    def __init__(self, ask: Callable[[], Any], closed: Callable[[Tapped], None]) -> None:
        self._ask = ask
        self._closed = closed
        self._queue: Queue[bytes] = Queue(MOST)
        self._queue.put(b": hello\n\n")
        self._over = False
        self._greenlet = gevent.spawn(self._read)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._over and self._queue.empty():
            raise StopIteration
        try:
            return self._queue.get(timeout=ALIVE)
        except Empty:
            return b": nothing passes\n\n"

    def close(self) -> None:
        """Have the collector send nothing more."""
        self._closed(self)
        self._greenlet.kill(block=False)

    def _read(self) -> None:
        stream = None
        try:
            stream = self._ask()
            for record in stream:
                self._put("record", record)
            self._put("end", {})
        except MeshError as error:
            self._put("trouble", {"error": str(error) or type(error).__name__})
        finally:
            self._over = True
            if stream is not None:
                stream.close()

    def _put(self, name: str, value: Any) -> None:
        self._queue.put(b"event: %s\ndata: %s\n\n" % (name.encode(), to_json(value)))
