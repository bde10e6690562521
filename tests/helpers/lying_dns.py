"""A name server in this process that answers from a table, or lies as a test wants it to.

It listens for UDP and TCP on one port of loopback, in a native thread. Knows nothing of mesh.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

SOA = "ns.mesh.test. hostmaster.mesh.test. 1 60 30 600 {ttl}"

Query = dns.message.QueryMessage
Lie = Callable[[Any, bool], Sequence[bytes] | None]
"""Gets the question and whether it came by TCP; gives what is sent in answer, or None for the truth."""


class LyingServer:
    """lie: what is answered in place of the truth. asked: name, kind and "udp" or "tcp" of each question.

    silent: nothing is answered. code: an rcode that all is answered with, "" for none.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.lie: Lie | None = None
        self.silent = False
        self.code = ""
        self.asked: list[tuple[str, str, str]] = []
        self.sender: Any = None
        """Whose datagram is being answered."""
        self.soa_ttl: int | None = 1
        self._table: dict[tuple[str, str], tuple[int, list[str]]] = {}
        self._udp, self._tcp = _bound(host)
        self.host, self.port = self._udp.getsockname()[:2]
        self._ends, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """As MESH_DNS has it."""
        return f"{self.host}:{self.port}"

    def put(self, name: str, kind: str, *data: str, ttl: int = 1) -> None:
        """These are the records of that name and kind, from now on."""
        self._table[name.lower(), kind] = (ttl, list(data))

    def take_out(self, name: str, kind: str) -> None:
        self._table.pop((name.lower(), kind), None)

    def service(self, name: str, *endpoints: str, ttl: int = 1) -> None:
        """endpoints: HOST:PORT, each with the weight 1, or with its priority and weight before it."""
        rows = [one.split() if " " in one else ["10", "1", one] for one in endpoints]
        data = [f"{row[0]} {row[1]} {row[2].rpartition(':')[2]} {row[2].rpartition(':')[0]}." for row in rows]
        self.put(name, "SRV", *data, ttl=ttl)

    def times_asked(self, name: str, kind: str = "SRV") -> int:
        return sum(one[:2] == (name, kind) for one in list(self.asked))

    def answer(self, query: Any) -> Any:
        """The truth, as a message that a lie may change."""
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        reply = dns.message.make_response(query, recursion_available=True)
        for _ in range(4):
            found = self._table.get((name, dns.rdatatype.to_text(question.rdtype)))
            alias = self._table.get((name, "CNAME"))
            if found is None and alias is not None:
                reply.answer.append(dns.rrset.from_text(name + ".", alias[0], "IN", "CNAME", alias[1][0]))
                name = alias[1][0].rstrip(".").lower()
                continue
            if found is not None and found[1]:
                rows = dns.rrset.from_text_list(name + ".", found[0], "IN", question.rdtype, found[1])
                reply.answer.append(rows)
            break
        if not any(rrset.rdtype == question.rdtype for rrset in reply.answer):
            if not any(one[0] == name for one in self._table):
                reply.set_rcode(dns.rcode.NXDOMAIN)
            if self.soa_ttl is not None:
                soa = SOA.format(ttl=self.soa_ttl)
                reply.authority.append(dns.rrset.from_text("mesh.test.", self.soa_ttl, "IN", "SOA", soa))
        return reply

    # The thread

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._udp, self._tcp, self._ends], [], [])
            if self._ends in ready:
                return
            if self._udp in ready:
                payload, self.sender = self._udp.recvfrom(65_535)
                for answer in self._answers(payload, by_tcp=False):
                    with suppress(OSError):
                        self._udp.sendto(answer, self.sender)
            if self._tcp in ready:
                with suppress(OSError):
                    self._serve_stream(self._tcp.accept()[0])

    def _serve_stream(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(1.0)
            size = int.from_bytes(_exactly(connection, 2))
            for answer in self._answers(_exactly(connection, size), by_tcp=True):
                connection.sendall(len(answer).to_bytes(2) + answer)
            with suppress(OSError):
                connection.recv(1)  # until the far end has read it, and closes

    def _answers(self, payload: bytes, *, by_tcp: bool) -> Sequence[bytes]:
        query = dns.message.from_wire(payload)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append((name, dns.rdatatype.to_text(question.rdtype), "tcp" if by_tcp else "udp"))
        lie = self.lie
        if self.silent:
            return []
        if lie is not None and (answers := lie(query, by_tcp)) is not None:
            return answers
        if self.code:
            reply = dns.message.make_response(query)
            reply.set_rcode(dns.rcode.from_text(self.code))
            return [reply.to_wire()]
        return [wire(self.answer(query), by_tcp=by_tcp)]

    def close(self) -> None:
        self._end.close()
        self._thread.join(10)
        for one in (self._udp, self._tcp, self._ends):
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def wire(reply: Any, *, by_tcp: bool, most: int = 1_232) -> bytes:
    """A message as it is sent: cut to nothing but its question where it does not fit a datagram."""
    payload: bytes = reply.to_wire(max_size=65_535)
    if by_tcp or len(payload) <= most:
        return payload
    reply.answer, reply.authority, reply.additional = [], [], []
    reply.flags |= dns.flags.TC
    cut: bytes = reply.to_wire()
    return cut


def _bound(host: str) -> tuple[socket.socket, socket.socket]:
    """Sockets for UDP and TCP on one port."""
    for _ in range(100):
        tcp = socket.create_server((host, 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
            continue
        return udp, tcp
    raise AssertionError("no port is free for both")


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data
