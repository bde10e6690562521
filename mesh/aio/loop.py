"""asyncio's loop, as the transport has it; uvloop's, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from mesh.core.channel import NEVER
from mesh.transport import native, process


class AsyncioLoop:
    """The loop that runs in this thread. Raises RuntimeError where none does."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.call_soon: Callable[..., object] = self.loop.call_soon
        self.call_soon_threadsafe: Callable[..., object] = self._call_from_elsewhere
        self.thread: int = native.get_ident()
        self._generation = process.generation()
        self._known = type(self.loop).__module__ in ("asyncio.unix_events", "uvloop")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncioLoop) and self.loop is other.loop

    def __hash__(self) -> int:
        return hash(id(self.loop))

    def _call_from_elsewhere(self, function: Callable[..., object], *args: Any) -> None:
        # asyncio raises where the loop was closed; whoever calls from another thread can't know that.
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            if self.alive():
                raise

    def timer(self, function: Callable[[], object]) -> AsyncioTimer:
        return AsyncioTimer(self.loop, function)

    def reader(
        self, fd: int, function: Callable[..., object], *args: Any, background: bool = False
    ) -> AsyncioReader:
        """background: no matter here, where a loop runs as long as its program says."""
        reader = AsyncioReader(self, fd, function, args)
        reader.resume()
        return reader

    def idle(self, function: Callable[[], object]) -> AsyncioIdle:
        return AsyncioIdle(self.loop, function)

    def steps_tasks(self) -> bool:
        """Whether tasks may go on within the callback of a descriptor, in place of one of their own.

        Not where a task may turn the loop itself, as nest_asyncio and the loops of graphical programs allow:
        that callback would not be called in there. Nor in debug mode, in which asyncio tells what took long;
        nor within a task.
        """
        loop = self.loop
        plain = self._known and not hasattr(loop, "_nest_patched") and not loop.get_debug()
        return plain and asyncio.current_task(loop) is None

    def alive(self) -> bool:
        return not self.loop.is_closed()

    def here(self) -> bool:
        """Not in the child of a fork, where the loop's descriptor for events is still the parent's: what is
        taken off it there is taken off in the parent.
        """
        mine = self.thread == native.get_ident() and self._generation == process.generation()
        return mine and self.alive()


class AsyncioReader:
    """A descriptor that the loop looks at."""

    __slots__ = ("_args", "_fd", "_function", "_loop", "_on")

    def __init__(
        self, loop: AsyncioLoop, fd: int, function: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._function = function
        self._args = args
        self._on = False

    def pause(self) -> None:
        if self._on:
            self._on = False
            if self._loop.here():
                self._loop.loop.remove_reader(self._fd)

    def resume(self) -> None:
        if not self._on:
            self._on = True
            self._loop.loop.add_reader(self._fd, self._function, *self._args)

    close = pause


class AsyncioTimer:
    """A timer that may be set again and again. due: when it fires, NEVER where it does not."""

    __slots__ = ("_function", "_handle", "_loop", "due")

    def __init__(self, loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
        self._loop = loop
        self._function = function
        self._handle: asyncio.TimerHandle | None = None
        self.due = NEVER

    def at(self, when: float) -> None:
        if when >= self.due:
            return
        self.stop()
        self.due = when
        # Not call_at: the clock of uvloop is another one.
        self._handle = self._loop.call_later(max(when - monotonic(), 0.0), self._fire)

    def _fire(self) -> None:
        self._handle, self.due = None, NEVER
        self._function()

    def stop(self) -> None:
        self.due = NEVER
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    close = stop


class AsyncioIdle:
    """Looks once a turn, and keeps the loop from sleeping meanwhile."""

    __slots__ = ("_function", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
        self._loop = loop
        self._function = function
        self._handle: asyncio.Handle | None = None

    def resume(self) -> None:
        if self._handle is None:
            self._handle = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._handle = self._loop.call_soon(self._turn)
        self._function()

    def pause(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    close = pause
