"""One question to several name servers, as bytes: honest answers, wrong ones, and none at all."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest

from mesh.names.dns_exchange import LIMIT, NEXT_AFTER, REMEMBERED, Attempt, Exchange, Order
from mesh.names.dns_messages import UDP_BYTES, Question, Reply, ServerFailed, SrvRecord
from mesh.names.dns_settings import NameServer

ONE, TWO = NameServer("10.0.0.1"), NameServer("10.0.0.2", 5300)
NAME = "_users._tcp.mesh.test"
START = 1000.0
SOA = "ns.mesh.test. hostmaster.mesh.test. 1 60 30 600 20"


def exchange(*servers: NameServer, kind: str = "SRV") -> Exchange:
    numbers = count(1)
    return Exchange(Question(NAME, kind), servers or (ONE,), START, lambda: next(numbers))


def begun(one: Exchange, now: float = START) -> Attempt:
    attempt = one.due(now)
    assert attempt is not None
    return attempt


def reply(attempt: Attempt, *data: str, kind: str = "SRV", ttl: int = 60, **options: Any) -> Any:
    """A right answer, as a message that can be made wrong."""
    message = dns.message.make_response(dns.message.from_wire(attempt.payload), **options)
    if data:
        message.answer.append(dns.rrset.from_text_list(NAME + ".", ttl, "IN", kind, data))
    return message


def answer(one: Exchange, attempt: Attempt, message: Any, now: float = START) -> Attempt | None:
    return one.received(attempt, message.to_wire(max_size=65_535), now)


def answered(*data: str, kind: str = "SRV", change: Callable[[Any], object] | None = None) -> Any:
    """What comes of the answer of the only server, which is always the same."""
    one, now = exchange(kind=kind), START
    while one.outcome is None:
        attempt = begun(one, now)
        message = reply(attempt, *data, kind=kind)
        if change is not None:
            change(message)
        answer(one, attempt, message, now)
        now += NEXT_AFTER
    return one.outcome


def reason(outcome: Any) -> str:
    assert isinstance(outcome, ServerFailed), outcome
    return str(outcome)


# Questions


def test_a_question_says_how_large_a_datagram_may_be() -> None:
    attempt = begun(exchange())
    query = dns.message.from_wire(attempt.payload)
    assert str(query.question[0]) == f"{NAME}. IN SRV"
    assert (query.id, query.edns, query.payload) == (1, 0, UDP_BYTES)
    assert query.flags & dns.flags.RD and not attempt.tcp


@pytest.mark.parametrize("name", ["_a._tcp.b..test", "a" * 64 + ".test", "a.b." * 70 + "test"])
def test_a_question_that_dns_can_not_have_ends_before_it_is_asked(name: str) -> None:
    one = Exchange(Question(name, "SRV"), (ONE, TWO), START, lambda: 1)
    assert one.due(START) is None
    assert f"{name} can't be a name in DNS" in reason(one.outcome)


def test_a_server_that_does_not_know_edns_is_asked_without() -> None:
    for code in ("FORMERR", "NOTIMP"):
        one = exchange()
        attempt = begun(one)
        message = reply(attempt)
        message.set_rcode(dns.rcode.from_text(code))
        again = answer(one, attempt, message)
        assert again is not None and dns.message.from_wire(again.payload).edns == -1
        answer(one, again, reply(again, "10 1 4242 a.mesh.test."))
        assert isinstance(one.outcome, Reply)


# Answers


def test_records_of_each_kind() -> None:
    found = answered("10 60 4242 A.mesh.test.", "20 0 5555 .")
    assert isinstance(found, Reply) and found.ttl == 60
    assert set(found.records) == {SrvRecord(10, 60, 4242, "a.mesh.test"), SrvRecord(20, 0, 5555, "")}
    assert answered('"hub=1" "x=2"', kind="TXT").records == ((b"hub=1", b"x=2"),)
    assert answered("10.0.0.1", kind="A").records == ("10.0.0.1",)
    assert answered("2001:DB8::1", kind="AAAA").records == ("2001:db8::1",)


def test_addresses_sent_along_count_where_they_were_led_to() -> None:
    def send_along(message: Any) -> None:
        for name, kind, address in [
            ("a.mesh.test.", "A", "10.0.0.1"),
            ("a.mesh.test.", "AAAA", "2001:db8::1"),
            ("bank.example.", "A", "10.6.6.6"),
        ]:
            message.additional.append(dns.rrset.from_text(name, 30, "IN", kind, address))

    found = answered("10 60 4242 a.mesh.test.", change=send_along)
    assert found.addresses == {"a.mesh.test": ("10.0.0.1", "2001:db8::1")}
    assert found.addresses_ttl == 30


@pytest.mark.parametrize(("ttl", "counts"), [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**32 - 1, 0)])
def test_a_time_to_live_beyond_31_bits_is_none(ttl: int, counts: int) -> None:
    one = exchange()
    attempt = begun(one)
    wire = bytearray(reply(attempt, "10 1 4242 a.mesh.test.", ttl=86_399).to_wire())
    place = wire.index((86_399).to_bytes(4))
    wire[place : place + 4] = ttl.to_bytes(4)
    one.received(attempt, bytes(wire), START)
    assert isinstance(one.outcome, Reply) and one.outcome.ttl == counts


def aliases(*names: str) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        for name, to in zip((NAME + ".", *names), names, strict=False):
            message.answer.append(dns.rrset.from_text(name, 40, "IN", "CNAME", to))

    return change


def test_a_chain_of_aliases_in_one_answer() -> None:
    def change(message: Any) -> None:
        aliases("b.test.", "c.test.")(message)
        message.answer.append(dns.rrset.from_text("c.test.", 60, "IN", "SRV", "1 1 1 a.test."))

    found = answered(change=change)
    assert found.records == (SrvRecord(1, 1, 1, "a.test"),) and found.ttl == 40


def test_an_alias_whose_end_the_server_does_not_know() -> None:
    found = answered(change=aliases("b.test."))
    assert (found.records, found.alias, found.ttl) == ((), "b.test", 40)


@pytest.mark.parametrize("code", ["NOERROR", "SERVFAIL"])
def test_a_chain_of_aliases_that_has_no_end(code: str) -> None:
    def change(message: Any) -> None:
        aliases("b.test.", NAME + ".")(message)
        message.set_rcode(dns.rcode.from_text(code))

    assert (
        f"10.0.0.1:53 says of {NAME} that its aliases (CNAME) lead round in a circle, or are too many"
    ) in reason(answered(change=change))


def test_a_server_that_fails_at_an_alias() -> None:
    def change(message: Any) -> None:
        aliases("b.test.")(message)
        message.set_rcode(dns.rcode.SERVFAIL)

    assert reason(answered(change=change)) == "10.0.0.1:53 answers SERVFAIL"


def negative(code: str, *, soa: bool) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        message.set_rcode(dns.rcode.from_text(code))
        if soa:
            message.authority.append(dns.rrset.from_text("mesh.test.", 30, "IN", "SOA", SOA))

    return change


@pytest.mark.parametrize("code", ["NXDOMAIN", "NOERROR"])
def test_that_there_is_nothing_is_an_answer(code: str) -> None:
    assert answered(change=negative(code, soa=True)) == Reply(ttl=20.0)
    assert answered(change=negative(code, soa=False)) == Reply()


def test_a_server_that_refers_to_others_has_no_answer() -> None:
    def change(message: Any) -> None:
        message.authority.append(dns.rrset.from_text("test.", 30, "IN", "NS", "ns.test."))

    assert "10.0.0.1:53 refers to other servers" in reason(answered(change=change))


def test_an_answer_for_a_name_that_does_not_exist_makes_no_sense() -> None:
    outcome = answered("1 1 1 a.test.", change=negative("NXDOMAIN", soa=False))
    assert "makes no sense (AnswerForNXDOMAIN)" in reason(outcome)


# What is no answer


def test_what_was_not_asked_is_no_answer() -> None:
    one = exchange()
    attempt = begun(one)

    def other_name(message: Any) -> None:
        message.question[0].name = dns.name.from_text("other.test.")

    def other_number(message: Any) -> None:
        message.id = 2

    def another_question(message: Any) -> None:
        message.flags &= ~dns.flags.QR

    def no_question(message: Any) -> None:
        message.question.clear()

    for change in (other_name, other_number, another_question, no_question):
        message = reply(attempt, "10 1 4242 a.mesh.test.")
        change(message)
        answer(one, attempt, message)
        assert one.outcome is None, change
    for rubbish in (b"", b"\0", bytes(12)):
        one.received(attempt, rubbish, START)
        assert one.outcome is None
    answer(one, attempt, reply(attempt, "10 1 4242 a.mesh.test."))
    assert isinstance(one.outcome, Reply), "the right one may come after the wrong ones"


@pytest.mark.parametrize(
    "tail",
    [
        b"\0\1\0\1\0\0\0\0" + b"\xc0\x0c\0\x21\0\1",  # a name that leads to itself
        b"\0\1\0\1\0\0\0\0" + b"\x03abc\xc0\xff\0\x21\0\1",  # and one beyond the end
        b"\0\1\0\1\0\0\0\0" + b"\x3fabc",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_what_can_not_be_read_fails(tail: bytes) -> None:
    one = exchange()
    attempt = begun(one)
    one.received(attempt, attempt.number.to_bytes(2) + b"\x81\x80" + tail, START)
    assert one.outcome is None, "the server is asked again"
    assert one.due(START) is None
    assert one.due(START + NEXT_AFTER) is not None


# Several servers, and time


def test_another_server_is_asked_where_one_keeps_still_and_the_first_answer_counts() -> None:
    one = exchange(ONE, TWO)
    first = begun(one)
    assert first.server is ONE and one.due(START) is None
    second = begun(one, START + NEXT_AFTER)
    assert second.server is TWO and not first.over
    answer(one, first, reply(first, "10 1 4242 a.mesh.test."), START + 1.1)
    assert isinstance(one.outcome, Reply) and first.over and second.over
    assert one.wake_at == float("inf")


def test_a_server_that_answers_where_another_keeps_still_is_asked_first_for_a_while() -> None:
    order, servers = Order(), (ONE, TWO)

    def ended(*data: str, after: float) -> None:
        """The first server keeps still that long, then the second answers; or itself, after 0."""
        one = exchange(*servers)
        attempt = begun(one)
        if after:
            attempt = begun(one, START + after)
        answer(one, attempt, reply(attempt, *data), START + after)
        order.ended(one, START + after)

    ended("10 1 4242 a.test.", after=0.0)
    assert order.of(servers, START) == servers
    ended(after=NEXT_AFTER)
    assert order.of(servers, START + NEXT_AFTER) == servers, "it may deny all that it does not know"
    ended("10 1 4242 a.test.", after=NEXT_AFTER)
    assert list(order.of(servers, START + NEXT_AFTER)) == [TWO, ONE]
    assert list(order.of((ONE,), START + NEXT_AFTER)) == [ONE]
    assert order.of(servers, START + NEXT_AFTER + REMEMBERED) == servers


def test_another_server_is_asked_at_once_where_one_fails() -> None:
    one = exchange(ONE, TWO)
    first = begun(one)
    answer(one, first, _failed(first, "SERVFAIL"), START + 0.1)
    assert first.over and one.wake_at == START + 0.1
    second = begun(one, START + 0.1)
    assert second.server is TWO
    answer(one, second, _failed(second, "REFUSED"), START + 0.2)
    third = begun(one, START + 0.2 + NEXT_AFTER)
    answer(one, third, reply(third, "10 1 4242 a.mesh.test."))
    assert isinstance(one.outcome, Reply)


def test_a_question_whose_answer_never_comes_has_an_end() -> None:
    one = exchange(ONE, TWO)
    now, sent = START, []
    while one.outcome is None:
        attempt = one.due(now)
        sent += [attempt.server] if attempt else []
        now = max(one.wake_at, now) if one.outcome is None else now
    assert now == START + LIMIT and sent == [ONE, TWO, ONE, TWO]
    assert reason(one.outcome) == "10.0.0.1:53 does not answer, 10.0.0.2:5300 does not answer"
    assert one.outcome.silent


def test_servers_that_fail_are_told_with_their_reasons() -> None:
    one = exchange(ONE, TWO)
    now = START
    while one.outcome is None:
        attempt = one.due(now)
        if attempt is not None and attempt.server is ONE:
            one.failed(attempt, "refuses", now)
        elif attempt is not None:
            answer(one, attempt, _failed(attempt, "SERVFAIL"), now)
        now = max(one.wake_at, now) if one.outcome is None else now
    assert reason(one.outcome) == "10.0.0.1:53 refuses, 10.0.0.2:5300 answers SERVFAIL"
    assert not one.outcome.silent


def _failed(attempt: Attempt, code: str) -> Any:
    message = reply(attempt)
    message.set_rcode(dns.rcode.from_text(code))
    return message


def test_an_answer_without_its_question_still_tells_of_the_failure() -> None:
    one = exchange(ONE, TWO)
    first = begun(one)
    message = _failed(first, "REFUSED")
    message.question.clear()
    answer(one, first, message)
    assert first.over and begun(one).server is TWO


# TCP


def cut(attempt: Attempt) -> Any:
    message = reply(attempt)
    message.flags |= dns.flags.TC
    return message


def test_an_answer_that_was_cut_off_is_asked_for_by_tcp() -> None:
    one = exchange()
    first = begun(one)
    again = answer(one, first, cut(first))
    assert again is not None and again.tcp and again.server is ONE and first.over
    answer(one, again, reply(again, *(f"10 1 {port} a.mesh.test." for port in range(1, 1500))))
    assert isinstance(one.outcome, Reply) and len(one.outcome.records) == 1499


def test_an_answer_that_is_cut_off_by_tcp_too_fails() -> None:
    one = exchange()
    now = START
    while one.outcome is None:
        attempt = one.due(now)
        while attempt is not None:
            attempt = answer(one, attempt, cut(attempt), now)
        now = max(one.wake_at, now) if one.outcome is None else now
    assert reason(one.outcome) == "10.0.0.1:53 cuts its answer off, by TCP, too"


def test_a_server_may_be_asked_by_tcp_alone() -> None:
    assert begun(exchange(NameServer("10.0.0.1", tcp=True))).tcp
