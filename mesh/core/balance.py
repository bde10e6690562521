"""Which of a client's peers a call goes to. Pure: time and chance come in.

Of two peers drawn at random the one with the lower load gets the call (Mitzenmacher, 2001), so that clients
which know nothing of each other do not all run to the same one. The load of a peer is what a call costs
there, times the calls that it has then. The cost is a moving average of the times that answers took, which
follows a rise at once and forgets it slowly (the peak EWMA of Finagle), or the age of the oldest call without
an answer where that is more: a server that hangs is known by the calls that do not come back, long before one
is given up. A failure counts as a slow answer, or else a server that fails fast would look quick.

Peers of the lowest priority get all calls as long as one of them can be used; those that stop, are ejected or
asked for a pause are the next resort, and the last are those whose heartbeats are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from math import exp
from typing import Final

from mesh.core.balance_rule import DEFAULT_BALANCE, Balance
from mesh.core.channel import NEVER
from mesh.core.peer import Peer
from mesh.core.rendezvous import claim

FAILURE: Final = 5.0
"""Seconds that a failure counts as, at the least."""
TOO_LONG: Final = 3.0
"""Times the pool's median, after which a call that is given up counts as a failure: so that callers who wait
for a moment only spoil nobody's name."""
SLOW_START: Final = 4.0
"""Seconds in which the share of a peer that is new rises from a tenth to the whole."""
FIRST_SHARE: Final = 0.1
UNKNOWN: Final = 1e9
"""Seconds that a call counts as where the first to that peer is still on trial."""
LEAST_COST: Final = 1e-6
ALIKE: Final = 4.0
"""Times the load of another that a peer may have, and is as good where they have weights."""


GOOD, NEXT, LAST, DEAD = range(4)
"""What a peer is good for: for calls, as the next resort, as the last, for nothing."""


def standing(peer: Peer, now: float) -> int:
    """One of GOOD, NEXT, LAST and DEAD."""
    if not peer.live:
        return DEAD
    if peer.silent:
        return LAST
    return NEXT if peer.conduct.ejected or peer.leaving > now or peer.paused > now else GOOD


def best(peers: Iterable[Peer], now: float) -> list[Peer]:
    """Those of the lowest priority among those with the best standing; none where all are dead."""
    found: list[Peer] = []
    least = (DEAD, 0)
    for peer in peers:
        rank = (standing(peer, now), peer.priority)
        if rank < least:
            least, found = rank, []
        if rank == least and rank[0] != DEAD:
            found.append(peer)
    return found


class Balancer:
    """The peers of one client in one event loop, and what has become of their calls.

    random: a source of floats in [0, 1).

    wake_at: when a peer wants to be pinged, which `due` then gives. by_key: whether a call's key says whom it
    goes to, so that all clients have to know the same peers. ejected: called with each peer that is ejected,
    and the seconds until it is pinged; and with None for them when it gets its calls again.
    """

    def __init__(self, random: Callable[[], float], balance: Balance = DEFAULT_BALANCE) -> None:
        self.peers: list[Peer] = []
        self.wake_at = NEVER
        self.ejected: Callable[[Peer, float | None], object] = lambda peer, seconds: None
        self._random = random
        self._tau = balance.tau
        self.by_key = balance.rule == "key"
        self._pick: Callable[[Sequence[Peer], float], Peer] = {
            "peak_ewma": self._cheaper_of_two,
            "round_robin": self._next_in_turn,
        }.get(balance.rule, self._emptier_of_two)
        self._usable: Sequence[Peer] = ()
        self._look_at = -NEVER
        """When to look anew who can be used; -NEVER where something has changed."""
        self._weights_differ = False

    # Who there is

    def add(self, peer: Peer) -> None:
        self.peers.append(peer)
        self.changed()

    def remove(self, peer: Peer) -> None:
        self.peers.remove(peer)
        self.changed()

    def changed(self) -> None:
        """A peer is live or no longer, silent or no longer, or to be left alone."""
        self._look_at = -NEVER

    def up(self, peer: Peer, now: float) -> None:
        """Its connection stands, perhaps to another process than before, of which nothing is known."""
        peer.cost = 0.0
        peer.unanswered.clear()
        peer.full_share_at = now + SLOW_START
        if peer.conduct.ejected:
            self.wake_at = min(self.wake_at, peer.conduct.probe_at)
        self.changed()

    def down(self, peer: Peer, now: float) -> None:
        """Its connection broke. That is one failure, however many calls it had."""
        if peer.unanswered:
            peer.unanswered.clear()
            self._suspect(peer, now)
        self.changed()

    def silent(self, peer: Peer, now: float, every: float) -> None:
        """It gives no heartbeats. every: seconds between two pings, until it says something."""
        peer.silent = True
        peer.ping_every = every
        if not peer.conduct.ejected:
            peer.conduct.probe_at = now + every
        self.wake_at = min(self.wake_at, peer.conduct.probe_at)
        self.changed()

    def heard(self, peer: Peer) -> None:
        """One that was silent has said something."""
        peer.silent = False
        self.changed()

    def pause(self, peer: Peer, until: float) -> None:
        """It has asked for no calls until then, as far as there are others."""
        peer.paused = max(peer.paused, until)
        self.changed()

    # Whom a call goes to

    def choose(self, now: float) -> Peer | None:
        """The one that a call goes to; None where none is live."""
        if now >= self._look_at:
            self._look(now)
        peers = self._usable
        if len(peers) > 1:
            return self._pick(peers, now)
        return peers[0] if peers else None

    def choose_of(
        self, among: Sequence[Peer], now: float, tried: Container[Peer] = (), key: bytes | None = None
    ) -> Peer | None:
        """The same of these only. tried: those that get it only where no other can be used.

        key: the call's own; None where it has none.
        """
        fresh = [peer for peer in among if peer not in tried and standing(peer, now) == GOOD]
        peers = best(fresh or among, now)
        if not peers:
            return None
        if self.by_key and key is not None:
            return max(peers, key=lambda peer: claim(key, peer.endpoint, peer.weight))
        return self._pick(peers, now) if len(peers) > 1 else peers[0]

    def _look(self, now: float) -> None:
        """Who can be used, until something changes or a time is over for which one is left alone."""
        self._usable = usable = best(self.peers, now)
        times = [time for peer in self.peers for time in (peer.leaving, peer.paused) if time > now]
        self._look_at = min(times, default=NEVER)
        self._weights_differ = len({peer.weight for peer in self.peers}) > 1
        mean = sum(peer.weight for peer in usable) / max(len(usable), 1)
        for peer in usable:
            peer.room = mean / peer.weight

    def _two(self, peers: Sequence[Peer]) -> tuple[Peer, Peer]:
        """Two at random, in random order; by their weights, and perhaps the same twice, where those differ.

        With two different ones, two peers with weights of 65 and 35 would get half of the calls each.
        """
        if self._weights_differ:
            return self._by_weight(peers), self._by_weight(peers)
        others = len(peers) - 1
        first, second = divmod(int(self._random() * (others * others + others)), others)
        return peers[first], peers[second + 1 if second >= first else second]

    def _by_weight(self, peers: Sequence[Peer]) -> Peer:
        left = self._random() * sum(peer.weight for peer in peers)
        for peer in peers:
            left -= peer.weight
            if left < 0.0:
                return peer
        return peers[-1]

    def _cheaper_of_two(self, peers: Sequence[Peer], now: float) -> Peer:
        if self._weights_differ:
            return self._cheaper_by_weight(self._by_weight(peers), self._by_weight(peers), now)
        # As _two, without the call of it.
        others = len(peers) - 1
        first, second = divmod(int(self._random() * (others * others + others)), others)
        one, other = peers[first], peers[second + 1 if second >= first else second]
        cost = self._cost
        return one if cost(one, now) <= cost(other, now) else other

    def _cheaper_by_weight(self, one: Peer, other: Peer, now: float) -> Peer:
        """The cheaper of two that were drawn by their weights, in that order; the first where they are alike.

        Else chance would decide against the weights: whoever has more calls has had more that took long.
        """
        if one is other:
            return one
        first, second = self._cost(one, now), self._cost(other, now)
        if first <= ALIKE * second and second <= ALIKE * first:
            return one
        return one if first <= second else other

    def _emptier_of_two(self, peers: Sequence[Peer], now: float) -> Peer:
        one, other = self._two(peers)
        return one if _fullness(one, now) <= _fullness(other, now) else other

    def _next_in_turn(self, peers: Sequence[Peer], now: float) -> Peer:
        """As nginx does it, so that one with more weight has its turns between those of the others."""
        for peer in peers:
            peer.turn += peer.weight
        chosen = max(peers, key=lambda peer: peer.turn)
        chosen.turn -= sum(peer.weight for peer in peers)
        return chosen

    def _cost(self, peer: Peer, now: float) -> float:
        """Its load by the rule of peak EWMA."""
        cost, calls = peer.cost, peer.open
        if not cost:
            return UNKNOWN + calls * peer.room if calls else 0.0
        cost *= exp((peer.measured - now) / self._tau)
        if calls:
            for began in peer.unanswered.values():
                # The oldest comes first.
                if now - began > cost:
                    cost = now - began
                break
            cost *= calls * peer.room + 1.0
        # The rest as in _fullness, without the call of it for each that is not new.
        return cost if now >= peer.full_share_at else cost / _share(peer, now)

    # What has become of its calls

    def answered(self, peer: Peer, call: bytes, now: float) -> None:
        """It has given the answer, or the first item of a stream; an exception of a handler is an answer."""
        began = peer.unanswered.pop(call, None)
        if began is not None:
            # As _measure, without the call of it.
            took, cost = now - began, peer.cost
            if took < cost:
                weight = exp((peer.measured - now) / self._tau)
                peer.cost = cost * weight + took * (1.0 - weight) or LEAST_COST
            else:
                peer.cost = took or LEAST_COST
            peer.measured = now
        conduct = peer.conduct
        conduct.good += 1
        if conduct.suspect and conduct.well(now):
            peer.cost = 0.0  # what was known of it is past
            self.changed()
            if not conduct.trial:
                self.ejected(peer, None)

    def failed(self, peer: Peer, call: bytes, now: float) -> None:
        """It was lost, or has refused the call for it has no room."""
        began = peer.unanswered.pop(call, None)
        if began is not None:
            self._measure(peer, max(now - began, FAILURE), now)
            self._suspect(peer, now)

    def given_up(self, peer: Peer, call: bytes, now: float, *, expired: bool) -> None:
        """Its caller waits no longer. expired: for the time was over; else it went for reasons of its own.

        It would have taken longer, which says something where it is longer than what is known.
        """
        began = peer.unanswered.pop(call, None)
        if began is None:
            return
        waited = now - began
        if expired and waited >= TOO_LONG * self.median() > 0.0:
            self._measure(peer, max(waited, FAILURE), now)
            self._suspect(peer, now)
        elif waited > peer.cost * exp((peer.measured - now) / self._tau):
            self._measure(peer, waited, now)

    def median(self) -> float:
        """Seconds that a call takes at the peer in the middle, the lower of two; 0.0 where none is known."""
        known = sorted(peer.cost for peer in self.peers if peer.cost)
        return known[(len(known) - 1) // 2] if known else 0.0

    def _measure(self, peer: Peer, took: float, now: float) -> None:
        cost = peer.cost
        if took < cost:
            weight = exp((peer.measured - now) / self._tau)
            took = cost * weight + took * (1.0 - weight)
        peer.cost = took or LEAST_COST
        peer.measured = now

    # Ejection

    def _suspect(self, peer: Peer, now: float) -> None:
        conduct = peer.conduct
        if conduct.failed(now) and self._can_spare(peer):
            conduct.eject(now, self._random())
            self.wake_at = min(self.wake_at, conduct.probe_at)
            self.changed()
            self.ejected(peer, conduct.probe_at - now)

    def _can_spare(self, peer: Peer) -> bool:
        """Whether at least half of the pool is there without it."""
        others = [one for one in self.peers if one is not peer]
        there = sum(one.live and not one.silent and not one.conduct.ejected for one in others)
        return there * 2 >= len(self.peers)

    def due(self, now: float) -> list[Peer]:
        """Those that are to be pinged now."""
        pinged = []
        for peer in self.peers:
            conduct = peer.conduct
            if not peer.live or conduct.probe_at > now:
                continue
            if conduct.ejected:
                conduct.ping(now, self._random())
            elif peer.silent:
                conduct.probe_at = now + peer.ping_every
            else:
                conduct.probe_at = NEVER
                continue
            pinged.append(peer)
        self.wake_at = min((peer.conduct.probe_at for peer in self.peers if peer.live), default=NEVER)
        return pinged


def _fullness(peer: Peer, now: float) -> float:
    """How many calls it has with one more, for its weight, and the more the newer it is."""
    calls = peer.open * peer.room + 1.0
    return calls if now >= peer.full_share_at else calls / _share(peer, now)


def _share(peer: Peer, now: float) -> float:
    """Of what others get, for one that is new."""
    return max(1.0 - (peer.full_share_at - now) / SLOW_START, FIRST_SHARE)
