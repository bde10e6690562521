"""What a hub tells of its open calls: those that wait for a worker, and those that a worker has.

What a worker does with a call only that knows: whoever asks gets the numbers of the workers, and asks each
one by the hub, which hands the question on. So it waits for nobody. Knows no socket and no clock.
"""

from __future__ import annotations

from heapq import nsmallest
from operator import attrgetter
from typing import Any, Final

import msgpack

from hubs.switching.calls import HEAD, MAX_FOLLOW_UP, Calls
from hubs.switching.environment import Environment
from hubs.switching.model import HubClient, RoutedCall, Worker
from hubs.switching.outgoing import Outgoing
from hubs.switching.services import HubService, Services
from hubs.switching.workers import WorkerRegistry
from mesh.core import wire
from mesh.core.channel import NEVER
from mesh.core.open_calls import MOST_ROWS, MOST_TEXT, TOLD_FOR, Row, as_id, trace_of
from mesh.core.wire import OPEN_CALLS, clip
from mesh.errors import WireError

MOST_WORKERS: Final = 10_000
"""Workers that are listed one by one."""
_MOST_KEYS: Final = 100
"""Of a header that are looked at."""

_opened = attrgetter("opened")


class HubOpenCalls:
    """Answers whoever asks."""

    def __init__(
        self,
        env: Environment,
        services: Services,
        workers: WorkerRegistry,
        calls: Calls,
        outgoing: Outgoing,
    ) -> None:
        self._env = env
        self._services = services
        self._workers = workers
        self._calls = calls
        self._outgoing = outgoing
        self._pack, _ = wire.packer()
        self._told = b""
        self._until = -NEVER

    def asked(self, client: HubClient, channel: Any, payload: bytes) -> None:
        """A call of OPEN_CALLS: without arguments it asks the hub, with the number of a worker that one."""
        if type(channel) not in (bytes, str) or len(payload) > MAX_FOLLOW_UP:
            self._env.dropped["malformed"] += 1
            return
        try:
            _, name, args = wire.unpack(payload)
        except WireError:
            self._env.dropped["malformed"] += 1
            return
        if name == OPEN_CALLS and not args:
            self._outgoing.result(client.address, channel, self.told())
            return
        worker = self._worker(args[0]) if name == OPEN_CALLS and type(args) is list else None
        if worker is None:
            self._outgoing.refusal(client.address, channel, "there is no such worker of mesh, or no more")
        else:
            self._calls.ask(worker, client, channel, payload, self._env.now)

    def _worker(self, number: Any) -> Worker | None:
        worker = self._workers.by_number.get(number) if type(number) is int else None
        return worker if worker is not None and worker.about is not None else None

    def told(self) -> bytes:
        """What the hub has, as MessagePack. total: how many calls are open; `calls` has the oldest."""
        now = self._env.now
        if now >= self._until:
            self._told, self._until = self._pack(self._look(now)), now + TOLD_FOR
        return self._told

    def _look(self, now: float) -> Row:
        workers = self._workers.by_address.values()
        unwanted = [call for one in workers for call in one.calls.values() if call.abandoned]
        every = [call for call in [*self._calls.open, *unwanted] if call.service]
        waits = {name: _waits(service) for name, service in self._services.items()}
        return {
            "hub": self._env.settings.hub,
            **self._env.driver.describe(),
            "total": len(every),
            "calls": [self._row(call, waits, now) for call in nsmallest(MOST_ROWS, every, key=_opened)],
            "workers": [_worker(one, now) for one in list(workers)[:MOST_WORKERS]],
        }

    def _row(self, call: RoutedCall, waits: dict[str, Row], now: float) -> Row:
        address, worker = call.client.address, call.worker
        caller = self._calls.callers.get(address)
        method, header = read_head(call.head or (call.body[0][:HEAD] if call.body else b""))
        nobody: Row = {"kind": "worker", "running": 0, "most": 0, "waiting": 0}
        return {
            "id": as_id(call.channel or b""),
            **trace_of(header),
            "service": clip(self._services.display_name(call.service), MOST_TEXT),
            "method": clip(method, MOST_TEXT),
            "age": _seconds(now - call.opened),
            "caller": str(caller) if caller else clip(self._env.driver.host_of(address), MOST_TEXT),
            "program": caller.program if caller else "",
            "wanted": not call.abandoned,
            "worker": worker.number if worker else 0,
            "given": _seconds(now - call.given) if worker else 0.0,
            "state": "given" if worker else "waiting",
            "waits_for": {"kind": "unknown"} if worker else waits.get(call.service, nobody),
        }


def _waits(service: HubService) -> Row:
    """What a call of this service waits for that no worker has."""
    pool = service.scheduler.pool
    most, running = sum(map(pool.capacity, pool)), sum(map(pool.busy, pool))
    return {"kind": "worker", "running": running, "most": most, "waiting": service.scheduler.waiting.count}


def _worker(worker: Worker, now: float) -> Row:
    about = worker.about or {}
    host, pid, kind = about.get("host"), about.get("pid"), about.get("kind")
    return {
        "number": worker.number,
        "service": clip(worker.registered_as, MOST_TEXT),
        "host": clip(host, MOST_TEXT) if type(host) is str else "",
        "pid": pid if type(pid) is int and 0 <= pid < 2**32 else 0,
        "kind": clip(kind, MOST_TEXT) if type(kind) is str else "",
        "mesh": worker.about is not None,
        "calls": len(worker.calls),
        "last_heard": _seconds(now - worker.last_heard),
    }


def read_head(head: bytes) -> tuple[str, wire.Header]:
    """The name of an event and the header, as far as its beginning tells: "" where it does not."""
    reader = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=HEAD)
    header: wire.Header = {}
    try:
        reader.feed(head)
        if reader.read_array_header() != 3:
            return "", header
        for _ in range(min(reader.read_map_header(), _MOST_KEYS)):
            key = reader.unpack()
            header[key] = reader.unpack()
        name = reader.unpack()
    except wire.UNREADABLE:
        return "", header
    return name if type(name) is str else "", header


def _seconds(seconds: float) -> float:
    return round(max(seconds, 0.0), 3)
