"""The endpoints that one socket is connected to, dialled anew where one refuses the handshake.

For sockets with several endpoints, of which libzmq tells by address alone. (dialer.py is for those with one.)
Touches no socket: whoever owns it leaves and dials what it is told.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from typing import Any, Final

import zmq

from mesh.core.channel import NEVER
from mesh.core.redial import Redial
from mesh.names.hosts import host_of
from mesh.transport.dialer import FAILURES, NO_REASON, reason
from mesh.transport.monitors import ConnectionEvent

MAX_UNCLEAR: Final = 64
"""Addresses of which it is being found out which endpoint they belong to."""


class Redialling:
    """in_thread: begins a function in a native thread, to look names up. getaddrinfo: the standard library's.

    tell: gets each endpoint that is refused, and why, where that is new. refused: the endpoints that have
    refused the last handshake, and why.
    """

    def __init__(
        self,
        in_thread: Callable[[Callable[[], None]], object],
        tell: Callable[[str, str], None],
        getaddrinfo: Callable[..., Any] = socket.getaddrinfo,
    ) -> None:
        self._in_thread = in_thread
        self._tell = tell
        self._getaddrinfo = getaddrinfo
        self.refused: dict[str, str] = {}
        self._redials: dict[str, Redial] = {}
        self._left: set[str] = set()
        self._began: dict[str, float] = {}
        """When each connection was made that is in its handshake."""
        self._unclear: dict[str, str] = {}
        self._clear: list[tuple[str, str]] = []

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
                return self._refused(candidates[0], why, now)
            if candidates and len(self._unclear) < MAX_UNCLEAR and address not in self._unclear:
                self._unclear[address] = why
                self._in_thread(lambda: self._look_up(address, candidates))
        elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._began.pop(address, None)
            for endpoint in _candidates(address, endpoints):
                if endpoint not in self._left:
                    self._redials.pop(endpoint, None)
                    self.refused.pop(endpoint, None)
        return []

    def _refused(self, endpoint: str, why: str, now: float) -> list[str]:
        redial = self._redials.setdefault(endpoint, Redial())
        redial.failed(now)
        # Such a socket has no calls to say that it is wanted: it always is.
        redial.wanted(now)
        self._left.add(endpoint)
        if self.refused.get(endpoint) != why:
            self.refused[endpoint] = why
            self._tell(endpoint, why)
        return [endpoint]

    def _look_up(self, address: str, candidates: list[str]) -> None:
        """In a native thread."""
        host, _, _ = address.partition("://")[2].rpartition(":")
        for endpoint in candidates:
            try:
                found = self._getaddrinfo(host_of(endpoint), None, 0, socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                continue
            if any(one[4][0] == host.strip("[]") for one in found):
                self._clear.append((address, endpoint))
                return
        self._clear.append((address, ""))

    def has_left(self, endpoint: str) -> bool:
        """Whether the socket is not connected to it at the moment."""
        return endpoint in self._left

    def unclear(self, endpoints: Collection[str], now: float) -> list[str]:
        """Those of the endpoints that are to be left, where that had to be found out."""
        leave = []
        while self._clear:
            address, endpoint = self._clear.pop()
            why = self._unclear.pop(address)
            if endpoint in endpoints and endpoint not in self._left:
                leave += self._refused(endpoint, why, now)
        return leave

    def due(self, endpoints: Collection[str], now: float) -> list[str]:
        """Those of the endpoints that are to be dialled again now."""
        self._left.intersection_update(endpoints)
        for gone in [one for one in self._redials if one not in endpoints]:
            del self._redials[gone]
            self.refused.pop(gone, None)
        due = [endpoint for endpoint in self._left if self._redials[endpoint].at <= now]
        for endpoint in due:
            self._redials[endpoint].dialled(now)
            self._left.discard(endpoint)
        return due

    @property
    def wake_at(self) -> float:
        """When `due` is to be asked next."""
        return min([self._redials[endpoint].at for endpoint in self._left], default=NEVER)


def _candidates(address: str, endpoints: Collection[str]) -> list[str]:
    """The endpoints that an address may belong to: libzmq gives it with numbers, or as it was given."""
    if address in endpoints:
        return [address]
    port = address.rpartition(":")[2]
    return [one for one in endpoints if host_of(one) and one.rpartition(":")[2] == port]
