"""The endpoints that one socket is connected to, dialled anew where one refuses the handshake.

For sockets with several endpoints, of which libzmq tells by address alone. (dialer.py is for those with one.)
Touches no socket of libzmq's: whoever owns it leaves and dials what it is told.

What takes time is found out in native threads: whose address it is that refused, and, where libzmq gives no
reason, what answers there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final

import zmq

from mesh.core.channel import NEVER
from mesh.core.redial import Redial
from mesh.names.hosts import host_of
from mesh.transport import greeting, handshake
from mesh.transport.dialer import FAILURES, NO_REASON, reason, silence
from mesh.transport.monitors import ConnectionEvent

MAX_UNCLEAR: Final = 64
"""Addresses of which it is being found out which endpoint they belong to."""
ASK_AGAIN: Final = 60.0
"""Seconds after which an endpoint that goes on refusing is asked once more what it is."""

InThread = Callable[[Callable[[], None]], object]
Ask = Callable[..., bytes | None]


@dataclass(slots=True)
class _Refusing:
    """An endpoint that has refused the last handshake.

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


class Redialling:
    """kind: that of the socket. in_thread: begins a function in a native thread. tell: gets each endpoint
    that is refused, and why, where that is new. wake: called in such a thread when `settle` has something to
    do. getaddrinfo: the standard library's. ask: see greeting.py.
    """

    def __init__(
        self,
        kind: int,
        in_thread: InThread,
        tell: Callable[[str, str], None],
        wake: Callable[[], object],
        getaddrinfo: Callable[..., Any] = socket.getaddrinfo,
        ask: Ask = greeting.ask,
    ) -> None:
        self._kind = kind
        self._in_thread = in_thread
        self._tell = tell
        self._wake = wake
        self._getaddrinfo = getaddrinfo
        self._ask = ask
        self._refusing: dict[str, _Refusing] = {}
        self._began: dict[str, float] = {}
        """When each connection was made that is in its handshake."""
        self._unclear: dict[str, str] = {}
        """Why each address was refused of which it is being found out whose it is."""
        self._found: list[tuple[str, str]] = []
        """What threads have found out: addresses with their endpoints,"""
        self._answers: list[tuple[str, str]] = []
        """and endpoints with what they are."""

    def happened(self, event: ConnectionEvent, endpoints: Collection[str], now: float) -> list[str]:
        """One event of the monitor of a socket that is connected to `endpoints`; which of them to leave."""
        kind, value, address = event
        if kind == zmq.EVENT_CONNECTED:
            self._began[address] = now
        elif kind in FAILURES or (kind == zmq.EVENT_DISCONNECTED and address in self._began):
            began = self._began.pop(address, now)
            why = reason(kind, value, now - began) if kind in FAILURES else NO_REASON
            candidates = _candidates(address, endpoints)
            if len(candidates) == 1:
                return self._refused(candidates[0], address, why, now)
            if candidates and len(self._unclear) < MAX_UNCLEAR and address not in self._unclear:
                self._unclear[address] = why
                self._in_thread(lambda: self._look_up(address, candidates))
        elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._began.pop(address, None)
            for endpoint in _candidates(address, endpoints):
                if not self.has_left(endpoint):
                    self._refusing.pop(endpoint, None)
        return []

    def _refused(self, endpoint: str, address: str, why: str, now: float) -> list[str]:
        one = self._refusing.setdefault(endpoint, _Refusing())
        if one.left:
            return []  # libzmq had tried again before this was heard of
        one.redial.failed(now)
        # Such a socket has no calls to say that it is wanted: it always is.
        one.redial.wanted(now)
        one.left = True
        if why is NO_REASON:
            if not one.asking and now - one.asked >= ASK_AGAIN:
                one.asking, one.asked, one.answer = True, now, ""
                self._in_thread(lambda: self._find_out(endpoint, address))
            why = one.answer or NO_REASON
        one.why = why
        if not one.asking:
            self._tell_new(endpoint, one)
        return [endpoint]

    def _tell_new(self, endpoint: str, one: _Refusing) -> None:
        if one.why != one.told:
            one.told = one.why
            self._tell(endpoint, one.why)

    # In native threads

    def _look_up(self, address: str, candidates: list[str]) -> None:
        host, _, _ = address.partition("://")[2].rpartition(":")
        whose = ""
        for endpoint in candidates:
            try:
                found = self._getaddrinfo(host_of(endpoint), None, 0, socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                continue
            if any(one[4][0] == host.strip("[]") for one in found):
                whose = endpoint
                break
        self._found.append((address, whose))
        self._wake()

    def _find_out(self, endpoint: str, address: str) -> None:
        heard = self._ask(address, handshake.timeout(), self._getaddrinfo)
        answer = silence() if heard is None else greeting.describe(heard, self._kind)
        self._answers.append((endpoint, answer))
        self._wake()

    # For the owner of the socket

    def has_left(self, endpoint: str) -> bool:
        """Whether the socket is not connected to it at the moment."""
        return endpoint in self._refusing and self._refusing[endpoint].left

    def problem(self, endpoint: str) -> str:
        """Why it has refused the last handshake; "" where it has not."""
        return self._refusing[endpoint].why if endpoint in self._refusing else ""

    def settle(self, endpoints: Collection[str], now: float) -> list[str]:
        """Take in what threads have found out; those of the endpoints that are to be left."""
        leave = []
        while self._found:
            address, endpoint = self._found.pop()
            why = self._unclear.pop(address)
            if endpoint in endpoints and not self.has_left(endpoint):
                leave += self._refused(endpoint, address, why, now)
        while self._answers:
            endpoint, answer = self._answers.pop()
            one = self._refusing.get(endpoint)
            if one is not None and one.asking:
                one.asking, one.answer = False, answer
                if one.why is NO_REASON:
                    one.why = answer or NO_REASON
                self._tell_new(endpoint, one)
        return leave

    def due(self, endpoints: Collection[str], now: float) -> list[str]:
        """Those of the endpoints that are to be dialled again now."""
        for gone in [one for one in self._refusing if one not in endpoints]:
            del self._refusing[gone]
        due = [endpoint for endpoint, one in self._refusing.items() if one.left and one.redial.at <= now]
        for endpoint in due:
            self._refusing[endpoint].redial.dialled(now)
            self._refusing[endpoint].left = False
        return due

    @property
    def wake_at(self) -> float:
        """When `due` is to be asked next."""
        return min((one.redial.at for one in self._refusing.values() if one.left), default=NEVER)


def _candidates(address: str, endpoints: Collection[str]) -> list[str]:
    """The endpoints that an address may belong to: libzmq gives it with numbers, or as it was given."""
    if address in endpoints:
        return [address]
    port = address.rpartition(":")[2]
    return [one for one in endpoints if host_of(one) and one.rpartition(":")[2] == port]
