"""Whom a client's calls go to, by what has become of those before; with a clock that the test owns."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from mesh.core.balance import FAILURE, SLOW_START, Balancer
from mesh.core.balance_rule import RULES, Balance
from mesh.core.channel import NEVER
from mesh.core.ejection import IN_A_ROW, SHORTEST
from mesh.core.peer import Peer
from mesh.errors import ConfigError

OLD = SLOW_START + 1.0
"""When none of the peers that began at 0.0 is new any more."""


class Pool:
    """A balancer and its peers, which are called by their numbers."""

    def __init__(self, number: int, rule: str = "peak_ewma", *, seed: int = 1, **changes: object) -> None:
        self.balancer = Balancer(random.Random(seed).random, Balance(rule))
        self.now = 0.0
        self.calls = 0
        self.peers = [self.add() for _ in range(number)]
        for name, values in changes.items():
            assert isinstance(values, tuple)
            for peer, value in zip(self.peers, values, strict=True):
                setattr(peer, name, value)
        self.balancer.changed()
        self.now = OLD

    def add(self) -> Peer:
        peer = Peer(f"tcp://server:{len(self.balancer.peers)}")
        self.balancer.add(peer)
        peer.live = True
        self.balancer.up(peer, self.now)
        return peer

    def open(self, peer: Peer) -> bytes:
        self.calls += 1
        call = b"%d" % self.calls
        peer.unanswered[call] = self.now
        peer.open += 1
        return call

    def end(self, peer: Peer, call: bytes, how: Callable[..., None] | None = None) -> None:
        (how or self.balancer.answered)(peer, call, self.now)
        peer.open -= 1

    def took(self, peer: Peer, seconds: float) -> None:
        """A call that has its answer now, after so long."""
        call = self.open(peer)
        peer.unanswered[call] = self.now - seconds
        self.end(peer, call)

    def fail(self, peer: Peer, times: int = 1) -> None:
        for _ in range(times):
            self.end(peer, self.open(peer), self.balancer.failed)

    def chosen(self, times: int = 1_000) -> Counter[int]:
        """By the number of the peer; nothing comes of these calls."""
        found: Counter[int] = Counter()
        for _ in range(times):
            peer = self.balancer.choose(self.now)
            found[-1 if peer is None else self.balancer.peers.index(peer)] += 1
        return found

    def shares(self, times: int = 1_000) -> list[int]:
        """How many calls each has, where none of them ends."""
        for _ in range(times):
            peer = self.balancer.choose(self.now)
            assert peer is not None
            self.open(peer)
        return [peer.open for peer in self.balancer.peers]


@pytest.mark.parametrize("rule", RULES)
class TestEveryRule:
    def test_nobody_and_one(self, rule: str) -> None:
        assert set(Pool(0, rule).chosen()) == {-1}
        assert set(Pool(1, rule).chosen()) == {0}
        assert set(Pool(2, rule, live=(False, False)).chosen()) == {-1}

    def test_the_dead_get_none(self, rule: str) -> None:
        assert set(Pool(4, rule, live=(True, False, True, True)).chosen()) == {0, 2, 3}

    def test_equal_ones_get_equal_shares(self, rule: str) -> None:
        assert max(Pool(3, rule).shares(3_000)) < 1_050

    def test_weights(self, rule: str) -> None:
        first, second, third = Pool(3, rule, weight=(1, 2, 5)).shares(8_000)
        assert 900 < first < 1_100 and 1_850 < second < 2_150 and 4_800 < third < 5_200

    def test_the_lowest_priority_gets_all_that_it_can(self, rule: str) -> None:
        pool = Pool(4, rule, priority=(10, 20, 10, 30))
        assert set(pool.chosen()) == {0, 2}
        pool.peers[0].live = pool.peers[2].live = False
        pool.balancer.changed()
        assert set(pool.chosen()) == {1}
        pool.balancer.silent(pool.peers[1], pool.now, 30.0)
        assert set(pool.chosen()) == {3}

    def test_the_resorts_where_nobody_is_well(self, rule: str) -> None:
        pool = Pool(3, rule)
        silent, leaving, paused = pool.peers
        pool.balancer.silent(silent, pool.now, 30.0)
        leaving.leaving = pool.now + 2.0
        pool.balancer.pause(paused, pool.now + 1.0)
        assert set(pool.chosen()) == {1, 2}
        pool.now += 1.0
        assert set(pool.chosen()) == {2}
        leaving.live = paused.live = False
        pool.balancer.changed()
        assert set(pool.chosen()) == {0}

    def test_of_some_only_and_first_of_those_not_tried(self, rule: str) -> None:
        pool = Pool(4, rule)
        one, other, third, _ = pool.peers
        choose = pool.balancer.choose_of
        assert {choose([one, other, third], pool.now, {one, third}) for _ in range(50)} == {other}
        pool.balancer.pause(other, NEVER)
        assert {choose([one, other], pool.now, {one}) for _ in range(50)} == {one}, "the other is no better"
        assert choose([], pool.now) is None


def test_of_two_with_equal_calls_the_quicker_is_taken() -> None:
    pool = Pool(2)
    pool.took(pool.peers[0], 0.010)
    pool.took(pool.peers[1], 0.030)
    assert set(pool.chosen()) == {0}
    for _ in range(3):
        pool.open(pool.peers[0])
    assert set(pool.chosen()) == {1}, "four calls of 10 ms are more than one of 30"


def test_least_loaded_does_not_ask_how_quick() -> None:
    pool = Pool(2, "least_loaded")
    pool.took(pool.peers[0], 0.010)
    pool.took(pool.peers[1], 5.0)
    pool.open(pool.peers[0])
    assert set(pool.chosen()) == {1}


def test_a_rise_counts_at_once_and_is_forgotten_slowly() -> None:
    pool = Pool(2)
    one, other = pool.peers
    for peer in pool.peers:
        pool.took(peer, 0.010)
    pool.took(one, 1.0)
    assert one.cost == pytest.approx(1.0)
    assert set(pool.chosen()) == {1}
    pool.now += 10.0
    pool.took(one, 0.010)
    assert one.cost == pytest.approx(1.0 / 2.71828 + 0.01 * (1 - 1 / 2.71828), rel=1e-3)
    pool.took(other, 0.010)
    assert set(pool.chosen()) == {1}
    pool.now += 60.0
    pool.took(one, 0.005)
    pool.took(other, 0.010)
    assert set(pool.chosen()) == {0}


def test_one_that_hangs_is_known_before_a_call_is_given_up() -> None:
    pool = Pool(2)
    one, _ = pool.peers
    for peer in pool.peers:
        pool.took(peer, 0.010)
    pool.open(one)
    for _ in range(5):
        pool.open(pool.peers[1])
    assert set(pool.chosen()) == {0}, "one call is less than five"
    pool.now += 0.1
    pool.peers[1].unanswered = {b"fresh": pool.now}
    assert set(pool.chosen()) == {1}, "it is 100 ms old, where others take 10"


def test_one_without_history_has_one_call_on_trial() -> None:
    pool = Pool(2)
    known, new = pool.peers
    pool.took(known, 0.010)
    for _ in range(100):
        pool.open(known)
    assert set(pool.chosen()) == {1}
    trial = pool.open(new)
    assert set(pool.chosen()) == {0}
    pool.end(new, trial)
    assert set(pool.chosen()) == {1}


def test_a_failure_counts_as_a_slow_answer() -> None:
    pool = Pool(2)
    for peer in pool.peers:
        pool.took(peer, 0.010)
    pool.fail(pool.peers[0])
    assert pool.peers[0].cost == FAILURE
    assert set(pool.chosen()) == {1}


class TestGivenUp:
    def pool(self) -> Pool:
        pool = Pool(3)
        for peer in pool.peers:
            pool.took(peer, 0.010)
        return pool

    def give_up(self, pool: Pool, after: float, *, expired: bool) -> Peer:
        peer = pool.peers[0]
        call = pool.open(peer)
        peer.unanswered[call] = pool.now - after
        pool.balancer.given_up(peer, call, pool.now, expired=expired)
        return peer

    def test_after_three_times_the_median_it_is_a_failure(self) -> None:
        assert self.give_up(self.pool(), 0.031, expired=True).cost == FAILURE

    def test_who_waits_for_a_moment_only_spoils_nothing(self) -> None:
        assert self.give_up(self.pool(), 0.001, expired=True).cost == pytest.approx(0.010)
        assert self.give_up(self.pool(), 0.020, expired=True).cost == pytest.approx(0.020)

    def test_who_leaves_tells_that_it_would_have_taken_longer(self) -> None:
        assert self.give_up(self.pool(), 0.5, expired=False).cost == pytest.approx(0.5)
        assert self.give_up(self.pool(), 0.005, expired=False).cost == pytest.approx(0.010)

    def test_one_without_history_does_not_attract_calls_that_hang(self) -> None:
        pool = self.pool()
        pool.balancer.up(pool.peers[0], 0.0)
        self.give_up(pool, 0.5, expired=False)
        assert 0 not in pool.chosen()


def test_the_share_of_one_that_is_new_grows() -> None:
    pool = Pool(3)
    new = pool.add()
    for peer in pool.balancer.peers:
        pool.took(peer, 0.010)
    shares = []
    for _ in range(3):
        for peer in pool.balancer.peers:
            peer.open = 0
        shares.append(pool.shares(400)[3])
        pool.now += SLOW_START / 2
        for peer in pool.balancer.peers:
            peer.unanswered.clear()
    assert new.full_share_at == OLD + SLOW_START
    assert shares[0] < 25 < 45 < shares[1] < 75 < 90 < shares[2] < 110


def test_a_key_has_its_peer_and_moves_only_with_it() -> None:
    pool = Pool(5, "key")
    keys = [b"%d" % number for number in range(500)]

    def owners() -> list[Peer | None]:
        return [pool.balancer.choose_of(pool.peers, pool.now, (), key) for key in keys]

    before = owners()
    assert before == owners()
    counts = Counter(before)
    assert len(counts) == 5 and max(counts.values()) < 150
    gone = pool.peers[2]
    gone.live = False
    after = owners()
    assert all(now is was for was, now in zip(before, after, strict=True) if was is not gone)
    assert gone not in after
    assert len({now for was, now in zip(before, after, strict=True) if was is gone}) == 4


def test_round_robin_takes_turns() -> None:
    pool = Pool(3, "round_robin", weight=(1, 1, 2))
    turns = [next(iter(pool.chosen(1))) for _ in range(8)]
    assert turns[:4] == turns[4:] and Counter(turns) == {0: 2, 1: 2, 2: 4}
    assert (2, 2) not in pairwise(turns[:4]), "not one turn behind the other"


class TestEjection:
    def test_one_that_fails_is_left_alone_and_pinged_when_the_time_is_over(self) -> None:
        pool = Pool(3)
        bad = pool.peers[0]
        pool.fail(bad, IN_A_ROW - 1)
        assert pool.balancer.wake_at == NEVER
        pool.fail(bad)
        assert 0 not in pool.chosen()
        assert SHORTEST <= pool.balancer.wake_at - pool.now <= SHORTEST * 1.25
        assert pool.balancer.due(pool.now) == []
        pool.now = pool.balancer.wake_at
        assert pool.balancer.due(pool.now) == [bad]
        assert 0 not in pool.chosen(), "it has not answered"
        assert pool.balancer.wake_at > pool.now + SHORTEST

    def ejected(self, pool: Pool, number: int = 0) -> Peer:
        bad = pool.peers[number]
        pool.fail(bad, IN_A_ROW)
        pool.now = pool.balancer.wake_at
        assert pool.balancer.due(pool.now) == [bad]
        pool.balancer.answered(bad, b"the ping", pool.now)
        return bad

    def test_back_after_a_ping_and_one_good_call(self) -> None:
        pool = Pool(3)
        for peer in pool.peers:
            pool.took(peer, 0.010)
        bad = self.ejected(pool)
        assert pool.chosen()[0] > 300, "it is on trial"
        trial = pool.open(bad)
        assert 0 not in pool.chosen(), "with one call at a time"
        pool.end(bad, trial)
        pool.fail(bad, IN_A_ROW - 1)
        assert not bad.conduct.ejected, "what was before is past"

    def test_it_is_told_who_is_ejected_and_who_is_back(self) -> None:
        pool = Pool(3)
        told: list[tuple[str, float | None]] = []
        pool.balancer.ejected = lambda peer, seconds: told.append((peer.endpoint, seconds))
        bad = self.ejected(pool)
        [(endpoint, seconds)] = told
        assert endpoint == bad.endpoint and seconds is not None and SHORTEST <= seconds <= SHORTEST * 1.25
        pool.end(bad, pool.open(bad))
        assert told[1:] == [(bad.endpoint, None)]
        pool.took(bad, 0.1)
        assert len(told) == 2

    def test_a_failure_on_trial_ejects_for_longer(self) -> None:
        pool = Pool(3)
        self.ejected(pool)
        pool.fail(pool.peers[0])
        assert 0 not in pool.chosen()
        assert pool.peers[0].conduct.probe_at - pool.now >= 3 * SHORTEST

    def test_an_answer_to_a_call_of_before_is_no_sign(self) -> None:
        pool = Pool(3)
        old = pool.open(pool.peers[0])
        pool.fail(pool.peers[0], IN_A_ROW)
        pool.end(pool.peers[0], old)
        assert 0 not in pool.chosen()

    @pytest.mark.parametrize(("number", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 3)])
    def test_never_more_than_half_of_the_pool(self, number: int, most: int) -> None:
        pool = Pool(number)
        for peer in pool.peers:
            pool.fail(peer, 3 * IN_A_ROW)
        assert sum(peer.conduct.ejected for peer in pool.peers) == most

    def test_none_where_half_is_gone_already(self) -> None:
        pool = Pool(4, live=(False, True, True, True))
        pool.balancer.silent(pool.peers[1], pool.now, 30.0)
        pool.fail(pool.peers[2], 3 * IN_A_ROW)
        assert not pool.peers[2].conduct.ejected

    def test_a_connection_that_breaks_is_one_failure(self) -> None:
        pool = Pool(3)
        bad = pool.peers[0]
        for times in range(IN_A_ROW):
            assert not bad.conduct.ejected, times
            for _ in range(10):
                pool.open(bad)
            pool.balancer.down(bad, pool.now)
        assert bad.conduct.ejected

    def test_one_that_is_down_is_not_pinged_before_it_is_up(self) -> None:
        pool = Pool(3)
        bad = pool.peers[0]
        pool.fail(bad, IN_A_ROW)
        bad.live = False
        pool.balancer.down(bad, pool.now)
        pool.now += 10 * SHORTEST
        assert pool.balancer.due(pool.now) == [] and pool.balancer.wake_at == NEVER
        bad.live = True
        pool.balancer.up(bad, pool.now)
        assert pool.balancer.wake_at <= pool.now and pool.balancer.due(pool.now) == [bad]


def test_what_is_wrong_with_a_rule_is_said() -> None:
    with pytest.raises(ConfigError, match=r"rule must be 'peak_ewma', .* or 'key'; not 'random'"):
        Balance("random")
    with pytest.raises(ConfigError, match=r"tau must be from 0\.001 to"):
        Balance(tau=0.0)


@pytest.mark.parametrize("weights", [(3, 1), (1, 3), (9, 1)])
def test_weights_are_kept_where_times_differ_by_chance(weights: tuple[int, int]) -> None:
    """The heavier one has more of the calls that take long, and the peak of them would count against it."""
    pool, chance = Pool(2, weight=weights), random.Random(3)
    counts = [0, 0]
    for _ in range(4_000):
        pool.now += 0.001
        peer = pool.balancer.choose(pool.now)
        assert peer is not None
        counts[pool.peers.index(peer)] += 1
        pool.took(peer, 0.0003 * (3 if chance.random() < 0.05 else 1 + 0.2 * chance.random()))
    assert abs(counts[0] / 4_000 - weights[0] / sum(weights)) < 0.03, counts


def test_a_heavy_one_that_is_slow_gets_no_more_than_it_can() -> None:
    pool = Pool(2, weight=(3, 1))
    counts = [0, 0]
    for _ in range(2_000):
        pool.now += 0.001
        peer = pool.balancer.choose(pool.now)
        assert peer is not None
        number = pool.peers.index(peer)
        counts[number] += 1
        pool.took(peer, (0.1, 0.001)[number])
    assert counts[0] < 1_300, "only what chance draws twice"
