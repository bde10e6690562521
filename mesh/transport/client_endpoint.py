"""The calls of one client in one event loop: their session and connections, the pump, and the timer.

A driver opens calls here, and is told by `on_woken` for which there is something; how somebody waits is its
own matter, and so is the waiter that a call carries for it.

Who may do what. All is for the loop's own thread, except for `drop` and what is under "The watchdog's side":
that is a native thread, which does the loop's work under the same lock while the loop is blocked. The lock is
held around whatever touches the session or a socket. `on_woken` is called in the loop alone, and not under
the lock, for those who are woken may do anything.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from types import FrameType
from typing import Any, Final, NoReturn

from mesh.core import nested, outcomes
from mesh.core.balance_rule import DEFAULT_BALANCE, Balance
from mesh.core.channel import DONE
from mesh.core.client_session import Call, ClientSession, Waiting
from mesh.core.cork import Cork
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.middleware import carried_out
from mesh.core.peer import Peer
from mesh.core.route import Route
from mesh.core.span import UNRECORDED, Span, bound, span_in
from mesh.core.values import Encode
from mesh.core.wire import OWN_QUESTIONS, Header
from mesh.errors import LostRemote, MeshError, ServiceNotFound
from mesh.names.model import LAST_RESORT, Endpoint
from mesh.transport import identity, native, process
from mesh.transport.budgets import budget_of
from mesh.transport.client_link import Link
from mesh.transport.client_links import ClientLinks
from mesh.transport.loop import Loop
from mesh.transport.pump import Pump
from mesh.transport.recording import recording, span_ids
from mesh.transport.watchdog import watchdog

STILL: Final = 0.03
"""Seconds without a message after which to look for broken connections before a call; less than
it takes to connect again."""
GRACE: Final = 0.25
"""Seconds by which a timer may be late before the loop counts as blocked; a quarter of a shorter
heartbeat."""
LOOK: Final = 0.09
"""Seconds between two looks of the watchdog, at the least, at a loop that is blocked, or waits."""

Woken = Callable[["ClientEndpoint", list[Call | Waiting]], object]


log = logging.getLogger("mesh.client")


class ClientEndpoint:
    """on_woken: gets this endpoint, and those for whom there is something. It takes the waiter of each, where
    it has one still, puts None in its place, and has it go on. It gives True where they do so in callbacks of
    the loop, after those that wait already; else they have had their turn when it returns.

    home: the thread in which alone streams are read, None in the child of a fork: the driver's streams
    compare this with each item, and whoever is elsewhere comes to `refuse_reader`.

    service: what hubs know it by. heartbeat: seconds or None.
    max_message, max_elements: bytes of one message, and values in one answer. encode: for values that can't
    travel. balance: how calls are spread over the endpoints.

    Made in the loop's own thread. Raises as check_settings does, and ConfigError for an endpoint that can't
    be connected to.
    """

    def __init__(
        self,
        loop: Loop,
        on_woken: Woken,
        service: str,
        endpoints: Sequence[Endpoint],
        heartbeat: float | None,
        max_message: int,
        max_elements: int = MAX_ELEMENTS,
        encode: Encode | None = None,
        balance: Balance = DEFAULT_BALANCE,
    ) -> None:
        self._service = service
        base, recorder = process.new_base(), recording.recorder(service)
        self.session = ClientSession(
            base,
            random.random,
            heartbeat,
            max_message,
            max_elements,
            encode,
            service,
            balance,
            budget_of(service),
            recorder,
        )
        self._recorder = recorder
        self.session.process = identity.program()
        self.session.balancer.ejected = partial(_tell_ejected, loop, service)
        self.loop = loop
        self.service = service
        self.thread = loop.thread
        self.lock = native.allocate_lock()
        self.closed = False
        self.patience = GRACE if heartbeat is None else min(GRACE, heartbeat / 4)
        self.follow: Callable[[], None] = lambda: None
        """Looks whether the service is elsewhere by now."""
        self.want: Callable[[], None] = lambda: None
        """Has its source look sooner, for a connection was lost, or a call has nowhere to go."""
        self.home: int | None = loop.thread
        self.cork: Cork[Link] = Cork(guarded=heartbeat is not None)
        self._on_woken = on_woken
        self._home = process.presence()
        self._pump = Pump(self._work, self._on_timer, self._wake_at)
        self._corked = 0
        """How many times the cork is in: once for each that were woken together and had no turn yet."""
        self._dropped: list[Call] = []
        """Calls that nobody wants any more, of which that could not be told at once."""
        self._looked = 0.0
        """When the watchdog last looked."""
        self.links = ClientLinks(
            loop, self.session, self.lock, max_message, self._pump.run, self._changed, self._pump.soon
        )
        self._given: tuple[Sequence[Endpoint], MeshError | None] = (endpoints, None)
        """What `set_endpoints` had last."""
        self._pump.start(loop)
        process.remember(self)
        if recorder is not None:
            recording.watch(self)
        if heartbeat is not None:
            watchdog.watch(self)
        try:
            self.links.set_endpoints(endpoints)
        except Exception:
            self.close()
            raise

    @property
    def orphaned(self) -> bool:
        """Whether its loop never turns again: its thread has ended, or the loop is closed. In any thread."""
        return self._home() is None or not self.loop.alive()

    @property
    def turn(self) -> float:
        """When the loop was last seen to turn."""
        return self._pump.turn

    def set_endpoints(self, endpoints: Sequence[Endpoint], absence: MeshError | None = None) -> None:
        """Connect to what is new, and leave what is no longer there. absence: why there is nothing."""
        if self.closed:
            return
        self._given = endpoints, absence
        self.links.set_endpoints(endpoints)
        if absence is None and endpoints and not self.links.current:
            absence = ServiceNotFound(
                f"{self._service!r} is no more where it was, as {endpoints[0].source or 'its source'} says"
            )
        with self.lock:
            self.session.absent(absence)
        if self.session.woken:
            self._pump.soon()

    def close(self) -> None:
        """End every call with LostRemote and close the sockets. From any thread, where it is orphaned."""
        if self.closed:
            return
        self.closed = True
        watchdog.forget(self)
        alive = self.loop.alive()
        if alive:
            self._pump.close()
        else:
            self._pump.forget()
        with self.lock:
            self.session.fail_all(outcomes.closed)
        self.links.close()
        if not self.orphaned:
            self.loop.call_soon(self._wake)

    # Calls

    def open(
        self,
        method: str,
        args: tuple[Any, ...],
        extra: Header | None,
        timeout: float | None,
        to: Peer | Route | None,
        waiter: Any,
    ) -> Call:
        """Send a request, or have it wait for a connection; the waiter is woken by its first answer.

        extra: what the header carries besides. timeout: seconds, or None for no limit. to: the connection
        that it must go by, or those that it may; None for any. Within a handler it takes no longer than the
        handler's caller waits. Raises as ClientSession.open and nested.time_left do, and LostRemote once it
        is closed.
        """
        session, now = self.session, monotonic()
        if session.absence is not None:
            self.want()
        served, span = carried_out(), bound.get()
        if served is not None:
            timeout = nested.time_left(served, method, timeout, now)
            if span is None:
                span = span_in(served.header)
        if span is not None:
            span = _span_of(to, method, span)
        elif self._recorder is not None and served is None:
            span = self._recorder.sampler.root(method)
            if span is not None or to is not None:
                span = _root_of(to, method, span)
        with self.lock:
            if now - self._pump.turn > STILL:
                self._look_around(now)
            before = session.wake_at
            call = session.open(method, args, extra, now, timeout, to, waiter, span, served)
            peer = call.peer
            if peer is not None:
                try:
                    if self.cork.on and peer.batch and isinstance(peer, Link):
                        self._hold(peer, call, now)
                    else:
                        peer.transmit(call.payload, call)
                except MeshError:
                    session.cancel(call, now)
                    raise
            elif self.closed:
                session.cancel(call, now)
                raise outcomes.closed(call)
        if served is not None:
            nested.note(served, call, self)
        pump = self._pump
        if session.wake_at < before:
            pump.arm(session.wake_at)
        if peer is None:
            self.links.wanted()
            pump.arm(self.links.wake_at)
        elif not pump.running:
            pump.soon()
        return call

    def _look_around(self, now: float) -> None:
        """See which connections broke and stand again while the loop did not turn; under the lock.

        Else a call would go to a server that is long gone, or be lost with the connection before.
        """
        self._pump.turn = now
        for link in list(self.links.open):
            link.watch(now)
        self._pump.soon()

    def _hold(self, link: Link, call: Call, now: float) -> None:
        link.keep(call.payload, call)
        if self.cork.add(link, now):
            self._flush_held(now)

    def await_item(self, call: Call, waiter: Any, timeout: float | None) -> bool:
        """Have the waiter woken when a stream has its next item, or has ended; False where that is so
        already.

        Raises TimeoutExpired by the call's error after so many seconds, and RuntimeError where somebody waits
        already.
        """
        with self.lock:
            before = self.session.wake_at
            waits = self.session.await_item(call, waiter, monotonic(), timeout)
        if self.session.wake_at < before:
            self._pump.arm(self.session.wake_at)
        return waits

    def grant(self, call: Call) -> None:
        """An item of a stream was taken: let the server send more, if it is time to."""
        with self.lock:
            payload = self.session.grant(call)
            if payload is not None and call.peer is not None:
                call.peer.transmit(payload)
        if payload is not None and not self._pump.running:
            self._pump.soon()

    def refuse_reader(self, call: Call) -> NoReturn:
        """Raise what a stream says that is read where it is not `home`: another loop, thread or process."""
        if self.home is None:
            raise _before_a_fork(call)
        raise RuntimeError(
            f"the stream of {call.method!r:.80} belongs to another event loop or thread than the one that "
            "reads: call the method where its items are read, or hand them on by a queue"
        )

    def leave(self, call: Call) -> None:
        """The reader of a stream leaves it: what it has not taken is dropped. From any thread."""
        if call.state is not DONE:
            self.give_up(call)
        if call.items:
            call.items.clear()

    def give_up(self, call: Call) -> None:
        """Nobody wants the answer of this call; its server is told. From any thread."""
        if native.get_ident() != self.thread or not self.loop.alive():
            self.drop(call)
            return
        with self.lock:
            self._cancel(call)
        self._pump.soon()

    def abandon(self, call: Call, error: MeshError) -> None:
        """End a call with this error, whose caller is woken; its server is told. From any thread."""
        if native.get_ident() != self.thread:
            if not self.closed and self.loop.alive():
                self.loop.call_soon_threadsafe(self.abandon, call, error)
            return
        with self.lock:
            self._cancel(call, error)
        self._pump.soon()

    def drop(self, call: Call) -> None:
        """As give_up, from anywhere; waits for nobody, and not for the loop where that need not be."""
        if self.closed or not self.loop.alive():
            return
        # A finalizer may have interrupted whoever holds the lock.
        if native.get_ident() == self.thread and self.lock.acquire(False):
            try:
                self._cancel(call)
            finally:
                self.lock.release()
            self._pump.soon()
        else:
            self._dropped.append(call)
            self.loop.call_soon_threadsafe(self._pump.run)

    def _cancel(self, call: Call, error: MeshError | None = None) -> None:
        """Under the lock."""
        out = self.session.cancel(call, monotonic(), error)
        if out is not None and not self.closed:
            out[0].transmit(out[1])

    def _cancel_dropped(self) -> None:
        """Under the lock, from the loop or from the watchdog."""
        while self._dropped:
            self._cancel(self._dropped.pop())

    # Connections

    def renew(self) -> bool:
        """Connect anew where what is there stops; as ClientLinks.renew."""
        return not self.closed and self.links.renew()

    def await_connection(self, waiter: Any, until: float) -> Waiting:
        """Have the waiter woken when another connection stands, or at that time."""
        with self.lock:
            waiting = self.session.await_connection(waiter, until)
        self._pump.arm(until)
        return waiting

    # The loop

    def _work(self, now: float, most: int) -> bool:
        """Receive once from each connection, and let those go on whom it is for, who may send."""
        count = 0
        with self.lock:
            if self._dropped:
                self._cancel_dropped()
            for link in self.links.open:
                if not (link.unread or link.open):
                    continue  # of several connections few have something at a time
                received = link.receive(now, most)
                if link.waiting:
                    link.flush()
                    received = received or link.receive(now, most)
                if received:
                    link.spin.came()
                    count += received
                elif not (link.open or link.waiting):
                    link.unread = False
        if self.session.woken:
            # Whom the watchdog or a broken connection has woken may send, too.
            self._wake()
            return True
        if not count:
            self._rest()
        return count > 0

    def _rest(self) -> None:
        """Nothing is left to do for now."""
        links = self.links
        if len(links.open) > len(links.current):
            links.drop_retired()
        if len(self.session.calls) == 1:
            for link in links.current:
                if link.open:
                    link.spin.begin()

    def _wake(self) -> None:
        """Have those go on for whom there is something; what they send at once goes together."""
        session = self.session
        while session.woken:
            with self.lock:  # the watchdog may be adding to them
                woken = session.take_woken()
            if len(woken) == 1 or not any(link.batch for link in self.links.current):
                self._on_woken(self, woken)
                continue
            self.cork.begin(monotonic())
            self._corked += 1
            later: Any = False
            try:
                later = self._on_woken(self, woken)
            finally:
                if later:
                    self.loop.call_soon(self._uncork)  # behind the callbacks in which they send
                else:
                    self._uncork()

    def _uncork(self) -> None:
        self._corked -= 1
        if not self._corked:
            self.cork.end()
        self.release()

    def release(self) -> None:
        """Send what waits for others."""
        if self.cork:
            with self.lock:
                self._flush_held(monotonic())

    def _flush_held(self, now: float) -> None:
        """Under the lock."""
        for link in self.cork.release(now):
            if not link.dealer.closed:
                link.flush()

    def _changed(self, link: Link) -> None:
        """The connection has something to tell."""
        with self.lock:
            stood = link.live
            if not self.closed and link in self.links.open:
                link.watch(monotonic())
        if stood and not link.live:
            self.want()
            if link.priority >= LAST_RESORT:  # which it is as long as it lives
                self.set_endpoints(*self._given)
        self._wake()
        self._pump.arm(self.links.wake_at)
        self._pump.run()  # calls of a broken link may have gone out by others

    def _wake_at(self) -> float:
        return self.session.wake_at

    def _on_timer(self) -> None:
        # What has arrived meanwhile comes before the judgement that nothing has.
        self._pump.run()
        now = monotonic()
        if self._is_due(now):
            with self.lock:
                self.tick(now)
            self._wake()
            self.links.drop_retired()
            self._pump.soon()
        if self.links.follow_due(now):
            self.want()
            self.follow()
        self._pump.arm(self.links.wake_at)

    def _is_due(self, now: float) -> bool:
        """Whether there is something for `tick` to do."""
        return min(self.session.wake_at, self.links.redial_at) <= now

    def tick(self, now: float) -> None:
        """Deadlines, heartbeats and connections that are to be tried again; under the lock, from the loop or
        from the watchdog.
        """
        for peer, payload in self.session.on_timer(now):
            peer.transmit(payload)
        for link in list(self.links.open):
            link.flush()
            link.redial(now)
        self._pump.turn = now

    # The watchdog's side: another thread, under the lock

    def stand_in(self, now: float) -> None:
        """Do what the blocked loop can't: take in what has come, send what waits, give the heartbeats."""
        self._looked = now
        due = self._is_due(now)
        busy = due or bool(self._dropped or self.cork)
        self._cancel_dropped()
        for link in list(self.links.open):
            busy = link.look(now) or busy
        if self.cork:
            self._flush_held(now)
        if due:
            self.tick(now)
        if busy:  # one that merely waits is not to be woken for nothing
            self.loop.call_soon_threadsafe(self._pump.run)

    def overdue(self, now: float) -> bool:
        """Whether the loop has missed its timer, holds calls back, or may have missed what came."""
        late = bool(self._dropped) or self.cork.overdue(now)
        if not late and self.session.calls:
            late = self.session.wake_at + self.patience < now
            late = late or (now - self._pump.turn > self.patience and now - self._looked > LOOK)
        return late and not self.closed and self.loop.alive()

    def blocked_in(self, frame: FrameType | None) -> str:
        return ""  # a client's loop may be blocked by its program, which is nothing to report

    def forked(self) -> None:
        """In the child of a fork: leave the parent's sockets and calls alone."""
        self.lock = native.allocate_lock()  # the watchdog may have held it
        here = not self.closed and self.loop.here()
        if here:
            self._pump.close()
        else:
            self._pump.forget()
        self.links.forked(self.lock, here=here)
        self.closed = True
        self.home = None
        self.cork.forget()
        self._dropped.clear()
        self.session.forget_all(_before_a_fork)


def _span_of(to: Peer | Route | None, method: str, parent: Span) -> Span | None:
    """That of a call within another, the same for all its attempts; None for mesh's own questions."""
    if method in OWN_QUESTIONS or parent is UNRECORDED:
        return None
    if not isinstance(to, Route):
        return Span(parent.trace_id, span_ids.next(), parent.span_id)
    if to.span is None:
        to.span = Span(parent.trace_id, span_ids.next(), parent.span_id)
    return to.span


def _root_of(to: Peer | Route | None, method: str, span: Span | None) -> Span | None:
    """That of a call which belongs to no trace, the same for all its attempts; None as for _span_of."""
    if method in OWN_QUESTIONS:
        return None
    if not isinstance(to, Route):
        return span
    if to.span is None:
        to.span = span
    return to.span


def _before_a_fork(call: Call) -> MeshError:
    return LostRemote(f"{call.method!r:.80} was called before a fork, by the parent")


def _tell_ejected(loop: Loop, service: str, peer: Peer, seconds: float | None) -> None:
    """Under the lock, and in any thread: the line is written in the loop's next turn."""
    if seconds is None:
        loop.call_soon_threadsafe(log.info, "%s: %s answers, and gets calls again", service, peer.endpoint)
    else:
        text = "%s: too many calls to %s have failed: it gets none for %.0f s, and then one on trial"
        loop.call_soon_threadsafe(log.warning, text, service, peer.endpoint, seconds)
