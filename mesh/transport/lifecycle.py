"""Whether something that lives in an event loop was started, is to stop, or has ended; and who asks for it.

What it does meanwhile, and how its loop waits, is its driver's matter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import FrameType

from mesh.core import settings
from mesh.core.unfinished import Running, in_words
from mesh.errors import MeshError
from mesh.transport import process
from mesh.transport.signals import signals as process_signals

STOP: float = 30.0
"""Seconds that what runs has to finish where nobody says otherwise."""
DRAIN: float = 25.0
"""The same at a signal: what looks after containers kills them 30 seconds after a SIGTERM."""


class Lifecycle:
    """The states of one that runs until it is stopped.

    No lock: a signal handler may have interrupted whoever holds it. Whoever sets `claimed` or the loop looks
    at `stopping` after that, and whoever sets `stopping` looks for the loop after that.
    """

    __slots__ = ("claimed", "ends_at_once", "stopping")

    def __init__(self) -> None:
        self.claimed = False
        self.stopping = False
        self.ends_at_once = False
        """It was to stop before it was started."""

    def claim(self, subject: str) -> None:
        """It is started. subject: what it is called. Raises MeshError where it was already, or has ended."""
        if self.claimed or self.stopping:
            raise MeshError(f"{subject} was started already, stopped, or made before a fork; make a new one")
        self.claimed = True

    def begin_to_stop(self) -> bool:
        """It is to stop; whether that is new, and it was started."""
        if not self.claimed:
            self.ends_at_once = True
            return False
        first, self.stopping = not self.stopping, True
        return first

    def is_over(self) -> bool:
        """It has just been started; whether it is to end at once."""
        if self.ends_at_once:
            self.stopping = True
        return self.stopping

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self.claimed = False
        self.stopping = True


class Life(ABC):
    """That of a server, a receiver or a sidecar, for whoever ends it.

    cut_off: how many calls or handlers still ran at its end, and were cut off.
    """

    def __init__(self) -> None:
        self._life = Lifecycle()
        self.cut_off = 0
        process.remember(self)

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self._life.forked()

    @abstractmethod
    def begin_to_stop(self, timeout: float | None = STOP) -> None:
        """As `stop`, but waits for nothing and checks nothing: for signal handlers, also before it was
        started.
        """

    @property
    @abstractmethod
    def _subject(self) -> str:
        """What errors and the log call it."""

    @abstractmethod
    def _abandon(self) -> None:
        """It was never started, or its loop was closed: free everything."""

    @abstractmethod
    def _running(self) -> list[Running]:
        """What runs. From any thread: RuntimeError where another is at it."""

    @abstractmethod
    def _has_ended(self) -> bool:
        """Whether everything is freed. From any thread."""

    def _going_on(self) -> list[Running]:
        """Handlers that go on after its end, and keep the loop from its own. From any thread, as above."""
        return []

    def _heed(
        self, signals: bool, drain: float | None, later: Callable[[Callable[[], None]], object] | None = None
    ) -> AbstractContextManager[None]:
        """Stop at a signal, where that is wanted and can be. later: as Signals.drain has it. Raises
        ConfigError for what whoever runs it was given.
        """
        settings.flag("signals", signals)
        settings.seconds("drain", drain, none=True)
        if not signals or not process.in_main_thread():
            return nullcontext()
        return process_signals.drain(partial(self.begin_to_stop, drain), later)

    def _begin_to_end(self, timeout: float | None) -> bool:
        """The beginning of `stop`; False where it was never started, so that this is the end, too."""
        settings.seconds("timeout", timeout, none=True)
        if not self._life.claimed:
            self._life.stopping = True
            self._abandon()
            return False
        self.begin_to_stop(timeout)
        return True

    def unfinished(self) -> str:
        """What keeps it from its end, in words, "" where it has ended. From any thread, waits for nothing."""
        ended = self._has_ended()
        try:
            running = self._going_on() if ended else self._running()
        except RuntimeError:  # another thread was at it
            running = []
        if not running:
            return "" if ended else "its own end"
        what = "handlers that were cancelled and go on" if ended else "calls"
        return f"{len(running)} {what}: {in_words(running)}"


def runs_inside(frame: FrameType | None, packages: tuple[str, ...], but: str) -> bool:
    """Whether a module of these packages has called this frame: it is in a handler, or in a signal handler
    that has interrupted mesh itself. but: the module that does not count.
    """
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(packages) and module != but:
            return True
        frame = frame.f_back
    return False
