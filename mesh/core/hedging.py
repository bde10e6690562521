"""Copies of calls that are late, each to another peer; the first answer of the two counts.

Late is what takes longer than 19 of 20 calls of the same method have, once there were enough to tell (Dean
and Barroso, The tail at scale, 2013). A stream is never sent twice. Only calls whose callers ask for it are
looked at, and that may be carried out twice.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from mesh.core.balance import GOOD, Balancer, standing
from mesh.core.budget import RetryBudget
from mesh.core.channel import DONE, NEVER, OPEN, Ids, control
from mesh.core.client_call import Call, Copy, RoutedCall
from mesh.core.peer import Peer
from mesh.core.wire import BEAT

SAMPLES: Final = 100
"""Calls of a method without which it is not known what is late."""
KEPT: Final = 400
"""The last calls of a method, by which it is judged."""
QUANTILE: Final = 0.95
EVERY: Final = 20
"""Calls after which the quantile is found anew."""
METHODS: Final = 200
"""Methods that are looked at; the calls of others are not sent twice."""

Out = tuple[Peer, bytes]


class Times:
    """What the last calls of one method took."""

    __slots__ = ("_fresh", "_late", "_taken")

    def __init__(self) -> None:
        self._taken: deque[float] = deque(maxlen=KEPT)
        self._fresh = 0
        self._late: float | None = None

    def add(self, seconds: float) -> None:
        self._taken.append(seconds)
        self._fresh += 1

    def late(self) -> float | None:
        """Seconds after which a call is late; None where that is not known."""
        if self._fresh >= EVERY or self._late is None:
            if len(self._taken) < SAMPLES:
                return None
            self._fresh = 0
            self._late = sorted(self._taken)[int(QUANTILE * len(self._taken))]
        return self._late


class Hedging:
    """The copies of one client's calls. It works on the session's own tables.

    calls: the session's, by the ids of their channels. budget: what each copy is taken from.
    """

    def __init__(
        self, calls: dict[Any, Call], balancer: Balancer, budget: RetryBudget, ids: Ids, interval: float
    ) -> None:
        self._calls = calls
        self._balancer = balancer
        self._budget = budget
        self._ids = ids
        self._interval = interval
        self._times: dict[str, Times] = {}
        self._streams: set[str] = set()
        self._left: list[tuple[Peer, bytes]] = []

    # What calls take

    def begun(self, call: RoutedCall, now: float) -> None:
        """A call was sent of which a copy may be sent."""
        times = self._times.get(call.method)
        late = times.late() if times is not None else None
        if late is not None:
            call.hedge_at = now + late

    def answered(self, call: Call, now: float) -> None:
        """It has its answer, with how much time it took."""
        if call.route is None or not call.route.hedge:
            return
        times = self._times.get(call.method)
        if times is None:
            if call.method in self._streams or len(self._times) >= METHODS:
                return
            times = self._times[call.method] = Times()
        times.add(now - call.opened)

    def is_stream(self, call: Call) -> None:
        """It has given a stream, of which there is to be no other."""
        if call.route is None or not call.route.hedge:
            return
        self._times.pop(call.method, None)
        if len(self._streams) < METHODS:
            self._streams.add(call.method)
        self.drop_copy(call)

    # The copies

    def send(self, call: Call, now: float) -> list[Out]:
        """The copy of a call that is late, for another peer that is well; nothing where there is none, or too
        many calls were repeated already."""
        assert isinstance(call, RoutedCall)
        call.hedge_at = NEVER
        route, first = call.route, call.peer
        copy = Copy(self._ids.next(), call.method, now, self._interval, NEVER)
        if call.state is not OPEN or first is None or len(copy.id) != len(call.id):
            return []
        route.tried.add(first)
        others = [
            peer
            for peer in self._balancer.peers
            if peer not in route.tried
            and route.allows(peer)
            and (route.suits(peer) or not (route.keywords or route.odd_keys))
            and standing(peer, now) == GOOD
        ]
        peer = self._balancer.choose_of(others, now, (), route.key)
        if peer is None or not self._budget.take(now):
            return []
        route.tried.add(peer)
        # Its first place is that in the header.
        copy.payload = call.payload.replace(call.id, copy.id, 1)
        copy.original, call.copy = call, copy
        call.was_copied = True
        copy.peer, copy.state = peer, OPEN
        peer.open += 1
        peer.unanswered[copy.id] = now
        self._calls[copy.id] = copy
        return [(peer, copy.payload)]

    def won(self, copy: Copy, now: float) -> RoutedCall:
        """A copy is answered first: the call that goes on in its place, for its caller waits by that."""
        call = copy.original
        if call.peer is not None:
            self._balancer.given_up(call.peer, call.id, now, expired=False)
            self._left.append((call.peer, call.id))
        self.take_over(call)
        return call

    def take_over(self, call: Call) -> None:
        """The call goes on in place of its copy, by that one's channel."""
        assert isinstance(call, RoutedCall)
        copy, peer = call.copy, call.peer
        assert copy is not None and peer is not None
        del self._calls[call.id]
        peer.open -= 1
        peer.unanswered.pop(call.id, None)
        call.id, call.peer, call.payload = copy.id, copy.peer, copy.payload
        call.last_heard, call.next_beat = copy.last_heard, copy.next_beat
        call.copy, copy.state = None, DONE
        self._calls[call.id] = call

    def drop_copy(self, call: Call) -> None:
        """Nobody waits for the copy of a call any longer, if there is one."""
        copy = call.copy
        if not isinstance(call, RoutedCall) or copy is None or copy.peer is None:
            return
        call.copy = None
        del self._calls[copy.id]
        copy.state = DONE
        copy.peer.open -= 1
        copy.peer.unanswered.pop(copy.id, None)
        self._left.append((copy.peer, copy.id))

    def take_left(self) -> list[Out]:
        """What tells peers of calls that others have answered."""
        left, self._left = self._left, []
        return [(peer, control(self._ids, call, BEAT, 0, cancel=True)) for peer, call in left if peer.live]
