"""Whether something that lives in an event loop was started, is to stop, or has ended; and who asks for it.

What it does meanwhile, and how its loop waits, is its driver's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FrameType

from mesh.core.unfinished import Running, in_words
from mesh.errors import MeshError

STOP: float = 30.0
"""Seconds that what runs has to finish where nobody says otherwise."""
DRAIN: float = 25.0
"""The same at a signal: what looks after containers kills them 30 seconds after a SIGTERM."""


class Lifecycle:
    """subject: what errors call it.

    No lock: a signal handler may have interrupted whoever holds it. Whoever sets `claimed` or the loop looks
    at `stopping` after that, and whoever sets `stopping` looks for the loop after that.
    """

    __slots__ = ("_subject", "claimed", "ends_at_once", "stopping")

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self.claimed = False
        self.stopping = False
        self.ends_at_once = False
        """It was to stop before it was started."""

    def claim(self) -> None:
        """It is started. Raises MeshError where it was already, or has ended."""
        if self.claimed or self.stopping:
            raise MeshError(
                f"{self._subject} was started already, stopped, or made before a fork; make a new one"
            )
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


def unfinished(ended: bool, running: Callable[[], Sequence[Running]]) -> str:
    """What keeps it from its end, in words, "" where it has ended. From any thread, waits for nothing."""
    if ended:
        return ""
    try:
        calls = running()
    except RuntimeError:  # another thread was at it
        calls = []
    return f"{len(calls)} calls: {in_words(calls)}" if calls else "its own end"


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
