"""Name servers that lie in every way that was heard of: no client loses what lives, or hangs.

Each lie has a server and a client of its own, all at the same time.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import gevent
import pytest

import mesh
from tests.green.conftest import Serve
from tests.helpers.dns_fixtures import NAME, use_dns
from tests.helpers.dns_users import Users, port_of
from tests.helpers.lying_dns import Lie, LyingServer, wire

LOOKS = 2
"""How often each lie is told before a client counts as having lived with it."""
DEADLINE = 1.0


class Lies:
    """What a server says in place of the truth. port: where the service really is, on the host a."""

    def __init__(self, server: LyingServer, port: str) -> None:
        self._server = server
        self._turn = 0
        self.port = port

    def _true(self, query: Any) -> Any:
        return self._server.answer(query)

    def _records(self, query: Any, kind: str, *data: str, ttl: int = 1) -> list[bytes] | None:
        """These in place of the true ones of that kind; the truth for all others."""
        question = query.question[0]
        if question.rdtype != dns.rdatatype.from_text(kind):
            return None
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text_list(question.name, ttl, "IN", kind, data))
        return [reply.to_wire(max_size=65_535)]

    # Failures

    def fails(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.SERVFAIL)
        return [reply.to_wire()]

    def keeps_still(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        return []

    def has_other_ids(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        reply = self._true(query)
        reply.id = (query.id + 1) % 65_536
        return [reply.to_wire()] * 3

    def answers_other_questions(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        reply = self._true(query)
        reply.question[0].name = dns.name.from_text("other.mesh.test")
        return [reply.to_wire()]

    def answers_from_elsewhere(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        """With the right id, and wrong records: what a stranger would send that has guessed it."""
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text(f"{NAME}.", 300, "IN", "SRV", "1 1 6666 a.mesh.test."))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(reply.to_wire(), self._server.sender)
        return []

    def has_aliases_in_a_circle(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        reply = dns.message.make_response(query)
        name = query.question[0].name
        reply.answer.append(dns.rrset.from_text("loop.mesh.test.", 1, "IN", "CNAME", str(name)))
        reply.answer.append(dns.rrset.from_text(str(name), 1, "IN", "CNAME", "loop.mesh.test."))
        return [reply.to_wire()]

    def has_names_that_lead_to_themselves(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        return [_header(query, 1) + _question(query) + b"\xc0\x0c" * 6 + b"\0" * 4 + b"\xc0\xff"]

    def has_a_name_of_300_bytes(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        target = (b"\x3f" + b"x" * 63) * 5 + b"\0"
        data = b"\0\1\0\1" + int(self.port).to_bytes(2) + target
        row = b"\xc0\x0c\0\x21\0\1\0\0\0\1" + len(data).to_bytes(2) + data
        return [_header(query, 1) + _question(query) + row]

    def sends_rubbish(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        return [query.id.to_bytes(2) + bytes(range(256)), b"", b"\0"]

    def cuts_off_by_tcp_too(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.TC
        return [reply.to_wire()]

    # What is not there

    def denies_the_name(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.NXDOMAIN)
        return [reply.to_wire()]

    def denies_the_records(self, query: Any, by_tcp: bool) -> Sequence[bytes]:
        return [dns.message.make_response(query).to_wire()]

    def has_targets_without_an_address(self, query: Any, by_tcp: bool) -> Sequence[bytes] | None:
        return self._records(query, "SRV", "1 1 9 nowhere.mesh.test.")

    def has_ports_that_are_none(self, query: Any, by_tcp: bool) -> Sequence[bytes] | None:
        return self._records(query, "SRV", "1 1 0 a.mesh.test.")

    # What is there, and odd

    def has_weights_that_are_none(self, query: Any, by_tcp: bool) -> Sequence[bytes] | None:
        return self._records(query, "SRV", f"0 0 {self.port} a.mesh.test.")

    def has_targets_twice(self, query: Any, by_tcp: bool) -> Sequence[bytes] | None:
        return self._records(query, "SRV", *(f"{n} 1 {self.port} A.mesh.test." for n in range(5)))

    def has_no_time_to_live(self, query: Any, by_tcp: bool) -> Sequence[bytes] | None:
        return self._records(query, "SRV", f"1 1 {self.port} a.mesh.test.", ttl=0)

    def has_records_of_other_programs(self, query: Any, by_tcp: bool) -> Sequence[bytes] | None:
        rubbish = ['"v=spf1 -all"', '"\\255\\000"', '"="', '"at="', '"at=a:b" "hub"', '"type"']
        return self._records(query, "TXT", *rubbish[:4], *(f'"{"x" * 250}" "n={n}"' for n in range(6)))

    def has_very_many_records(self, query: Any, by_tcp: bool) -> Sequence[bytes] | None:
        """As many as a message takes, one of which is right; the others lead to where nobody is."""
        if query.question[0].rdtype != dns.rdatatype.SRV:
            return None
        if not by_tcp:
            return self.cuts_off_by_tcp_too(query, by_tcp)
        ports = [int(self.port), *range(1, 1800)]
        rows = [
            b"\xc0\x0c\0\x21\0\1\0\0\0\1" + _srv(port, 0 if n == 0 else 1) for n, port in enumerate(ports)
        ]
        return [_header(query, len(rows)) + _question(query) + b"".join(rows)]

    def tells_a_part_and_not_that_it_is_one(self, query: Any, by_tcp: bool) -> Sequence[bytes] | None:
        """Never the same part: that with the living one only now and then."""
        self._turn += query.question[0].rdtype == dns.rdatatype.SRV
        rows = [f"2 1 {9 + self._turn} a.mesh.test."]
        if self._turn % 2:
            rows.append(f"1 1 {self.port} a.mesh.test.")
        return self._records(query, "SRV", *rows)


WRONG = [
    Lies.fails,
    Lies.keeps_still,
    Lies.has_other_ids,
    Lies.answers_other_questions,
    Lies.answers_from_elsewhere,
    Lies.has_aliases_in_a_circle,
    Lies.has_names_that_lead_to_themselves,
    Lies.has_a_name_of_300_bytes,
    Lies.sends_rubbish,
    Lies.cuts_off_by_tcp_too,
    Lies.denies_the_name,
    Lies.denies_the_records,
    Lies.has_targets_without_an_address,
    Lies.has_ports_that_are_none,
]
ODD = [
    Lies.has_weights_that_are_none,
    Lies.has_targets_twice,
    Lies.has_no_time_to_live,
    Lies.has_records_of_other_programs,
    Lies.has_very_many_records,
    Lies.tells_a_part_and_not_that_it_is_one,
]


def _header(query: Any, answers: int) -> bytes:
    return bytes(query.id.to_bytes(2) + b"\x81\x80\0\1" + answers.to_bytes(2) + bytes(4))


def _question(query: Any) -> bytes:
    question = query.question[0]
    return bytes(question.name.to_wire() + question.rdtype.to_bytes(2) + b"\0\1")


def _srv(port: int, priority: int) -> bytes:
    """Data of a record that leads to a.mesh.test; its name is written out, for the length to be known."""
    data = priority.to_bytes(2) + b"\0\1" + port.to_bytes(2) + dns.name.from_text("a.mesh.test").to_wire()
    return bytes(len(data).to_bytes(2) + data)


class Liar:
    """A server that can be made to lie, and a client that finds its service there."""

    def __init__(self, stack: ExitStack, port: str, lie: Callable[..., Any]) -> None:
        self.server = stack.enter_context(LyingServer())
        self.server.put("a.mesh.test", "A", "127.0.0.1")
        self.server.service(NAME, f"a.mesh.test:{port}")
        self.name = lie.__name__
        self._lie: Lie = getattr(Lies(self.server, port), lie.__name__)
        self.times = 0

    def connect(self, stack: ExitStack, patch: pytest.MonkeyPatch, folder: Path) -> mesh.Client:
        use_dns(patch, folder, self.server.address)
        return stack.enter_context(mesh.connect("users", timeout=DEADLINE))

    def begin(self) -> None:
        def lie(query: Any, by_tcp: bool) -> Sequence[bytes] | None:
            self.times += query.question[0].rdtype == dns.rdatatype.SRV
            return self._lie(query, by_tcp)

        self.server.lie = lie


@pytest.fixture
def port(serve: Serve) -> str:
    return port_of(serve(Users("real")))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as ends:
        yield ends


def test_a_client_whose_server_lives_notices_nothing(
    port: str, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    liars = {lie.__name__: Liar(stack, port, lie) for lie in (*WRONG, *ODD)}
    clients = {name: one.connect(stack, monkeypatch, tmp_path) for name, one in liars.items()}
    for client in clients.values():
        assert client.with_options(timeout=20).who() == "real"
    for one in liars.values():
        one.begin()
    end = time.monotonic() + 20.0
    while (few := [name for name, one in liars.items() if one.times < LOOKS]) and time.monotonic() < end:
        for name, client in clients.items():
            assert client.with_options(timeout=10).who() == "real", name
        gevent.sleep(0.05)
    assert not few, "they were not asked often enough"


@pytest.mark.parametrize("lies", [WRONG, ODD], ids=["wrong", "odd"])
def test_a_client_that_knows_nothing_yet_ends_its_calls_in_time(
    port: str,
    stack: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lies: list[Callable[..., Any]],
) -> None:
    liars = [Liar(stack, port, lie) for lie in lies]
    for one in liars:
        one.begin()
    calls: dict[str, Any] = {}
    for one in liars:
        client = one.connect(stack, monkeypatch, tmp_path)
        calls[one.name] = client.with_options(timeout=10 if lies is ODD else DEADLINE).who.future()
    outcomes = {}
    for name, call in calls.items():
        try:
            outcomes[name] = call.result(timeout=20)
        except (mesh.TimeoutExpired, mesh.ServiceNotFound) as error:
            outcomes[name] = type(error).__name__
    if lies is ODD:
        assert set(outcomes.values()) == {"real"}, outcomes
    else:
        assert set(outcomes.values()) <= {"TimeoutExpired", "ServiceNotFound"}, outcomes
        assert outcomes["denies_the_name"] == outcomes["denies_the_records"] == "ServiceNotFound"
        assert outcomes["keeps_still"] == "TimeoutExpired"


def test_wire_is_cut_where_it_does_not_fit() -> None:
    """The honest server is one: what the tests take for a lie is none by mistake."""
    query = dns.message.make_query(NAME, "SRV")
    reply = dns.message.make_response(query)
    rows = [f"1 1 {port} a.mesh.test." for port in range(1, 100)]
    reply.answer.append(dns.rrset.from_text_list(NAME + ".", 1, "IN", "SRV", rows))
    assert dns.message.from_wire(wire(reply, by_tcp=False)).flags & dns.flags.TC
