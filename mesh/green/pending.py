"""A call whose answer is asked for later."""

from __future__ import annotations

from typing import Any

import gevent

from mesh.errors import TimeoutExpired
from mesh.green.threads import Box


class Pending:
    """The answer to come of `client.method.future(…)`; the request is on its way already."""

    def __init__(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        self._greenlet = greenlet

    def done(self) -> bool:
        """Whether the call has ended, one way or the other."""
        return bool(self._greenlet.ready())

    def result(self, timeout: float | None = None) -> Any:
        """What the call returns or raises; TimeoutExpired after `timeout` seconds without either."""
        try:
            return self._greenlet.get(timeout=timeout)
        except gevent.Timeout:
            raise TimeoutExpired(f"no result within {timeout} s; the call goes on") from None

    def cancel(self) -> None:
        """Give the call up; the server is told."""
        self._greenlet.kill(block=False)


class ThreadPending:
    """As Pending, for a native thread that has no loop."""

    def __init__(self, box: Box) -> None:
        self._box = box

    def done(self) -> bool:
        return self._box.wait(0.0)

    def result(self, timeout: float | None = None) -> Any:
        if not self._box.wait(-1.0 if timeout is None else timeout):
            raise TimeoutExpired(f"no result within {timeout} s; the call goes on")
        return self._box.outcome()
