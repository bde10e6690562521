"""The experiment by which Linkerd compared its rules of balancing, in memory and with a clock of its own.

Eleven servers take 1,000 calls a second, one of them slows down to 2 seconds for a while, and callers give a
call up after a second: https://linkerd.io/2016/03/16/beyond-round-robin-load-balancing-for-latency/
"""

from __future__ import annotations

import heapq
import random

from mesh.core.balance import Balancer
from mesh.core.balance_rule import Balance
from mesh.core.peer import Peer

SERVERS = 11
RATE = 1_000.0
"""Calls a second, at random times."""
USUAL = 0.02
"""Seconds that a call takes, on average; most are quicker, and some take several times that."""
SLOW = 2.0
SLOWED, HEALED, END = 5.0, 35.0, 40.0
TIMEOUT = 1.0


def success(rule: str, seed: int) -> float:
    """The share of calls that had their answer in time."""
    chance = random.Random(seed)
    balancer = Balancer(chance.random, Balance(rule))
    for number in range(SERVERS):
        peer = Peer(f"tcp://server:{number}")
        peer.live = True
        balancer.add(peer)
        balancer.up(peer, -100.0)
    slow = balancer.peers[0]
    to_come: list[tuple[float, int, Peer | None, bool]] = [(0.0, 0, None, True)]
    now, calls, good = 0.0, 0, 0
    while to_come:
        now, number, peer, answered = heapq.heappop(to_come)
        for pinged in balancer.due(now):
            if pinged is not slow or not SLOWED <= now < HEALED:
                balancer.answered(pinged, b"a ping", now)
        if peer is not None:
            peer.open -= 1
            call = number.to_bytes(4)
            if answered:
                good += 1
                balancer.answered(peer, call, now)
            else:
                balancer.given_up(peer, call, now, expired=True)
            continue
        calls += 1
        peer = balancer.choose(now)
        assert peer is not None
        peer.open += 1
        peer.unanswered[calls.to_bytes(4)] = now
        takes = SLOW if peer is slow and SLOWED <= now < HEALED else chance.expovariate(1 / USUAL)
        heapq.heappush(to_come, (now + min(takes, TIMEOUT), calls, peer, takes < TIMEOUT))
        if now < END:
            heapq.heappush(to_come, (now + chance.expovariate(RATE), 0, None, True))
    assert all(peer.open == 0 and not peer.unanswered for peer in balancer.peers)
    return good / calls


def test_the_default_rule_loses_one_call_of_a_thousand_at_the_most() -> None:
    assert success("peak_ewma", 1) >= 0.999 > success("round_robin", 1)
