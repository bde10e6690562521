"""A worker's registration with one hub: the worker's side of Majordomo 0.2 (ZeroMQ RFC 18) or 0.1 (RFC 7).

Frames come in with the present time; frames to send come out in `out`. Knows no socket: the
driver tells when a connection stands and when it broke, and makes a new one at `connect_at`.

What mesh adds is in frames that a strict hub ignores: docs/registration.md has them. A hub that
understands them says so in its first heartbeat, and is `known` from then on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from mesh.core import majordomo as mdp
from mesh.core.batch import Batch, limit_of
from mesh.core.channel import NEVER, fairly_heard
from mesh.core.majordomo import STANDARD, Command, FromWorker
from mesh.core.progress import Progress, second_look
from mesh.errors import WireError

LOST_AFTER: Final = 3.0
"""Heartbeats without a sign of life after which a hub or a worker is lost (RFC 7: usually 3 to 5)."""
SLOWEST: Final = 3600.0
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 5.0
"""Seconds before the next attempt after a hub has sent its worker away."""
STEADY: Final = 10.0
"""Seconds of registration after which it counts as one that had gone well."""

VERSIONS: Final = {"0.1": 1, "0.2": 2}
"""Of Majordomo, as users call them."""

_HEAD: Final = b"MDPW02"
_UNHEARD: Final = {
    2: "it has said nothing since READY. A broker that speaks Majordomo 0.1 alone, as that of the ZeroMQ "
    "Guide, says nothing to a worker of 0.2, or dies of it: for such a one use --mdp 0.1, or "
    "register(…, mdp='0.1'). Nor does a server of zerorpc, which is no hub: register at a hub's out side",
    1: "it has said nothing since READY. A broker that speaks Majordomo 0.2 alone says nothing to a worker "
    "of 0.1: for such a one leave out mdp 0.1",
}
_LONG: Final = {mdp.PARTIAL: b"\x03", mdp.FINAL: b"\x04"}


class State(Enum):
    """How far the registration is."""

    AWAY = "no connection"
    CONNECTED = "connected, and not registered"
    REGISTERED = "registered"


class Registration:
    """One service at one hub.

    about: what the hub is told beyond the name, `capacity` (calls at once) among it; a hub of 0.1 is told
    nothing. heartbeat: seconds. version: of Majordomo, 2 for 0.2, or 1 for 0.1, which knows no PARTIAL.
    welcome: the hub has said something since READY, and was not lost after that. tokens: the calls that the
    hub waits for, as the session knows them and as the hub does.
    batch: the answers that go in one frame, where the hub takes such.
    strange: a message that no hub sends, until it is taken. why: the last reason to be out; advice: what
    may be the matter, where the hub has never said anything.
    connect_at: when the driver is to connect anew. wake_at: when on_timer wants to be called. progress: what
    moves on the connection, where the driver can tell.
    """

    def __init__(self, service: str, about: dict[str, Any], heartbeat: float, version: int = 2) -> None:
        self.service = service
        self.version = version
        self.heartbeat = heartbeat
        self.state = State.AWAY
        self.welcome = False
        self.known = False
        self.batch: Batch | None = None
        self.confirmed = 0
        self.why = "no connection yet; is a hub running there?"
        self.advice = ""
        self.out: list[list[bytes]] = []
        self.tokens: dict[bytes, bytes] = {}
        self.dropped: Counter[str] = Counter()
        self.strange: Sequence[bytes] = ()
        self._misled = ""
        self.progress: Progress | None = None
        self.connect_at = NEVER
        self.wake_at = NEVER
        self._offered = int(about["capacity"])
        self._taken = self._told = 0
        self._about = {**about, "heartbeat": max(1, round(heartbeat * 1000)), "batch": mdp.MAX_BATCH}
        self._theirs = heartbeat
        self._since = 0.0
        self._last_heard = 0.0
        self._next_beat = NEVER
        self._pause = 0.0
        self._style = STANDARD[version]
        self._met = False

    @property
    def capacity(self) -> int:
        """Calls at once; with 0 there come no more."""
        return max(0, self._offered - self._taken)

    @property
    def settled(self) -> bool:
        """Whether no call comes any more that the capacity does not allow."""
        return self.state is not State.REGISTERED or (self.known and self.confirmed == self.capacity)

    # The connection

    def connected(self, now: float, taken: int = 0, progress: Progress | None = None) -> None:
        """taken: calls that still run, of whoever was lost; they count until `free` tells otherwise.

        progress: what moves on the connection, where the driver can tell.
        """
        self.progress = progress
        self.state = State.CONNECTED
        self._taken = taken
        if self._offered:
            self._register(now)

    def _register(self, now: float) -> None:
        self.state = State.REGISTERED
        self.welcome = self.known = False
        self.batch = None
        self._theirs = self.heartbeat
        self._since = self._last_heard = now
        self._next_beat = now + self.heartbeat
        self.wake_at = self._next_beat
        self._told = self.capacity
        about = {**self._about, "capacity": self._told} if self.version == 2 else None
        self.out.append(mdp.ready(self.service, about, self._style))

    def connecting(self) -> None:
        """The driver makes a new connection."""
        self.connect_at = self.wake_at = NEVER

    def refused(self, why: str) -> None:
        """There is no connection yet, for that reason."""
        self.why = why

    def broke(self, why: str, now: float, *, pause: float = 0.0) -> None:
        """The connection is of no more use; a new one is wanted after `pause` seconds."""
        unheard = self.state is State.REGISTERED and not (self._met or self._misled)
        self.state = State.AWAY
        self.why, self.advice = why, _UNHEARD[self.version] if unheard else ""
        self.welcome = self.known = False
        self.batch = None
        self.tokens.clear()
        self.out.clear()
        self._next_beat = NEVER
        self.connect_at = self.wake_at = now + pause

    def _sent_away(self, reason: str, now: float) -> None:
        """Not at once again where the hub will hardly think otherwise."""
        steady = now - self._since >= STEADY
        self._pause = 0.0 if steady else min(max(FIRST_PAUSE, self._pause * 2), LONGEST_PAUSE)
        self.broke(f"the hub has sent its worker away{reason and ': '}{reason}", now, pause=self._pause)

    # What comes in

    def receive(self, frames: Sequence[bytes], now: float) -> Sequence[tuple[bytes, bytes]]:
        """The token and the event of each request in a message. Never raises."""
        try:
            if len(frames) == 1 and frames[0][:1] >= mdp.BATCHED and self.state is State.REGISTERED:
                requests = [one[1:] for one in mdp.read_batch(frames[0]) if one[0] == mdp.REQUEST]
                self._heard(now)
                return requests
            message = mdp.read(frames)
        except WireError:
            self.dropped["malformed"] += 1
            return ()
        if type(message) is not FromWorker:
            self.dropped["malformed"] += 1
            self.strange = frames
            return ()
        if self.state is not State.REGISTERED:
            self.dropped["late"] += 1
            return ()
        self._heard(now)
        if message.command is Command.REQUEST:
            return ((message.address, message.body[0]),)
        if message.command is Command.DISCONNECT:
            self._sent_away(message.reason, now)
        elif message.command is not Command.HEARTBEAT:
            self.dropped["malformed"] += 1
        elif message.about is not None:
            self._hear(message.about, now)
        return ()

    def _heard(self, now: float) -> None:
        self.welcome = self._met = True
        self._last_heard = now
        self._misled = ""

    def misled(self, why: str) -> bool:
        """What is there is no hub, so much is known; whether that is new."""
        new, self._misled = not self._misled, why
        self.why = why
        return new

    def _hear(self, about: dict[str, Any], now: float) -> None:
        """A hub of mesh says how it keeps this registration."""
        self.known = True
        if limit := limit_of(about):
            if self.batch is None:
                self.batch = Batch(limit)
            self.batch.limit_to(limit)
        self._pause = 0.0
        beat, capacity = about.get("heartbeat"), about.get("capacity")
        if type(beat) is int and beat > 0:
            before = self.interval
            self._theirs = min(beat / 1000, SLOWEST)
            if self.interval < before:
                # The hub counts on them from the first one on.
                self.out.append(mdp.heartbeat())
                self._next_beat = now + self.interval
                self.wake_at = min(self.wake_at, self._next_beat)
        if type(capacity) is int:
            self.confirmed = capacity
        if self._told != self.capacity:  # it has changed since READY
            self._tell_capacity(now)

    @property
    def interval(self) -> float:
        """Seconds between heartbeats: the shorter of ours and the hub's."""
        return min(self.heartbeat, self._theirs)

    def take_strange(self) -> Sequence[bytes]:
        """The message that no hub sends."""
        message, self.strange = self.strange, ()
        return message

    # What goes out

    def take_out(self) -> list[list[bytes]]:
        """The messages that are to be sent."""
        out, self.out = self.out, []
        return out

    def answer(self, token: bytes, event: bytes, final: bool) -> None:
        """Give the hub an event of a call: in `out`, or in the batch, which waits for `release`.

        final: the last one, after which the token means nothing. Nothing, where the hub was lost meanwhile,
        or the call has had its last event.
        """
        address = self.tokens.pop(token, None) if final else self.tokens.get(token)
        if address is None:
            return
        code = mdp.FINAL if final else mdp.PARTIAL
        batch = self.batch
        if batch is not None:
            if len(event) < batch.most:
                if not batch.add(code, address, event):
                    self.release()
                    batch.add(code, address, event)
                return
            self.release()
        if self.version == 2:
            self.out.append([_HEAD, _LONG[code], address, b"", event])
        elif final:
            self.end(address, (event,))

    def end(self, address: bytes, body: Sequence[bytes]) -> None:
        """Tell the hub that a request of which nothing is kept has come to nothing.

        What waits in the batch goes before: it may be the answer of a call on which something more has come,
        that nobody knows here any longer, and the hub takes the first end that it hears of.
        """
        self.release()
        self.out.append(mdp.carried(self._style, Command.FINAL, address, body))

    def release(self) -> None:
        """Let go what waits in the batch."""
        if self.batch is not None and self.batch.items:
            self.out.append([self.batch.take()])

    def offer(self, capacity: int, now: float) -> None:
        """Take that many calls at once from now on; with 0 no more, but go on with those there are."""
        before, self._offered = self.capacity, capacity
        if self.capacity != before:
            self._tell_capacity(now)

    def free(self, taken: int, now: float) -> None:
        """Of the calls that ran when the connection came to stand, no more than these do now."""
        if taken < self._taken:
            before, self._taken = self.capacity, taken
            if self.capacity != before:
                self._tell_capacity(now)

    def _tell_capacity(self, now: float) -> None:
        if self.state is State.CONNECTED and self._offered:
            self._register(now)
        elif self.known:
            self._told = self.capacity
            self.out.append(mdp.heartbeat(about={"capacity": self._told}))
        else:
            self.leave_if_done()

    def leave_if_done(self) -> None:
        """A hub that knows no capacity gives calls until its worker leaves."""
        if self.state is State.REGISTERED and not self._offered and not self.known and not self.tokens:
            self.leave()

    def leave(self) -> None:
        """Say goodbye, and take no more calls on this connection."""
        if self.state is State.REGISTERED:
            self.release()
            self.state = State.CONNECTED
            self.known = False
            self.batch = None
            self.tokens.clear()
            self._next_beat = self.wake_at = NEVER
            self.out.append(mdp.disconnect(self._style))

    # Time

    def on_timer(self, now: float) -> None:
        """The heartbeat, where it is due; the end, where the hub has been silent for too long."""
        if self.state is not State.REGISTERED:
            self.wake_at = self.connect_at
            return
        self._last_heard = fairly_heard(self._last_heard, self.wake_at, now, self.interval)
        if self.version == 1 and self.tokens:
            # Brokers of 0.1 give heartbeats to workers that wait, and to no others.
            self._last_heard = now
        lost_at = self._last_heard + LOST_AFTER * max(self.heartbeat, self._theirs)
        if now >= lost_at:
            self._last_heard, lost_at = second_look(self.progress, now, self._last_heard, self.interval)
        if now >= lost_at:
            self.broke(self._misled or f"the hub was silent for {now - self._last_heard:.1f} s", now)
            return
        if now >= self._next_beat:
            self._next_beat = now + self.interval
            self.out.append(mdp.heartbeat(self._style))
        self.wake_at = min(self._next_beat, lost_at)
