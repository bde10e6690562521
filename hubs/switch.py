"""What a queue or majordomo hub decides: which worker gets a call, and what belongs to that call.

Frames go in with the side they came from and the present time; frames to send come out in `out`.
Owns workers, queues and open calls; knows no socket and no clock. The driver tells it who can't be
reached any more.

A call keeps its worker to its end: a worker gets a token in place of the client's address, made
for that call, so that an answer to a call of before a restart, or of another hub, fits nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from hubs.model import Address, Call, Service, Settings, Worker
from hubs.waiting import Waiting
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.channel import NEVER, Ids, control
from mesh.core.majordomo import Command, FromClient, FromWorker, Style
from mesh.errors import WireError

Out = tuple[Address, list[bytes]]

_HEAD: Final = b"MDPW02"
_ANSWERS: Final = {b"\x03": False, b"\x04": True}
"""What is an answer of a 0.2 worker, and whether it is the last."""
LOST_AFTER: Final = 3.0
"""Heartbeats without a sign of life after which a worker is lost (RFC 7: usually 3 to 5)."""
MAX_CAPACITY: Final = 100_000
MAX_EARLY: Final = 16
"""Events of a call that are kept while it waits for a worker."""
MAX_TRIES: Final = 3
"""Workers that a call is given to: it may be what they die of."""
MAX_SERVICES: Final = 10_000
MAX_UNKNOWN: Final = 1_000
"""Services without a worker so far that calls may wait for."""
FORGET_AFTER: Final = 10.0
"""Heartbeats after its last worker and call until a service is as good as unknown."""
GRAIN: Final = 0.005
GRAIN_OF_EACH: Final = 5e-6
"""Seconds between two looks at what waits, at least, and more for each call."""


class Switch:
    """The state of one hub. base: 24 hex digits that no other sender of events has.

    wake_at: when on_timer wants to be called next. dropped: what was not understood, by kind.
    """

    def __init__(self, settings: Settings, base: bytes) -> None:
        self.settings = settings
        self.out: list[Out] = []
        self.services: dict[str, Service] = {}
        self.workers: dict[Address, Worker] = {}
        self.calls: dict[tuple[Address, Any], Call] = {}
        self.dropped: Counter[str] = Counter()
        self.wake_at = NEVER
        self.draining = False
        self._base = base
        self._now = 0.0
        self._ids = Ids(base)
        self._tokens = 0
        self._clients: dict[Address, set[Call]] = {}
        self._told: dict[Address, float] = {}

    # What comes in

    def receive(self, side: int, frames: Sequence[bytes], now: float) -> None:
        """Take in one message with its routing id. Never raises: what makes no sense is counted."""
        self._now = now
        # What comes most, past the reading of all that could come.
        if len(frames) == 3 and not frames[1] and len(frames[2]) > 6:
            self._event(side, frames, now)
            return
        if len(frames) == 6 and frames[1] == _HEAD:
            worker = self.workers.get((side, (bytes(frames[0]),)))
            if worker is not None and frames[2] in _ANSWERS and frames[3] and not frames[4]:
                worker.last_heard = now
                self._answer(worker, frames[3], _ANSWERS[frames[2]], (frames[5],))
                return
        try:
            message = mdp.read(frames[1:])
        except WireError:
            self.dropped["malformed"] += 1
            self._distrust((side, (bytes(frames[0]),)))
            return
        if type(message) is FromWorker:
            self._from_worker((side, (bytes(frames[0]),)), message, now)
        elif type(message) is FromClient:
            self._from_client((side, (bytes(frames[0]),)), message, now)
        else:
            self._event(side, frames, now)

    def _distrust(self, address: Address) -> None:
        """A worker that breaks the protocol is a worker no more."""
        worker = self.workers.get(address)
        if worker is not None:
            self._dismiss(worker, "it broke the protocol", tell=True)

    # Workers

    def _from_worker(self, address: Address, message: FromWorker, now: float) -> None:
        worker = self.workers.get(address)
        if worker is not None:
            worker.last_heard = now
        if message.command is Command.READY:
            self._ready(address, worker, message, now)
        elif worker is None:
            # Also that of before a restart: it is to register again.
            if message.command is not Command.DISCONNECT:
                self._tell_to_register(address, message.style)
        elif message.command in (Command.PARTIAL, Command.FINAL):
            self._answer(worker, message.address, message.command is Command.FINAL, message.body)
        elif message.command is Command.DISCONNECT:
            self._dismiss(worker, "it has left", tell=False)
        elif message.command is not Command.HEARTBEAT:
            self._dismiss(worker, "it broke the protocol", tell=True)

    def _ready(self, address: Address, worker: Worker | None, message: FromWorker, now: float) -> None:
        if worker is not None:
            self._dismiss(worker, "it registered twice", tell=True)
            return
        name = self._named(message.service)
        if not self._may_serve(name):
            self.dropped["registration refused"] += 1
            self.out.append((address, mdp.disconnect(message.style)))
            return
        beat = now + self.settings.heartbeat
        self._told.pop(address, None)
        worker = Worker(address, name, message.style, message.about, now, now, beat)
        self.workers[address] = worker
        service = self._service(name)
        service.seen = True
        service.alone = NEVER
        service.pool.add(address, _capacity(message.about))
        self._wake(beat)
        self._dispatch(service, now)

    def _tell_to_register(self, address: Address, style: Style) -> None:
        """Once: for what else is on its way it would register again and again."""
        if address not in self._told:
            self._told[address] = self._now + self.settings.heartbeat
            self._wake(self._told[address])
            self.out.append((address, mdp.disconnect(style)))

    def _named(self, name: str) -> str:
        only = self.settings.only
        return only if only is not None and self.settings.any_name else name

    def _may_serve(self, name: str) -> bool:
        if self.draining or name.startswith(mdp.MANAGEMENT) or self.settings.only not in (None, name):
            return False
        return name in self.services or len(self.services) < MAX_SERVICES

    def _service(self, name: str) -> Service:
        service = self.services.get(name)
        if service is None:
            settings = self.settings
            service = Service(name, Waiting(settings.queue, settings.queue_bytes))
            self.services[name] = service
        return service

    def _dismiss(self, worker: Worker, why: str, *, tell: bool) -> None:
        """This worker gets no more; its calls go to others where that is safe."""
        del self.workers[worker.address]
        service = self.services[worker.service]
        service.pool.remove(worker.address)
        if not len(service.pool):
            service.alone = self._now
            self._wake(self._now + FORGET_AFTER * self.settings.heartbeat)
        if tell:
            self._tell_to_register(worker.address, worker.style)
        for call in list(worker.calls.values()):
            call.worker = None
            if call.gone:
                continue
            if call.idempotent and not call.answered and call.tries < MAX_TRIES:
                self._wait(service, call)
            else:
                self._refuse(call, "LostRemote", f"its worker is gone: {why}", seen=True)
        worker.calls.clear()
        self._dispatch(service, self._now)

    def _answer(self, worker: Worker, token: bytes, final: bool, body: tuple[bytes, ...]) -> None:
        call = worker.calls.get(token)
        if call is None:
            self.dropped["late"] += 1
            return
        if call.idempotent and not call.answered:
            call.answered = final or not _is_beat(body[0])
            if call.answered:
                call.early.clear()
        if call.gone:
            self.dropped["late"] += 1
        elif call.style is None:
            self.out.append((call.client, [b"", body[0]]))
        elif final or call.style.version == 2:
            command = Command.FINAL if final else Command.PARTIAL
            frames = mdp.answer(call.style, command, call.asked, body)
            self.out.append((call.client, frames))
        else:
            self.dropped["partial to a client of 0.1"] += 1
        if final:
            worker.finished += 1
            del worker.calls[call.token]
            self._forget(call)
            service = self.services[worker.service]
            service.pool.give_back(worker.address)
            self._dispatch(service, worker.last_heard)

    # Clients

    def _from_client(self, client: Address, message: FromClient, now: float) -> None:
        if message.service.startswith(mdp.MANAGEMENT):
            body = self._manage(message)
            self.out.append((client, mdp.answer(message.style, Command.FINAL, message.service, [body])))
            return
        size = sum(map(len, message.body))
        deadline = now + self.settings.timeout
        call = Call(
            self._token(),
            client,
            self._named(message.service),
            message.body,
            size,
            now,
            deadline,
            style=message.style,
            asked=message.service,
        )
        self._admit(call, now)

    def _manage(self, message: FromClient) -> bytes:
        """RFC 8."""
        if message.service != "mmi.service":
            return b"501"
        service = self.services.get(self._named(message.body[-1].decode("utf-8", "replace")))
        return b"200" if service is not None and len(service.pool) else b"404"

    def _event(self, side: int, frames: Sequence[bytes], now: float) -> None:
        payload = frames[-1]
        envelope = tuple(map(bytes, frames[:-2] if len(frames) > 2 and not frames[-2] else frames[:-1]))
        header = wire.salvage_header(payload)
        if header is None or not envelope:
            self.dropped["malformed"] += 1
            return
        client = (side, envelope)
        channel = header.get("response_to")
        if channel is None:
            self._request(client, header, payload, now)
        elif type(channel) in (bytes, str):
            self._follow_up(self.calls.get((client, channel)), header, payload)
        else:
            self.dropped["malformed"] += 1

    def _request(self, client: Address, header: wire.Header, payload: bytes, now: float) -> None:
        channel = header.get("message_id")
        if type(channel) not in (bytes, str) or (client, channel) in self.calls:
            self.dropped["malformed"] += 1
            return
        name = self.settings.only or header.get("service") or self.settings.default
        left = header.get("deadline")
        seconds = left / 1000 if type(left) is int and left >= 0 else self.settings.timeout
        call = Call(
            self._token(),
            client,
            name if type(name) is str else "",
            (payload,),
            len(payload),
            now,
            now + seconds,
            channel=channel,
            idempotent=header.get("idempotent") is True,
        )
        if not call.service:
            self._refuse(call, "ServiceNotFound", "the call names no service, and this hub has no default")
            return
        self._admit(call, now)

    def _follow_up(self, call: Call | None, header: wire.Header, payload: bytes) -> None:
        """Credit, a heartbeat or a cancel of an open call."""
        if call is None:
            self.dropped["late"] += 1
            return
        if call.worker is None and header.get("cancel") is True:
            self.services[call.service].waiting.remove(call)
            self._forget(call)
            return
        again = call.idempotent and not call.answered
        if (call.worker is None or again) and len(call.early) < MAX_EARLY:
            call.early.append(payload)
        if call.worker is not None:
            self._follow(call.worker, call, payload)

    def _follow(self, worker: Worker, call: Call, payload: bytes) -> None:
        """Only mesh workers know more of a call than its request."""
        if worker.about is not None:
            self._to_worker(worker, call, (payload,))

    def _admit(self, call: Call, now: float) -> None:
        if self.draining:
            self._refuse(call, "LostRemote", "the hub is stopping")
            return
        if call.service not in self.services and not self._may_wait_for_unknown(call.size):
            self._refuse(call, "ServiceNotFound", "this hub has no worker of it")
            return
        service = self._service(call.service)
        if not len(service.waiting) and (address := service.pool.take()) is not None:
            self._enter(call)
            self._give(self.workers[address], call, now)
            return
        if not self._make_room(service, call):
            self._refuse_overload(service, call)
            return
        self._enter(call)
        if not service.seen:
            # Its workers may be on their way, as after a restart; a wrong name is told soon.
            call.deadline = min(call.deadline, now + self.settings.heartbeat)
        self._wait(service, call)

    def _enter(self, call: Call) -> None:
        self.calls[(call.client, call.token if call.channel is None else call.channel)] = call
        self._clients.setdefault(call.client, set()).add(call)

    def _make_room(self, service: Service, call: Call) -> bool:
        """A full queue gives each client its share: who has more than that has to give."""
        while not service.waiting.room(call.size):
            other = service.waiting.push_out(call.client, call.size)
            if other is None:
                return False
            self._refuse_overload(service, other)
        return True

    def _refuse_overload(self, service: Service, call: Call) -> None:
        self._refuse(call, "Overloaded", f"{len(service.waiting)} calls of {service.name!r} wait already")

    def _may_wait_for_unknown(self, size: int) -> bool:
        """Names cost nothing to make up, so all the unknown ones together have the room of one."""
        unknown = [service.waiting.size for service in self.services.values() if not service.seen]
        return len(unknown) < MAX_UNKNOWN and sum(unknown) + size <= self.settings.queue_bytes

    def _wait(self, service: Service, call: Call) -> None:
        service.waiting.add(call)
        call.next_beat = max(self._now, call.opened + self.settings.heartbeat)
        self._wake(min(call.deadline, call.next_beat))

    def _dispatch(self, service: Service, now: float) -> None:
        """Give what waits to the workers that have room."""
        while len(service.waiting):
            address = service.pool.take()
            if address is None:
                return
            call = service.waiting.take()
            assert call is not None
            self._give(self.workers[address], call, now)

    def _give(self, worker: Worker, call: Call, now: float) -> None:
        call.worker = worker
        call.tries += 1
        call.next_beat = max(now, call.opened + self.settings.heartbeat)
        worker.calls[call.token] = call
        self._to_worker(worker, call, call.body)
        for payload in call.early:
            self._follow(worker, call, payload)
        if not call.idempotent:
            call.body = ()
            call.early.clear()
        worker.next_beat = now + self.settings.heartbeat

    def _to_worker(self, worker: Worker, call: Call, body: tuple[bytes, ...]) -> None:
        self.out.append((worker.address, mdp.carried(worker.style, Command.REQUEST, call.token, body)))

    # Ends

    def _token(self) -> bytes:
        self._tokens += 1
        return self._base + b"%x" % self._tokens

    def _refuse(self, call: Call, name: str, why: str, *, seen: bool = False) -> None:
        """Tell the client that its call has come to nothing. seen: a worker had it."""
        self._forget(call)
        text = f"{call.asked or call.service or 'the call'}: {why}"
        if call.style is not None:
            body = [name.encode(), text.encode("utf-8", "replace")]
            self.out.append((call.client, mdp.answer(call.style, Command.FINAL, call.asked, body)))
            return
        header: wire.Header = {
            "message_id": self._ids.next(),
            "v": wire.VERSION,
            "response_to": call.channel,
            "refused": not seen,
        }
        self.out.append((call.client, [b"", wire.pack(header, wire.ERR, [name, text, ""])]))

    def _forget(self, call: Call) -> None:
        self.calls.pop((call.client, call.token if call.channel is None else call.channel), None)
        calls = self._clients.get(call.client)
        if calls is not None:
            calls.discard(call)
            if not calls:
                del self._clients[call.client]

    def unreachable(self, address: Address) -> None:
        """The peer of this address is gone."""
        worker = self.workers.get(address)
        if worker is not None:
            self._dismiss(worker, "its connection broke", tell=False)
        for call in list(self._clients.get(address, ())):
            if call.worker is None:
                self.services[call.service].waiting.remove(call)
            elif call.style is None and call.worker.about is not None:
                cancel = control(self._ids, call.channel, wire.BEAT, 0, cancel=True)
                self._to_worker(call.worker, call, (cancel,))
            call.gone = True
            self._forget(call)

    def probe(self, side: int) -> None:
        """A word to all who wait for one on that side: whoever can't be reached is gone."""
        for worker in self.workers.values():
            if worker.address[0] == side:
                self.out.append((worker.address, mdp.heartbeat(worker.style)))
        for client, calls in self._clients.items():
            channel = next((call.channel for call in calls if call.style is None), None)
            if client[0] == side and channel is not None:
                self.out.append((client, [b"", control(self._ids, channel, wire.BEAT, 0)]))

    def configure(self, settings: Settings) -> None:
        """Go on with other settings."""
        self.settings = settings
        for service in self.services.values():
            service.waiting.limit(settings.queue, settings.queue_bytes)
        self.wake_at = 0.0

    def farewell(self) -> None:
        """The hub ends: what is still open comes to nothing, and the workers may go elsewhere."""
        for call in list(self.calls.values()):
            self._refuse(call, "LostRemote", "the hub has stopped", seen=call.tries > 0)
        for worker in self.workers.values():
            worker.calls.clear()
            self.out.append((worker.address, mdp.disconnect(worker.style)))

    # Time

    def _wake(self, at: float) -> None:
        self.wake_at = min(self.wake_at, at)

    def on_timer(self, now: float) -> None:
        """Heartbeats, silent workers, and calls that nobody wants any more."""
        self._now = now
        self.wake_at = NEVER
        waiting = 0
        self._told = {address: until for address, until in self._told.items() if until > now}
        if self._told:
            self._wake(min(self._told.values()))
        for worker in list(self.workers.values()):
            self._beat_worker(worker, now)
        for service in list(self.services.values()):
            waiting += len(service.waiting)
            self._expire(service, now)
        self.wake_at = max(self.wake_at, now + max(GRAIN, GRAIN_OF_EACH * waiting))

    def _beat_worker(self, worker: Worker, now: float) -> None:
        lost_at = worker.last_heard + LOST_AFTER * self.settings.heartbeat
        if now >= lost_at:
            self._dismiss(worker, "it has been silent for too long", tell=True)
            return
        if worker.next_beat <= now:
            worker.next_beat = now + self.settings.heartbeat
            self.out.append((worker.address, mdp.heartbeat(worker.style)))
        if worker.about is None:
            for call in worker.calls.values():
                self._beat_client(call, now)
        self._wake(min(worker.next_beat, lost_at))

    def _beat_client(self, call: Call, now: float) -> None:
        """A client of zerorpc gives a call up that has no heartbeat."""
        if call.style is not None or call.gone:
            return
        if call.next_beat <= now:
            call.next_beat = now + self.settings.heartbeat
            self.out.append((call.client, [b"", control(self._ids, call.channel, wire.BEAT, 0)]))
        self._wake(call.next_beat)

    def _expire(self, service: Service, now: float) -> None:
        for call in service.waiting.expire(now):
            if service.seen:
                self._refuse(call, "TimeoutExpired", f"no worker was free within {now - call.opened:.3g} s")
            else:
                self._refuse(call, "ServiceNotFound", "this hub has no worker of it")
        for call in service.waiting:
            self._beat_client(call, now)
            self._wake(call.deadline)
        if not len(service.waiting) and not len(service.pool):
            forget_at = service.alone + FORGET_AFTER * self.settings.heartbeat
            if not service.seen or now >= forget_at:
                del self.services[service.name]
            else:
                self._wake(forget_at)


def _is_beat(payload: bytes) -> bool:
    try:
        return wire.unpack(payload)[1] == wire.BEAT
    except WireError:
        return False


def _capacity(about: dict[str, Any] | None) -> int:
    """Calls at once; 1 for a worker that does not say, as the RFCs assume."""
    capacity = (about or {}).get("capacity", 1)
    return min(capacity, MAX_CAPACITY) if type(capacity) is int and capacity > 0 else 1
