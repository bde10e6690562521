"""Carries questions to name servers and their answers back, over sockets of its own.

For one native thread, whatever gevent has patched: sockets and poll are the system's. Each question has a new
socket, whose port the system chooses by chance, and which takes in what comes from its server alone.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from mesh.names.dns_exchange import Attempt, Exchange, Order
from mesh.names.dns_messages import Question, Reply, ServerFailed
from mesh.names.dns_settings import NameServer
from mesh.transport import native, process

AT_ONCE: Final = 64
"""Questions under way; more wait for their turn."""
MOST_BYTES: Final = 65_535
"""Of one message, as TCP's prefix of two bytes tells it."""
ADDRESSES_HOLD: Final = 60.0
"""Seconds after which the addresses of a name server that is given by a name are looked up again."""

open_socket: Any = native.original("socket", "socket")
open_poll: Any = native.original("select", "poll")

Told = Callable[[Reply | ServerFailed], None]


class _Wire:
    """The socket of one attempt. out: what is still to be sent; come: what has come by TCP so far."""

    __slots__ = ("attempt", "come", "exchange", "out", "socket")

    def __init__(self, exchange: Exchange, attempt: Attempt, sock: Any) -> None:
        self.exchange = exchange
        self.attempt = attempt
        self.socket = sock
        payload = attempt.payload
        self.out = len(payload).to_bytes(2) + payload if attempt.tcp else payload
        self.come = bytearray()

    @property
    def events(self) -> int:
        return select.POLLIN | (select.POLLOUT if self.out else 0)


class DnsAsker:
    def __init__(self) -> None:
        self._waiting: deque[tuple[Question, Sequence[NameServer], Told]] = deque()
        self._exchanges: dict[Exchange, Told] = {}
        self._order = Order()
        self._wires: dict[int, _Wire] = {}
        self._addresses: dict[NameServer, tuple[float, list[tuple[int, Any]]]] = {}
        self._poll = open_poll()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._poll.register(self._wake_in, select.POLLIN)

    def ask(self, question: Question, servers: Sequence[NameServer], told: Told) -> None:
        """Ask; `told` gets what comes of it, from `run`, in some seconds at the latest."""
        self._waiting.append((question, servers, told))

    def trouble(self, servers: Sequence[NameServer]) -> str:
        """What is wrong with those of these servers that are asked now, as far as is known, in words."""
        reasons: dict[str, str] = {}
        for exchange in self._exchanges:
            reasons.update(exchange.reasons)
        names = [str(server) for server in servers]
        return ", ".join(f"{name} {reasons[name]}" for name in names if name in reasons)

    def forget(self) -> None:
        """Leave all questions; nobody is told."""
        self._waiting.clear()
        self._exchanges.clear()
        for wire in list(self._wires.values()):
            self._close(wire)

    def close(self) -> None:
        """For good. Also in the child of a fork, whose copies of the descriptors these are."""
        self.forget()
        for fd in (self._wake_in, self._wake_out):
            with suppress(OSError):
                os.close(fd)

    def wake(self) -> None:
        """Have `run` return; from any thread."""
        with suppress(BlockingIOError):  # it is to be woken already
            os.write(self._wake_out, b"x")

    def run(self, until: float) -> None:
        """Ask and take in answers, until there is one, or it is `until`, or `wake` was called."""
        self._begin_waiting()
        now = monotonic()
        for exchange in list(self._exchanges):
            self._send_due(exchange, now)
        if self._tell_ended():
            return
        wake_at = min([until, *(exchange.wake_at for exchange in self._exchanges)])
        pause = max(wake_at - monotonic(), 0.0)
        # A millisecond later rather than earlier, and an hour at the most.
        ready = self._poll.poll(min(pause, 3600.0) * 1000 + 1)
        with process.importing():  # an unusual record has dnspython import a module
            for fd, _ in ready:
                if fd == self._wake_in:
                    os.read(self._wake_in, 4096)
                elif (wire := self._wires.get(fd)) is not None:
                    self._happened(wire)
        self._tell_ended()

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._exchanges) < AT_ONCE:
            question, servers, told = self._waiting.popleft()
            now = monotonic()
            in_order = self._order.of(servers, now)
            exchange = Exchange(question, in_order, now, lambda: secrets.randbelow(1 << 16))
            self._exchanges[exchange] = told

    def _tell_ended(self) -> bool:
        """Whether there was anything to tell."""
        ended = [one for one in self._exchanges if one.outcome is not None]
        for exchange in ended:
            told = self._exchanges.pop(exchange)
            for wire in [one for one in self._wires.values() if one.exchange is exchange]:
                self._close(wire)
            assert exchange.outcome is not None
            self._order.ended(exchange, monotonic())
            told(exchange.outcome)
        return bool(ended)

    # Sockets

    def _send_due(self, exchange: Exchange, now: float) -> None:
        while (attempt := exchange.due(now)) is not None:
            self._open(exchange, attempt)

    def _open(self, exchange: Exchange, attempt: Attempt) -> None:
        kind = socket.SOCK_STREAM if attempt.tcp else socket.SOCK_DGRAM
        sock = None
        try:
            family, address = self._address_of(attempt.server)
            sock = open_socket(family, kind)
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(address)
        except (OSError, UnicodeError) as exc:
            if sock is not None:
                sock.close()
            self._go_on_to_next(attempt.server)
            exchange.failed(attempt, _reason(exc), monotonic())
            return
        wire = _Wire(exchange, attempt, sock)
        self._wires[sock.fileno()] = wire
        self._poll.register(sock.fileno(), wire.events)

    def _address_of(self, server: NameServer) -> tuple[int, Any]:
        """Where a server is. One that is given by a name has to be found by the system first."""
        until, found = self._addresses.get(server, (0.0, []))
        if not found or monotonic() >= until:
            infos = native.getaddrinfo(server.host, server.port, 0, socket.SOCK_DGRAM)
            found = [(family, address) for family, _, _, _, address in infos]
            self._addresses[server] = monotonic() + ADDRESSES_HOLD, found
        return found[0]

    def _go_on_to_next(self, server: NameServer) -> None:
        """Where it was asked nobody answers: it is asked at its next address, or where it is by then."""
        _, found = self._addresses.get(server, (0.0, []))
        if found:
            del found[0]

    def _close(self, wire: _Wire) -> None:
        fd = wire.socket.fileno()
        del self._wires[fd]
        self._poll.unregister(fd)
        wire.socket.close()

    def _happened(self, wire: _Wire) -> None:
        try:
            if wire.out:
                wire.out = wire.out[self._sent(wire) :]
                if not wire.out:
                    self._poll.modify(wire.socket.fileno(), wire.events)
            for payload in self._received(wire):
                answer = wire.exchange.received(wire.attempt, payload, monotonic())
                if answer is not None:
                    self._open(wire.exchange, answer)
        except OSError as exc:
            self._go_on_to_next(wire.attempt.server)
            wire.exchange.failed(wire.attempt, _reason(exc), monotonic())
        if wire.attempt.over:
            self._close(wire)

    def _sent(self, wire: _Wire) -> int:
        try:
            return int(wire.socket.send(wire.out))
        except BlockingIOError:
            return 0

    def _received(self, wire: _Wire) -> list[bytes]:
        try:
            data = wire.socket.recv(MOST_BYTES)
        except BlockingIOError:
            return []
        if not wire.attempt.tcp:
            return [data]
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "closed")
        come = wire.come
        come += data
        payloads = []
        while len(come) >= 2 and len(come) - 2 >= (size := int.from_bytes(come[:2])):
            payloads.append(bytes(come[2 : 2 + size]))
            del come[: 2 + size]
        return payloads


def _reason(error: OSError | UnicodeError) -> str:
    """What follows on the name of a server."""
    if isinstance(error, ConnectionRefusedError):
        return "refuses: no name server runs there"
    if isinstance(error, ConnectionResetError):
        return "breaks the connection off"
    if isinstance(error, socket.gaierror):
        return f"can't be found ({error.strerror})"
    number = getattr(error, "errno", None)
    return f"can't be reached ({os.strerror(number) if number else error})"
