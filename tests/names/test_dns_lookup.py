"""Which questions a look at a name asks, and what their answers amount to, without any server."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mesh.names.dns_lookup import (
    AAAA_GRACE,
    HOSTS_GRACE,
    LIMIT,
    MOST_ALIASES,
    MOST_ENDPOINTS,
    Lookup,
    Negative,
    Positive,
    Result,
    Unknown,
)
from mesh.names.dns_messages import Question, Reply, ServerFailed, SrvRecord
from mesh.names.model import Endpoint

NAME = "_users._tcp.mesh.test"
START = 1000.0


def srv(target: str, port: int = 4242, priority: int = 10, weight: int = 1) -> SrvRecord:
    return SrvRecord(priority, weight, port, target)


def silent() -> ServerFailed:
    error = ServerFailed("10.0.0.53:53 does not answer")
    error.silent = True
    return error


class Bench:
    """A look, answered from a table; what is not in it has no records. now: its clock."""

    def __init__(self, *names: str, in_use: str = "") -> None:
        self.lookup = Lookup(names or (NAME,), "10.0.0.53:53", START, b"process", in_use)
        self.now = START
        self.asked: list[str] = []
        self.table: dict[str, Reply | ServerFailed] = {}
        self.later: set[str] = set()
        """What is not answered yet."""

    def srv(self, *records: SrvRecord, ttl: float = 60.0, **sent_along: tuple[str, ...]) -> None:
        addresses = {host.replace("_", "."): found for host, found in sent_along.items()}
        self.table[f"{NAME} SRV"] = Reply(records, ttl, addresses=addresses, addresses_ttl=30.0)

    def host(self, name: str, *addresses: str, ttl: float = 60.0) -> None:
        self.table[f"{name} A"] = Reply(tuple(one for one in addresses if ":" not in one), ttl)
        self.table[f"{name} AAAA"] = Reply(tuple(one for one in addresses if ":" in one), ttl)

    def answer(self, *questions: str) -> None:
        """These have an answer now."""
        for text in questions:
            name, kind = text.split()
            reply = self.table.get(text, Reply(ttl=5.0))
            self.lookup.answered(Question(name, kind), reply, self.now)
        self.go_on()

    def go_on(self) -> None:
        while self.lookup.questions:
            questions, self.lookup.questions = self.lookup.questions, []
            for question in questions:
                self.asked.append(str(question))
                if str(question) not in self.later:
                    self.answer(str(question))

    def pass_to(self, when: float) -> None:
        self.now = when
        self.lookup.on_timer(when)

    def result(self) -> Result:
        self.go_on()
        assert self.lookup.result is not None, self.asked
        return self.lookup.result

    def endpoints(self) -> Sequence[Endpoint]:
        result = self.result()
        assert isinstance(result, Positive), result
        return result.endpoints


def test_an_endpoint_with_all_that_is_told_of_it() -> None:
    bench = Bench()
    bench.srv(srv("a.mesh.test", 4242, 5, 60), ttl=20.0)
    bench.host("a.mesh.test", "10.0.0.1", "2001:db8::1", "10.0.0.2", ttl=40.0)
    bench.table[f"{NAME} TXT"] = Reply(((b"hub=1", b"version=2"),), 10.0)
    result = bench.result()
    assert isinstance(result, Positive)
    (endpoint,) = result.endpoints
    assert endpoint == Endpoint(
        "tcp://a.mesh.test:4242",
        hub=True,
        priority=5,
        weight=60,
        labels=(("version", "2"),),
        hosts=("10.0.0.1", "10.0.0.2", "2001:db8::1"),
    )
    assert endpoint.source == f"DNS {NAME} at 10.0.0.53:53"
    assert (endpoint.ttl, result.ttl) == (10.0, 10.0)
    assert bench.asked == [f"{NAME} SRV", f"{NAME} TXT", "a.mesh.test A", "a.mesh.test AAAA"]


def test_addresses_that_are_sent_along_are_not_asked_for() -> None:
    bench = Bench()
    bench.srv(srv("a.test"), srv("b.test"), srv("127.0.0.1"), a_test=("10.0.0.1",))
    bench.host("b.test", "10.0.0.2")
    hosts = {one.address: one.hosts for one in bench.endpoints()}
    assert hosts == {
        "tcp://a.test:4242": ("10.0.0.1",),
        "tcp://b.test:4242": ("10.0.0.2",),
        "tcp://127.0.0.1:4242": ("127.0.0.1",),
    }
    assert bench.asked[2:] == ["b.test A", "b.test AAAA"]
    result = bench.result()
    assert isinstance(result, Positive) and result.ttl == 30.0, "the shortest of all counts"


def test_of_a_host_with_addresses_of_ipv6_alone_sent_along_the_others_are_asked_for() -> None:
    bench = Bench()
    bench.srv(srv("h.test"), h_test=("fd00::1",))
    bench.host("h.test", "10.0.0.1", "fd00::1")
    [endpoint] = bench.endpoints()
    assert set(endpoint.hosts) == {"10.0.0.1", "fd00::1"}
    assert "h.test A" in bench.asked and "h.test AAAA" not in bench.asked


def test_records_that_are_no_endpoints_are_passed_over() -> None:
    bench = Bench()
    bench.srv(srv("a.test", 0), srv("a b.test"), srv("999.1"), srv("ok.test"), srv("x" * 250 + ".test"))
    bench.host("ok.test", "10.0.0.1")
    assert [one.address for one in bench.endpoints()] == ["tcp://ok.test:4242"]


def test_a_target_that_stands_twice_is_one_endpoint() -> None:
    bench = Bench()
    bench.srv(srv("a.test", priority=20, weight=7), srv("a.test", priority=10, weight=0), srv("a.test", 1))
    bench.host("a.test", "10.0.0.1")
    rows = [(one.address, one.priority, one.weight) for one in bench.endpoints()]
    assert rows == [("tcp://a.test:1", 10, 1), ("tcp://a.test:4242", 10, 1)]


def test_the_root_as_the_target_says_that_there_is_none() -> None:
    bench = Bench()
    bench.srv(srv("", 0), ttl=30.0)
    assert bench.result() == Positive((), 30.0, none=True)


def test_a_host_without_an_address_is_told_apart() -> None:
    bench = Bench()
    bench.srv(srv("a.test"), srv("b.test"), srv("c.test"))
    bench.host("a.test", "10.0.0.1")
    bench.table["c.test A"] = bench.table["c.test AAAA"] = ServerFailed("answers SERVFAIL")
    result = bench.result()
    assert isinstance(result, Positive)
    assert result.unresolved == {"tcp://b.test:4242", "tcp://c.test:4242"}


def test_an_alias_is_followed_where_the_server_has_not() -> None:
    bench = Bench()
    bench.table[f"{NAME} SRV"] = Reply(alias="_u._tcp.other.test", ttl=60.0)
    bench.table["_u._tcp.other.test SRV"] = Reply((srv("a.test"),), 60.0)
    bench.table[f"{NAME} TXT"] = Reply(alias="_u._tcp.other.test", ttl=60.0)
    bench.table["_u._tcp.other.test TXT"] = Reply(((b"hub=1",),), 60.0)
    bench.host("a.test", "10.0.0.1")
    assert [one.hub for one in bench.endpoints()] == [True]


def test_a_host_that_is_an_alias_is_followed_where_the_server_has_not() -> None:
    bench = Bench()
    bench.srv(srv("a.test"), srv("b.test"), srv("c.test"))
    for host in "ab":
        bench.table[f"{host}.test A"] = bench.table[f"{host}.test AAAA"] = Reply(alias="real.test", ttl=7.0)
    bench.host("real.test", "10.0.0.1", "fd00::1")
    bench.table["c.test A"] = Reply(alias="c.test", ttl=60.0)
    result = bench.result()
    assert isinstance(result, Positive) and result.ttl == 7.0
    assert [one.hosts for one in result.endpoints] == [("10.0.0.1", "fd00::1")] * 2 + [()]
    assert bench.asked.count("c.test A") <= 2 * MOST_ALIASES + 1
    assert result.unresolved == {"tcp://c.test:4242"}


def test_records_of_which_none_is_an_endpoint_are_told_with_the_reason() -> None:
    bench = Bench()
    bench.srv(srv("a.test", port=0))
    result = bench.result()
    assert isinstance(result, Unknown)
    assert "no endpoint that can be used: 'tcp://a.test:0' has '0' for a port" in result.reason


def test_aliases_in_a_circle_come_to_an_end() -> None:
    bench = Bench()
    bench.table[f"{NAME} SRV"] = Reply(alias="b.test", ttl=60.0)
    bench.table["b.test SRV"] = Reply(alias=NAME, ttl=60.0)
    result = bench.result()
    assert isinstance(result, Unknown)
    assert f" says of {NAME} that its aliases (CNAME) lead round in a circle" in result.reason
    assert len(bench.asked) == MOST_ALIASES + 1


def test_domains_are_asked_one_after_the_other() -> None:
    bench = Bench("_users._tcp.a.test", "_users._tcp.b.test", "_users._tcp.c.test")
    bench.table["_users._tcp.b.test SRV"] = Reply((srv("h.test"),), 60.0)
    bench.host("h.test", "10.0.0.1")
    assert len(bench.endpoints()) == 1
    assert bench.asked[:3] == ["_users._tcp.a.test SRV", "_users._tcp.b.test SRV", "_users._tcp.b.test TXT"]


def test_no_domain_has_it() -> None:
    bench = Bench("_users._tcp.a.test", "_users._tcp.b.test")
    bench.table["_users._tcp.a.test SRV"] = Reply(ttl=30.0)
    bench.table["_users._tcp.b.test SRV"] = Reply(ttl=7.0)
    assert bench.result() == Negative(7.0)
    bench = Bench()
    bench.table[f"{NAME} SRV"] = Reply()
    assert bench.result() == Negative(None)


def test_one_domain_that_cannot_be_told_and_others_that_have_nothing() -> None:
    bench = Bench("_users._tcp.a.test", "_users._tcp.b.test")
    bench.table["_users._tcp.a.test SRV"] = ServerFailed("10.0.0.53:53 answers SERVFAIL")
    assert bench.result() == Unknown("10.0.0.53:53 answers SERVFAIL")
    assert len(bench.asked) == 2


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        (ServerFailed("10.0.0.53:53 answers SERVFAIL"), Unknown("10.0.0.53:53 answers SERVFAIL")),
        (Reply(ttl=5.0), Negative(5.0)),
    ],
)
def test_the_service_of_another_domain_takes_no_place_of_one_that_is_in_use(
    reply: Reply | ServerFailed, result: Result
) -> None:
    names = ("_users._tcp.a.test", "_users._tcp.b.test")
    bench = Bench(*names, in_use=names[0])
    bench.table[f"{names[0]} SRV"] = reply
    bench.table[f"{names[1]} SRV"] = Reply((srv("h.test"),), 60.0)
    assert bench.result() == result
    assert bench.asked == [f"{names[0]} SRV"]


def test_servers_that_do_not_answer_are_not_asked_for_the_other_domains() -> None:
    bench = Bench("_users._tcp.a.test", "_users._tcp.b.test")
    bench.table["_users._tcp.a.test SRV"] = silent()
    assert bench.result() == Unknown("10.0.0.53:53 does not answer")
    assert bench.asked == ["_users._tcp.a.test SRV"]


def test_nothing_is_used_without_the_texts_which_may_speak_of_a_key() -> None:
    bench = Bench()
    bench.srv(srv("a.test"))
    bench.host("a.test", "10.0.0.1")
    bench.table[f"{NAME} TXT"] = ServerFailed("10.0.0.53:53 answers SERVFAIL")
    assert bench.result() == Unknown("10.0.0.53:53 answers SERVFAIL")


def test_ipv4_waits_a_moment_for_ipv6() -> None:
    bench = Bench()
    bench.srv(srv("a.test"))
    bench.host("a.test", "10.0.0.1", "2001:db8::1")
    bench.later = {"a.test AAAA"}
    bench.go_on()
    assert bench.lookup.result is None and bench.lookup.wake_at == START + AAAA_GRACE
    bench.pass_to(START + AAAA_GRACE)
    assert [one.hosts for one in bench.endpoints()] == [("10.0.0.1",)]


def test_ipv6_waits_for_ipv4() -> None:
    bench = Bench()
    bench.srv(srv("a.test"))
    bench.host("a.test", "2001:db8::1")
    bench.later = {"a.test A"}
    bench.go_on()
    bench.pass_to(START + 1.0)
    assert bench.lookup.result is None
    bench.answer("a.test A")
    assert [one.hosts for one in bench.endpoints()] == [("2001:db8::1",)]


def test_hosts_that_are_known_are_used_while_another_is_still_looked_for() -> None:
    bench = Bench()
    bench.srv(srv("a.test"), srv("slow.test"))
    bench.host("a.test", "10.0.0.1")
    bench.later = {"slow.test A", "slow.test AAAA"}
    bench.go_on()
    assert bench.lookup.early is None and bench.lookup.wake_at == START + HOSTS_GRACE
    bench.pass_to(START + HOSTS_GRACE)
    early, bench.lookup.early = bench.lookup.early, None
    assert early is not None and early.unresolved == {"tcp://slow.test:4242"}
    assert bench.lookup.result is None
    bench.host("slow.test", "10.0.0.2")
    bench.answer("slow.test A", "slow.test AAAA")
    assert [one.hosts for one in bench.endpoints()] == [("10.0.0.1",), ("10.0.0.2",)]


def test_of_very_many_endpoints_each_process_looks_at_others() -> None:
    chosen = []
    for process in (b"one", b"two"):
        bench = Bench()
        bench.lookup = Lookup((NAME,), "10.0.0.53:53", START, process)
        bench.srv(*(srv("a.test", port) for port in range(1, 1001)), a_test=("10.0.0.1",))
        chosen.append({one.address for one in bench.endpoints()})
    assert [len(one) for one in chosen] == [MOST_ENDPOINTS] * 2 and chosen[0] != chosen[1]


def test_a_look_comes_to_an_end() -> None:
    bench = Bench()
    bench.later = {f"{NAME} SRV"}
    bench.go_on()
    assert bench.lookup.wake_at == START + LIMIT
    bench.pass_to(START + LIMIT)
    result = bench.result()
    assert isinstance(result, Unknown) and f"has not told all of {NAME} within 10 s" in result.reason


def test_at_its_end_a_look_gives_what_it_has() -> None:
    bench = Bench()
    bench.srv(srv("a.test"), srv("slow.test"))
    bench.host("a.test", "10.0.0.1")
    bench.later = {"slow.test A", "slow.test AAAA"}
    bench.go_on()
    bench.pass_to(START + LIMIT)
    result = bench.result()
    assert isinstance(result, Positive) and result.unresolved == {"tcp://slow.test:4242"}
    bench.answer("slow.test A")
    assert bench.lookup.result is result, "what comes later changes nothing"
