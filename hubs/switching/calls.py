"""The open calls of one hub: how they come in, wait, reach a worker, and end. Each ends exactly once.

Owns the calls. Which worker gets one is the scheduler's matter; that a worker comes and goes it is told.
Knows no socket and no clock.

A call keeps its worker to its end: a worker gets a token in place of the client's address, made
for that call, so that an answer to a call of before a restart, or of another hub, fits nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from operator import attrgetter
from shlex import quote
from typing import Any, Final

from hubs.switching.environment import Environment
from hubs.switching.event_header import (
    EventHeader,
    is_answer,
    is_beat,
    is_error,
    is_ping,
    is_result,
    leaves_open,
    name_of,
)
from hubs.switching.majordomo_clients import MajordomoClients
from hubs.switching.model import Address, HubClient, RoutedCall, Worker
from hubs.switching.outgoing import Outgoing
from hubs.switching.scheduler import Assignment
from hubs.switching.services import FORGET_AFTER, HubService, Services
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.callers import FROM_PROCESS, Callers
from mesh.core.channel import NEVER
from mesh.core.majordomo import Command, FromClient, Style
from mesh.core.progress import BACKLOG
from mesh.core.recording import CANCELLED
from mesh.core.server_session import MAX_CHANNEL_ID
from mesh.core.trace_record import GOOD

MAX_EARLY: Final = 16
"""Events of a call that are kept while it waits for a worker."""
HEAD: Final = 512
"""Bytes of an event that are kept while a worker has it: they mostly name the method and the trace."""
MAX_FOLLOW_UP: Final = 4_096
"""Bytes of each, and of any other event of a client that is no call: credit, or a heartbeat."""
MAX_TRIES: Final = 3
"""Workers that a call is given to: it may be what they die of."""
LOOKED_AT: Final = 32
"""Workers among which one is chosen, while none has room, for a call that needs none."""
MAX_BEYOND_ROOM: Final = 100
"""Such calls that a worker has to answer; more wait as others do. A sidecar takes as many pings."""
AWAKE: Final = 1.5
"""Heartbeats within which a worker of another make was heard for which the hub answers."""
EARLY: Final = 0.1
EARLY_SHARE: Final = 0.05
"""Seconds, and the share of its time, by which a call that waits is refused before its client's own clock
ends it, so that the client learns the hub's reason; the less of the two."""
RETURN: Final = 2.0
"""Seconds after the start of a hub within which its workers come back, however short its heartbeats are."""

_last_heard = attrgetter("last_heard")


class Calls:
    """base: 24 hex digits that no other hub has."""

    def __init__(
        self,
        env: Environment,
        services: Services,
        outgoing: Outgoing,
        majordomo_clients: MajordomoClients,
        base: bytes,
    ) -> None:
        self._env = env
        self._services = services
        # The same dict, as a call looks its service up twice.
        self._service_by_name = services.by_name
        self._outgoing = outgoing
        self._majordomo_clients = majordomo_clients
        self._base = base
        self._tokens = 0
        self.clients: dict[Address, HubClient] = {}
        """Those with open calls."""
        self.callers: Callers[Address] = Callers()
        """The clients that have said which process they are."""

    @property
    def open(self) -> list[RoutedCall]:
        """All that have somebody who waits for them."""
        return [call for client in self.clients.values() for call in client.calls.values()]

    # What clients send

    def client_at(self, address: Address) -> HubClient:
        """The client of that address; one that has no call open is made."""
        return self.clients.get(address) or HubClient(address)

    def request(
        self, client: HubClient, header: EventHeader, payload: bytes, now: float, batched: bool
    ) -> None:
        """The event that begins a call."""
        channel, _, left, name, _, idempotent, batch, key, trace_id, span_id = header
        kind = type(channel)
        if (
            (kind is not bytes and kind is not str)
            or len(channel) > MAX_CHANNEL_ID
            or channel in client.calls
        ):
            self._env.dropped["malformed"] += 1
            return
        settings = self._env.settings
        name = settings.only or name or settings.default
        seconds = settings.timeout
        if type(left) is int and left >= 0:
            seconds = left / 1000
            early = seconds * EARLY_SHARE
            seconds -= early if early < EARLY else EARLY
        known = name if type(name) is str else ""
        call = RoutedCall(self._token(), client, known, (payload,), len(payload), now, now + seconds, channel)
        call.batched = batched
        call.key = key
        if trace_id is not None:
            call.trace = (trace_id, span_id)
        if idempotent is True:
            call.idempotent = True
        if batch is not None:
            self._greet(call, batch, payload)
        if not known:
            problem = "its service is no text"
            if not name:
                problem = f"it names no service, and hub {settings.hub!r} has no 'default'"
            self._refuse(call, "ServiceNotFound", problem)
            return
        self._admit(call, now)

    def _greet(self, call: RoutedCall, batch: Any, payload: bytes) -> None:
        """The first call on a connection: it says who its client is, and mostly asks for batches."""
        self.callers.note(call.client.address, (wire.salvage_header(payload) or {}).get(FROM_PROCESS))
        if batch == 1:
            self._agree_on_batches(call)

    def _agree_on_batches(self, call: RoutedCall) -> None:
        """Its client may send several events in one frame; not where devices stand between, which would
        give them all to one of us."""
        if len(call.client.address[1]) == 1 and self._env.settings.batch >= mdp.MAX_BATCH:
            self._outgoing.beat_apart(call, batch=1)

    def majordomo_request(
        self, client: HubClient, message: FromClient, header: EventHeader | None, now: float
    ) -> None:
        """A request of Majordomo. header: that of the event in it, where there is one that begins a call."""
        name, size = self._services.named(message.service), sum(map(len, message.body))
        due = now + self._env.settings.timeout
        call = RoutedCall(self._token(), client, name, message.body, size, now, due)
        call.style, call.requested_as = message.style, message.service
        if header is not None:
            call.key = header.key
            # Workers of mesh look at the first frame of a body, whatever comes after it.
            channel = header.message_id
            if type(channel) in (bytes, str) and len(channel) <= MAX_CHANNEL_ID:
                call.channel = channel
        self._admit(call, now)

    def follow_up(self, client: HubClient, channel: bytes | str, payload: bytes, *, cancel: bool) -> None:
        """Credit, a heartbeat or a cancel of an open call."""
        call = client.calls.get(channel)
        if call is None:
            self._env.dropped["late"] += 1
            return
        if cancel:
            self._give_up(call, payload)
            return
        if len(payload) > MAX_FOLLOW_UP:
            self._env.dropped["malformed"] += 1
            return
        call.client_heard = self._env.now
        again = call.idempotent and not call.answered
        if (call.worker is None or again) and len(call.early) < MAX_EARLY:
            call.early = (*call.early, payload)
        if call.worker is not None:
            self._outgoing.follow(call.worker, call, payload)

    def give_up_client(self, address: Address) -> None:
        """This client has gone: nobody wants its calls."""
        self.callers.forget(address)
        for call in list(self.client_at(address).calls.values()):
            self._give_up(call)

    def _give_up(self, call: RoutedCall, cancel: bytes | None = None, outcome: str = CANCELLED) -> None:
        """Nobody wants it any more. Its worker is told, and has its slot taken until it has ended it,
        or for `timeout` where it can't be told. outcome: that its record tells."""
        env, worker = self._env, call.worker
        if worker is None:
            service = self._service_by_name[call.service]
            service.scheduler.withdraw(call)
            if env.now >= call.due:
                # The client's clock was faster than ours.
                self._count_refused(service, self._unserved(service, call)[0])
        elif call.channel is not None and cancel:
            self._outgoing.follow(worker, call, cancel)
        elif call.channel is not None:
            self._outgoing.follow_control(worker, call, wire.BEAT, cancel=True)
        call.abandoned = True
        call.body = ()
        call.early = ()
        if worker is not None and (worker.about is None or call.channel is None):
            call.deadline = env.now + env.settings.timeout
            worker.abandoned[call.token] = call
            env.wake(call.deadline)
        self._forget(call)
        self._record(call, outcome)

    # To a worker

    def _admit(self, call: RoutedCall, now: float) -> None:
        if self._env.draining:
            self._refuse(call, "LostRemote", "the hub is stopping")
            return
        service = self._service_by_name.get(call.service)
        if service is None:
            if not self._services.may_open_unknown(call.size):
                self._refuse(call, "ServiceNotFound", self._nobody(call.service))
                return
            service = self._services.open(call.service)
        scheduler = service.scheduler
        if call.key is not None and (problem := scheduler.problem(call)):
            self._refuse(call, "WireError", problem)
            return
        worker = scheduler.submit(call)
        if worker is not None:
            self._enter(call)
            self._give(worker, call, now)
            return
        if call.channel is not None and self._needs_no_room(service, call, now):
            return
        self._let_wait(service, call, now)

    def _needs_no_room(self, service: HubService, call: RoutedCall, now: float) -> bool:
        """Whether a call did not have to wait for a worker that has room: a ping, and one of a method that
        there is not. A worker of mesh answers them outside of its pool."""
        if is_ping(call.body[0]):
            return self._pass_ping(_some_of(service), call, now)
        # The usual one first, as this is done for each call while none has room.
        if service.methods is None or (name := name_of(call.body[0])) is None or name in service.methods:
            return False
        some = _some_of(service)
        if any(one.methods is None or name in one.methods for one in some):
            return False
        return self._give_beyond_room(some, call, now)

    def _give_beyond_room(self, workers: Sequence[Worker], call: RoutedCall, now: float) -> bool:
        """Give it to a worker of mesh, whatever that has: its room is for others. False where there is none.

        The one is chosen that was heard last: a frozen one says nothing.
        """
        of_mesh = [one for one in workers if one.about is not None and len(one.beyond_room) < MAX_BEYOND_ROOM]
        if not of_mesh:
            return False
        worker = max(of_mesh, key=_last_heard)
        worker.beyond_room.add(call.token)
        self._enter(call)
        self._give(worker, call, now)
        return True

    def _pass_ping(self, workers: Sequence[Worker], call: RoutedCall, now: float) -> bool:
        """Have one of them answer a ping. One of another make can't do more than its one call, so the hub
        answers for it, if its heartbeats go on."""
        if self._give_beyond_room(workers, call, now):
            return True
        for other in workers:
            if other.about is None and now - other.last_heard <= AWAKE * other.interval:
                self._outgoing.pong(call, other.registered_as)
                return True
        return False

    def ask(
        self, worker: Worker, client: HubClient, channel: bytes | str, payload: bytes, now: float
    ) -> None:
        """Give this worker a question about itself, whatever room it has; refused where it owes many
        answers already.
        """
        if channel in client.calls:
            self._env.dropped["malformed"] += 1
            return
        due = now + self._env.settings.timeout
        call = RoutedCall(self._token(), client, worker.service, (payload,), len(payload), now, due, channel)
        if not self._give_beyond_room([worker], call, now):
            self._refuse(call, "Overloaded", f"its worker{worker.origin} has answered none of many questions")

    def _let_wait(self, service: HubService, call: RoutedCall, now: float) -> None:
        """Where the queue is full somebody has to give way, which may be this call."""
        scheduler, env = service.scheduler, self._env
        full = "" if scheduler.waiting.room(call.size) else self._full(service)
        waits = True
        for other in scheduler.enqueue(call):
            waits = waits and other is not call
            self._refuse(other, "Overloaded", full)
        if not waits:
            return
        self._enter(call)
        if not service.had_worker:
            # Its workers may be on their way, as after a restart; a wrong name is told soon.
            call.deadline = min(call.deadline, max(now + env.settings.heartbeat, env.began + RETURN))
        self._expect_beat(call)

    def _expect_beat(self, call: RoutedCall) -> None:
        """The client of a call that waits hears of it from the hub."""
        env = self._env
        call.next_beat = max(env.now, call.opened + env.settings.heartbeat)
        env.wake(min(call.deadline, call.next_beat))

    def _full(self, service: HubService) -> str:
        """Which bound the queue has come to, and what there is to do."""
        count, size = service.scheduler.waiting.count, service.scheduler.waiting.size
        most, most_bytes = self._env.settings.queue, self._env.settings.queue_bytes
        waits = "1 call waits" if count == 1 else f"{count} calls wait"
        if count >= most:
            return f"{waits} already, of at most {most}: start more workers, or set a larger 'queue'"
        taken = f"{size} bytes of at most {most_bytes}"
        return f"{waits} already, {taken}: start more workers, or set a larger 'queue_bytes'"

    def _enter(self, call: RoutedCall) -> None:
        client = call.client
        if not client.calls:
            self.clients[client.address] = client
        client.calls[call.channel if call.style is None else call.token] = call

    def _give_all(self, assignments: Iterable[Assignment], now: float) -> None:
        for worker, call in assignments:
            self._give(worker, call, now)

    def _give(self, worker: Worker, call: RoutedCall, now: float) -> None:
        call.worker = worker
        call.tries += 1
        call.given = now
        next_beat = call.opened + self._env.settings.heartbeat
        call.next_beat = now if next_beat < now else next_beat
        worker.calls[call.token] = call
        if call.size >= BACKLOG:
            worker.large_since = now
        self._outgoing.to_worker(worker, call.token, call.body)
        if call.early:
            for payload in call.early:
                self._outgoing.follow(worker, call, payload)
        if not call.idempotent:
            call.head = call.body[0][:HEAD]
            call.body = call.early = ()
        worker.next_beat = now + worker.interval

    # What workers answer

    def answer(self, worker: Worker, token: bytes, final: bool, body: tuple[bytes, ...]) -> None:
        """An answer of a worker, or a part of one."""
        call = worker.calls.pop(token, None) if final else worker.calls.get(token)
        if call is None:
            self._env.dropped["late"] += 1
            return
        usual = final and is_result(body[0], call.channel)
        if call.idempotent and not call.answered:
            call.answered = final or not is_beat(body[0])
            if call.answered:
                call.early = ()
        if call.abandoned:
            self._env.dropped["late"] += 1
            if final:
                worker.abandoned.pop(token, None)
        elif call.style is None:
            if usual or (is_answer(body[0], call.channel) and not (final and leaves_open(body[0]))):
                self._outgoing.to_client(call, body[0])
            else:
                self._reject(worker, call, body, final)
        else:
            self._to_majordomo(worker, call, call.style, final, body)
        if not final:
            call.next_beat = worker.last_heard + self._env.settings.heartbeat
            return
        service = self._service_by_name[worker.service]
        now, stats = worker.last_heard, service.stats
        if now >= stats.slice_ends:
            stats.begin_slice(now)
        stats.calls += 1
        worker.ended += 1
        if not call.abandoned:
            self._forget(call)
            failed = not usual and is_error(body[0])
            if failed:
                stats.errors += 1
                worker.errors += 1
            if call.trace is not None:
                self._record(call, wire.ERR if failed else GOOD)
        if token in worker.beyond_room:
            worker.beyond_room.remove(token)
        elif given := service.scheduler.freed(worker):
            self._give_all(given, now)

    def _to_majordomo(
        self, worker: Worker, call: RoutedCall, style: Style, final: bool, body: tuple[bytes, ...]
    ) -> None:
        """To a client that says nothing after its request, and in 0.1 hears one answer."""
        name = name_of(body[0]) if call.channel is not None and not final else None
        if final or style.version == 2:
            if name is not None:
                self._majordomo_clients.passed(worker, call, name)
            self._outgoing.to_majordomo(call, Command.FINAL if final else Command.PARTIAL, body)
        elif name == wire.BEAT:
            self._majordomo_clients.passed(worker, call, name)
        elif name == wire.STREAM:
            why = "the answer is a stream of many, and Majordomo 0.1 takes one for a call: use 0.2"
            self._outgoing.error(call, "WireError", f"{call.requested_as}: {why}", refused=False)
            self._give_up(call, outcome="WireError")
        else:
            self._env.dropped["partial to a client of 0.1"] += 1

    def _reject(self, worker: Worker, call: RoutedCall, body: tuple[bytes, ...], final: bool) -> None:
        """An answer that its client would wait on for ever, or take for that of another call."""
        env = self._env
        self._service_by_name[worker.service].stats.errors += 1
        worker.errors += 1
        # A mesh worker that could not read the call says so.
        if len(body) == 2 and body[0] == b"WireError":
            what = f"could not read the call: {body[1][:200].decode('utf-8', 'replace')}"
        else:
            what = "gave an answer that is none to this call, does not end it, or is no event at all"
        why = f"its worker{worker.origin} {what}"
        self._outgoing.error(call, "WireError", f"{worker.registered_as}: {why}", refused=False)
        if env.now >= worker.blamed_until:
            worker.blamed_until = env.now + env.settings.heartbeat
            env.warn(f"a call of {worker.registered_as} has failed: {why}")
        if final:
            call.abandoned = True
            self._forget(call)
            self._record(call, "WireError")
        else:
            self._give_up(call, outcome="WireError")

    # Workers come and go

    def worker_added(self, worker: Worker, capacity: int) -> None:
        """A worker takes calls of its service from now on."""
        service = self._services.open(worker.service)
        if not service.had_worker:
            service.had_worker = True
            for call in service.scheduler.waiting:
                call.deadline = call.due
        service.empty_since = NEVER
        service.registered_name = service.registered_name or worker.registered_as
        self._give_all(service.scheduler.add(worker, capacity), self._env.now)

    def worker_resized(self, worker: Worker, capacity: int) -> None:
        """It takes another number of calls at once."""
        self._give_all(
            self._service_by_name[worker.service].scheduler.resize(worker, capacity), self._env.now
        )

    def worker_gone(self, worker: Worker, what: str) -> None:
        """This worker gets no more, and its calls go to others where that is safe. what: it has done."""
        service, env = self._service_by_name[worker.service], self._env
        orphans = [call for call in worker.calls.values() if not call.abandoned]
        worker.calls.clear()
        worker.abandoned.clear()
        worker.batch = None
        again = [call for call in orphans if self._may_go_again(call)]
        for call in again:
            call.worker = None
            # It may come back to the same worker, where the handler of before still runs.
            call.token = self._token()
        given = service.scheduler.remove(worker, again)
        for call in orphans:
            if call.worker is worker:
                call.worker = None
                text = f"its worker{worker.origin} is gone: it {what}"
                self._refuse(call, "LostRemote", text, seen=True)
            else:
                self._expect_beat(call)
        if not len(service.scheduler.pool):
            service.empty_since = env.now
            env.wake(env.now + FORGET_AFTER * env.settings.heartbeat)
        self._give_all(given, env.now)

    def _may_go_again(self, call: RoutedCall) -> bool:
        return call.idempotent and not call.answered and call.tries < MAX_TRIES

    def take_back(self, worker: Worker, now: float) -> None:
        """Free the slots that calls of clients that are gone have held for `timeout`, where the worker could
        not be told: it may have dropped them, as some do with what they can't read."""
        env = self._env
        late = [call for call in worker.abandoned.values() if call.deadline <= now]
        if late:
            text = "has not answered a call since its client is gone, and gets others in its place"
            env.warn(f"the worker{worker.origin} of {worker.registered_as} {text}")
        for call in late:
            del worker.abandoned[call.token], worker.calls[call.token]
            self._give_all(self._service_by_name[worker.service].scheduler.freed(worker), now)
        env.wake(min((call.deadline for call in worker.abandoned.values()), default=NEVER))

    # Ends

    def _token(self) -> bytes:
        self._tokens += 1
        return self._base + b"%x" % self._tokens

    def _refuse(self, call: RoutedCall, name: str, why: str, *, seen: bool = False) -> None:
        """Tell the client that its call has come to nothing. seen: a worker had it."""
        self._forget(call)
        service = self._service_by_name.get(call.service)
        if call.tries and not seen:
            seen, name, why = True, "LostRemote", f"a worker that had it is gone, and then {why}"
        if not seen:
            self._count_refused(service, name)
        elif service is not None:
            service.stats.lost(self._env.now)
        self._record(call, name)
        text = f"{call.requested_as or self._services.display_name(call.service) or 'a call'}: {why}"
        self._outgoing.error(call, name, text, refused=not seen)

    def refuse_all(self, name: str, why: str) -> None:
        """The hub ends: what is still open comes to nothing."""
        for call in self.open:
            self._refuse(call, name, why, seen=call.tries > 0)

    def _count_refused(self, service: HubService | None, name: str) -> None:
        self._env.refused[name] += 1
        if service is not None:
            service.stats.refused += 1

    def _unserved(self, service: HubService, call: RoutedCall) -> tuple[str, str]:
        """The error of a call that has waited in vain, and why."""
        if service.had_worker and len(service.scheduler.pool):
            return "TimeoutExpired", f"no worker was free within {self._env.now - call.opened:.3g} s"
        return "ServiceNotFound", self._nobody(call.service)

    def _nobody(self, name: str) -> str:
        """That there is no worker, and what to do. A hub of one service has it, whatever it was called."""
        hub, only = self._env.settings.hub, self._env.settings.only
        if only is None:
            return f"hub {hub!r} has no worker of {name!r:.80}: start one, or correct the name"
        at = self._env.driver.worker_endpoint() or "ITS-OUT-ENDPOINT"
        advice = f"mesh-register {quote(self._services.display_name(only))} TARGET --hub {quote(at)}"
        mark = "`" if "'" in advice else "'"
        return f"hub {hub!r} has no worker: start one with {mark}{advice}{mark}"

    def _record(self, call: RoutedCall, outcome: str) -> None:
        """A call has ended; where it belongs to a trace, that is kept for the collector."""
        if call.trace is None or self._env.recorder is None:
            return
        given = call.given if call.tries else self._env.now
        worker = "" if call.worker is None else call.worker.stable_name
        service = self._services.display_name(call.service)
        self._env.recorder.hub_ended(service, call.trace, call.opened, given, outcome, worker)

    def _forget(self, call: RoutedCall) -> None:
        client = call.client
        known = client.calls.pop(call.channel if call.style is None else call.token, None)
        if known is not None and not client.calls:
            del self.clients[client.address]

    # Time

    def beat_clients_of(self, worker: Worker, now: float) -> None:
        """The clients of its calls hear from the hub, as it gives no heartbeats, or they are held up."""
        for call in worker.calls.values():
            self._beat_client(call, now)

    def _beat_client(self, call: RoutedCall, now: float) -> None:
        """A client of zerorpc gives a call up that has no heartbeat."""
        if call.style is not None or call.abandoned:
            return
        if call.next_beat <= now:
            call.next_beat = now + self._env.settings.heartbeat
            self._outgoing.beat(call)
        self._env.wake(call.next_beat)

    def expire(self, now: float) -> int:
        """Refuse what has waited for too long, and give signs of life of the rest; how many had waited."""
        waited = 0
        for service in list(self._services.values()):
            waited += service.scheduler.waiting.count
            for call in service.scheduler.expire(now):
                self._refuse(call, *self._unserved(service, call))
            for call in service.scheduler.waiting:
                self._beat_client(call, now)
                self._env.wake(call.deadline)
            self._env.wake(self._services.forget_if_idle(service, now))
        return waited

    def probe(self, side: int) -> None:
        """A word to all clients that wait for one on that side: whoever can't be reached is gone."""
        for client in self.clients.values():
            call = next(filter(_may_be_probed, client.calls.values()), None)
            if client.address[0] == side and call is not None:
                self._outgoing.beat_apart(call)


def _may_be_probed(call: RoutedCall) -> bool:
    """Whether its client expects heartbeats: one of Majordomo only those of a worker of mesh."""
    if call.style is None:
        return True
    of_mesh = call.worker is not None and call.worker.about is not None
    return call.channel is not None and call.style.version == 2 and of_mesh


def _some_of(service: HubService) -> list[Worker]:
    """Workers that take calls, at the most as many as may be looked at for one call."""
    pool = service.scheduler.pool
    return [one for one in islice(pool, LOOKED_AT) if pool.capacity(one)]
