"""Runs the hubs of all files: start, reload, replacing one that has failed, and the end.

Knows hubs by their protocol alone; how each type is made is said in hub_types.py. Signals are the
business of command.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hubs.endpoint_conflicts import clash
from hubs.endpoint_swap import Move, swap, swappable
from hubs.exporter import Exporters, Readiness
from hubs.hub import Endpoints, Hub
from hubs.metrics import Sample, exposition
from hubs.publisher import ZonePublisher, ZonePublishers, check_keys
from hubs.sockets import AddressInUse
from hubs.spec import HubSpec
from mesh.core.channel import NEVER
from mesh.errors import ConfigError

log = logging.getLogger("hubs")

TELL_WITHIN = 1.0
"""Seconds that a hub has to tell its numbers."""
TELL_ALL_WITHIN = 5.0
SIGNAL_WITHIN = 0.2
"""Seconds that the end of the hubs waits in one piece: a signal that comes just when Python begins to wait is
seen only when it waits anew."""

Make = Callable[[HubSpec], Hub]
Announce = Callable[[HubSpec, Endpoints], None]


def _unwell(name: str, hub: Hub) -> str:
    """Why a hub takes no calls, "" where it does."""
    if not hub.alive:
        return f"hub {name} has failed"
    return f"hub {name} does not answer" if hub.stuck(time.monotonic()) else ""


@dataclass(slots=True)
class _Running:
    """problem: why it could not be started again, so that this is said once."""

    spec: HubSpec
    hub: Hub
    problem: str = ""


def _finish(running: _Running, publisher: ZonePublisher | None, drain: float) -> None:
    """End a hub. Clients that find hubs by DNS have found others before it refuses their calls."""
    if publisher is not None:
        publisher.withdraw(drain)
    running.hub.stop(drain)


@dataclass(slots=True)
class _Draining:
    """thread: waits for its end."""

    spec: HubSpec
    hub: Hub
    thread: threading.Thread


class Runner:
    """load: reads the files. announce: tells of each hub that was started or changed.

    A hub that has to end drains in a thread of its own, and what comes in its place starts as
    soon as it can; `tend`, to be called again and again, sees to that.
    """

    def __init__(self, load: Callable[[], list[HubSpec]], make: Make, announce: Announce) -> None:
        self._load = load
        self._make = make
        self._announce = announce
        self._hubs: dict[str, _Running] = {}
        self._ending: list[_Draining] = []
        # What the files want and could not be had yet, and the hubs that it is to come in place of.
        self._pending: list[HubSpec] = []
        self._replaced: dict[str, _Running] = {}
        self._waits: dict[str, str] = {}
        # Where a reload is under way: the hubs as they were when it began.
        self._before: dict[str, HubSpec] | None = None
        self._exporters = Exporters(self._page, self._unready)
        self._publishers = ZonePublishers()

    def start(self) -> None:
        """Start all, or none: raises ConfigError for the first that is wrong."""
        try:
            specs = self._load()
            self._exporters.open(specs)
            check_keys(specs)
            started = [(spec, self._start(spec)) for spec in specs]
        except ConfigError as error:
            problem = self._told(error)
            self.stop(drain=False)
            raise problem from None
        for spec, endpoints in started:
            self._tell(spec, endpoints)

    def reload(self) -> None:
        """Read the files again and become what they say, touching nothing that has not changed.

        What is wrong is logged: in a file it means that nothing changes, in a hub that this one
        does not. Does not wait for hubs that drain.
        """
        try:
            specs = self._load()
            check_keys(specs)
            self._exporters.open(specs)
        except ConfigError as error:
            log.error("not reloaded, all goes on as before: %s", error)
            return
        now = {name: running.spec for name, running in self._hubs.items()}
        if self._before is None:
            self._before = now
        names = {spec.name for spec in specs}
        self._replaced = {name: old for name, old in self._replaced.items() if name in names}
        for name in [name for name in now if name not in names]:
            self._retire(self._hubs.pop(name))
        self._waits.clear()
        self._pending = [spec for spec in specs if now.get(spec.name) != spec]
        self._apply_all()
        self._settle()

    @property
    def reloading(self) -> bool:
        """Whether hubs still drain, or wait for the endpoints of others that do."""
        return self._before is not None

    def tend(self) -> float:
        """Go on with a reload, start again what has failed, and prod the hubs that /ready is asked for.

        When a hub wants it next, on the clock of time.monotonic.
        """
        ending = [one for one in self._ending if one.thread.is_alive()]
        if len(ending) < len(self._ending):
            self._ending = ending
            self._apply_all()
        if self.reloading:
            self._settle()
        self.revive()
        now = time.monotonic()
        again_at = NEVER
        for running in self._hubs.values():
            again_at = min(again_at, running.hub.tend(now))
            if running.spec.prometheus:
                running.hub.prod(now)
        return again_at

    def revive(self) -> None:
        """Start the hubs again that have failed."""
        for running in self._hubs.values():
            if running.hub.alive:
                continue
            if not running.problem:
                log.error("hub %s has failed: starting it again", running.spec.name)
                running.hub.stop(0)
            try:
                self._begin(running)
            except ConfigError as error:
                problem = str(self._told(error))
                if problem != running.problem:
                    log.error("hub %s can't be started again, trying on: %s", running.spec.name, problem)
                running.problem = problem

    def stop(self, *, drain: bool = True) -> None:
        """Stop all at the same time, each within its own drain time."""
        self._pending.clear()
        self._replaced.clear()
        for name, running in list(self._hubs.items()):
            self._end(running, drain)
            del self._hubs[name]
        for one in self._ending:
            while one.thread.is_alive():
                one.thread.join(SIGNAL_WITHIN)
        self._ending.clear()
        self._exporters.close_others([])

    def _retire(self, running: _Running) -> None:
        """End a hub that the files no longer have, or no longer so."""
        if running.hub.alive:
            spec = running.spec
            log.info("reloading: hub %s drains, at most %g s", spec.name, spec.drain)
        self._end(running, drain=running.hub.alive)

    def _end(self, running: _Running, drain: bool) -> None:
        publisher = self._publishers.take(running.spec.name)
        if running.problem:
            if publisher is not None:
                publisher.withdraw(0.0)
            return  # it has ended already
        thread = threading.Thread(
            target=_finish, args=(running, publisher, running.spec.drain if drain else 0.0), daemon=True
        )
        # Before it is taken out of those that run, and the thread begins: whoever asks in between would hear
        # that there is no hub, and a proxy cut off its clients.
        self._ending.append(_Draining(running.spec, running.hub, thread))
        thread.start()

    def _tell(self, spec: HubSpec, endpoints: Endpoints) -> None:
        """A hub has started, or was changed."""
        self._announce(spec, endpoints)
        self._publishers.keep(spec, self._hubs[spec.name].hub)

    def _start(self, spec: HubSpec) -> Endpoints:
        hub = self._make(spec)
        endpoints = hub.start()
        self._hubs[spec.name] = _Running(spec, hub)
        return endpoints

    def _begin(self, running: _Running) -> None:
        """Put a new hub in the place of one that has ended."""
        hub = self._make(running.spec)
        endpoints = hub.start()
        running.hub, running.problem = hub, ""
        self._tell(running.spec, endpoints)

    def _apply_all(self) -> None:
        """Where a hub takes an endpoint that another leaves, it may have to wait for its turn."""
        while self._pending:
            failed: list[tuple[HubSpec, ConfigError]] = []
            for spec in self._pending:
                try:
                    self._apply(spec)
                except ConfigError as error:
                    failed.append((spec, self._told(error)))
            stuck = len(failed) == len(self._pending)
            self._pending = [spec for spec, _ in failed]
            if stuck and self._ending:
                self._tell_waiting(failed)
                return
            if stuck:
                self._swap_endpoints(failed)

    def _apply(self, spec: HubSpec) -> None:
        running = self._hubs.get(spec.name)
        if running is not None:
            endpoints = running.hub.reconfigure(spec) if running.hub.alive else None
            if endpoints is not None:
                running.spec = spec
                self._tell(spec, endpoints)
                return
            self._replaced[spec.name] = self._hubs.pop(spec.name)
            self._retire(running)
        self._tell(spec, self._start(spec))
        self._replaced.pop(spec.name, None)

    def _swap_endpoints(self, failed: list[tuple[HubSpec, ConfigError]]) -> None:
        """Nobody is left who could make room, but hubs that want each other's endpoints may do so."""
        moves = swappable(
            [Move(one.hub, one.spec, spec) for spec, _ in failed if (one := self._hubs.get(spec.name))]
        )
        problems, lost = swap(moves)
        for name, problem in lost.items():
            running = self._hubs[name]
            running.hub.stop(0)
            running.problem = str(problem)
        if problems or not moves:
            self._give_up([(spec, self._told(problems.get(spec.name, error))) for spec, error in failed])
            return
        for move in moves:
            self._hubs[move.after.name].spec = move.after
            self._tell(move.after, move.hub.endpoints)
            self._pending.remove(move.after)

    def _told(self, error: ConfigError) -> ConfigError:
        """The error, with the hub of this process that has the endpoint, where that is so."""
        if not isinstance(error, AddressInUse):
            return error
        holders = [(one.spec, one.hub, "") for one in self._hubs.values()]
        holders += [(one.spec, one.hub, ", which drains") for one in self._ending]
        for spec, hub, state in holders:
            bound = {*hub.endpoints.in_, *hub.endpoints.out} - {*spec.in_.connect, *spec.out.connect}
            if any(clash(error.endpoint, one) for one in bound):
                return error.by(f"hub {spec.name!r}{state}")
        return error

    def _tell_waiting(self, failed: list[tuple[HubSpec, ConfigError]]) -> None:
        for spec, problem in failed:
            if self._waits.get(spec.name) != str(problem):
                self._waits[spec.name] = str(problem)
                log.info("hub %s waits until what drains has ended: %s", spec.name, problem)

    def _give_up(self, failed: list[tuple[HubSpec, ConfigError]]) -> None:
        """Nobody is left who could make room: go back to the hubs of before."""
        self._pending = []
        for spec, problem in failed:
            old = self._replaced.pop(spec.name, None)
            if old is not None:
                old.problem = str(problem)
                self._hubs[spec.name] = old
            state = "as before" if spec.name in self._hubs else "not started"
            log.error("hub %s is %s: %s", spec.name, state, problem)
        self.revive()

    def _settle(self) -> None:
        """The end of a reload, when nobody drains and nobody waits."""
        if self._ending or self._pending or self._before is None:
            return
        before, self._before = self._before, None
        self._exporters.close_others([running.spec for running in self._hubs.values()])
        self._report(before)

    # What other threads ask for, also while hubs come and go

    def _page(self, endpoint: str) -> str:
        """The numbers of the hubs that name it; of several that drain with one name the last."""
        give_up = time.monotonic() + TELL_ALL_WITHIN
        running: list[tuple[HubSpec, Hub, bool]] = [
            (one.spec, one.hub, False) for one in self._hubs.copy().values()
        ]
        draining = {one.spec.name: (one.spec, one.hub, True) for one in self._ending if one.hub.alive}
        samples = []
        for spec, hub, drains in (*running, *draining.values()):
            if spec.prometheus == endpoint:
                patience = min(TELL_WITHIN, max(0.0, give_up - time.monotonic()))
                values = hub.status(patience) if hub.alive else None
                samples.append(Sample(spec.name, spec.type, values, drains))
        return exposition(samples)

    def _unready(self, endpoint: str, name: str | None, services: Sequence[str] = ()) -> Readiness:
        """Of the hubs that name it, "" where all take calls, and one has workers of each of these services.

        name: of this one alone.
        """
        state = self._unready_hubs(endpoint, name)
        return state if state.problem or not services else Readiness(self._unserved(endpoint, name, services))

    def _unserved(self, endpoint: str, name: str | None, services: Sequence[str]) -> str:
        """Which of the services none of these hubs has workers of that take calls; "" for none."""
        give_up = time.monotonic() + TELL_WITHIN
        problems: dict[str, list[str]] = {service: [] for service in services}
        for running in self._hubs.copy().values():
            spec = running.spec
            if spec.prometheus != endpoint or name not in (None, spec.name):
                continue
            found = running.hub.unserved(list(problems), max(0.0, give_up - time.monotonic()))
            if found is None:
                found = dict.fromkeys(problems, f"hub {spec.name} does not answer")
            problems = {one: [*before, found[one]] for one, before in problems.items() if one in found}
        return "; ".join(dict.fromkeys(problem for found in problems.values() for problem in found))

    def _unready_hubs(self, endpoint: str, name: str | None) -> Readiness:
        """As _unready, without a look at services."""
        running = {
            one.spec.name: one.hub for one in self._hubs.copy().values() if one.spec.prometheus == endpoint
        }
        waiting = {
            one.name for one in self._pending.copy() if one.prometheus == endpoint and one.name not in running
        }
        if name is None and (running or waiting):
            # One that the files no longer have drains for itself: it must not take the others along.
            problems = [problem for one, hub in running.items() if (problem := _unwell(one, hub))]
            problems += [f"hub {one} waits until what drains has ended" for one in sorted(waiting)]
            return Readiness("; ".join(problems))
        draining = {one.spec.name for one in self._ending if one.spec.prometheus == endpoint}
        if name is None:
            problem = "; ".join(f"hub {one} drains" for one in sorted(draining))
            return Readiness(problem or "no hub runs", bool(draining))
        if name in running:
            return Readiness(_unwell(name, running[name]))
        if name in waiting:
            return Readiness(f"hub {name} waits until what drains has ended")
        return Readiness(
            f"hub {name} drains" if name in draining else f"no hub {name} runs", name in draining
        )

    def _report(self, before: dict[str, HubSpec]) -> None:
        after = {name: running.spec for name, running in self._hubs.items()}
        parts = {
            "started": [name for name in after if name not in before],
            "changed": [name for name in after if name in before and before[name] != after[name]],
            "stopped": [name for name in before if name not in after],
            "unchanged": [name for name in after if before.get(name) == after[name]],
        }
        shown = [f"{what} {', '.join(names)}" for what, names in parts.items() if names]
        log.info("reloaded: %s", "; ".join(shown) or "there are no hubs")
