"""A whole mesh in one thread: clients, servers, and a network that loses, delays and breaks.

All chance comes from one seed, so that `Simulation(seed).run()` replays a failure. Knows what
must hold whatever happens: each call ends once and in time, a handler sees a call twice only
where that was allowed, and nothing is left in any table at the end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mesh.core import wire
from mesh.core.attempts import may_retry, pause
from mesh.core.call import Options
from mesh.core.channel import NEVER, State
from mesh.core.client_session import GRAIN, Call
from mesh.core.peer import Peer
from mesh.core.server_session import Limits, ServerCall
from mesh.errors import MeshError, RemoteError
from tests.helpers.pair import ClientEnd, Connection, Letter, ServerEnd, World

HEARTBEATS = (None, 0.5, 1.0, 5.0)
SLOWEST = 6.0
"""Seconds that a handler takes at the most."""
ALMOST = 1e-6


@dataclass(eq=False)
class Task:
    """What a caller wants: one logical call, perhaps of several attempts."""

    number: int
    client: ClientEnd
    method: str
    options: Options
    due: float
    leaves_after: float
    attempts: int = 0
    items: list[int] = field(default_factory=list)
    ended: str | None = None


class Simulation:
    """clients, servers: how many. seconds: how long calls are made, before all comes to rest."""

    def __init__(self, seed: int, clients: int = 4, servers: int = 3, seconds: float = 60.0) -> None:
        self.seed = seed
        self.chance = chance = random.Random(seed)
        self.world = World()
        self.world.fate = self._fate
        self.seconds = seconds
        self.tasks: list[Task] = []
        self.running: dict[Call, Task] = {}
        self.seen: Counter[int] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.cut: set[Connection] = set()
        self.dead: set[ClientEnd] = set()
        self.loss = chance.choice([0.0, 0.0, 0.02, 0.2])
        self.delay = chance.choice([0.0, 0.01, 0.5])
        heartbeat = chance.choice(HEARTBEATS)
        self.servers = [self._server(heartbeat, number) for number in range(servers)]
        self.clients = [self._client(heartbeat, number) for number in range(clients)]

    # The parts

    def _server(self, heartbeat: float | None, number: int) -> ServerEnd:
        limits = Limits(queue=self.chance.choice([2, 1_000]), queue_bytes=self.chance.choice([500, 10**6]))
        server = ServerEnd(self.world, heartbeat, limits, pool=self.chance.choice([1, 5, NEVER]))
        server.handlers = {"echo": self._echo, "fail": self._raise, "count": self._stream}
        server.name = f"tcp://server:{number}"  # type: ignore[attr-defined]
        return server

    def _client(self, heartbeat: float | None, number: int) -> ClientEnd:
        own = heartbeat if heartbeat is None or self.chance.random() < 0.7 else 2 * heartbeat
        client = ClientEnd(self.world, b"%024x" % number, heartbeat=own, random=self.chance.random)
        client.on_wake = self._woken
        for server in self.servers:
            link = Connection(self.world, client, server, f"{number}-{server.name}")  # type: ignore[attr-defined]
            if self.chance.random() < 0.7:
                link.up()
        return client

    @property
    def links(self) -> list[Connection]:
        return [link for client in self.clients for link in client.connections.values()]

    def _fate(self, letter: Letter) -> Iterable[float]:
        if letter.connection in self.cut or self.chance.random() < self.loss:
            return ()
        delay = self.chance.random() * self.delay
        if letter.name == wire.BEAT and self.chance.random() < 0.05:
            return (delay, delay)
        return (delay,)

    # Handlers

    def _later(self, server: ServerEnd, call: ServerCall, action: Callable[[], None]) -> None:
        def if_alive() -> None:
            if call in server.running:
                action()

        seconds = self.chance.choice([0.0, 0.0, 0.1, SLOWEST]) * self.chance.random()
        if seconds:
            self.world.after(seconds, if_alive)
        else:
            action()

    def _echo(self, server: ServerEnd, call: ServerCall) -> None:
        self.seen[call.args[0]] += 1
        self._later(server, call, lambda: server.answer(call, call.args[0]))

    def _raise(self, server: ServerEnd, call: ServerCall) -> None:
        self.seen[call.args[0]] += 1
        self._later(server, call, lambda: server.fail(call, KeyError(call.args[0])))

    def _stream(self, server: ServerEnd, call: ServerCall) -> None:
        self.seen[call.args[0]] += 1
        self._later(server, call, lambda: server.stream(call, range(call.args[1])))

    # Callers

    def start_task(self) -> None:
        chance = self.chance
        timeout = chance.choice([0.01, 0.5, 3.0, 10.0])
        options = Options(timeout, retries=chance.choice([0, 3]), idempotent=chance.random() < 0.3)
        task = Task(
            number=len(self.tasks),
            client=chance.choice([client for client in self.clients if client not in self.dead]),
            method=chance.choice(["echo", "echo", "fail", "count"]),
            options=options,
            due=self.world.now + timeout,
            leaves_after=chance.uniform(0.0, 5.0) if chance.random() < 0.1 else NEVER,
        )
        self.tasks.append(task)
        self._attempt(task)

    def _attempt(self, task: Task) -> None:
        left = max(task.due - self.world.now, 0.001)
        task.due = self.world.now + left
        task.attempts += 1
        task.items.clear()
        size = self.chance.choice([0, 1, 5, 500])
        try:
            peer = self._only_one(task.client)
            call = task.client.call(task.method, task.number, size, timeout=left, peer=peer)
        except MeshError as exc:
            self._failed(task, exc)
            return
        self.running[call] = task
        if task.leaves_after < NEVER:
            self.world.after(task.leaves_after, lambda: self._leave(call))

    def _only_one(self, client: ClientEnd) -> Peer | None:
        live = [peer for peer in client.connections if peer.live]
        return self.chance.choice(live) if live and self.chance.random() < 0.1 else None

    def _leave(self, call: Call) -> None:
        if call in self.running:
            task = self.running.pop(call)
            task.client.cancel(call)
            self._end(task, "left")

    def _woken(self, call: Call) -> None:
        task = self.running[call]
        now = self.world.now
        if call.state is State.DONE and not call.items:
            assert now <= task.due + GRAIN + ALMOST, f"{task} ended {now - task.due} s late"
            del self.running[call]
            if call.error is not None:
                self._failed(task, call.error)
            else:
                assert call.items is not None or call.value == task.number, "somebody else's answer"
                self._end(task, "answered")
        elif self.chance.random() < 0.2:
            task.due = NEVER
            self.world.after(self.chance.uniform(0.0, 2.0), lambda: self._read(call))
        else:
            self._read(call)

    def _read(self, call: Call) -> None:
        """Take what a stream has delivered, and wait for the next."""
        task = self.running.get(call)
        if task is None:
            return
        assert task.options.timeout is not None
        task.items += task.client.take(call, task.options.timeout)
        assert task.items == sorted(set(task.items)), "items are doubled or out of order"
        task.due = self.world.now + task.options.timeout
        if call.state is State.DONE:
            self._woken(call)

    def _failed(self, task: Task, error: Exception) -> None:
        if isinstance(error, MeshError) and self._may_retry(error, task):
            seconds = pause(task.attempts, self.chance.random)
            if self.world.now + seconds < task.due:
                self.world.after(seconds, lambda: self._again(task, error))
                return
        assert isinstance(error, RemoteError) == isinstance(error, KeyError)
        self._end(task, type(error).__name__)

    @staticmethod
    def _may_retry(error: MeshError, task: Task) -> bool:
        return may_retry(error, task.options, task.attempts, idempotent=task.options.idempotent)

    def _again(self, task: Task, error: Exception) -> None:
        if task.client in self.dead:
            self._end(task, "died")
        else:
            self._attempt(task)

    def _end(self, task: Task, how: str) -> None:
        assert task.ended is None, f"{task} ended twice: now {how}"
        task.ended = how
        self.outcomes[how] += 1

    # What goes wrong

    def _mishap(self) -> None:
        chance = self.chance
        link = chance.choice(self.links)
        if link.client in self.dead:
            return
        dice = chance.random()
        if dice < 0.2:
            self._break(link)
        elif dice < 0.35:
            self._stall(link)
        elif dice < 0.55:
            self._cut(link)
        elif dice < 0.75:
            self._crash(chance.choice(self.servers))
        elif len(self.dead) < len(self.clients) - 1:
            self._die(link.client, tells=chance.random() < 0.5)

    def _break(self, link: Connection) -> None:
        link.down()
        self.world.after(self.chance.uniform(0.0, 3.0), lambda: self._heal(link))

    def _heal(self, link: Connection) -> None:
        self.cut.discard(link)
        if not link.peer.live and link.client not in self.dead:
            link.up()

    def _stall(self, link: Connection) -> None:
        """It takes nothing for a while, and then goes on, or breaks."""
        link.stalled = True
        then = link.flow if self.chance.random() < 0.5 else lambda: self._break(link)
        self.world.after(self.chance.uniform(0.0, 3.0), then)

    def _cut(self, link: Connection) -> None:
        """Nothing gets through, and nobody is told."""
        self.cut.add(link)
        self.world.after(self.chance.uniform(0.0, 30.0), lambda: self.cut.discard(link))

    def _crash(self, server: ServerEnd) -> None:
        for call in list(server.running):
            server.session.give_up(call)
        server.running.clear()
        server.streams.clear()
        server.session.ready.clear()
        server.session = type(server.session)(b"5" * 24, server.session._interval, server.session.limits)
        for link in server.connections.values():
            if link.client not in self.dead:
                self._break(link)

    def _die(self, client: ClientEnd, tells: bool) -> None:
        """A client's process ends; `tells`: its connections break visibly."""
        self.dead.add(client)
        for call in [call for call, task in self.running.items() if task.client is client]:
            self._end(self.running.pop(call), "died")
        client.on_wake = lambda call: None
        for link in client.connections.values():
            if tells:
                link.down()
            else:
                self.cut.add(link)
        self.world.ends.remove(client)

    # The run

    def run(self) -> Simulation:
        end = self.world.now + self.seconds
        while self.world.now < end:
            for _ in range(self.chance.randrange(8)):
                self.start_task()
            if self.chance.random() < 0.15:
                self._mishap()
            self.world.advance(self.chance.expovariate(4.0))
        self.loss = self.delay = 0.0
        for link in self.links:
            if link.client not in self.dead:
                self._heal(link)
        self.world.advance(200.0)
        self._reconnect_without_heartbeats()
        self.world.advance(20.0)
        self.check()
        return self

    def _reconnect_without_heartbeats(self) -> None:
        """Without them only a connection that breaks tells that a cancel, or a client, was lost."""
        for link in self.links:
            if link.server.session._interval == NEVER:
                link.down()
                self._heal(link)

    def check(self) -> None:
        open_tasks = [task for task in self.tasks if task.ended is None]
        assert not open_tasks and not self.running, f"never ended: {open_tasks[:3]}"
        for task in self.tasks:
            if not task.options.idempotent:
                assert self.seen[task.number] <= 1, f"carried out {self.seen[task.number]} times: {task}"
        for client in self.clients:
            if client not in self.dead:
                self._check_client(client)
        for server in self.servers:
            self._check_server(server)

    def _check_client(self, client: ClientEnd) -> None:
        session = client.session
        assert not session.calls and not session.unsent and not session.woken
        assert [peer.open for peer in session.peers] == [0] * len(session.peers)
        assert session.wake_at == NEVER

    def _check_server(self, server: ServerEnd) -> None:
        session: Any = server.session
        assert not session.channels and not session.ready and not session.out and not session.woken
        assert session._queued == session._queued_bytes == 0
        assert not server.running and not server.streams
        assert session.wake_at == NEVER
