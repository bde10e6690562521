"""Clients, a hub, workers and strangers in one thread, with a clock and a network that the test owns.

All chance comes from one seed, so that `Model(seed).run()` replays a failure. What is modelled: clients of
mesh that send their events alone or several in one frame, clients of Majordomo 0.1 and 0.2 that also say what
is no call, servers and sidecars of mesh that send items of streams alone or several in one event, workers of
other makes, and peers at both sides that say what no sane one does. Connections break, peers come and go,
handlers take their time, never return, or run on for nobody.

What must hold: every request that the hub hands to a worker of mesh has an end; every call of a client ends
once; all room is whole when all is quiet; nothing grows without a bound.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hubs.switching import status
from hubs.switching.event_header import name_of
from hubs.switching.model import Address
from hubs.switching.queue import QueueScheduler
from hubs.switching.settings import Settings
from hubs.switching.sharded import ShardedScheduler
from hubs.switching.switch import Switch
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.batch import BUNDLED, holds_events, pack_events, read_events
from mesh.core.channel import State
from mesh.core.majordomo import STANDARD
from mesh.core.server_call import Limits
from tests.helpers.pair import ClientEnd, Connection, World
from tests.hubs.switching.model_workers import BEAT, MeshWorker, OtherWorker, SidecarWorker
from tests.hubs.switching.rubbish import Rubbish

IN, OUT = 0, 1
SERVICES = ("echo", "other")
KEYS = ("a", "b", b"c", 4, "x" * 300, 1.5, [])
METHODS = ("echo", "echo", "echo", "slow", "fail", "count", "count", "hang", "nothing", wire.PING)
FINALS = (wire.OK, wire.ERR, wire.STREAM_DONE)
QUIET = 120.0
"""Seconds after which nearly all that was open has ended."""
PATIENCE = 2 * Limits().max_heartbeat
"""Seconds after which a server gives up a stream that nobody reads and whose client gives no heartbeats."""
MAX_WAIT = 0.05

Frames = list[bytes]


def arguments(method: str, number: int) -> list[int]:
    """A ping has none."""
    return [] if method == wire.PING else [number]


class Wire:
    """A connection to one side of the hub. Messages keep their order, and are lost where it breaks."""

    def __init__(self, model: Model, side: int, take: Callable[[Frames], None]) -> None:
        self.model, self.side, self.take = model, side, take
        self.identity = model.identity()
        self.open = True
        self._arrives = [0.0, 0.0]
        model.hub.wires[side, self.identity] = self

    def send(self, frames: Frames) -> None:
        self._carry(0, lambda: self.model.hub.receive(self.side, [self.identity, *frames]))

    def deliver(self, frames: Frames) -> None:
        self._carry(1, lambda: self.take(frames))

    def _carry(self, way: int, action: Callable[[], None]) -> None:
        model = self.model
        when = max(model.now + model.chance.random() * model.delay, self._arrives[way])
        self._arrives[way] = when
        model.at(when, lambda: action() if self.open else None)

    def close(self) -> None:
        """The hub learns of it as it sends something, or asks."""
        if self.open:
            self.open = False
            del self.model.hub.wires[self.side, self.identity]
            self.model.after(0.01, lambda: self.model.hub.probe(self.side))


class HubEnd:
    """A switch, and what its driver does. To the connections of mesh's clients it looks like a server.

    ends: the last events of each call that went to a client of mesh.
    """

    def __init__(self, model: Model, settings: Settings, base: bytes) -> None:
        self.model = model
        self.switch = Switch(settings, base, self)
        self.session = self
        self.connections: dict[bytes, Connection] = {}
        self.wires: dict[tuple[int, bytes], Wire] = {}
        self.ends: Counter[tuple[bytes, Any]] = Counter()
        model.ends.append(self)

    @property
    def wake_at(self) -> float:
        return self.switch.wake_at

    # What the switch asks of its driver

    def crowded(self, client: Address) -> bool:
        return False

    def progress_of(self, peer: Address) -> None:
        return None

    def worker_endpoint(self) -> str:
        return ""

    def host_of(self, peer: Address) -> str:
        return ""

    def describe(self) -> dict[str, Any]:
        return {"type": "queue"}

    def status(self) -> dict[str, Any]:
        return status.full(self.switch, self.model.now)

    # What it does

    def tick(self) -> None:
        """Once more where what was sent has shown that a worker is gone, whose calls have a beat due."""
        for _ in range(3):
            self.switch.on_timer(self.model.now)
            self.settle()
            if self.switch.wake_at > self.model.now:
                return

    def lost(self, identities: Any) -> None:
        """A connection of a client of mesh broke."""
        for identity in identities:
            del self.connections[identity]
        self.model.after(0.01, lambda: self.probe(IN))

    def probe(self, side: int) -> None:
        self.switch.probe(side)
        self.settle()

    def receive(self, side: Any, frames: Any) -> None:
        """From a wire; or, from a connection, the identity and the event."""
        if type(side) is bytes:
            event = [frames] if holds_events(frames) else [b"", frames]
            side, frames = IN, [side, *event]
        self.switch.receive(side, frames, self.model.now)
        if self.model.chance.random() < 0.7:
            self.settle()  # else with what comes next, as in one turn
        else:
            self.model.after(0.001, self.settle)

    def settle(self) -> None:
        while out := self.switch.take_out():
            for address, frames in out:
                self._send(address, frames)
        self.switch.grant_owed()
        self.switch.take_log_lines()

    def _send(self, address: Any, frames: Frames) -> None:
        side, envelope = address
        connection = self.connections.get(envelope[0]) if side == IN else None
        one = self.wires.get((side, envelope[0]))
        if one is not None:
            one.deliver([*envelope[1:], *frames])
        elif connection is not None:
            events = [frames[-1]] if len(frames) == 2 else read_events(frames[0])
            for event in events:
                if name_of(event) in FINALS:
                    header = wire.salvage_header(event) or {}
                    self.ends[envelope[0], header.get("response_to")] += 1
                connection.send(False, event)
        else:
            self.switch.unreachable(address)


class BatchingConnection(Connection):
    """Has several events of its client go in one frame, where the far end has said that it takes such."""

    def __init__(self, model: Model, client: ClientEnd, server: Any, name: str) -> None:
        super().__init__(model, client, server, name)
        self.model = model
        self._held: list[bytes] = []

    def send(self, to_server: bool, payload: bytes) -> None:
        if not to_server or not self.peer.batch:
            super().send(to_server, payload)
            return
        self._held.append(payload)
        if len(self._held) == BUNDLED or self.model.chance.random() < 0.3:
            self._release()
        else:
            self.model.after(0.001, self._release)

    def _release(self) -> None:
        held, self._held = self._held, []
        if len(held) > 1:
            self.model.seen["batches"] += 1
            super().send(True, pack_events(held))
        elif held:
            super().send(True, held[0])

    def down(self, why: str = "the connection broke") -> None:
        self._held.clear()
        super().down(why)


class MajordomoClient:
    """A client of one version. owed: requests without a last answer; ended: those that had one."""

    def __init__(self, model: Model, version: int) -> None:
        self.model, self.version = model, version
        self.owed = self.ended = 0
        self.wire = Wire(model, IN, self._take)

    def ask(self) -> None:
        chance = self.model.chance
        body = [self._call()] if chance.random() < 0.5 else [chance.choice(self.model.no_calls)]
        body += [b"more"] * (chance.random() < 0.1)
        self.owed += 1
        self.wire.send(mdp.request(chance.choice(SERVICES), body, STANDARD[self.version]))

    def _call(self) -> bytes:
        header = {"message_id": self.model.identity(), "v": 3}
        method = self.model.chance.choice(METHODS)
        return wire.pack(header, method, arguments(method, self.model.chance.randrange(300)))

    def _take(self, frames: Frames) -> None:
        if self.version == 1:
            assert frames[:2] == [b"", b"MDPC01"], frames
        else:
            assert frames[0] == b"MDPC02" and frames[1] in (b"\x02", b"\x03"), frames
        if self.version == 1 or frames[1] == b"\x03":
            self.owed -= 1
            self.ended += 1
            assert self.owed >= 0, "a request has ended twice"


class Stranger:
    """Says what no sane peer says, at either side."""

    def __init__(self, model: Model) -> None:
        self.rubbish = Rubbish(model.chance)
        self.wire = Wire(model, model.chance.choice((IN, OUT)), self._take)

    def _take(self, frames: Frames) -> None:
        self.rubbish.hear(frames)

    def say(self) -> None:
        self.wire.send(self.rubbish.message())


class Model(World):
    """steps: how much happens. no_calls: events that a worker takes for no call."""

    def __init__(self, seed: int, no_calls: list[bytes], steps: int = 250) -> None:
        super().__init__()
        self.seed, self.steps, self.no_calls = seed, steps, no_calls
        self.chance = chance = random.Random(seed)
        self.delay = chance.choice((0.0, 0.005, 0.2))
        self.strange = chance.random() < 0.6
        self._identities = 0
        new_scheduler = chance.choice((QueueScheduler, QueueScheduler, ShardedScheduler))
        settings = Settings(
            only=chance.choice((None, None, "echo")),
            new_scheduler=new_scheduler,
            any_name=True,
            default="echo",
            heartbeat=BEAT,
            queue=chance.choice((3, 10_000)),
            timeout=chance.choice((1.0, 30.0)),
            workers_at=chance.choice((None, OUT)),
        )
        self.hub = HubEnd(self, settings, b"%024x" % seed)
        self.clients: list[ClientEnd] = []
        self.calls: list[Any] = []
        self.gone: set[ClientEnd] = set()
        self.majordomo: list[MajordomoClient] = []
        self.workers: list[MeshWorker | SidecarWorker | OtherWorker] = []
        self.strangers: list[Stranger] = []
        self.seen: Counter[str] = Counter()

    def identity(self) -> bytes:
        self._identities += 1
        return b"%032x" % self._identities

    # What happens

    def run(self) -> None:
        actions = [
            (self._join, 4),
            (self._call, 30),
            (self._ask, 30),
            (self._say, 25 if self.strange else 0),
            (self._leave, 4),
            (self._break, 3),
            (self._reload, 1),
            (self._read, 10),
        ]
        happen = [action for action, weight in actions for _ in range(weight)]
        for _ in range(6):
            self._join()
        for _ in range(self.steps):
            self.chance.choice(happen)()
            if self.chance.random() < 0.5:
                self.advance(self.chance.choice((0.0, MAX_WAIT, MAX_WAIT, 1.0, 5.0)) * self.chance.random())
            self.still_bounded()
        self._come_to_rest()

    def _join(self) -> None:
        make = self.chance.randrange(7)
        if make == 0 and len(self.clients) < 8:
            self._client()
        elif make == 1:
            self.majordomo.append(MajordomoClient(self, self.chance.choice((1, 2))))
        elif make == 2 and self.strange and len(self.strangers) < 5:
            self.strangers.append(Stranger(self))
            self.seen["strangers"] += 1
        elif make in (3, 4) and len(self.workers) < 8:
            self.workers.append(MeshWorker(self, self.chance.choice(SERVICES)))
        elif make == 5 and len(self.workers) < 8:
            self.workers.append(SidecarWorker(self, self.chance.choice(SERVICES)))
        elif len(self.workers) < 8:
            self.workers.append(OtherWorker(self, self.chance.choice(SERVICES)))

    def _client(self) -> None:
        number = len(self.clients)
        beat = self.chance.choice((None, BEAT))
        client = ClientEnd(self, b"%024x" % number, heartbeat=beat, random=self.chance.random)
        direct = [one for one in self.workers if isinstance(one, MeshWorker)]
        # Some call a server without the hub, which has calls of both then.
        server = self.chance.choice(direct) if direct and self.chance.random() < 0.3 else self.hub
        BatchingConnection(self, client, server, f"c{number}").up()
        self.clients.append(client)

    def _call(self) -> None:
        """One call, or several at once, as of those whom one batch of answers has woken."""
        alive = [client for client in self.clients if client not in self.gone]
        if alive:
            client = self.chance.choice(alive)
            for _ in range(self.chance.choice((1, 1, 1, 2, 20))):
                self._call_by(client)

    def _call_by(self, client: ClientEnd) -> None:
        extra = {"service": self.chance.choice((*SERVICES, *SERVICES, "unknown"))}
        if self.chance.random() < 0.2:
            extra["idempotent"] = True  # type: ignore[assignment]
        if self.chance.random() < 0.5:
            extra["key"] = self.chance.choice(KEYS)  # type: ignore[assignment]
        timeout = self.chance.choice((0.05, 2.0, 10.0, None))
        number = self.chance.choice((0, 1, 5, 300))
        method = self.chance.choice(METHODS)
        args = arguments(method, number)
        self.calls.append((client, client.call(method, *args, timeout=timeout, extra=extra)))
        self.seen["calls"] += 1

    def _ask(self) -> None:
        if self.majordomo:
            self.chance.choice(self.majordomo).ask()
            self.seen["requests"] += 1

    def _say(self) -> None:
        if self.strangers:
            self.chance.choice(self.strangers).say()

    def _read(self) -> None:
        """Take what a stream has delivered, cancel, or wait for more."""
        if self.calls:
            client, call = self.chance.choice(self.calls[-20:])
            if client in self.gone:
                return
            if self.chance.random() < 0.2:
                client.cancel(call)
            elif call.items:
                client.take(call)

    def _leave(self) -> None:
        dice = self.chance.random()
        alive = [client for client in self.clients if client not in self.gone]
        if dice < 0.2 and alive:
            self._die(self.chance.choice(alive))
        elif dice < 0.5 and self.majordomo:
            self.majordomo.pop(self.chance.randrange(len(self.majordomo))).wire.close()
        elif dice < 0.7 and self.strangers:
            self.strangers.pop(self.chance.randrange(len(self.strangers))).wire.close()
        elif self.workers:
            worker = self.workers.pop(self.chance.randrange(len(self.workers)))
            if isinstance(worker, MeshWorker) and dice < 0.85:
                worker.drain()
            else:
                worker.end()

    def leave_server(self, server: MeshWorker) -> None:
        """Those that have called it without the hub go with it."""
        for connection in list(server.connections.values()):
            self._die(connection.client)

    def _die(self, client: ClientEnd) -> None:
        """Its connection breaks, and it does not come again."""
        self.gone.add(client)
        for connection in client.connections.values():
            connection.down()

    def _break(self) -> None:
        if self.workers:
            self.chance.choice(self.workers).break_connection()

    def _reload(self) -> None:
        """The hub's file has other limits and heartbeats now."""
        chance, settings = self.chance, self.hub.switch.settings
        settings = replace(
            settings,
            heartbeat=chance.choice((BEAT / 2, BEAT, 2 * BEAT)),
            queue=chance.choice((3, 10_000)),
            timeout=chance.choice((1.0, 30.0)),
        )
        self.hub.switch.configure(settings)
        self.hub.settle()

    # What must hold

    def still_bounded(self) -> None:
        switch = self.hub.switch
        assert len(switch.dropped) < 15 and len(switch.refused) < 10
        for worker in switch.workers.values():
            service = switch.services[worker.service]
            assert service.scheduler.pool.busy(worker) == len(worker.calls) - len(worker.beyond_room)
            assert len(worker.calls) >= len(worker.abandoned)
            self.seen["pings"] += len(worker.beyond_room)
        for one in self.workers:
            one.still_bounded()

    def _come_to_rest(self) -> None:
        """Whoever breaks rules goes, handlers come to their end, and all else stays."""
        for stranger in self.strangers:
            stranger.wire.close()
        for one in [one for one in self.workers if isinstance(one, OtherWorker)]:
            self.workers.remove(one)
            one.end()
        # So that no call of a client without a timeout waits for a worker that never comes.
        for service in SERVICES:
            self.workers.append(MeshWorker(self, service))
        for one in self.workers:
            one.hurry()
        for _ in range(int(PATIENCE / QUIET) + 1):
            self._stay_quiet()
            if not any(one.session.channels for one in self.workers if not isinstance(one, OtherWorker)):
                break
        self.at_rest()

    def _stay_quiet(self) -> None:
        for _ in range(int(QUIET)):
            for client, call in self.calls:
                if client not in self.gone and call.items:
                    client.take(call)
            self.advance(1.0)

    def at_rest(self) -> None:
        switch = self.hub.switch
        for _, call in self.calls:
            assert call.state is State.DONE, f"{call.method} of a client has not ended"
        if not self.seen["strangers"]:
            assert max(self.hub.ends.values(), default=0) <= 1, "a call has ended twice"
        for asker in self.majordomo:
            assert not asker.owed, f"{asker.owed} of {asker.owed + asker.ended} requests have no end"
        assert not switch.calls and not switch.clients
        for service in switch.services.values():
            assert not service.scheduler.waiting.count and not service.scheduler.waiting.size
        for (side, envelope), worker in switch.workers.items():
            assert (side, envelope[0]) in self.hub.wires, "a worker that is gone is one still"
            assert not worker.beyond_room
            assert not worker.calls and not worker.abandoned, (
                f"{len(worker.calls)} places of a worker are taken"
            )
        assert switch.owes_nothing
        for one in self.workers:
            one.at_rest()
