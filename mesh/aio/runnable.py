"""Running until it is stopped, in the event loop of whoever starts it.

Owns the life of servers and receivers: in which loop they live, how they end from anywhere. What they do
meanwhile is their own matter.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Collection, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from mesh.aio.loop import AsyncioLoop
from mesh.core import misuse
from mesh.core.unfinished import in_words
from mesh.errors import MeshError
from mesh.transport.lifecycle import DRAIN, STOP, Life

CANCELLED: Final = 1.0
"""Seconds that handlers have to end when they are cancelled at the end of what runs them."""


class Runnable(Life):
    """What lives in an event loop of asyncio. Who inherits gives what happens there, and how it ends."""

    _log: logging.Logger

    def __init__(self) -> None:
        self._loop: AsyncioLoop | None = None
        self._main: asyncio.Task[None] | None = None
        """Lives as long as this runs; it is cancelled with all others where the loop comes to its end."""
        self._stop_asked: asyncio.Future[float | None] | None = None
        self._is_over = False
        super().__init__()

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self._loop = self._main = None
        super().forked()

    @abstractmethod
    def _begin(self, loop: AsyncioLoop) -> None:
        """Called in the loop."""

    @abstractmethod
    async def _drain(self, timeout: float | None) -> None:
        """Let what runs finish, for at most `timeout` seconds."""

    @abstractmethod
    async def _end(self) -> None:
        """Count in `cut_off` what is cut off, and free everything."""

    @abstractmethod
    def _handlers(self) -> Collection[asyncio.Task[None]]:
        """The tasks that run handlers, and can be cancelled."""

    # Running

    def start(self) -> None:
        """Run in the background of the running event loop, until `stop`, or until the loop comes to its end.

        Raises MeshError where no loop runs in this thread, and where it was started already.
        """
        try:
            loop = AsyncioLoop()
        except RuntimeError:
            raise MeshError(
                f"no event loop runs here in which {self._subject} could: start it within a coroutine, by "
                "`async with` or `await ….serve()`"
            ) from None
        self._life.claim(self._subject)
        self._stop_asked = loop.loop.create_future()
        self._begin(loop)
        self._loop = loop
        self._main = loop.loop.create_task(self._live(), name=f"mesh {self._subject}")
        quietly(self._main)
        if self._life.is_over():
            self._ask_to_stop(0.0)

    async def serve(self, *, signals: bool = True, drain: float | None = DRAIN) -> None:
        """Run until `stop`.

        In the program's main thread SIGTERM and SIGINT (Ctrl-C) stop it, too, unless the program handles
        them: what runs may finish for `drain` seconds, then this returns. A second one does what it would
        do without. signals: whether to do so. To cancel this ends it at once.
        """
        heed = self._heed(signals, drain)
        if not self._life.claimed:
            self.start()
        main = self._main_here()
        with heed:
            try:
                await asyncio.shield(main)
            except asyncio.CancelledError:
                if not main.done():
                    main.cancel()
                    with suppress(asyncio.CancelledError):
                        await main
                raise

    def _main_here(self) -> asyncio.Task[None]:
        """Raise MeshError where it was stopped or made before a fork, or lives in another loop."""
        if self._main is None:
            raise MeshError(f"{self._subject} was stopped, or made before a fork; make a new one")
        if self._main.get_loop() is not asyncio.get_running_loop():
            raise MeshError(f"{self._subject} runs in another event loop: await it there")
        return self._main

    async def _live(self) -> None:
        assert self._stop_asked is not None
        try:
            await self._drain(await self._stop_asked)
        except GeneratorExit:
            # Thrown away with a loop that was closed. This may have interrupted whoever has a lock: the
            # watchdog closes what is open.
            self._life.stopping = self._is_over = True
            raise
        except BaseException:
            await self._finish()
            raise
        await self._finish()

    async def _finish(self) -> None:
        self._life.stopping = True
        try:
            await self._end()
            await self._cancel_handlers()
        finally:
            self._is_over = True

    async def _cancel_handlers(self) -> None:
        running = list(self._handlers())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CANCELLED)
        if left := self._going_on():
            what = in_words(left)
            self._log.warning("%s: these handlers were cancelled and go on: %s", self._subject, what)

    # The end

    def stop(self, timeout: float | None = STOP) -> Stopping:
        """Take no more, let what runs finish for `timeout` seconds, close.

        Returns at once; await what it gives for the end. From any thread or task, also from a handler, which
        it does not wait for, or a signal handler.
        """
        if not self._begin_to_end(timeout):
            self._is_over = True
        return Stopping(self)

    def begin_to_stop(self, timeout: float | None = STOP) -> None:
        """As `stop`, but checks nothing: for signal handlers, also before it was started."""
        first, loop = self._life.begin_to_stop(), self._loop
        if loop is None:
            return
        if not loop.alive():
            self._is_over = True
            self._abandon()
        elif first:
            loop.call_soon_threadsafe(self._ask_to_stop, timeout)

    def _ask_to_stop(self, timeout: float | None) -> None:
        if self._stop_asked is not None and not self._stop_asked.done():
            self._stop_asked.set_result(timeout)

    async def _ended(self) -> None:
        if self._is_over or asyncio.current_task() in self._handlers():
            return
        main = self._main_here()
        await asyncio.wait((main,))

    def _has_ended(self) -> bool:
        return self._is_over

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    if not TYPE_CHECKING:  # a checker knows by itself that these are not there
        __enter__ = __exit__ = misuse.advice(
            "mesh.aio.{kind} is used with `async with`, or `await ….serve()`; `with` is for those of mesh"
        )


class Stopping:
    """What `stop` gives: await it for the end. Where it is not awaited nothing is wrong."""

    __slots__ = ("_one",)

    def __init__(self, one: Runnable) -> None:
        self._one = one

    def __await__(self) -> Generator[Any, None, None]:
        return self._one._ended().__await__()


def quietly(task: asyncio.Task[Any]) -> None:
    """Have nothing said where the loop is closed, and the task thrown away, before its end."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # what asyncio.gather does, too
