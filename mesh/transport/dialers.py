"""The endpoints that one socket is connected to: where each is dialled, and anew where one refuses the
handshake.

For sockets with several endpoints, of which libzmq tells by address alone. (dialer.py is for those with one.)
Whoever uses the socket uses this: one thread at a time, under the same lock.

What takes time is found out in native threads: where a host is, and, where libzmq gives no reason for a
refusal, what answers there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import zmq

from mesh.core.channel import NEVER
from mesh.core.redial import Redial
from mesh.names.endpoints import check_endpoint
from mesh.transport import greeting, handshake, process, sockets
from mesh.transport.dialer import ABANDONED, FAILURES, NO_REASON, reason, silence
from mesh.transport.finder import Finder
from mesh.transport.monitors import ConnectionEvent
from mesh.transport.sockets import Socket
from mesh.transport.weak_call import weak_call

ASK_AGAIN: Final = 60.0
"""Seconds after which an endpoint that goes on refusing is asked once more what it is."""
TELL_AFTER: Final = 0.9
"""Seconds for which a host has to be without an address before that is told: less than until it is asked for
again.
"""

_RECEIVE: Final = (zmq.SUB, zmq.PULL, zmq.ROUTER, zmq.XSUB)
"""Sockets that may get a message which is too large, and keep none for an endpoint that is away."""

InThread = Callable[[Callable[[], None]], object]
Ask = Callable[[str, float], bytes | None]


@dataclass(slots=True)
class _Refusal:
    """Of an endpoint that has refused the last handshake.

    left: the socket is not connected to it. why: what was wrong, as far as is known. told: what was told
    last. asked: when it was last asked what it is. asking: that goes on. answer: what that has given; "" for
    nothing.
    """

    redial: Redial = field(default_factory=Redial)
    left: bool = False
    why: str = ""
    told: str = ""
    asked: float = -NEVER
    asking: bool = False
    answer: str = ""


@dataclass(slots=True)
class _End:
    """One endpoint. at: where the socket is connected to, in numbers; "" while it is not. began: when the
    connection was made that is in its handshake; None without one. unresolved: why its host has no address,
    as it was found last. tell_at: when that is to be told. renew_at: when to dial once more after a break.
    """

    finder: Finder
    at: str = ""
    began: float | None = None
    refusal: _Refusal | None = None
    unresolved: str = ""
    tell_at: float = NEVER
    renew_at: float = NEVER


def _in_native_thread(function: Callable[[], None]) -> None:
    process.start_thread(function, (), "mesh greeting")


class Dialers:
    """tell: gets each endpoint that can't be reached, and why, where that is new. wake: a method, called in a
    native thread when `settle` has something to do, as long as its object is there. in_thread: begins a
    function in a native thread. ask: see greeting.py.
    """

    def __init__(
        self,
        socket: Socket,
        tell: Callable[[str, str], None],
        wake: Callable[[], object],
        in_thread: InThread = _in_native_thread,
        ask: Ask = greeting.ask,
    ) -> None:
        self._socket = socket
        self._kind = int(socket.get(zmq.TYPE))
        self._tell = tell
        self._wake = weak_call(wake)
        self._in_thread = in_thread
        self._ask = ask
        self.held = False
        """Whether nothing is dialled for now."""
        self._ends: dict[str, _End] = {}
        self._answers: list[tuple[str, str]] = []
        """Endpoints, with what threads have found out that they are."""

    # Endpoints

    @property
    def endpoints(self) -> list[str]:
        """Those that the socket is connected to, or is to be."""
        return list(self._ends)

    def __bool__(self) -> bool:
        return bool(self._ends)

    def add(self, endpoint: str, now: float, hosts: tuple[str, ...] = ()) -> None:
        """Connect to one more, if it is that. hosts: as Finder's, as they are now.

        Raises as the socket does, and ConfigError where it is no endpoint.
        """
        end = self._ends.get(endpoint)
        if end is None:
            if self.held:
                check_endpoint(endpoint)  # later there is nobody to be told
            end = _End(Finder(endpoint, self._wake, now, hosts))
            self._dial(end)
            self._ends[endpoint] = end
        else:
            end.finder.give(hosts, now)

    def remove(self, endpoint: str) -> str:
        """Leave one; its address, where there was a connection or an attempt."""
        end = self._ends.pop(endpoint)
        end.finder.close()
        at = end.at
        self._hang_up(end)
        return at

    def close(self) -> None:
        """The socket is closed: nobody wants to know any more."""
        for end in self._ends.values():
            end.finder.close()

    def problem(self, endpoint: str) -> str:
        """Why it can't be reached, as far as is known: it has refused the last handshake, or its host has no
        address. "" where nothing is.
        """
        end = self._ends.get(endpoint)
        if end is None:
            return ""
        return (end.refusal.why if end.refusal else "") or end.finder.problem

    def _dial(self, end: _End) -> None:
        """Be connected to where the endpoint is now. Two at one address have one connection."""
        if self.held:
            return
        at = end.finder.at
        if at != end.at:
            self._hang_up(end)
            if at and at not in self._dialled():
                sockets.connect(self._socket, at)
            end.at = at

    def _hang_up(self, end: _End) -> None:
        at, end.at, end.began = end.at, "", None
        if at and at not in self._dialled():
            self._socket.disconnect(at)

    def _dialled(self) -> set[str]:
        return {end.at for end in self._ends.values()}

    # What happens

    def happened(self, event: ConnectionEvent, now: float) -> None:
        """One event of the socket's monitor, which is to tell of dialer.NAMED; `settle` follows."""
        for endpoint, end in self._ends.items():
            if end.at == event.address:
                self._happened(endpoint, end, event, now)

    def _happened(self, endpoint: str, end: _End, event: ConnectionEvent, now: float) -> None:
        kind, value, address = event
        addresses, began = end.finder.addresses, end.began
        end.renew_at = NEVER
        if kind == zmq.EVENT_CONNECTED:
            end.began = now
            if addresses is not None:
                addresses.connected()
        elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            end.began, end.refusal = None, None
            if addresses is not None:
                addresses.stands()
        elif kind in FAILURES:
            seconds = now - began if began is not None else 0.0
            self._refused(endpoint, end, address, reason(kind, value, seconds), now)
        elif kind == zmq.EVENT_DISCONNECTED and began is not None:
            self._refused(endpoint, end, address, NO_REASON, now)
        elif kind == zmq.EVENT_DISCONNECTED:
            if self._kind in _RECEIVE:
                end.renew_at = now + ABANDONED
            if addresses is not None:
                addresses.broke(now)
        elif kind == zmq.EVENT_CLOSED and addresses is not None:
            addresses.refused(now)

    def _refused(self, endpoint: str, end: _End, address: str, why: str, now: float) -> None:
        self._hang_up(end)
        refusal = end.refusal = end.refusal or _Refusal()
        refusal.redial.failed(now)
        # Such a socket has no calls to say that it is wanted: it always is.
        refusal.redial.wanted(now)
        refusal.left = True
        if why is NO_REASON:
            if not refusal.asking and now - refusal.asked >= ASK_AGAIN:
                refusal.asking, refusal.asked, refusal.answer = True, now, ""
                self._in_thread(lambda: self._find_out(endpoint, address))
            why = refusal.answer or NO_REASON
        refusal.why = why
        if not refusal.asking:
            self._tell_new(endpoint, refusal)

    def _tell_new(self, endpoint: str, refusal: _Refusal) -> None:
        if refusal.why != refusal.told:
            refusal.told = refusal.why
            self._tell(endpoint, refusal.why)

    def _find_out(self, endpoint: str, address: str) -> None:
        """In a native thread."""
        heard = self._ask(address, handshake.timeout())
        answer = silence() if heard is None else greeting.describe(heard, self._kind)
        self._answers.append((endpoint, answer))
        self._wake()

    # Time

    def settle(self, now: float) -> None:
        """Take in what threads have found out, and dial what it is time to."""
        while self._answers:
            endpoint, answer = self._answers.pop()
            end = self._ends.get(endpoint)
            refusal = end.refusal if end is not None else None
            if refusal is not None and refusal.asking:
                refusal.asking, refusal.answer = False, answer
                if refusal.why is NO_REASON:
                    refusal.why = answer or NO_REASON
                self._tell_new(endpoint, refusal)
        for endpoint, end in self._ends.items():
            end.finder.settle(now)
            self._tell_unresolved(endpoint, end, now)
            if end.renew_at <= now:
                end.renew_at = NEVER
                self._hang_up(end)
            if self._may_dial(end, now):
                self._dial(end)

    def _tell_unresolved(self, endpoint: str, end: _End, now: float) -> None:
        addresses = end.finder.addresses
        problem = addresses.problem if addresses is not None and addresses.answered else ""
        if problem != end.unresolved:
            end.unresolved, end.tell_at = problem, now + TELL_AFTER if problem else NEVER
        if end.tell_at <= now:
            end.tell_at = NEVER
            self._tell(endpoint, problem)

    @staticmethod
    def _may_dial(end: _End, now: float) -> bool:
        refusal = end.refusal
        if refusal is None or not refusal.left:
            return True
        if refusal.redial.at > now:
            return False
        refusal.redial.dialled(now)
        refusal.left = False
        if end.finder.addresses is not None:
            end.finder.addresses.redialled(now)
        return True

    @property
    def wake_at(self) -> float:
        """When `settle` is to be called next."""
        return min((_wake_at(end) for end in self._ends.values()), default=NEVER)


def _wake_at(end: _End) -> float:
    refusal = end.refusal
    redial = refusal.redial.at if refusal is not None and refusal.left else NEVER
    redial = min(redial, end.renew_at)
    return min(redial, end.finder.wake_at)
