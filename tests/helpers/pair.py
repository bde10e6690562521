"""Client and server sessions in memory, with a network and a clock that the test owns.

Nothing here waits: `World.advance` moves the clock from one event to the next, and calls
`on_timer` at exactly the time that a session asked for. Messages on one connection keep their
order, as ZeroMQ's do; a fate decides for each whether it is lost, late or doubled.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from mesh.core import wire
from mesh.core.channel import NEVER, State
from mesh.core.client_session import Call, ClientSession, Waiting
from mesh.core.peer import Peer
from mesh.core.server_session import Limits, ServerCall, ServerSession

START = 1_000.0


@dataclass(frozen=True, slots=True)
class Letter:
    """A message under way."""

    connection: Connection
    to_server: bool
    payload: bytes

    @property
    def name(self) -> str:
        return wire.unpack(self.payload)[1]


Fate = Callable[[Letter], Iterable[float]]
"""The delays after which a letter arrives: none where it is lost, two where it is doubled."""


def on_time(letter: Letter) -> Iterable[float]:
    return (0.0,)


def lost(letter: Letter) -> Iterable[float]:
    return ()


def twice(letter: Letter) -> Iterable[float]:
    return (0.0, 0.0)


def late(seconds: float) -> Fate:
    return lambda letter: (seconds,)


class End(Protocol):
    """One process: a session and what drives it."""

    session: Any

    def tick(self) -> None: ...


class World:
    """The clock, the network, and all that is still to happen."""

    def __init__(self) -> None:
        self.now = START
        self.fate: Fate = on_time
        self.ends: list[End] = []
        self._to_come: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._to_come, (when, self._count, action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.at(self.now + seconds, action)

    def advance(self, seconds: float = 0.0) -> None:
        """Let everything happen that is due within `seconds`, each thing at its time."""
        end = self.now + seconds
        while True:
            timer = min(self.ends, key=lambda one: one.session.wake_at)
            wake_at = timer.session.wake_at
            if self._to_come and self._to_come[0][0] <= min(wake_at, end):
                when, _, action = heapq.heappop(self._to_come)
                self.now = max(self.now, when)
                action()
            elif wake_at <= end:
                self.now = max(self.now, wake_at)
                timer.tick()
                assert timer.session.wake_at > self.now, "a timer that is due at once never rests"
            else:
                break
        self.now = end


class Connection:
    """Between one client and one server; `peer` is the server as the client sees it.

    stalled: it takes no more requests, which wait at the client as a driver keeps them.
    """

    def __init__(self, world: World, client: ClientEnd, server: ServerEnd, name: str) -> None:
        self.world, self.client, self.server = world, client, server
        self.peer = Peer(name)
        self.identity = name.encode()
        self.stalled = False
        self._outbox: list[bytes] = []
        self._epoch = 0
        self._last_arrival = {True: 0.0, False: 0.0}
        client.connections[self.peer] = self
        server.connections[self.identity] = self
        client.session.add(self.peer)

    def send(self, to_server: bool, payload: bytes) -> None:
        if to_server and self.stalled:
            self._outbox.append(payload)
            return
        letter, epoch = Letter(self, to_server, payload), self._epoch
        for delay in self.world.fate(letter):
            due = max(self.world.now + delay, self._last_arrival[to_server])
            self._last_arrival[to_server] = due
            self.world.at(due, lambda: self._arrive(letter, epoch))

    def _arrive(self, letter: Letter, epoch: int) -> None:
        if epoch != self._epoch:
            return
        if letter.to_server:
            self.server.receive(self.identity, letter.payload)
        else:
            self.client.receive(self.peer, letter.payload)

    def up(self) -> None:
        self.client.session.peer_up(self.peer, self.world.now)
        for call in self.client.session.take_unsent(self.peer, self.world.now):
            self.client.send(call)

    def flow(self) -> None:
        """Take again what has waited."""
        self.stalled = False
        outbox, self._outbox = self._outbox, []
        for payload in outbox:
            self.send(True, payload)

    def down(self, why: str = "the connection broke") -> None:
        """What is under way is lost, and both ends learn of it at once."""
        self._epoch += 1
        session = self.client.session
        kept = set(map(id, self._outbox))
        self.stalled, self._outbox = False, []
        session.put_back([call for call in session.calls.values() if id(call.payload) in kept])
        session.peer_down(self.peer, why, self.world.now)
        for call in session.take_stranded(self.world.now):
            self.client.send(call)
        self.client.settle()
        self.server.session.lost([self.identity])
        self.server.settle()


class ClientEnd:
    """A client: a session whose callers are told apart by their call alone.

    woken: calls that were woken, once for each time. on_wake: called with each of them.
    """

    def __init__(self, world: World, base: bytes = b"c" * 24, **options: Any) -> None:
        options.setdefault("random", lambda: 0.5)
        self.world = world
        self.session = ClientSession(base, **options)
        self.connections: dict[Peer, Connection] = {}
        self.woken: list[Call] = []
        self.on_wake: Callable[[Call], None] = lambda call: None
        world.ends.append(self)

    def call(
        self,
        method: str = "echo",
        *args: Any,
        timeout: float | None = 30.0,
        extra: dict[str, Any] | None = None,
        peer: Peer | None = None,
    ) -> Call:
        call = self.session.open(method, args, extra, self.world.now, timeout, peer, waiter=self)
        if call.peer is not None:
            self.send(call)
        return call

    def send(self, call: Call) -> None:
        assert call.peer is not None
        self.connections[call.peer].send(True, call.payload)

    def receive(self, peer: Peer, payload: bytes) -> None:
        self.session.receive(peer, payload, self.world.now)
        self.settle()

    def tick(self) -> None:
        for peer, payload in self.session.on_timer(self.world.now):
            self.connections[peer].send(True, payload)
        self.settle()

    def settle(self) -> None:
        while self.session.woken:
            for call in self.session.take_woken():
                if call.waiter is not None and not isinstance(call, Waiting):
                    call.waiter = None
                    self.woken.append(call)
                    self.on_wake(call)

    def take(self, call: Call, timeout: float | None = None) -> list[Any]:
        """What a stream has delivered; credit is given as it is taken, and the next is awaited."""
        taken = []
        while call.items:
            taken.append(call.items.popleft())
            more = self.session.grant(call)
            if more is not None and call.peer is not None:
                self.connections[call.peer].send(True, more)
        if call.state is not State.DONE:
            call.waiter = None
            self.session.await_item(call, self, self.world.now, timeout)
        return taken

    def cancel(self, call: Call) -> None:
        out = self.session.cancel(call, self.world.now)
        if out is not None:
            self.connections[out[0]].send(True, out[1])


Handler = Callable[["ServerEnd", ServerCall], None]


class ServerEnd:
    """A server whose handlers are functions of this end and the call; without one a call stays in `running`.

    pool: how many calls are begun at once.
    """

    def __init__(
        self,
        world: World,
        heartbeat: float | None = 5.0,
        limits: Limits | None = None,
        pool: float = NEVER,
        base: bytes = b"5" * 24,
    ) -> None:
        self.world = world
        self.session = ServerSession(base, heartbeat, limits or Limits())
        self.connections: dict[Any, Connection] = {}
        self.pool = pool
        self.handlers: dict[str, Handler] = {}
        self.running: list[ServerCall] = []
        self.ended: list[ServerCall] = []
        self.streams: dict[ServerCall, Iterator[Any]] = {}
        world.ends.append(self)

    def receive(self, identity: bytes, payload: bytes) -> None:
        self.session.receive(identity, payload, self.world.now)
        self.settle()

    def tick(self) -> None:
        self._send(self.session.on_timer(self.world.now))
        self.settle()

    def settle(self) -> None:
        """Do what the session asks for, as a driver does after every turn."""
        session = self.session
        while session.out or session.woken or (session.ready and len(self.running) < self.pool):
            self._send(session.take_out())
            for call in session.take_woken():
                self._resume(call)
            if session.ready and len(self.running) < self.pool:
                self._begin(session.ready.popleft())

    def _begin(self, call: ServerCall) -> None:
        if self.session.begin(call, self.world.now):
            self.running.append(call)
            handler = self.handlers.get(call.method)
            if handler is not None:
                handler(self, call)

    def _resume(self, call: ServerCall) -> None:
        call.waiter = None
        if call in self.streams:
            self.push(call)

    def _send(self, out: Iterable[tuple[Any, bytes]]) -> None:
        for identity, payload in out:
            if identity in self.connections:
                self.connections[identity].send(False, payload)

    def answer(self, call: ServerCall, value: Any) -> None:
        if not call.given_up:
            self._send([(call.peer, self.session.answer(call, value))])
        self._finish(call)

    def fail(self, call: ServerCall, exc: Exception, traceback: str = "") -> None:
        if not call.given_up:
            self._send([(call.peer, self.session.failure(call, exc, traceback))])
        self._finish(call)

    def stream(self, call: ServerCall, items: Iterable[Any]) -> None:
        self.streams[call] = iter(items)
        self.push(call)

    def push(self, call: ServerCall) -> None:
        """Send items as far as there is credit."""
        while not call.given_up:
            if call.credit <= 0:
                call.waiter = self
                return
            try:
                item = next(self.streams[call])
            except StopIteration:
                self._send([(call.peer, self.session.end_stream(call))])
                break
            except Exception as exc:  # noqa: BLE001 - whatever the handler raises is the caller's
                self._send([(call.peer, self.session.failure(call, exc, ""))])
                break
            self._send([(call.peer, self.session.item(call, item))])
        self._finish(call)

    def _finish(self, call: ServerCall) -> None:
        self.streams.pop(call, None)
        if call in self.running:
            self.running.remove(call)
            self.ended.append(call)
        self.settle()


class Pair(World):
    """One client connected to one server."""

    def __init__(
        self,
        *,
        heartbeat: float | None = 5.0,
        server_heartbeat: float | None = 5.0,
        limits: Limits | None = None,
        pool: float = NEVER,
        up: bool = True,
    ) -> None:
        super().__init__()
        self.client = ClientEnd(self, heartbeat=heartbeat)
        self.server = ServerEnd(self, server_heartbeat, limits, pool)
        self.connection = Connection(self, self.client, self.server, "tcp://server:1")
        self.peer = self.connection.peer
        self.call = self.client.call
        if up:
            self.connection.up()

    def begun(self, method: str = "echo", *args: Any, **options: Any) -> tuple[Call, ServerCall]:
        """A call whose handler has begun."""
        call = self.call(method, *args, **options)
        self.advance()
        return call, self.server.running[-1]

    def say(self, channel: Any, name: str, args: Any, *, to_server: bool = False, **header: Any) -> None:
        """An event of any shape on the channel, from the one end to the other."""
        header = {"message_id": b"said", "v": 3, "response_to": channel, **header}
        header = {key: value for key, value in header.items() if value is not None}
        self.connection.send(to_server, wire.pack(header, name, args))
        self.advance()

    def spy(self) -> list[Letter]:
        """The letters sent from now on."""
        seen: list[Letter] = []
        fate = self.fate

        def noting(letter: Letter) -> Iterable[float]:
            seen.append(letter)
            return fate(letter)

        self.fate = noting
        return seen
