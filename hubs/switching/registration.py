"""The workers of one hub: how they register, what they say of themselves, and when they are lost.

Owns the workers; the calls that they have are calls.py's. Knows no socket and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import INFO, WARNING
from typing import Any, Final

from hubs.switching.calls import FORGET_AFTER, Calls
from hubs.switching.model import Address, Call, Service, Settings, Worker
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.batch import Batch, limit_of
from mesh.core.channel import FASTEST, NEVER, control
from mesh.core.majordomo import STANDARD, Command, FromWorker, Style
from mesh.core.progress import MOVES, STANDS, UNSURE, second_look
from mesh.core.registration import LOST_AFTER
from mesh.core.reminder import Reminder

BEATS_EARLY: Final = 0.04
"""The share of an interval by which beats may be early, so that one look gives those of many workers."""
SLOWEST: Final = 3600.0
"""Seconds, the longest interval between heartbeats that a worker may ask for."""
STAND_IN: Final = 0.5
"""The share of a heartbeat between two looks at who has to be stood in for."""
LATE: Final = 1.2
"""Heartbeats of a worker without one after which the clients of its calls hear from the hub. The worker's of
a call may have been due just then: a client that has heard nothing for 5 seconds waits for 5 more."""
QUIET: Final = 1.25
"""Heartbeats that a client hears nothing of a call beyond the first, after which the hub looks why."""
SILENT: Final = 2.5
"""Heartbeats of the hub without a word of a client on an open call after which the hub looks why. Theirs are
longer: a worker gives up a call of which it hears nothing for two of them, 10 seconds."""
AGAIN: Final = 0.25
"""The share of a heartbeat after which the hub looks again where it is not sure."""
LEFT: Final = "left"
STOPPING: Final = "the hub is stopping"
"""The reason for a worker that is told to go, and again as it registers anew: one line in its log."""
MAX_CAPACITY: Final = 100_000
MAX_SERVICES: Final = 10_000
MAX_REFUSALS: Final = 1_000


class Registration(Calls):
    """See Calls for what it takes and gives."""

    def __init__(self, settings: Settings, base: bytes, describe: Callable[[], dict[str, Any]]) -> None:
        super().__init__(settings, base, describe)
        self.workers: dict[Address, Worker] = {}
        self._told: dict[Address, float] = {}
        self._names_told: set[str] = set()
        self._stand_in_at = -NEVER
        # What was refused, by the name and why.
        self._refusals: dict[tuple[str, str], Reminder] = {}

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
            self._dismiss(worker, LEFT, tell=False)
        elif message.command is Command.HEARTBEAT:
            self._heartbeat(worker, message.about, now)
        else:
            self._dismiss(worker, f"broke the protocol: {message.command.value} is the hub's", tell=True)

    def _ready(self, address: Address, worker: Worker | None, message: FromWorker, now: float) -> None:
        if worker is not None:
            self._dismiss(worker, "registered twice", tell=True)
            return
        name, about = self.named(message.service), message.about
        worker = Worker(address, name, message.style, about, now, now, asked=message.service)
        problem = self._problem(address[0], message.service, name)
        if problem:
            self.dropped["registration refused"] += 1
            if not self.draining and self._reminds((message.service, problem), now):
                text = f"a worker{worker.who} of {message.service} is not taken: {problem}"
                self.log_lines.append((WARNING, text))
            self.out.append((address, mdp.disconnect(message.style, problem if about is not None else "")))
            return
        self._told.pop(address, None)
        if about is not None and message.style == STANDARD[2] and (limit := limit_of(about)):
            worker.batch = Batch(limit)
        self._pace(worker)
        self.workers[address] = worker
        service = self._service(name)
        if not service.seen:
            service.seen = True
            for call in service.waiting:
                call.deadline = call.due
        service.alone = NEVER
        service.called = service.called or worker.asked
        service.pool.add(worker, _capacity(about, 1))
        if about is not None:
            self._acknowledge(worker)
        self.log_lines.append((INFO, f"a worker{worker.who} of {worker.asked} has registered"))
        self._compare_names(worker, service)
        self._dispatch(service, now)

    def _reminds(self, refusal: tuple[str, str], now: float) -> bool:
        """Whether the log is to have it: whoever is refused tries again and again, as the hub may change."""
        if refusal not in self._refusals and len(self._refusals) >= MAX_REFUSALS:
            del self._refusals[next(iter(self._refusals))]
        return self._refusals.setdefault(refusal, Reminder()).due(now)

    def _compare_names(self, worker: Worker, service: Service) -> None:
        """A queue hub that takes any name has one service all the same: two names may be a mistake."""
        asked, called = worker.asked, service.called
        if not self.settings.any_name or asked == called or asked in self._names_told:
            return
        if len(self._names_told) < MAX_SERVICES:
            self._names_told.add(asked)
            text = (
                f"workers of {asked} get the same calls as those of {called}: a queue hub has one service, "
                f"here {called} as its first worker called it; name it with 'service:', or take "
                "type: majordomo for both"
            )
            self.log_lines.append((WARNING, text))

    def _heartbeat(self, worker: Worker, about: dict[str, Any] | None, now: float) -> None:
        if worker.about is None:
            return
        if about is None:
            # It has heard of our interval: where that is the shorter, it gives one at once.
            worker.patience = LOST_AFTER * self.settings.heartbeat
            return
        service = self.services[worker.service]
        before = service.pool.capacity(worker)
        capacity = _capacity(about, before)
        service.pool.resize(worker, capacity)
        if bool(before) != bool(capacity):
            change = "takes calls again" if capacity else "takes no more calls"
            self.log_lines.append((INFO, f"the worker{worker.who} of {worker.asked} {change}"))
        self._acknowledge(worker)
        self._dispatch(service, now)

    def _acknowledge(self, worker: Worker) -> None:
        """Tell a mesh worker what the hub goes by."""
        about = {
            "heartbeat": round(self.settings.heartbeat * 1000),
            "capacity": self.services[worker.service].pool.capacity(worker),
        }
        if worker.batch is not None:
            about["batch"] = self.settings.batch
        self._release(worker)  # with a capacity of 0 it expects no call after this
        self.out.append((worker.address, mdp.heartbeat(worker.style, about)))
        worker.next_beat = self._now + worker.interval

    def _pace(self, worker: Worker) -> None:
        """Set how often each of the two gives heartbeats, and how long their silence may be.

        A mesh worker keeps to the hub's interval as soon as it has heard of it: see _heartbeat.
        """
        own = self.settings.heartbeat
        theirs = _heartbeat_of(worker.about) or own
        worker.interval = min(own, theirs)
        worker.patience = LOST_AFTER * max(own, theirs)
        worker.next_beat = self._now + worker.interval
        self._wake(worker.next_beat)

    def _problem(self, side: int, asked: str, name: str) -> str:
        """Why no worker of that service is taken; "" where one is. name: what it is called here."""
        only = self.settings.only
        if self.draining:
            return STOPPING
        if self.settings.workers_at not in (None, side):
            return "workers register at the hub's out side, and this is its in side"
        if asked.startswith(mdp.MANAGEMENT):
            return f"{asked!r} is a service of the hub's own: names that begin with 'mmi.' are"
        if only not in (None, name):
            return (
                f"hub {self.settings.hub} serves {only!r}, not {name!r}: register it as {only!r}, or with "
                f"the hub of {name!r}"
            )
        if name not in self.services and len(self.services) >= MAX_SERVICES:
            return f"the hub has {MAX_SERVICES} services already"
        return ""

    def _tell_to_register(self, address: Address, style: Style, reason: str = "") -> None:
        """Once: for what else is on its way it would register again and again."""
        if address not in self._told:
            self._told[address] = self._now + self.settings.heartbeat
            self._wake(self._told[address])
            self.out.append((address, mdp.disconnect(style, reason)))

    def _distrust(self, address: Address, problem: str, frames: Sequence[bytes] = ()) -> None:
        """A worker that breaks the protocol is a worker no more, and who would be one is told so."""
        worker = self.workers.get(address)
        if worker is not None:
            self._dismiss(worker, f"broke the protocol: {problem}", tell=True)
            return
        sender = mdp.salvage(frames)
        if sender is None:
            return
        style, about = sender
        self._tell_to_register(address, style, "" if about is None else problem)
        if self._reminds(("", problem), self._now):
            self.log_lines.append((WARNING, f"what is no worker yet breaks the protocol: {problem}"))

    def _dismiss(self, worker: Worker, what: str, *, tell: bool) -> None:
        """This worker gets no more; its calls go to others where that is safe. what: it has done."""
        del self.workers[worker.address]
        had = f", calls open: {len(worker.calls)}" if worker.calls else ""
        text = f"the worker{worker.who} of {worker.asked} {what}{had}"
        self.log_lines.append((INFO if what == LEFT else WARNING, text))
        service = self.services[worker.service]
        service.pool.remove(worker)
        if not len(service.pool):
            service.alone = self._now
            self._wake(self._now + FORGET_AFTER * self.settings.heartbeat)
        if tell:
            reason = f"the worker {what}" if worker.about is not None else ""
            self._tell_to_register(worker.address, worker.style, reason)
        for call in list(worker.calls.values()):
            if not call.gone:
                self._orphan(service, call, worker, what)
        worker.calls.clear()
        worker.left.clear()
        worker.batch = None
        self._dispatch(service, self._now)

    def _beat_worker(self, worker: Worker, now: float) -> None:
        lost_at = worker.last_heard + worker.patience
        if now >= lost_at:
            progress = self.progress_of(worker.address)
            worker.last_heard, lost_at = second_look(progress, now, worker.last_heard, worker.interval)
        if now >= lost_at:
            self._dismiss(worker, f"was silent for {now - worker.last_heard:.3g} s", tell=True)
            return
        if worker.next_beat <= now + BEATS_EARLY * worker.interval:
            worker.next_beat = now + worker.interval
            self.out.append((worker.address, mdp.heartbeat(worker.style)))
        if worker.left:
            self._take_back(worker, now)
        if worker.about is None:
            for call in worker.calls.values():
                self._beat_client(call, now)
        self._wake(min(worker.next_beat, lost_at))

    # What waits behind a large message

    def _stand_in(self, now: float) -> None:
        """Twice a heartbeat: give the signs of life that can't get through to the far end of a call.

        They wait behind a large message, between us and its worker or between us and its client, while the
        other of the two connections is at rest: whoever listens there would give the call up.
        """
        if now < self._stand_in_at:
            return
        self._stand_in_at = now + STAND_IN * self.settings.heartbeat
        silent = now - SILENT * self.settings.heartbeat
        for worker in self.workers.values():
            if not worker.calls:
                continue
            if worker.about is not None:
                for call in worker.calls.values():
                    if call.heard < silent and call.given < silent:
                        self._speak_for_client(worker, call, now)
            if self._is_hindered(worker, now):
                for call in worker.calls.values():
                    self._beat_client(call, now)
        if self.workers:
            self._wake(self._stand_in_at)

    def _is_hindered(self, worker: Worker, now: float) -> bool:
        """Whether a large message is on its way to this worker or from it, as far as is known."""
        if now - worker.last_heard > LATE * worker.interval:
            return True  # how long it may go on is _beat_worker's
        if not worker.laden:
            return False
        quiet = now - QUIET * self.settings.heartbeat
        if not worker.fed and all(call.next_beat > quiet for call in worker.calls.values()):
            return False
        progress = self.progress_of(worker.address)
        verdict = STANDS if progress is None else progress.judge(now, worker.laden, worker.interval)
        worker.fed = verdict is MOVES
        if progress is not None and verdict is MOVES:
            worker.laden = progress.moved_at
        elif verdict is UNSURE:
            self._stand_in_soon(now)
        elif progress is None or not progress.pending:
            worker.laden = 0.0
        return verdict is not STANDS

    def _speak_for_client(self, worker: Worker, call: Call, now: float) -> None:
        """A client of Majordomo never says anything: see _speak_for."""
        if call.style is not None or call.gone:
            return
        heard, progress = max(call.heard, call.given), self.progress_of(call.client)
        verdict = STANDS if progress is None else progress.judge(now, heard, self.settings.heartbeat)
        if verdict is UNSURE:
            self._stand_in_soon(now)
            return
        # One that gives no heartbeats is not asked about at every look.
        call.heard = now
        if verdict is MOVES:
            call.heard -= (SILENT - 1) * self.settings.heartbeat
            self._follow(worker, call, control(self._ids, call.channel, wire.BEAT, 0))

    def _stand_in_soon(self, now: float) -> None:
        self._stand_in_at = min(self._stand_in_at, now + AGAIN * self.settings.heartbeat)


def _capacity(about: dict[str, Any] | None, otherwise: int) -> int:
    """Calls at once; a worker of another make takes 1, as the RFCs assume."""
    capacity = (about or {}).get("capacity")
    return min(capacity, MAX_CAPACITY) if type(capacity) is int and capacity >= 0 else otherwise


def _heartbeat_of(about: dict[str, Any] | None) -> float | None:
    """Seconds between a worker's heartbeats, where it says so."""
    beat: Any = (about or {}).get("heartbeat")
    if type(beat) not in (int, float) or not beat > 0:
        return None
    seconds: float = min(max(beat / 1000, FASTEST), SLOWEST)
    return seconds
