"""A call whose answer is asked for later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent

from mesh.errors import MeshError, TimeoutExpired
from mesh.green.threads import Box, loop_thread


def outcome_of(function: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
    """What `function(*args)` returns, and what it raises; a greenlet that raises prints it."""
    try:
        return function(*args), None
    except BaseException as exc:  # noqa: BLE001 - it belongs to whoever asks for the result
        return None, exc


class Pending:
    """The answer to come of `client.method.future(…)`; the request is on its way already."""

    def __init__(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        self._greenlet = greenlet

    def done(self) -> bool:
        """Whether the call has ended, one way or the other."""
        return bool(self._greenlet.ready())

    def result(self, timeout: float | None = None) -> Any:
        """What the call returns or raises; TimeoutExpired after `timeout` seconds without either.

        MeshError where it was cancelled.
        """
        self._greenlet.join(timeout)
        if not self._greenlet.ready():
            raise _not_yet(timeout)
        outcome = self._greenlet.value
        # One that was killed before it began has no outcome.
        value, error = outcome if type(outcome) is tuple else (None, gevent.GreenletExit())
        if error is not None:
            raise _cancelled(error)
        return value

    def cancel(self) -> None:
        """Give the call up; the server is told."""
        self._greenlet.kill(block=False)


class ThreadPending:
    """As Pending, for a native thread that has no loop."""

    def __init__(self, box: Box) -> None:
        self._box = box

    def done(self) -> bool:
        """Whether the call has ended, one way or the other."""
        return self._box.wait(0.0)

    def result(self, timeout: float | None = None) -> Any:
        """As Pending.result."""
        if not self._box.wait(-1.0 if timeout is None else timeout):
            raise _not_yet(timeout)
        if self._box.error is not None:
            raise _cancelled(self._box.error)
        return self._box.value

    def cancel(self) -> None:
        """Give the call up; the server is told."""
        loop_thread.kill(self._box)


def _not_yet(timeout: float | None) -> TimeoutExpired:
    return TimeoutExpired(f"no result within {timeout} s; the call goes on")


def _cancelled(error: BaseException) -> BaseException:
    return MeshError("the call was cancelled") if isinstance(error, gevent.GreenletExit) else error
