"""Running until it is stopped, in a greenlet of this thread or in the background.

Owns the life of servers, receivers and sidecars: in which loop they live, how they end from anywhere. What
they do meanwhile is their own matter.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, cast

import gevent
import greenlet
from gevent import get_hub
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event

from mesh.core import misuse
from mesh.green.loop import in_gevent
from mesh.green.threads import Box, in_own_loop
from mesh.transport import descriptors, process
from mesh.transport.lifecycle import DRAIN, STOP, Life, runs_inside

OURS: Final = ("mesh.green.", "mesh.transport.")


class Runnable(Life):
    """What lives in an event loop of gevent. Who inherits gives what happens there, and how it ends."""

    def __init__(self) -> None:
        self._hub: Any = None
        self._stopped: Any = None
        self._ended = Box()
        super().__init__()

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self._hub = None
        super().forked()

    @abstractmethod
    def _begin(self) -> None:
        """Called in the loop, which is that of `_hub`."""

    @abstractmethod
    def _drain(self, timeout: float | None) -> None:
        """Let what runs finish, for at most `timeout` seconds. In a greenlet."""

    @abstractmethod
    def _end(self) -> None:
        """Count in `cut_off` what is cut off, and free everything."""

    def run(self, *, signals: bool = True, drain: float | None = DRAIN) -> None:
        """Run until `stop`, in this thread or greenlet.

        In the program's main thread SIGTERM and SIGINT (Ctrl-C) stop it, too, unless the program handles
        them: what runs may finish for `drain` seconds, then this returns. A second one does what it would
        do without. From a greenlet that is not the main one the signal is raised again at the end, for the
        program that goes on. signals: whether to do so.
        """
        later = None if greenlet.getcurrent().parent is None else _in_next_turn
        heed = self._heed(signals, drain, later)
        self._require_loop()
        self._life.claim(self._subject)
        ended, live = self._ended, cast(list[Callable[[], object]], [self._live])
        if get_hub_if_exists() is not None or process.in_main_thread():
            try:
                with heed:
                    self._live()
            finally:
                ended.release()
        else:
            del self  # see in_own_loop
            in_own_loop(live, ended)

    def start(self) -> None:
        """Run in the background.

        In greenlets of this loop where the program lives in gevent (it has patched the standard
        library, or this is a greenlet), else in a native thread of its own.
        """
        self._require_loop()
        self._life.claim(self._subject)
        started = Box()
        if in_gevent():
            gevent.spawn(self._live, started).rawlink(lambda _: self._ended.release())
            gevent.sleep(0)
        else:
            process.start_thread(
                in_own_loop, ([partial(self._live, started)], self._ended), f"mesh {self._subject}"
            )
        started.outcome()

    @staticmethod
    def _require_loop() -> None:
        """Raise MeshError where the event loop that this is to live in can't be made."""
        if get_hub_if_exists() is None or not in_gevent():
            descriptors.require(descriptors.LOOP)

    def _live(self, started: Box | None = None) -> None:
        try:
            if started is None:
                self._start_up()
            else:
                started.fill(self._start_up, ())
            if started is None or started.error is None:
                self._stopped.wait()
        finally:
            self._life.stopping = True
            self._end()

    def _start_up(self) -> None:
        self._stopped = Event()
        self._hub = get_hub()
        self._begin()
        if self._life.is_over():
            gevent.spawn(self._finish, 0.0)

    def stop(self, timeout: float | None = STOP) -> None:
        """Take no more, let what runs finish for `timeout` seconds, close.

        From any thread or greenlet, also from a handler or a signal handler, which it lets go on
        where the rest could not.
        """
        if not self._begin_to_end(timeout):
            return
        here = get_hub_if_exists()
        if greenlet.getcurrent() is here or runs_inside(sys._getframe(), OURS, __name__):
            return
        if here is None:
            self._ended.wait()
        while not self._ended.wait(0.0):
            gevent.sleep(0.002)

    def begin_to_stop(self, timeout: float | None = STOP) -> None:
        """As `stop`, but waits for nothing and checks nothing: for signal handlers, also before it was
        started.
        """
        first = self._life.begin_to_stop()
        hub = self._hub
        if first and hub is not None:
            hub.loop.run_callback_threadsafe(gevent.spawn, self._finish, timeout)

    def _has_ended(self) -> bool:
        return self._ended.wait(0.0)

    def _finish(self, timeout: float | None) -> None:
        try:
            self._drain(timeout)
        finally:
            self._stopped.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    if not TYPE_CHECKING:  # a checker knows by itself that these are not there
        __aenter__ = __aexit__ = misuse.advice(
            "mesh.{kind} is used with `with`; `async with` is for those of mesh.aio"
        )


def _in_next_turn(function: Callable[[], None]) -> None:
    get_hub().loop.run_callback(function)
