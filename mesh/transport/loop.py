"""What the transport needs of an event loop. Each driver gives one, in its file of the same name.

How whoever waits is woken is no matter of the loop: an endpoint is made with a function for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """Calls its function once each time that it comes due. due: when, NEVER where it does not."""

    due: float

    def at(self, when: float) -> None:
        """Be due then, on the clock of time.monotonic, or when it is already, whichever is sooner.

        A time that has passed is the loop's next turn, after what has come in by then: so one that has much
        to do lets the rest of the loop have its turn.
        """

    def stop(self) -> None:
        """Be due no more, until `at` says so again."""

    def close(self) -> None:
        """Stop for good."""


class Watcher(Protocol):
    """Calls its function again and again, as long as it is not paused."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...


class Loop(Protocol):
    """One event loop. Two that stand for the same loop are equal.

    All but `call_soon_threadsafe`, `alive` and `here` is for the loop's own thread.
    """

    # The loop's own bound functions, with nothing between: they are called for each turn of each socket.
    call_soon: Callable[..., object]
    """(function, *arguments): called in this turn or the next."""
    call_soon_threadsafe: Callable[..., object]
    """The same from any thread, and from finalizers; nothing happens where the loop was closed."""
    thread: int
    """The native thread that it runs in."""

    def timer(self, function: Callable[[], object]) -> Timer: ...

    def reader(
        self, fd: int, function: Callable[..., object], *args: Any, background: bool = False
    ) -> Watcher:
        """Call it whenever something can be read from the descriptor. Begins resumed.

        background: does not by itself keep a loop alive that ends when nothing is left to come.
        """

    def idle(self, function: Callable[[], object]) -> Watcher:
        """Call it whenever the loop has nothing else to do, in place of sleeping. Begins paused."""

    def alive(self) -> bool:
        """Whether it has not been closed. In any thread."""

    def here(self) -> bool:
        """Whether it is the loop of this native thread and alive, and not that of a parent process."""
