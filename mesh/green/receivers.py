"""`mesh.Subscriber` and `mesh.Puller`: carry out what publishers and pushers send, in greenlets of one loop.

The socket is mesh/transport's (event_receiver.py); here is how handlers are run.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.pool import Pool

from mesh.green.forked_handler import handler_ended
from mesh.green.loop import GeventLoop
from mesh.green.runnable import Runnable
from mesh.transport import process
from mesh.transport.event_receiver import FAIR, Delivery, EventReceiver
from mesh.transport.receiving import Pulling, Receiving, Subscribing

MOMENT: Final = 1e-6
"""Seconds; gevent lets sockets and timers have their turn only when this is not 0."""


class _Receiver(Receiving, Runnable):
    """The greenlets of one that read and that carry out."""

    _package = "mesh"
    _coroutines = False

    def __init__(self, receiver: EventReceiver, pool_size: int) -> None:
        self._pool: Pool | None = None
        self._reader: gevent.Greenlet[..., None] | None = None
        self._slice_end = 0.0
        """When the rest of the loop is to have its turn."""
        self._arrived: Any = None
        super().__init__(receiver, pool_size)

    def _begin(self) -> None:
        self._arrived = Event()
        self._generation, self._in_main = process.generation(), process.in_main_thread()
        self._pool = Pool(self._pool_size) if self._pool_size > 1 else None
        self._receiver.start(GeventLoop(self._hub), self._arrived.set)
        self._reader = gevent.spawn(self._read)

    def _drain(self, timeout: float | None) -> None:
        self._arrived.set()
        self._receiver.tell_draining(timeout)
        gevent.joinall([self._reader, *(self._pool or ())], timeout)
        self._receiver.tell_given_up(timeout)

    def _end(self) -> None:
        self.cut_off = len(self._receiver.running())
        if self._reader is not None:
            self._reader.kill(block=False)
        if self._pool is not None:
            self._pool.kill(block=False)
        self._receiver.close()

    # In the greenlet that reads

    def _read(self) -> None:
        pool = self._pool
        while True:
            if pool is not None:
                pool.wait_available()
            frame = self._next()
            if frame is None:
                return
            delivery = self._receiver.begin(frame)
            if delivery is None:
                continue
            if pool is None:
                self._handle(delivery)
            else:
                pool.spawn(self._handle, delivery)

    def _next(self) -> bytes | None:
        """The next event, waited for; None when it is over."""
        while not self._life.stopping:
            if monotonic() > self._slice_end:
                gevent.sleep(MOMENT)
                self._slice_end = monotonic() + FAIR
                continue
            frame = self._receiver.take()
            if frame is not None:
                return frame
            self._arrived.clear()
            self._receiver.wait()
            self._arrived.wait()
            self._slice_end = monotonic() + FAIR
        return None

    def _handle(self, delivery: Delivery) -> None:
        try:
            delivery.context().run(self._receiver.call, delivery)
        except BaseException as exc:
            if process.generation() != self._generation:
                handler_ended(exc, self._in_main)
                return
            given_up = self._life.stopping and isinstance(exc, gevent.GreenletExit)
            if given_up or (isinstance(exc, KeyboardInterrupt) and process.in_main_thread()):
                raise
            self._receiver.raised(delivery, exc, __file__)
            return
        finally:
            self._receiver.end(delivery)
        if process.generation() != self._generation:
            handler_ended(None, self._in_main)


class Subscriber(Subscribing, _Receiver):
    """Carries out the events of publishers. `subscriber.run()`, or `with subscriber:` in the background."""


class Puller(Pulling, _Receiver):
    """Carries out the jobs that pushers hand to it. `puller.run()`, or `with puller:` in the background."""
