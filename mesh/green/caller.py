"""One client in one event loop: its session, one timer, and the greenlets that wait.

The lock lets a native thread (see watchdog) do the same while the loop is blocked; greenlets are
switched to only from the loop itself, and never under the lock.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from time import monotonic
from types import FrameType
from typing import Any, Final

import greenlet
from gevent.hub import Hub

from mesh.core import outcomes
from mesh.core.channel import State
from mesh.core.client_session import Call, ClientSession
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.values import Encode
from mesh.core.wire import Header
from mesh.errors import LostRemote, MeshError
from mesh.green.client_links import ClientLinks
from mesh.green.holding import Holding
from mesh.green.link import BATCH, Link
from mesh.green.loop import loop_here
from mesh.transport import native, process
from mesh.transport.watchdog import watchdog

FAIR: Final = 0.01
"""Seconds of messages and their callers after which the rest of the loop gets its turn."""
STILL: Final = 0.03
"""Seconds without a message after which to look for broken connections before a call; less than
it takes to connect again."""
GRACE: Final = 0.25
"""Seconds by which a timer may be late before the loop counts as blocked; a quarter of a shorter
heartbeat."""
LOOK: Final = 0.09
"""Seconds between two looks of the watchdog, at the least, at a loop that is blocked, or waits."""


class Caller(ClientLinks):
    """The calls of one client from the greenlets of one loop."""

    def __init__(
        self,
        hub: Hub,
        endpoints: Sequence[tuple[str, int]],
        heartbeat: float | None,
        max_message: int,
        max_elements: int = MAX_ELEMENTS,
        encode: Encode | None = None,
    ) -> None:
        base = process.new_base()
        session = ClientSession([], base, random.random, heartbeat, max_message, max_elements, encode)
        ClientLinks.__init__(self, hub, session, max_message)
        self.thread = native.get_ident()
        self.home = process.presence()
        self.turn = monotonic()
        self.patience = GRACE if heartbeat is None else min(GRACE, heartbeat / 4)
        self._timer: Any = None
        self._later: Any = hub.loop.timer(0.0)
        self._armed = float("inf")
        self._draining: Any = None
        self._holding = Holding(guarded=heartbeat is not None)
        self._dropped: list[Call] = []
        self._looked = 0.0
        self._check_due = False
        process.remember(self)
        if heartbeat is not None:
            watchdog.watch(self)
        try:
            self.set_endpoints(endpoints)
        except Exception:
            self.close()
            raise

    @property
    def orphaned(self) -> bool:
        """Whether its loop never turns again: its thread has ended, or has destroyed it."""
        return self.home() is None or not self._loop_lives()

    def close(self) -> None:
        """End every call with LostRemote and close the sockets. From the loop's own thread."""
        if self.closed:
            return
        self.closed = True
        watchdog.forget(self)
        for timer in (self._timer, self._later, self._follower):
            if timer is not None and self._loop_lives():
                timer.stop()
                timer.close()
        with self.lock:
            self.session.fail_all(outcomes.closed)
        for link in list(self._watched):
            self._drop(link)

    # Calls

    def call(
        self, method: str, args: tuple[Any, ...], extra: Header | None, timeout: float | None, to: Link | None
    ) -> Call:
        """Send a request and wait for its first answer; the call has ended or is streaming."""
        session, now = self.session, monotonic()
        with self.lock:
            if now - self.turn > STILL:
                self._look_around(now)
            call = session.open(method, args, extra, now, timeout, to, greenlet.getcurrent())
            link = call.peer
            if link is not None:
                self._transmit(link, call, now)  # type: ignore[arg-type]
            elif self.closed:
                session.cancel(call)
                raise outcomes.closed(call)
        if session.wake_at < self._armed:
            self._arm()
        if link is None:
            self._follow_later()
        if self._draining is not link:
            self._check_soon()
        self._wait(call)
        return call

    def _look_around(self, now: float) -> None:
        """See which connections broke and stand again while the loop did not turn; under the lock.

        Else a call would go to a server that is long gone, or be lost with the connection before.
        """
        self.turn = now
        for link in self._watched:
            link.watch(now)
        self._check_soon()

    def _transmit(self, link: Link, call: Call, now: float) -> None:
        holding = self._holding
        try:
            if holding.on and link.batch:
                link.keep(call.payload, call)  # type: ignore[arg-type]
                holding.add(link, now)
            else:
                link.transmit(call.payload, call)  # type: ignore[arg-type]
        except MeshError:
            self.session.cancel(call)
            raise

    def _wait(self, call: Call) -> None:
        """Let others run until somebody wakes this greenlet, which is the call's waiter."""
        switch = self.hub.switch
        try:
            while call.waiter is not None:
                switch()
        except BaseException:
            self.give_up(call)
            raise

    def next_items(self, call: Call, timeout: float | None) -> bool:
        """Wait until a stream has an item, or its end; False at the end."""
        if native.get_ident() != self.thread:
            raise RuntimeError("this stream belongs to another thread; call the method in the one that reads")
        while True:
            with self.lock:
                if call.items:
                    return True
                if call.peer is None or call.id not in self.session.calls:
                    return False
                if call.waiter is not None:
                    raise RuntimeError("another greenlet waits for the next item of this stream already")
                call.waiter = greenlet.getcurrent()
                self.session.await_item(call, monotonic(), timeout)
            if self.session.wake_at < self._armed:
                self._arm()
            self._wait(call)

    def grant(self, call: Call) -> None:
        """Let the server send more of a stream, if it is time to."""
        with self.lock:
            payload = self.session.grant(call)
            if payload is not None and call.peer is not None:
                call.peer.transmit(payload)  # type: ignore[attr-defined]
        if payload is not None and self._draining is not call.peer:
            self._check_soon()

    def give_up(self, call: Call) -> None:
        """Nobody wants the answer of this call; its server is told. From any greenlet or thread."""
        if native.get_ident() != self.thread:
            self.drop(call)
            return
        with self.lock:
            self._cancel(call)
        self._check_soon()

    def drop(self, call: Call) -> None:
        """As give_up, from anywhere; waits for nobody, and not for the loop where that need not be."""
        if self.closed or not self._loop_lives():
            return
        # A finalizer may have interrupted whoever holds the lock.
        if native.get_ident() == self.thread and self.lock.acquire(False):
            try:
                self._cancel(call)
            finally:
                self.lock.release()
            self._check_soon()
        else:
            self._dropped.append(call)
            self.hub.loop.run_callback_threadsafe(self._check)

    def _cancel(self, call: Call) -> None:
        """Under the lock."""
        call.waiter = None
        out = self.session.cancel(call)
        if out is not None and not self.closed:
            out[0].transmit(out[1])  # type: ignore[attr-defined]

    def _cancel_dropped(self) -> None:
        """Under the lock, from the loop or from the watchdog."""
        while self._dropped:
            self._cancel(self._dropped.pop())

    # The loop

    def _check_soon(self) -> None:
        # A send swallows the edge of the descriptor: what came meanwhile is not signalled.
        if not self._check_due and not self.closed:
            self._check_due = True
            self.hub.loop.run_callback(self._check)

    def _check(self) -> None:
        self._check_due = False
        if self._dropped:
            with self.lock:
                self._cancel_dropped()
        for link in list(self._watched):
            self._drain(link)
        self._wake()

    def _drain(self, link: Link) -> None:
        """Receive until nothing is left, and let each batch's callers go on, which may send."""
        if self.closed or link not in self._watched:
            return
        self._draining = link
        end, most = 0.0, 1
        try:
            while True:
                self.turn = now = monotonic()
                end = end or now + FAIR
                with self.lock:
                    # One at first: to receive until it fails costs more than a lone answer.
                    count = link.receive(now, most)
                    if link.waiting:
                        link.flush()
                        count = count or link.receive(now, most)
                if count:
                    link.spin.came()
                # Whom the watchdog or a broken connection has woken may send, too.
                woken = len(self.session.woken)
                count += woken
                self._wake_holding(woken, now)
                if self.closed or link not in self._watched:
                    return
                if not count:
                    if self._retired:
                        self._drop_retired()
                    elif len(self.session.calls) == 1 and link.open:
                        link.spin.begin()
                    return
                if now > end:
                    # By a timer: gevent runs callbacks that follow on each other in one turn.
                    if not self._later.active:
                        self._later.start(self._check)
                    return
                most = BATCH
        finally:
            self._draining = None

    def _wake_holding(self, woken: int, now: float) -> None:
        """As _wake; what they call at once goes together."""
        holding = self._holding
        if woken > 1 and any(link.batch for link in self._links):
            holding.begin(now)
        try:
            self._wake()
        finally:
            holding.on = False
            self._release()

    def _release(self) -> None:
        if self._holding:
            with self.lock:
                self._holding.release(monotonic())

    def _wake(self) -> None:
        """Switch to whom an answer has come."""
        session, holding = self.session, self._holding
        while session.woken:
            with self.lock:  # the watchdog may be adding to them
                woken, session.woken = session.woken, []
            for call in woken:
                waiter = call.waiter
                if waiter is None:
                    continue
                call.waiter = None
                began = 0.0
                if holding.on:
                    if holding.is_slow(waiter):
                        self._release()
                    began = monotonic()
                try:
                    waiter.switch()
                except Exception:  # noqa: BLE001 - a bare greenlet that died of its error
                    self.hub.handle_error(waiter, *sys.exc_info())
                if began:
                    holding.note(waiter, monotonic() - began)

    def _connection_changed(self, link: Link) -> None:
        with self.lock:
            if not self.closed and link in self._watched:
                link.watch(monotonic())
        self._wake()
        self._drain(link)
        self._arm()
        self._check_soon()  # calls of a broken link may have gone out by others

    @property
    def _wake_at(self) -> float:
        return min(self.session.wake_at, self.redial_at)

    def _arm(self) -> None:
        wake_at = self._wake_at
        if self.closed or wake_at >= self._armed:
            return
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
        self._armed = wake_at
        self._timer = self.hub.loop.timer(max(self._armed - monotonic(), 0.0))
        self._timer.start(self._on_timer)

    def _on_timer(self) -> None:
        self._armed = float("inf")
        for link in list(self._watched):
            # What has arrived meanwhile comes before the judgement that nothing has.
            self._drain(link)
        with self.lock:
            self.tick(monotonic())
        self._check_soon()
        self._wake()
        self._drop_retired()
        self._arm()

    def tick(self, now: float) -> None:
        """Deadlines, heartbeats and connections that are to be tried again; under the lock, from the loop or
        from the watchdog.
        """
        for link, payload in self.session.on_timer(now):
            link.transmit(payload)  # type: ignore[attr-defined]
        for link in list(self._watched):  # the loop may be adding one
            link.flush()
            link.redial(now)
        self.turn = now

    # The watchdog's side: another thread, under the lock

    def stand_in(self, now: float) -> None:
        """Do what the blocked loop can't: take in what has come, send what waits, give the heartbeats."""
        self._looked = now
        due = self._wake_at <= now
        busy = due or bool(self._dropped or self._holding)
        self._cancel_dropped()
        for link in list(self._watched):
            busy = link.look(now) or busy
        if self._holding:
            self._holding.release(now)
        if due:
            self.tick(now)
        if busy:  # one that merely waits is not to be woken for nothing
            self.hub.loop.run_callback_threadsafe(self._check)

    def overdue(self, now: float) -> bool:
        """Whether the loop has missed its timer, holds calls back, or may have missed what came."""
        late = bool(self._dropped) or self._holding.overdue(now)
        if not late and self.session.calls:
            late = self.session.wake_at + self.patience < now
            late = late or (now - self.turn > self.patience and now - self._looked > LOOK)
        return late and not self.closed and self._loop_lives()

    def blocked_in(self, frame: FrameType | None) -> str:
        return ""  # a client's loop may be blocked by its program, which is nothing to report

    def _stop_watchers(self) -> None:
        for link in self._watched:
            link.spin.stop()
            link.dealer.unwatch()
        for timer in (self._timer, self._later, self._follower):
            if timer is not None:
                timer.stop()

    def forked(self) -> None:
        """In the child of a fork: leave the parent's sockets and calls alone."""
        self.lock = native.allocate_lock()  # the watchdog may have held it
        if not self.closed and loop_here(self.hub):
            self._stop_watchers()
        self.closed = True
        self._watched.clear()
        self._timer = None
        self._holding.forget()
        self._dropped.clear()
        session = self.session
        for call in session.calls.values():
            call.waiter, call.state = None, State.DONE
            call.error = LostRemote(f"{call.method!r:.80} was called before a fork, by the parent")
        session.calls.clear()
        session.woken.clear()
        self._links.clear()
