"""The open calls of one hub: which worker gets a call, what waits, and what belongs to a call.

Owns services and calls; of workers it knows those that are in a service's pool. Knows no socket and
no clock.

A call keeps its worker to its end: a worker gets a token in place of the client's address, made
for that call, so that an answer to a call of before a restart, or of another hub, fits nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from logging import WARNING
from operator import attrgetter
from shlex import quote
from typing import Any, Final

from hubs.switching.event_header import Head, is_answer, is_beat, is_error, is_ping, leaves_open, name_of
from hubs.switching.model import Address, Call, Service, Settings, Worker
from hubs.switching.sending import Sending
from hubs.switching.waiting import Waiting
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.channel import NEVER, control
from mesh.core.majordomo import Command, Style
from mesh.core.progress import BACKLOG
from mesh.core.server_session import MAX_CHANNEL_ID

MAX_EARLY: Final = 16
"""Events of a call that are kept while it waits for a worker."""
MAX_FOLLOW_UP: Final = 4_096
"""Bytes of each, and of any other event of a client that is no call: credit, or a heartbeat."""
MAX_TRIES: Final = 3
"""Workers that a call is given to: it may be what they die of."""
LOOKED_AT: Final = 32
"""Workers among which one is chosen for a ping while none has room."""
MAX_PINGS: Final = 100
"""Pings that a worker without room has to answer; more wait as calls do. A sidecar takes as many."""
AWAKE: Final = 1.5
"""Heartbeats within which a worker of another make was heard for which the hub answers."""
MAX_UNKNOWN: Final = 1_000
"""Services without a worker so far that calls may wait for."""
EARLY: Final = 0.1
EARLY_SHARE: Final = 0.05
"""Seconds, and the share of its time, by which a call that waits is refused before its client's own clock
ends it, so that the client learns the hub's reason; the less of the two."""
RETURN: Final = 2.0
"""Seconds after the start of a hub within which its workers come back, however short its heartbeats are."""
FORGET_AFTER: Final = 10.0
"""Heartbeats after its last worker and call until a service is as good as unknown."""


_last_heard = attrgetter("last_heard")


class Calls(Sending):
    """base: 24 hex digits that no other sender of events has. describe: what the driver knows of the hub.

    dropped: what was not understood, by kind; refused: the calls that were, by error. notes: for the
    log, with the level of each. clients: those with open calls. wake_at: when the timer is wanted next.
    began: when the hub was started.
    """

    def __init__(self, settings: Settings, base: bytes, describe: Callable[[], dict[str, Any]]) -> None:
        super().__init__(base)
        self.settings = settings
        self._describe = describe
        self.services: dict[str, Service] = {}
        self.log_lines: list[tuple[int, str]] = []
        self.dropped: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.wake_at = NEVER
        self.draining = False
        self.began = -NEVER
        self._base = base
        self._now = 0.0
        self._tokens = 0
        # By the message id; by our token where the client speaks Majordomo, and may use an id again.
        self.clients: dict[Address, dict[Any, Call]] = {}
        if settings.only is not None:
            self._service(settings.only)

    @property
    def calls(self) -> list[Call]:
        """All that are open and have somebody who waits for them."""
        return [call for theirs in self.clients.values() for call in theirs.values()]

    def _wake(self, at: float) -> None:
        self.wake_at = min(self.wake_at, at)

    def named(self, name: str) -> str:
        """What a service is known by here: a queue hub may have one that is called anything."""
        only = self.settings.only
        return only if only is not None and self.settings.any_name else name

    def _service(self, name: str) -> Service:
        service = self.services.get(name)
        if service is None:
            settings = self.settings
            service = Service(name, Waiting(settings.queue, settings.queue_bytes))
            self.services[name] = service
        return service

    def _called(self, name: str) -> str:
        """A service's name for those who read it."""
        service = self.services.get(name)
        return (service and service.called) or name

    # What clients send

    def _request(self, client: Address, head: Head, payload: bytes, now: float, batched: bool) -> None:
        channel, _, left, name, _, idempotent, batch = head
        if type(channel) not in (bytes, str) or len(channel) > MAX_CHANNEL_ID:
            self.dropped["malformed"] += 1
            return
        theirs = self.clients.get(client)
        if theirs is not None and channel in theirs:
            self.dropped["malformed"] += 1
            return
        settings = self.settings
        name = settings.only or name or settings.default
        seconds = settings.timeout
        if type(left) is int and left >= 0:
            seconds = left / 1000 - min(EARLY, EARLY_SHARE * left / 1000)
        known = name if type(name) is str else ""
        call = Call(self._token(), client, known, (payload,), len(payload), now, now + seconds, channel)
        call.batched = batched
        if idempotent is True:
            call.idempotent = True
        if batch == 1:
            self._agree(call)
        if not known:
            problem = "its service is no text"
            if not name:
                problem = f"it names no service, and hub {settings.hub!r} has no 'default'"
            self._refuse(call, "ServiceNotFound", problem)
            return
        self._admit(call, now)

    def _agree(self, call: Call) -> None:
        """Its client may send several events in one frame; not where devices stand between, which would
        give them all to one of us."""
        if len(call.client[1]) == 1 and self.settings.batch >= mdp.MAX_BATCH:
            beat = control(self._ids, call.channel, wire.BEAT, 0, batch=1)
            self.out.append((call.client, [b"", beat]))

    def _follow_up(self, call: Call | None, payload: bytes, *, cancel: bool) -> None:
        """Credit, a heartbeat or a cancel of an open call."""
        if call is None:
            self.dropped["late"] += 1
            return
        if cancel:
            self._give_up(call, payload)
            return
        if len(payload) > MAX_FOLLOW_UP:
            self.dropped["malformed"] += 1
            return
        call.heard = self._now
        again = call.idempotent and not call.answered
        if (call.worker is None or again) and len(call.early) < MAX_EARLY:
            call.early = (*call.early, payload)
        if call.worker is not None:
            self._follow(call.worker, call, payload)

    def _give_up(self, call: Call, cancel: bytes | None = None) -> None:
        """Nobody wants it any more. Its worker is told, and has its slot taken until it has ended it,
        or for `timeout` where it can't be told."""
        if call.worker is None:
            service = self.services[call.service]
            service.waiting.remove(call)
            if self._now >= call.due:
                # The client's clock was faster than ours.
                self._count_refused(service, self._unserved(service, call)[0])
        elif call.channel is not None:
            self._follow(
                call.worker, call, cancel or control(self._ids, call.channel, wire.BEAT, 0, cancel=True)
            )
        call.gone = True
        call.body = ()
        call.early = ()
        worker = call.worker
        if worker is not None and (worker.about is None or call.channel is None):
            call.deadline = self._now + self.settings.timeout
            worker.left[call.token] = call
            self._wake(call.deadline)
        self._forget(call)

    def _take_back(self, worker: Worker, now: float) -> None:
        """Free the slots that calls of clients that are gone have held for `timeout`, where the worker could
        not be told: it may have dropped them, as some do with what they can't read."""
        late = [call for call in worker.left.values() if call.deadline <= now]
        if late:
            service = self.services[worker.service]
            for call in late:
                del worker.left[call.token], worker.calls[call.token]
                service.pool.give_back(worker)
            text = "has not answered a call since its client is gone, and gets others in its place"
            self.log_lines.append((WARNING, f"the worker{worker.who} of {worker.asked} {text}"))
            self._dispatch(service, now)
        self._wake(min((call.deadline for call in worker.left.values()), default=NEVER))

    def _admit(self, call: Call, now: float) -> None:
        if self.draining:
            self._refuse(call, "LostRemote", "the hub is stopping")
            return
        service = self.services.get(call.service)
        if service is None:
            if not self._may_wait_for_unknown(call.size):
                self._refuse(call, "ServiceNotFound", self._nobody(call.service))
                return
            service = self._service(call.service)
        if not service.waiting.count and (worker := service.pool.take()) is not None:
            self._enter(call)
            self._give(worker, call, now)
            return
        if call.channel is not None and is_ping(call.body[0]) and self._pass_ping(service, call, now):
            return
        if not self._make_room(service, call):
            return
        self._enter(call)
        if not service.seen:
            # Its workers may be on their way, as after a restart; a wrong name is told soon.
            call.deadline = min(call.deadline, max(now + self.settings.heartbeat, self.began + RETURN))
        self._wait(service, call)

    def _pass_ping(self, service: Service, call: Call, now: float) -> bool:
        """Whether a ping need not wait for a worker that has room, which it does not ask for.

        A worker of mesh answers outside of its pool, so it is given the ping whatever it has, and keeps its
        room for calls. One of another make can't do more than its one call, so the hub answers for it, if
        its heartbeats go on. Of those that are looked at the one is chosen that was heard last: a frozen
        one says nothing.
        """
        some = [one for one in islice(service.pool, LOOKED_AT) if service.pool.capacity(one)]
        of_mesh = [one for one in some if one.about is not None and len(one.pings) < MAX_PINGS]
        if of_mesh:
            worker = max(of_mesh, key=_last_heard)
            worker.pings.add(call.token)
            self._enter(call)
            self._give(worker, call, now)
            return True
        for other in some:
            if other.about is None and now - other.last_heard <= AWAKE * other.interval:
                self._tell_pong(call, other.asked)
                return True
        return False

    def _enter(self, call: Call) -> None:
        theirs = self.clients.get(call.client)
        if theirs is None:
            theirs = self.clients[call.client] = {}
        theirs[call.channel if call.style is None else call.token] = call

    def _make_room(self, service: Service, call: Call) -> bool:
        """A full queue gives each client its share: who has more than that has to give. False where that is
        this call, which is refused then."""
        while not service.waiting.room(call.size):
            full = self._full(service)
            other = service.waiting.push_out(call.client, call.size)
            self._refuse(other or call, "Overloaded", full)
            if other is None:
                return False
        return True

    def _full(self, service: Service) -> str:
        """Which bound the queue has come to, and what there is to do."""
        count, size = service.waiting.count, service.waiting.size
        most, most_bytes = self.settings.queue, self.settings.queue_bytes
        waits = "1 call waits" if count == 1 else f"{count} calls wait"
        if count >= most:
            return f"{waits} already, of at most {most}: start more workers, or set a larger 'queue'"
        taken = f"{size} bytes of at most {most_bytes}"
        return f"{waits} already, {taken}: start more workers, or set a larger 'queue_bytes'"

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
        while service.waiting.count:
            worker = service.pool.take()
            if worker is None:
                return
            call = service.waiting.take()
            assert call is not None
            self._give(worker, call, now)

    def _give(self, worker: Worker, call: Call, now: float) -> None:
        call.worker = worker
        call.tries += 1
        call.given = now
        next_beat = call.opened + self.settings.heartbeat
        call.next_beat = now if next_beat < now else next_beat
        worker.calls[call.token] = call
        if call.size >= BACKLOG:
            worker.laden = now
        self._to_worker(worker, call, call.body)
        if call.early:
            for payload in call.early:
                self._follow(worker, call, payload)
        if not call.idempotent:
            call.body = call.early = ()
        worker.next_beat = now + worker.interval

    # What workers answer

    def _answer(self, worker: Worker, token: bytes, final: bool, body: tuple[bytes, ...]) -> None:
        call = worker.calls.get(token)
        if call is None:
            self.dropped["late"] += 1
            return
        if call.idempotent and not call.answered:
            call.answered = final or not is_beat(body[0])
            if call.answered:
                call.early = ()
        if call.gone:
            self.dropped["late"] += 1
            if final:
                worker.left.pop(token, None)
        elif call.style is None:
            if is_answer(body[0], call.channel) and not (final and leaves_open(body[0])):
                self._to_client(call, body[0])
            else:
                self._reject(worker, call, body, final)
        else:
            self._to_majordomo(worker, call, call.style, final, body)
        if final:
            del worker.calls[token]
            service = self.services[worker.service]
            now, stats = worker.last_heard, service.stats
            if now >= stats.slice_ends:
                stats.begin_slice(now)
            stats.calls += 1
            worker.ended += 1
            if not call.gone:
                self._forget(call)
                if is_error(body[0]):
                    stats.errors += 1
                    worker.errors += 1
            if token in worker.pings:
                worker.pings.remove(token)
            else:
                service.pool.give_back(worker)
            if service.waiting.count:
                self._dispatch(service, now)
        else:
            call.next_beat = worker.last_heard + self.settings.heartbeat

    def _to_majordomo(
        self, worker: Worker, call: Call, style: Style, final: bool, body: tuple[bytes, ...]
    ) -> None:
        """To a client that says nothing after its request, and in 0.1 hears one answer."""
        name = name_of(body[0]) if call.channel is not None and not final else None
        if final or style.version == 2:
            if name is not None:
                self._speak_for(worker, call, name)
            command = Command.FINAL if final else Command.PARTIAL
            self.out.append((call.client, mdp.answer(style, command, call.asked, body)))
        elif name == wire.BEAT:
            self._speak_for(worker, call, name)
        elif name == wire.STREAM:
            why = "the answer is a stream of many, and Majordomo 0.1 takes one for a call: use 0.2"
            self._tell_error(call, "WireError", f"{call.asked}: {why}", refused=False)
            self._give_up(call)
        else:
            self.dropped["partial to a client of 0.1"] += 1

    def _reject(self, worker: Worker, call: Call, body: tuple[bytes, ...], final: bool) -> None:
        """An answer that its client would wait on for ever, or take for that of another call."""
        self.services[worker.service].stats.errors += 1
        worker.errors += 1
        # A mesh worker that could not read the call says so.
        if len(body) == 2 and body[0] == b"WireError":
            what = f"could not read the call: {body[1][:200].decode('utf-8', 'replace')}"
        else:
            what = "gave an answer that is none to this call, does not end it, or is no event at all"
        why = f"its worker{worker.who} {what}"
        self._tell_error(call, "WireError", f"{worker.asked}: {why}", refused=False)
        if self._now >= worker.blamed:
            worker.blamed = self._now + self.settings.heartbeat
            self.log_lines.append((WARNING, f"a call of {worker.asked} has failed: {why}"))
        if final:
            call.gone = True
            self._forget(call)
        else:
            self._give_up(call)

    def _orphan(self, service: Service, call: Call, worker: Worker, what: str) -> None:
        """Its worker is gone, after it has done `what`."""
        call.worker = None
        if call.idempotent and not call.answered and call.tries < MAX_TRIES:
            # It may come back to the same worker, where the handler of before still runs for nobody.
            call.token = self._token()
            self._wait(service, call)
        else:
            self._refuse(call, "LostRemote", f"its worker{worker.who} is gone: it {what}", seen=True)

    # Ends

    def _token(self) -> bytes:
        self._tokens += 1
        return self._base + b"%x" % self._tokens

    def _refuse(self, call: Call, name: str, why: str, *, seen: bool = False) -> None:
        """Tell the client that its call has come to nothing. seen: a worker had it."""
        self._forget(call)
        service = self.services.get(call.service)
        if call.tries and not seen:
            seen, name, why = True, "LostRemote", f"a worker that had it is gone, and then {why}"
        if not seen:
            self._count_refused(service, name)
        elif service is not None:
            service.stats.lost(self._now)
        text = f"{call.asked or self._called(call.service) or 'a call'}: {why}"
        self._tell_error(call, name, text, refused=not seen)

    def _count_refused(self, service: Service | None, name: str) -> None:
        self.refused[name] += 1
        if service is not None:
            service.stats.refused += 1

    def _unserved(self, service: Service, call: Call) -> tuple[str, str]:
        """The error of a call that has waited in vain, and why."""
        if service.seen and len(service.pool):
            return "TimeoutExpired", f"no worker was free within {self._now - call.opened:.3g} s"
        return "ServiceNotFound", self._nobody(call.service)

    def _nobody(self, name: str) -> str:
        """That there is no worker, and what to do. A queue hub has one service, whatever it was called."""
        hub, only = self.settings.hub, self.settings.only
        if only is None:
            return f"hub {hub!r} has no worker of {name!r:.80}: start one, or correct the name"
        at = next(iter(self._describe().get("out", ())), "ITS-OUT-ENDPOINT")
        advice = f"mesh-register {quote(self._called(only))} TARGET --hub {quote(at)}"
        mark = "`" if "'" in advice else "'"
        return f"hub {hub!r} has no worker: start one with {mark}{advice}{mark}"

    def _forget(self, call: Call) -> None:
        theirs = self.clients.get(call.client)
        if theirs is not None:
            theirs.pop(call.channel if call.style is None else call.token, None)
            if not theirs:
                del self.clients[call.client]

    # Time

    def _beat_client(self, call: Call, now: float) -> None:
        """A client of zerorpc gives a call up that has no heartbeat."""
        if call.style is not None or call.gone:
            return
        if call.next_beat <= now:
            call.next_beat = now + self.settings.heartbeat
            self._to_client(call, control(self._ids, call.channel, wire.BEAT, 0))
        self._wake(call.next_beat)

    def _expire(self, service: Service, now: float) -> None:
        for call in service.waiting.expire(now):
            self._refuse(call, *self._unserved(service, call))
        for call in service.waiting:
            self._beat_client(call, now)
            self._wake(call.deadline)
        if not len(service.waiting) and not len(service.pool):
            forget_at = service.alone + FORGET_AFTER * self.settings.heartbeat
            if service.seen and now < forget_at:
                self._wake(forget_at)
            elif service.name == self.settings.only:
                service.seen = False
            else:
                del self.services[service.name]
