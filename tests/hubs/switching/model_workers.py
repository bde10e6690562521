"""The workers of the model: servers and sidecars of mesh, and workers of other makes.

Each does what its driver does, without a socket: see hub_connection.py, server_endpoint.py, workers.py and
server_connections.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.batch import holds_events
from mesh.core.carried_call import ServerConnection
from mesh.core.channel import Ids
from mesh.core.health import Health
from mesh.core.hub_calls import HubCalls
from mesh.core.majordomo import STANDARD, Command, FromWorker
from mesh.core.registration import Registration, State
from mesh.core.server_call import HubCall, Limits, ServerCall
from mesh.core.sidecar import SidecarSession
from mesh.errors import WireError
from tests.helpers.pair import Handler, ServerEnd

if TYPE_CHECKING:
    from tests.hubs.switching.model import Frames, Model, Wire

BEAT = 1.0
LONGEST = 20.0
"""Seconds that a handler takes at the most."""
MAX_KINDS = 15
MAX_NAMED = 50
"""Calls of a hub of another make that a worker goes on to know by name, after as many were open at once."""


class Link:
    """A registration with the hub, by one connection after the other.

    session: of its worker. taken: how many handlers run for nobody. handed: how often each token came as a
    request of its own, less the FINALs.
    """

    def __init__(self, model: Model, owner: MeshWorker | SidecarWorker, about: dict[str, Any]) -> None:
        self.model, self.owner = model, owner
        version = 1 if model.chance.random() < 0.15 else 2
        self.session = self
        self.registration = Registration(owner.service, about, BEAT, version)
        self.calls = HubCalls(0, self.registration, owner.session, Ids(model.identity()[8:]))
        self.wire: Wire | None = None
        self.handed: set[bytes] = set()
        self.ended = False
        model.ends.append(self)
        self.connect()

    @property
    def wake_at(self) -> float:
        return self.registration.wake_at

    def tick(self) -> None:
        registration = self.registration
        before = registration.state
        registration.on_timer(self.model.now)
        if before is State.REGISTERED and registration.state is State.AWAY:
            self._over()
        self.flush()
        if registration.connect_at <= self.model.now:
            self.connect()

    def connect(self) -> None:
        from tests.hubs.switching.model import OUT, Wire

        if self.wire is not None:
            self.wire.close()
        self.registration.connecting()
        self.wire = wire_ = Wire(self.model, OUT, self._take)
        self.model.after(0.01, lambda: self._connected(wire_))

    def _connected(self, one: Wire) -> None:
        if one.open and one is self.wire and not self.ended:
            self.registration.connected(self.model.now, self.owner.taken())
            self.flush()

    def _take(self, frames: Frames) -> None:
        registration = self.registration
        requests = registration.receive(frames, self.model.now)
        registration.strange = ()
        for token, event in requests:
            if token not in registration.tokens.values():
                self.handed.add(token)
            self.calls.receive(token, event, self.model.now)
        self.flush()
        if registration.state is not State.REGISTERED:
            self._over()
        self.owner.settle()

    def _over(self) -> None:
        self.handed.clear()
        self.calls.lost()
        self.owner.settle()

    def send(self, peer: HubCall, event: bytes) -> None:
        if self.registration.version == 1:
            self.calls.send_whole(peer, event, self.model.now)
        else:
            self.calls.send(peer, event)
        if not self.registration.capacity:
            self.registration.leave_if_done()
        if self.model.chance.random() < 0.7:
            self.registration.release()
            self.flush()
        else:
            self.model.after(0.001, self._release)

    def _release(self) -> None:
        self.registration.release()
        self.flush()

    def flush(self) -> None:
        out, self.registration.out = self.registration.out, []
        for frames in out:
            self._note(frames)
            if self.wire is not None and self.wire.open and self.registration.state is not State.AWAY:
                self.wire.send(frames)

    def _note(self, frames: Frames) -> None:
        if len(frames) == 1:
            self.handed -= {token for code, token, _ in mdp.read_batch(frames[0]) if code == mdp.FINAL}
            return
        message = mdp.read(frames)
        assert isinstance(message, FromWorker)
        if message.command is Command.FINAL:
            self.handed.discard(message.address)

    def break_connection(self) -> None:
        if self.wire is not None and self.registration.state is not State.AWAY:
            self.wire.close()
            self.registration.broke("the connection broke", self.model.now)
            self._over()

    def end(self) -> None:
        """As a process that is killed."""
        self.ended = True
        if self.wire is not None:
            self.wire.close()
        self.model.ends.remove(self)

    def at_rest(self) -> None:
        assert not self.registration.tokens, "a call of a hub has not ended"
        assert not self.handed, f"{len(self.handed)} requests were handed in and have no end"
        assert self.registration.state is State.REGISTERED, self.registration.why
        assert len(self.calls._by_channel) <= MAX_NAMED


class MeshWorker(ServerEnd):
    """A server of mesh, registered with the hub."""

    def __init__(self, model: Model, service: str) -> None:
        chance = model.chance
        self.service = service
        self.model = model
        limits = Limits(queue=chance.choice((1, 3, 1_000)))
        pool = chance.choice((1, 3, 10))
        super().__init__(model, chance.choice((None, BEAT)), limits, pool, model.identity()[8:])
        self.handlers = handlers()
        self.quick = False
        self.link = Link(model, self, {"capacity": chance.choice((pool, 2 * pool))})

    def taken(self) -> int:
        return len(self.session.abandoned)

    def receive(self, identity: bytes, payload: bytes) -> None:
        """From a client that calls it without the hub."""
        if holds_events(payload):
            self.session.receive_batch(identity, payload, self.world.now)
            self.settle()
        else:
            super().receive(identity, payload)

    def _begin(self, call: ServerCall) -> None:
        if call.method not in self.handlers:
            call.method = "nothing"
        super()._begin(call)

    def push(self, call: ServerCall) -> None:
        push_items(self, call)

    def _send(self, out: Iterable[tuple[Any, bytes]]) -> None:
        for peer, payload in out:
            if type(peer) is HubCall:
                self.link.send(peer, payload)
            else:
                super()._send([(peer, payload)])

    def _finish(self, call: ServerCall) -> None:
        if call in self.running and call.given_up:
            self.session.handler_ended(call)
            self._send(self.session.take_out())
            self.link.registration.free(self.taken(), self.model.now)
            self.link.flush()
        super()._finish(call)

    def break_connection(self) -> None:
        self.link.break_connection()

    def hurry(self) -> None:
        self.quick = True

    def drain(self) -> None:
        """Take no more calls, end those that there are, and leave: no call of this worker is lost."""
        self.link.registration.offer(0, self.model.now)
        self.link.flush()
        self.model.after(0.5, self._leave_when_done)

    def _leave_when_done(self) -> None:
        self.session.drain()
        if self.session.channels or self.running:
            self.model.after(0.5, self._leave_when_done)
            return
        self.link.registration.leave()
        self.link.flush()
        assert not self.link.handed, "a worker that left in peace has left a request"
        self.model.after(0.3, self.end)

    def end(self) -> None:
        self.model.leave_server(self)
        self.link.end()
        self.model.ends.remove(self)
        self.running.clear()

    def still_bounded(self) -> None:
        session = self.session
        assert len(session.open_calls()) <= session.limits.queue + self.pool
        assert 0 <= session._queued <= session.limits.queue and session._queued_bytes >= 0
        assert len(session.abandoned) <= len(self.running) <= self.pool
        assert len(session.dropped) < MAX_KINDS

    def at_rest(self) -> None:
        session = self.session
        assert not session.channels and not self.running and not self.streams
        assert not session._queued and not session._queued_bytes and not session.abandoned
        self.link.at_rest()


def push_items(server: MeshWorker | Server, call: ServerCall) -> None:
    """As ServerEnd.push, with several items in one event where the client takes that."""
    session, chance, seen = server.session, server.model.chance, server.model.seen

    def release() -> None:
        for event in session.take_items(call) if call.group else ():
            seen["items"] += b"\xa5items" in event
            server._send([(call.peer, event)])

    while not call.given_up:
        if call.credit <= 0:
            release()
            call.waiter = server
            return
        try:
            item = next(server.streams[call])
        except StopIteration:
            release()
            server._send([(call.peer, session.end_stream(call))])
            break
        if call.group is None:
            server._send([(call.peer, session.item(call, item))])
        elif session.hold_item(call, item) or chance.random() < 0.1:
            release()
    server._finish(call)


class Server(ServerEnd):
    """What a sidecar stands beside. An old one tells nobody that it is mesh."""

    def __init__(self, sidecar: SidecarWorker, old: bool) -> None:
        self.sidecar, self.old = sidecar, old
        base = sidecar.model.identity()[8:]
        super().__init__(sidecar.model, BEAT, Limits(queue=1_000), 10, base)
        self.handlers = handlers()
        self.model = sidecar.model
        self.quick = False
        self.connections: dict[Any, ServerConnection] = {}

    def _begin(self, call: ServerCall) -> None:
        if call.method not in self.handlers:
            call.method = "nothing"
        super()._begin(call)

    def push(self, call: ServerCall) -> None:
        push_items(self, call)

    def _finish(self, call: ServerCall) -> None:
        if call in self.running and call.given_up:
            self.session.handler_ended(call)
        super()._finish(call)

    def _send(self, out: Iterable[tuple[Any, bytes]]) -> None:
        for identity, payload in out:
            connection = self.connections.get(identity)
            if connection is not None:
                self.model.after(0.0, partial(self._deliver, connection, payload))

    def _deliver(self, connection: ServerConnection, payload: bytes) -> None:
        if self.sidecar.server is self and connection in self.sidecar.session.connections:
            if self.old:
                header, name, args = wire.unpack(payload)
                header.pop("mesh", None)
                payload = wire.pack(header, name, args)
            self.sidecar.session.answer(connection, payload, self.model.now)
            self.sidecar.settle()


class SidecarWorker:
    """A sidecar and its server, of which the server may be another program after a while."""

    def __init__(self, model: Model, service: str) -> None:
        self.model, self.service = model, service
        base = model.identity()[8:]
        self.session = SidecarSession(base, "tcp://server:1", Health(b"f" + base[1:], BEAT), 10)
        self.server = Server(self, model.chance.random() < 0.5)
        self._number = 0
        self._offered = 0
        self.link = Link(model, self, {"capacity": 0, "kind": "sidecar"})
        self.ticker = Ticker(self)
        model.ends.append(self.ticker)
        self._settling = False
        model.after(0.02, self._connected)

    def taken(self) -> int:
        return 0

    def _connected(self) -> None:
        self.session.connection_up(self.session.connections[0], None, self.model.now)
        self.settle()

    def settle(self) -> None:
        """As the sidecar's loop: what came from either goes to the other."""
        if self._settling:
            return
        self._settling = True
        session = self.session
        moved = True
        while moved:
            out, for_server, pings = session.take_out(), session.take_for_server(), session.take_pings()
            moved = bool(out or for_server or pings)
            for peer, event in out:
                self.link.send(peer, event)
            for call, event in for_server:
                if call.ended and not call.sent:
                    continue
                call.mark_sent()
                self._to_server(call.connection, event)
            for ping in pings:
                self._to_server(session.connections[0], ping)
        if session.capacity != self._offered:
            self._offered = session.capacity
            self.link.registration.offer(session.capacity, self.model.now)
            self.link.flush()
        self._settling = False

    def _to_server(self, connection: ServerConnection, event: bytes) -> None:
        server = self.server
        if not connection.up:
            self.session.connection_up(connection, None, self.model.now)
        identity = next((key for key, one in server.connections.items() if one is connection), None)
        if identity is None:
            self._number += 1
            identity = b"connection %d" % self._number
            server.connections[identity] = connection
        self.model.after(0.0, lambda: server.receive(identity, event) if server is self.server else None)

    def break_connection(self) -> None:
        if self.model.chance.random() < 0.5:
            self.link.break_connection()
            return
        self.model.ends.remove(self.server)
        self.server.running.clear()
        self.server = Server(self, self.model.chance.random() < 0.5)
        self.session.connection_down(self.session.connections[0], "the connection broke")
        self.settle()
        self.model.after(self.model.chance.random() * 2, self._connected)

    def hurry(self) -> None:
        self.server.quick = True

    def end(self) -> None:
        self.link.end()
        self.model.ends.remove(self.ticker)
        self.model.ends.remove(self.server)
        self.server.running.clear()

    def still_bounded(self) -> None:
        session = self.session
        assert session._unanswered >= 0 and len(session.dropped) < MAX_KINDS
        assert len(session.channels) == sum(session._of_hub.values())
        assert len(session.channels) == sum(len(connection.calls) for connection in session.connections)

    def at_rest(self) -> None:
        session = self.session
        assert not session.channels and not session._unanswered and not session._of_hub.total()
        assert session.health.well
        self.link.at_rest()


class Ticker:
    """The timer of a sidecar's session."""

    def __init__(self, sidecar: SidecarWorker) -> None:
        self.session = sidecar.session
        self._sidecar = sidecar

    def tick(self) -> None:
        self.session.on_timer(self._sidecar.model.now)
        self._sidecar.settle()


class OtherWorker:
    """One of another make, which says nothing of itself and gets one request at a time; some it drops."""

    def __init__(self, model: Model, service: str) -> None:
        self.model, self.service = model, service
        self.style = STANDARD[model.chance.choice((1, 2))]
        self.wire: Wire | None = None
        self._open = True
        self._register()

    def _register(self) -> None:
        from tests.hubs.switching.model import OUT, Wire

        if not self._open:
            return
        if self.wire is not None:
            self.wire.close()
        self.wire = wire_ = Wire(self.model, OUT, self._take)
        wire_.send(mdp.ready(self.service, None, self.style))
        self._beat(wire_)

    def _beat(self, one: Wire) -> None:
        if one.open:
            one.send(mdp.heartbeat(self.style))
            self.model.after(BEAT, lambda: self._beat(one))

    def _take(self, frames: Frames) -> None:
        try:
            message = mdp.read(frames)
        except WireError:
            return
        assert isinstance(message, FromWorker), frames
        if message.command is Command.DISCONNECT:
            self.model.after(0.1, self._register)
        elif message.command is Command.REQUEST:
            self._answer(message.address, message.body)

    def _answer(self, token: bytes, body: tuple[bytes, ...]) -> None:
        chance = self.model.chance
        dice = chance.random()
        header = (wire.salvage_header(body[0]) or {}) if body else {}
        event = wire.pack(
            {"message_id": b"w", "v": 3, "response_to": header.get("message_id")}, wire.OK, [dice]
        )
        if dice < 0.1:
            return
        if dice < 0.15:
            token = b"of nobody"
        if dice < 0.3:
            beat = {"message_id": b"w", "v": 3, "response_to": header.get("message_id")}
            event = chance.choice((b"", b"no event", event[:-2], wire.pack(beat, wire.BEAT, [0])))
        finals = 2 if dice > 0.9 else 1
        if self.style.version == 2 and dice > 0.8:
            beat = wire.pack(
                {"message_id": b"w", "v": 3, "response_to": header.get("message_id")}, wire.BEAT, [0]
            )
            self._say(Command.PARTIAL, token, beat)
        for _ in range(finals):
            self._say(Command.FINAL, token, event)

    def _say(self, command: Command, token: bytes, event: bytes) -> None:
        assert self.wire is not None
        if self.wire.open:
            self.wire.send(mdp.carried(self.style, command, token, [event]))

    def break_connection(self) -> None:
        self._register()

    def hurry(self) -> None:
        pass

    def end(self) -> None:
        self._open = False
        if self.wire is not None:
            self.wire.close()

    def still_bounded(self) -> None:
        pass

    def at_rest(self) -> None:
        pass


def handlers() -> Mapping[str, Handler] | Any:
    """What the servers of the model serve."""
    return {"echo": _echo, "slow": _slow, "fail": _fail, "count": _count, "hang": _hang, "nothing": _nothing}


def _echo(server: ServerEnd, call: ServerCall) -> None:
    server.answer(call, 1)


def _nothing(server: ServerEnd, call: ServerCall) -> None:
    server.fail(call, NameError("no such method"))


def _fail(server: ServerEnd, call: ServerCall) -> None:
    _after(server, call, 0.1, lambda: server.fail(call, KeyError("x")))


def _slow(server: ServerEnd, call: ServerCall) -> None:
    _after(server, call, 2.0, lambda: server.answer(call, 1))


def _hang(server: ServerEnd, call: ServerCall) -> None:
    _after(server, call, LONGEST, lambda: server.answer(call, 1))


def _count(server: ServerEnd, call: ServerCall) -> None:
    number = call.args[0] if call.args and type(call.args[0]) is int else 3
    _after(server, call, 0.1, lambda: server.stream(call, range(min(number, 300))))


def _after(server: Any, call: ServerCall, most: float, action: Any) -> None:
    seconds = 0.0 if server.quick else server.world.chance.random() * most
    server.world.after(seconds, lambda: action() if call in server.running else None)
