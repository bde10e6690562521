"""What is in use of a name while DNS answers, denies and fails, on a clock that the tests own."""

from __future__ import annotations

from mesh.names.dns_lookup import Negative, Positive, Result, Unknown
from mesh.names.dns_state import NameState
from mesh.names.model import LAST_RESORT, Endpoint

A = Endpoint("tcp://a:1", hosts=("10.0.0.1",))
B = Endpoint("tcp://b:1", hosts=("10.0.0.2",))
FAILED = Unknown("nobody answers")
DENIED = Negative(5.0)


def found(*endpoints: Endpoint, ttl: float = 5.0, none: bool = False) -> Positive:
    unresolved = frozenset(one.address for one in endpoints if not one.hosts)
    return Positive(endpoints, ttl, unresolved, none)


class Bench:
    """A state, a clock, and how it is used: each look begins and ends at once."""

    def __init__(self, random: float = 0.0) -> None:
        self.state = NameState(lambda: random)
        self.now = 1000.0

    def look(self, result: Result, after: float = 0.0) -> None:
        self.now += after
        self.state.on_timer(self.now)
        self.state.began(self.now)
        self.state.ended(result, self.now)

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.state.on_timer(self.now)

    @property
    def addresses(self) -> list[str]:
        """Those that are preferred."""
        return [one.address for one in self.state.endpoints if one.priority < LAST_RESORT]

    @property
    def last_resorts(self) -> list[str]:
        return [one.address for one in self.state.endpoints if one.priority >= LAST_RESORT]

    @property
    def next_look(self) -> float:
        return self.state.refresh_at - self.now


def test_a_positive_answer_is_in_use_at_once() -> None:
    bench = Bench()
    assert not bench.state.answered and bench.state.endpoints == ()
    bench.look(found(A, B))
    assert bench.addresses == ["tcp://a:1", "tcp://b:1"]
    assert bench.state.answered and bench.state.missing is None


def test_the_same_answer_is_no_change() -> None:
    bench = Bench()
    bench.look(found(A, B))
    version = bench.state.version
    bench.look(found(A, B), after=5)
    assert bench.state.version == version
    bench.look(found(A), after=5)
    assert bench.state.version == version + 1


def test_what_fails_takes_nothing_away_however_long() -> None:
    bench = Bench()
    bench.look(found(A, B))
    for _ in range(1000):
        bench.look(FAILED, after=30)
    assert bench.addresses == ["tcp://a:1", "tcp://b:1"] and bench.state.missing is None


def test_hosts_without_an_address_take_nothing_away() -> None:
    bench = Bench()
    bench.look(found(A, B))
    for _ in range(10):
        bench.look(found(Endpoint("tcp://a:1"), Endpoint("tcp://b:1")), after=30)
        bench.look(found(Endpoint("tcp://new:1")), after=30)
    assert bench.state.endpoints == (A, B), "they keep the addresses that they had"


def test_one_target_without_an_address_drops_itself_alone() -> None:
    bench = Bench()
    bench.look(found(A, Endpoint("tcp://new:1")))
    assert bench.addresses == ["tcp://a:1"]
    bench.look(found(Endpoint("tcp://a:1", weight=5), B), after=5)
    assert bench.state.endpoints == (Endpoint("tcp://a:1", weight=5, hosts=("10.0.0.1",)), B)


def test_a_positive_answer_takes_away_what_it_lacks_and_keeps_it_as_a_last_resort_for_two_ttls() -> None:
    bench = Bench()
    bench.look(found(A, B, ttl=7.0))
    bench.look(found(A, ttl=7.0), after=7)
    assert bench.addresses == ["tcp://a:1"] and bench.last_resorts == ["tcp://b:1"]
    bench.passes(13.9)
    assert bench.last_resorts == ["tcp://b:1"]
    assert bench.state.wake_at <= bench.now + 0.2
    bench.passes(0.2)
    assert bench.last_resorts == []


def test_what_comes_back_is_no_last_resort_any_more() -> None:
    bench = Bench()
    bench.look(found(A, B))
    bench.look(found(A), after=5)
    bench.look(found(A, Endpoint("tcp://b:1")), after=5)
    assert bench.addresses == ["tcp://a:1", "tcp://b:1"] and bench.last_resorts == []
    assert bench.state.endpoints[1].hosts == B.hosts, "its address is still known"


def test_the_target_that_means_none_takes_all_away() -> None:
    bench = Bench()
    bench.look(found(A, B))
    bench.look(found(none=True), after=5)
    assert bench.addresses == [] and bench.last_resorts == ["tcp://a:1", "tcp://b:1"]
    assert bench.state.missing == Negative(5.0, decided=True)


def test_one_denial_takes_nothing_away() -> None:
    bench = Bench()
    bench.look(found(A))
    bench.look(DENIED, after=5)
    assert bench.addresses == ["tcp://a:1"]
    bench.look(found(A), after=5)
    bench.look(DENIED, after=5)
    assert bench.addresses == ["tcp://a:1"], "an answer in between makes the second the first"


def test_two_denials_far_enough_apart_take_all_away() -> None:
    bench = Bench()
    bench.look(found(A, ttl=20.0))
    bench.look(DENIED, after=20)
    bench.look(DENIED, after=19.9)
    assert bench.addresses == ["tcp://a:1"]
    bench.look(FAILED, after=0.05)
    bench.look(DENIED, after=0.1)
    assert bench.addresses == [] and bench.last_resorts == ["tcp://a:1"]
    bench.passes(40.1)
    assert bench.state.endpoints == () and bench.state.missing == DENIED


def test_denials_are_five_seconds_apart_at_least() -> None:
    bench = Bench()
    bench.look(found(A, ttl=1.0))
    bench.look(DENIED, after=1)
    bench.look(DENIED, after=4.9)
    assert bench.addresses == ["tcp://a:1"]
    bench.look(DENIED, after=0.2)
    assert bench.addresses == []


def test_a_name_that_nobody_knows_and_one_that_nobody_can_tell() -> None:
    bench = Bench()
    bench.look(DENIED)
    assert bench.state.missing == DENIED and bench.state.answered
    bench.look(FAILED, after=5)
    assert bench.state.missing == FAILED
    bench.look(found(Endpoint("tcp://a:1")), after=5)
    assert isinstance(bench.state.missing, Unknown) and "tcp://a:1" in bench.state.missing.reason
    bench.look(found(), after=5)
    assert isinstance(bench.state.missing, Unknown)
    bench.look(found(A), after=5)
    assert bench.state.missing is None and bench.addresses == ["tcp://a:1"]


def test_when_to_look_again() -> None:
    for ttl, next_look in [(0.0, 1.0), (0.5, 1.0), (60.0, 60.0), (1e9, 300.0), (2.0**31, 300.0)]:
        bench = Bench()
        bench.look(found(A, ttl=ttl))
        assert bench.next_look == next_look, ttl
    for told, next_look in [(None, 5.0), (0.0, 1.0), (30.0, 30.0), (3600.0, 60.0)]:
        bench = Bench()
        bench.look(Negative(told))
        assert bench.next_look == next_look, told


def test_not_all_look_at_the_same_time() -> None:
    bench = Bench(random=0.999)
    bench.look(found(A, ttl=60.0))
    assert 54.0 <= bench.next_look < 54.1


def test_failures_are_tried_again_ever_later() -> None:
    bench = Bench()
    bench.look(found(A))
    pauses = []
    for _ in range(8):
        bench.look(FAILED, after=bench.next_look)
        pauses.append(bench.next_look)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    bench.look(found(A), after=30)
    assert bench.next_look == 5.0


def test_whoever_wants_it_sooner_gets_one_look_a_second() -> None:
    bench = Bench()
    bench.look(found(A, ttl=300.0))
    bench.state.wanted(bench.now)
    assert bench.next_look == 1.0
    bench.look(found(A, ttl=300.0), after=1)
    bench.passes(10)
    bench.state.wanted(bench.now)
    assert bench.next_look == 0.0
    bench.state.began(bench.now)
    bench.state.wanted(bench.now + 5)
    assert bench.state.refresh_at == float("inf"), "one look at a time"


def test_that_there_is_no_such_name_holds_for_its_time_whoever_wants_it() -> None:
    bench = Bench()
    bench.look(Negative(30.0))
    bench.state.wanted(bench.now + 5)
    assert bench.next_look == 30.0
    bench.look(FAILED, after=30)
    bench.look(FAILED, after=1)
    bench.state.wanted(bench.now)
    assert bench.next_look == 1.0


def test_a_look_that_came_to_nothing_is_made_again_a_second_later() -> None:
    bench = Bench()
    bench.state.began(bench.now)
    bench.state.interrupted()
    assert bench.next_look == 1.0
    bench.look(found(A, ttl=60.0))
    bench.state.interrupted()
    assert bench.next_look == 60.0, "there was none"


def test_a_part_of_an_answer_is_in_use_while_the_rest_is_looked_for() -> None:
    bench = Bench()
    bench.look(found(A))
    bench.state.began(bench.now)
    bench.state.early(found(B, Endpoint("tcp://a:1")), bench.now)
    assert bench.addresses == ["tcp://b:1", "tcp://a:1"]
    assert bench.state.refresh_at == float("inf")


def test_ten_minutes_without_a_name_server() -> None:
    bench = Bench(random=0.5)
    bench.look(found(A, B))
    end = bench.now + 600
    while bench.now < end:
        bench.look(FAILED, after=max(bench.next_look, 0.1))
        assert bench.addresses == ["tcp://a:1", "tcp://b:1"]
    bench.look(found(B), after=1)
    assert bench.addresses == ["tcp://b:1"]
