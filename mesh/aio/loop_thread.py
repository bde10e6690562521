"""A native thread that turns a loop of asyncio for what belongs to none of the program's: senders of events.

They may be used in any loop and any thread, and what comes to their sockets is looked after also while a
coroutine computes, and after the loop that they were made in is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from mesh.aio.loop import AsyncioLoop
from mesh.transport import descriptors, native, process
from mesh.transport.loop import Loop


class LoopThread:
    """One thread for all. It begins when it is first needed, in each process anew, and ends with it."""

    def __init__(self) -> None:
        self._lock = native.allocate_lock()
        self._loop: AsyncioLoop | None = None
        self._of_parents: list[AsyncioLoop | None] = []
        """Kept after a fork: a loop that is collected takes its descriptors out of what it shares with its
        parent's."""
        process.remember(self)

    def forked(self) -> None:
        self._lock = native.allocate_lock()
        self._of_parents.append(self._loop)
        self._loop = None

    def call(self, function: Callable[[Loop], object]) -> None:
        """Have it called there, with the loop, after those that were given before. From any thread.

        Raises MeshError where there are no descriptors for a loop.
        """
        loop = self._running()
        loop.call_soon_threadsafe(function, loop)

    def _running(self) -> AsyncioLoop:
        with self._lock:
            if self._loop is None:
                descriptors.require(descriptors.LOOP)
                with descriptors.told():
                    loop = asyncio.new_event_loop()
                started = native.allocate_lock()
                started.acquire()
                process.start_thread(self._turn, (loop, started), "mesh loop")
                started.acquire()
            assert self._loop is not None
            return self._loop

    def _turn(self, loop: asyncio.AbstractEventLoop, started: Any) -> None:
        def begin() -> None:
            self._loop = AsyncioLoop()
            started.release()

        loop.call_soon(begin)
        loop.run_forever()


loop_thread: Final = LoopThread()
