"""A call whose answer is asked for later."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import gevent
from gevent._hub_local import get_hub_if_exists
from greenlet import getcurrent

from mesh.core import settings
from mesh.errors import LostRemote, MeshError, TimeoutExpired
from mesh.green.threads import Box, loop_thread
from mesh.transport import native, process

LOOK_EVERY: Final = 0.002
LOOK_FOR: Final = 1e-6
"""Seconds; with 0 gevent would look for no message."""


def outcome_of(function: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
    """What `function(*args)` returns, and what it raises; a greenlet that raises prints it."""
    try:
        return function(*args), None
    except BaseException as exc:  # noqa: BLE001 - it belongs to whoever asks for the result
        return None, exc


class Future:
    """The answer to come of `client.method.future(…)`; the request is on its way already."""

    __mesh_unexposed__ = "an answer of another service"

    def __init__(self, greenlet: gevent.Greenlet[..., Any], limit: float | None) -> None:
        self._greenlet = greenlet
        self._limit = limit
        self._thread = native.get_ident()
        self._generation = process.generation()

    def done(self) -> bool:
        """Whether the call has ended, one way or the other.

        In the thread that made it this lets the others run for a moment: a program that does
        nothing but ask would never hear of the answer.
        """
        hub = get_hub_if_exists()
        here = native.get_ident() == self._thread and hub is not None
        if here and not self._greenlet.ready() and getcurrent() is not hub:
            gevent.sleep(LOOK_FOR)
        return bool(self._greenlet.ready())

    def result(self, timeout: float | None = None) -> Any:
        """What the call returns or raises; TimeoutExpired after `timeout` seconds without either.

        MeshError where it was cancelled, LostRemote in the child of a fork.
        """
        settings.seconds("timeout", timeout, none=True)
        _check_process(self._generation)
        if native.get_ident() != self._thread:
            timeout = self._limit if timeout is None else timeout
            self._join_from_elsewhere(timeout)
        elif not self._greenlet.ready():
            self._greenlet.join(timeout)
        if not self._greenlet.ready():
            raise _not_yet(timeout)
        outcome = self._greenlet.value
        # One that was killed before it began has no outcome.
        value, error = outcome if type(outcome) is tuple else (None, gevent.GreenletExit())
        if error is not None:
            raise _cancelled(error)
        return value

    def _join_from_elsewhere(self, limit: float | None) -> None:
        """Another thread waits for the one that made the call, whose loop has to turn for it."""
        end = None if limit is None else monotonic() + limit
        pause = gevent.sleep if get_hub_if_exists() is not None else native.sleep
        while not self._greenlet.ready() and (end is None or monotonic() < end):
            pause(LOOK_EVERY)

    def cancel(self) -> None:
        """Give the call up; the server is told."""
        self._greenlet.kill(block=False)


class ThreadFuture:
    """As Future, made by a native thread that has no loop; any thread may ask it."""

    __mesh_unexposed__ = "an answer of another service"

    def __init__(self, box: Box) -> None:
        self._box = box
        self._generation = process.generation()

    def done(self) -> bool:
        """Whether the call has ended, one way or the other."""
        return self._box.wait(0.0)

    def result(self, timeout: float | None = None) -> Any:
        """As Future.result."""
        settings.seconds("timeout", timeout, none=True)
        _check_process(self._generation)
        if not self._box.wait(-1.0 if timeout is None else timeout):
            raise _not_yet(timeout)
        if self._box.error is not None:
            raise _cancelled(self._box.error)
        return self._box.value

    def cancel(self) -> None:
        """Give the call up; the server is told."""
        loop_thread.kill(self._box)


def _check_process(generation: int) -> None:
    if generation != process.generation():
        raise LostRemote("this call was made before a fork, by the parent; the child has no part in it")


def _not_yet(timeout: float | None) -> TimeoutExpired:
    within = f" within {timeout:.4g} s" if timeout else " yet"
    return TimeoutExpired(f"no result{within}; the call goes on")


def _cancelled(error: BaseException) -> BaseException:
    return MeshError("the call was cancelled") if isinstance(error, gevent.GreenletExit) else error
