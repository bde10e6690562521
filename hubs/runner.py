"""Runs the hubs of all files: start, reload, replacing one that has failed, and the end.

Knows hubs by their protocol alone; which class a type has is said in `make_hub`. Signals are the
business of command.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hubs.broker import Broker
from hubs.devices import Device
from hubs.exporter import Exporters
from hubs.hub import Endpoints, Hub
from hubs.metrics import Sample, exposition
from hubs.spec import HubSpec
from mesh.errors import ConfigError

log = logging.getLogger("hubs")

TELL_WITHIN = 1.0
"""Seconds that a hub has to tell its numbers."""
TELL_ALL_WITHIN = 5.0

Make = Callable[[HubSpec], Hub]
Announce = Callable[[HubSpec, Endpoints], None]


def make_hub(spec: HubSpec) -> Hub:
    """The hub of a spec, not started."""
    if spec.anonymous or spec.type in ("forwarder", "streamer"):
        return Device(spec)
    return Broker(spec)


@dataclass(slots=True)
class _Running:
    """problem: why it could not be started again, so that this is said once."""

    spec: HubSpec
    hub: Hub
    problem: str = ""


class Runner:
    """load: reads the files. announce: tells of each hub that was started or changed."""

    def __init__(self, load: Callable[[], list[HubSpec]], make: Make, announce: Announce) -> None:
        self._load = load
        self._make = make
        self._announce = announce
        self._hubs: dict[str, _Running] = {}
        self._exporters = Exporters(self._page)

    def start(self) -> None:
        """Start all, or none: raises ConfigError for the first that is wrong."""
        try:
            specs = self._load()
            self._exporters.open(specs)
            started = [(spec, self._start(spec)) for spec in specs]
        except ConfigError:
            self.stop(drain=False)
            raise
        for spec, endpoints in started:
            self._announce(spec, endpoints)

    def reload(self) -> None:
        """Read the files again and become what they say, touching nothing that has not changed.

        What is wrong is logged: in a file it means that nothing changes, in a hub that this one
        does not.
        """
        try:
            specs = self._load()
            self._exporters.open(specs)
        except ConfigError as error:
            log.error("not reloaded, all goes on as before: %s", error)
            return
        before = {name: running.spec for name, running in self._hubs.items()}
        names = {spec.name for spec in specs}
        self._stop([name for name in before if name not in names], drain=True)
        self._apply_all([spec for spec in specs if before.get(spec.name) != spec])
        self._exporters.close_others([running.spec for running in self._hubs.values()])
        self._report(before)

    def revive(self) -> None:
        """Start the hubs again that have failed; to be called now and then."""
        for running in self._hubs.values():
            if running.hub.alive:
                continue
            if not running.problem:
                log.error("hub %s has failed: starting it again", running.spec.name)
                running.hub.stop(0)
            try:
                self._begin(running, running.spec)
            except ConfigError as error:
                if str(error) != running.problem:
                    log.error("hub %s can't be started again, trying on: %s", running.spec.name, error)
                running.problem = str(error)

    def stop(self, *, drain: bool = True) -> None:
        """Stop all at the same time, each within its own drain time."""
        self._stop(list(self._hubs), drain)
        self._exporters.close_others([])

    def _stop(self, names: Iterable[str], drain: bool) -> None:
        gone = [self._hubs.pop(name) for name in names]
        threads = [
            threading.Thread(target=one.hub.stop, args=[one.spec.drain if drain else 0], daemon=True)
            for one in gone
            if not one.problem
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _start(self, spec: HubSpec) -> Endpoints:
        hub = self._make(spec)
        endpoints = hub.start()
        self._hubs[spec.name] = _Running(spec, hub)
        return endpoints

    def _begin(self, running: _Running, spec: HubSpec) -> None:
        """Put a new hub of `spec` in the place of one that has ended."""
        hub = self._make(spec)
        endpoints = hub.start()
        running.spec, running.hub, running.problem = spec, hub, ""
        self._announce(spec, endpoints)

    def _apply_all(self, pending: list[HubSpec]) -> None:
        """Where a hub takes an endpoint that another leaves, it may have to wait for its turn."""
        while pending:
            failed: list[tuple[HubSpec, ConfigError]] = []
            for spec in pending:
                try:
                    self._apply(spec)
                except ConfigError as error:
                    failed.append((spec, error))
            if len(failed) == len(pending):
                for spec, problem in failed:
                    state = "as before" if spec.name in self._hubs else "not started"
                    log.error("hub %s is %s: %s", spec.name, state, problem)
                return
            pending = [spec for spec, _ in failed]

    def _apply(self, spec: HubSpec) -> None:
        running = self._hubs.get(spec.name)
        if running is None:
            self._announce(spec, self._start(spec))
            return
        endpoints = running.hub.reconfigure(spec) if running.hub.alive else None
        if endpoints is None:
            self._replace(running, spec)
        else:
            running.spec = spec
            self._announce(spec, endpoints)

    def _replace(self, running: _Running, spec: HubSpec) -> None:
        """Raises ConfigError where the new hub can't start; the old one is then begun again."""
        if not running.problem:
            running.hub.stop(running.spec.drain if running.hub.alive else 0)
        try:
            self._begin(running, spec)
        except ConfigError as error:
            running.problem = str(error)
            self.revive()
            raise

    def _page(self, endpoint: str) -> str:
        """The numbers of the hubs that name it. Other threads ask for it, also while hubs come and go."""
        give_up = time.monotonic() + TELL_ALL_WITHIN
        samples = []
        for running in list(self._hubs.values()):
            spec, hub = running.spec, running.hub
            if spec.prometheus == endpoint:
                patience = min(TELL_WITHIN, max(0.0, give_up - time.monotonic()))
                samples.append(Sample(spec.name, spec.type, hub.status(patience) if hub.alive else None))
        return exposition(samples)

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
