"""At which line each handler of a server stands, read from the frames of its greenlet, task or thread.

Nothing is kept for that while calls are carried out: it is looked for when somebody asks.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from mesh.core.middleware import carried_out_in
from mesh.core.open_calls import Blocked, Look
from mesh.core.server_call import ServerCall
from mesh.transport import native
from mesh.transport.handlers import Handlers
from mesh.transport.server_endpoint import ServerEndpoint
from mesh.transport.thread_pool import outcome_of

Stack = Sequence[FrameType]
"""The frames of a handler, the one that runs or waits first, down to where the server calls it."""
Parked = Callable[[], Iterable[Iterable[FrameType]]]
"""Gives the frames of each greenlet or task of a driver's that waits, the innermost first."""

DEEPEST: Final = 1_000
"""Frames of one greenlet, task or thread that are looked at."""
LATE: Final = 0.25
"""Seconds from which a loop that does not turn is told to be blocked also where no handler keeps it."""
_THREADED: Final = outcome_of.__code__
_LIBRARIES: Final = tuple(
    os.path.join(path, "")
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_paths().get(name))
)
"""Folders of code that a handler's author has not written: the interesting line is the one that called it."""
_OURS: Final = os.path.join(Path(__file__).resolve().parents[1], "")
"""That of mesh itself."""


class HandlerPlaces:
    """parked: the driver's. The rest is found by the functions that call handlers."""

    def __init__(self, handlers: Handlers, endpoint: ServerEndpoint, parked: Parked) -> None:
        self._handlers = handlers
        self._endpoint = endpoint
        self._parked = parked

    def look(self, now: float) -> Look:
        """Where they stand. In the loop's thread, or in the watchdog's, which then stands in for it."""
        here = native.get_ident()
        threads = sys._current_frames()
        places: dict[ServerCall, str] = {}
        for frames in self._parked():
            call, stack = self.called_in(frames)
            if call is not None:
                places[call] = place_in(stack)
        loop_thread = self._endpoint.thread
        for thread, frame in threads.items():
            if thread not in (here, loop_thread):
                call, stack = in_thread(frame)
                if call is not None:
                    places[call] = place_in(stack)
        if here == loop_thread:
            return Look(places)
        call, stack = self.called_in(frames_from(threads.get(loop_thread)))
        late = now - self._endpoint.turn
        return Look(places, Blocked(call, place_in(stack), late)) if call or late > LATE else Look(places)

    def called_in(self, frames: Iterable[FrameType]) -> tuple[ServerCall | None, Stack]:
        """The call whose handler these frames belong to, the innermost first, and those that are its own."""
        stack: list[FrameType] = []
        calling = self._handlers.calling
        for frame in frames:
            if frame.f_code in calling and type(call := frame.f_locals.get("call")) is ServerCall:
                return call, stack
            stack.append(frame)
        return None, stack


def in_thread(frame: FrameType) -> tuple[ServerCall | None, Stack]:
    """The call whose handler runs in a native thread of a server's pool, and the frames of it."""
    stack: list[FrameType] = []
    for one in frames_from(frame):
        if one.f_code is _THREADED:
            return carried_out_in(one.f_locals["context"]), stack
        stack.append(one)
    return None, stack


def frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame, and those that have called it."""
    for _ in range(DEEPEST):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def place_in(stack: Stack) -> str:
    """As "thumbs.py:88 in resize": the innermost line that is the program's own, else the innermost that is
    not mesh's; "" where there is none.
    """
    theirs = [one for one in stack if not one.f_code.co_filename.startswith(_OURS)]
    if not theirs:
        return ""
    frame = next((one for one in theirs if not _is_library(one.f_code.co_filename)), theirs[0])
    code = frame.f_code
    return f"{os.path.basename(code.co_filename)}:{frame.f_lineno} in {code.co_name}"


def _is_library(path: str) -> bool:
    return path.startswith((*_LIBRARIES, "<frozen "))


def tell_places(handlers: Handlers, endpoint: ServerEndpoint, parked: Parked) -> None:
    """Have whoever asks for a server's open calls told where they stand."""
    endpoint.session.open_calls_told.look = HandlerPlaces(handlers, endpoint, parked).look
