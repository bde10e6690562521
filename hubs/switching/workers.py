"""The workers of one hub: how they register, what they say of themselves, and when they are lost.

Owns the workers. The calls that they have are calls.py's, which is told as workers come and go. Knows no
socket and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hubs.switching.calls import Calls
from hubs.switching.environment import Environment
from hubs.switching.model import Address, Worker
from hubs.switching.outgoing import Outgoing
from hubs.switching.services import HubService, Services
from mesh.core import majordomo as mdp
from mesh.core.batch import Batch, limit_of
from mesh.core.channel import FASTEST, fairly_heard
from mesh.core.majordomo import STANDARD, Command, FromWorker, Style
from mesh.core.progress import second_look
from mesh.core.registration import LOST_AFTER
from mesh.core.reminder import Reminders

BEATS_EARLY: Final = 0.04
"""The share of an interval by which beats may be early, so that one look gives those of many workers."""
SLOWEST: Final = 3600.0
"""Seconds, the longest interval between heartbeats that a worker may ask for."""
LEFT: Final = "left"
STOPPING: Final = "the hub is stopping"
"""The reason for a worker that is told to go, and again as it registers anew: one line in its log."""
MAX_CAPACITY: Final = 100_000
MAX_SERVICES: Final = 10_000
MAX_REFUSALS: Final = 1_000


class WorkerRegistry:
    """All registered workers of a hub."""

    def __init__(self, env: Environment, services: Services, calls: Calls, outgoing: Outgoing) -> None:
        self._env = env
        self._services = services
        self._calls = calls
        self._outgoing = outgoing
        self.by_address: dict[Address, Worker] = {}
        self.by_number: dict[int, Worker] = {}
        self._number = 0
        # Who was told to register, and until when that is not said again.
        self._told_to_register: dict[Address, float] = {}
        # The names of the one service that the log has told of.
        self._names_logged: set[str] = set()
        # What was refused, by the name and why.
        self._refusals = Reminders(MAX_REFUSALS)

    # What comes in

    def receive(self, address: Address, message: FromWorker, now: float) -> None:
        """A command of Majordomo from a worker, or from who would be one."""
        worker = self.by_address.get(address)
        if worker is not None:
            worker.last_heard = now
        if message.command is Command.READY:
            self._ready(address, worker, message, now)
        elif worker is None:
            # Also that of before a restart: it is to register again.
            if message.command is not Command.DISCONNECT:
                self.tell_to_register(address, message.style)
        elif message.command in (Command.PARTIAL, Command.FINAL):
            self._calls.answer(worker, message.address, message.command is Command.FINAL, message.body)
        elif message.command is Command.DISCONNECT:
            self.dismiss(worker, LEFT, tell=False)
        elif message.command is Command.HEARTBEAT:
            self._heartbeat(worker, message.about)
        else:
            self.dismiss(worker, f"broke the protocol: {message.command.value} is the hub's", tell=True)

    def _ready(self, address: Address, worker: Worker | None, message: FromWorker, now: float) -> None:
        if worker is not None:
            self.dismiss(worker, "registered twice", tell=True)
            return
        name, about = self._services.named(message.service), message.about
        methods = _methods(about)
        worker = Worker(address, name, message.style, about, now, now, registered_as=message.service)
        self._number += 1
        worker.number = self._number
        problem = self._problem(address[0], message.service, name)
        if problem:
            self._refuse(worker, problem)
            return
        self._told_to_register.pop(address, None)
        if about is not None and message.style == STANDARD[2] and (limit := limit_of(about)):
            worker.batch = Batch(limit)
        self._pace(worker)
        self.by_address[address] = self.by_number[worker.number] = worker
        capacity = _capacity(about, 1)
        if about is not None:
            self._acknowledge(worker, capacity)
        service = self._services.open(name)
        # Those of one service mostly have the same, and keep them but once.
        worker.methods = service.methods = service.methods if methods == service.methods else methods
        self._env.inform(f"a worker{worker.origin} of {worker.registered_as} has registered")
        self._calls.worker_added(worker, capacity)
        self._compare_names(worker, service)

    def _refuse(self, worker: Worker, problem: str) -> None:
        env = self._env
        env.dropped["registration refused"] += 1
        if not env.draining and self._reminds((worker.registered_as, problem)):
            env.warn(f"a worker{worker.origin} of {worker.registered_as} is not taken: {problem}")
        reason = problem if worker.about is not None else ""
        self._outgoing.send(worker.address, mdp.disconnect(worker.style, reason))

    def _reminds(self, refusal: tuple[str, str]) -> bool:
        """Whether the log is to have it: whoever is refused tries again and again, as the hub may change."""
        return self._refusals.due(refusal, self._env.now)

    def _compare_names(self, worker: Worker, service: HubService) -> None:
        """A hub that takes any name has one service all the same: two names may be a mistake."""
        name, first = worker.registered_as, service.registered_name
        if not self._env.settings.any_name or name == first or name in self._names_logged:
            return
        if len(self._names_logged) < MAX_SERVICES:
            self._names_logged.add(name)
            self._env.warn(
                f"workers of {name} get the same calls as those of {first}: a queue hub has one service, "
                f"here {first} as its first worker called it; name it with 'service:', or take "
                "type: majordomo for both"
            )

    def _heartbeat(self, worker: Worker, about: dict[str, Any] | None) -> None:
        if worker.about is None:
            return
        env = self._env
        if about is None:
            # It has heard of our interval: where that is the shorter, it gives one at once.
            worker.patience = LOST_AFTER * env.settings.heartbeat
            return
        before = self._capacity_of(worker)
        capacity = _capacity(about, before)
        if bool(before) != bool(capacity):
            change = "takes calls again" if capacity else "takes no more calls"
            env.inform(f"the worker{worker.origin} of {worker.registered_as} {change}")
        self._acknowledge(worker, capacity)
        self._calls.worker_resized(worker, capacity)

    def _capacity_of(self, worker: Worker) -> int:
        return self._services[worker.service].scheduler.pool.capacity(worker)

    def _acknowledge(self, worker: Worker, capacity: int) -> None:
        """Tell a mesh worker what the hub goes by."""
        settings = self._env.settings
        about = {"heartbeat": round(settings.heartbeat * 1000), "capacity": capacity}
        if worker.batch is not None:
            about["batch"] = settings.batch
        self._outgoing.release(worker)  # with a capacity of 0 it expects no call after this
        self._outgoing.send(worker.address, mdp.heartbeat(worker.style, about))
        worker.next_beat = self._env.now + worker.interval

    def _pace(self, worker: Worker) -> None:
        """Set how often each of the two gives heartbeats, and how long their silence may be.

        A mesh worker keeps to the hub's interval as soon as it has heard of it: see _heartbeat.
        """
        own = self._env.settings.heartbeat
        theirs = _heartbeat_of(worker.about) or own
        worker.interval = min(own, theirs)
        worker.patience = LOST_AFTER * max(own, theirs)
        worker.next_beat = self._env.now + worker.interval
        self._env.wake(worker.next_beat)

    def _problem(self, side: int, registered_as: str, name: str) -> str:
        """Why no worker of that service is taken; "" where one is. name: what it is called here."""
        settings = self._env.settings
        if self._env.draining:
            return STOPPING
        if settings.workers_at not in (None, side):
            return "workers register at the hub's out side, and this is its in side"
        if registered_as.startswith(mdp.MANAGEMENT):
            return f"{registered_as!r} is a service of the hub's own: names that begin with 'mmi.' are"
        if settings.only not in (None, name):
            return (
                f"hub {settings.hub} serves {settings.only!r}, not {name!r}: register it as "
                f"{settings.only!r}, or with the hub of {name!r}"
            )
        if name not in self._services and len(self._services) >= MAX_SERVICES:
            return f"the hub has {MAX_SERVICES} services already"
        return ""

    def tell_to_register(self, address: Address, style: Style, reason: str = "") -> None:
        """Once: for what else is on its way it would register again and again."""
        if address not in self._told_to_register:
            until = self._told_to_register[address] = self._env.now + self._env.settings.heartbeat
            self._env.wake(until)
            self._outgoing.send(address, mdp.disconnect(style, reason))

    # Who is a worker no more

    def distrust(self, address: Address, problem: str, frames: Sequence[bytes] = ()) -> None:
        """A worker that breaks the protocol is a worker no more, and who would be one is told so."""
        worker = self.by_address.get(address)
        if worker is not None:
            self.dismiss(worker, f"broke the protocol: {problem}", tell=True)
            return
        sender = mdp.salvage(frames)
        if sender is None:
            return
        style, about = sender
        self.tell_to_register(address, style, "" if about is None else problem)
        if self._reminds(("", problem)):
            self._env.warn(f"what is no worker yet breaks the protocol: {problem}")

    def dismiss(self, worker: Worker, what: str, *, tell: bool) -> None:
        """This worker gets no more; its calls go to others where that is safe. what: it has done."""
        del self.by_address[worker.address], self.by_number[worker.number]
        had = f", calls open: {len(worker.calls)}" if worker.calls else ""
        text = f"the worker{worker.origin} of {worker.registered_as} {what}{had}"
        if what == LEFT:
            self._env.inform(text)
        else:
            self._env.warn(text)
        if tell:
            reason = f"the worker {what}" if worker.about is not None else ""
            self.tell_to_register(worker.address, worker.style, reason)
        self._calls.worker_gone(worker, what)

    def unreachable(self, address: Address, what: str) -> None:
        """Nothing gets to this address any more. what: it has done, if it is a worker."""
        worker = self.by_address.get(address)
        if worker is not None:
            self.dismiss(worker, what, tell=False)

    def part(self) -> None:
        """The hub ends: all may go elsewhere."""
        for worker in self.by_address.values():
            reason = STOPPING if worker.about is not None else ""
            self.tell_to_register(worker.address, worker.style, reason)
        self.by_address.clear()
        self.by_number.clear()

    # Time

    def probe(self, side: int) -> None:
        """A heartbeat to all on that side: whoever can't be reached is gone."""
        for worker in self.by_address.values():
            if worker.address[0] == side:
                self._outgoing.send(worker.address, mdp.heartbeat(worker.style))

    def reconfigure(self) -> None:
        """The settings have changed: mesh workers are told."""
        for worker in self.by_address.values():
            self._pace(worker)
            if worker.about is not None:
                self._acknowledge(worker, self._capacity_of(worker))

    def on_timer(self, due: float, now: float) -> None:
        """Give heartbeats, and give up who was silent for too long. due: when the timer was wanted."""
        told = {address: until for address, until in self._told_to_register.items() if until > now}
        self._told_to_register = told
        if told:
            self._env.wake(min(told.values()))
        for worker in list(self.by_address.values()):
            worker.last_heard = fairly_heard(worker.last_heard, due, now, worker.interval)
            self._beat(worker, now)

    def _beat(self, worker: Worker, now: float) -> None:
        lost_at = worker.last_heard + worker.patience
        if now >= lost_at:
            progress = self._env.driver.progress_of(worker.address)
            worker.last_heard, lost_at = second_look(progress, now, worker.last_heard, worker.interval)
        if now >= lost_at:
            self.dismiss(worker, f"was silent for {now - worker.last_heard:.3g} s", tell=True)
            return
        if worker.next_beat <= now + BEATS_EARLY * worker.interval:
            worker.next_beat = now + worker.interval
            self._outgoing.send(worker.address, mdp.heartbeat(worker.style))
        if worker.abandoned:
            self._calls.take_back(worker, now)
        if worker.about is None:
            self._calls.beat_clients_of(worker, now)
        self._env.wake(min(worker.next_beat, lost_at))


def _capacity(about: dict[str, Any] | None, otherwise: int) -> int:
    """Calls at once; a worker of another make takes 1, as the RFCs assume."""
    capacity = (about or {}).get("capacity")
    return min(capacity, MAX_CAPACITY) if type(capacity) is int and capacity >= 0 else otherwise


def _methods(about: dict[str, Any] | None) -> frozenset[str] | None:
    """The names of all its methods, where a worker tells them; `about` does not keep them, too."""
    names: Any = (about or {}).pop("methods", None)
    return frozenset(names) if type(names) is list and set(map(type, names)) == {str} else None


def _heartbeat_of(about: dict[str, Any] | None) -> float | None:
    """Seconds between a worker's heartbeats, where it says so."""
    beat: Any = (about or {}).get("heartbeat")
    if type(beat) not in (int, float) or not beat > 0:
        return None
    seconds: float = min(max(beat / 1000, FASTEST), SLOWEST)
    return seconds
