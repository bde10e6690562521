"""The signs of life that wait behind a large message, given by the hub in the place of who gave them.

They are held up between the hub and a worker, or between the hub and a client, while the other of the two
connections is at rest: whoever listens there would give the call up. Knows no socket and no clock.
"""

from __future__ import annotations

from typing import Final

from hubs.switching.calls import Calls
from hubs.switching.environment import Environment
from hubs.switching.model import RoutedCall, Worker
from hubs.switching.outgoing import Outgoing
from hubs.switching.workers import WorkerRegistry
from mesh.core import wire
from mesh.core.channel import NEVER
from mesh.core.progress import MOVES, STANDS, UNSURE

LOOK_EVERY: Final = 0.5
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


class StandIn:
    """Speaks for clients and workers whose connections are busy with something large."""

    def __init__(self, env: Environment, workers: WorkerRegistry, calls: Calls, outgoing: Outgoing) -> None:
        self._env = env
        self._workers = workers
        self._calls = calls
        self._outgoing = outgoing
        self._look_at = -NEVER

    def on_timer(self, now: float) -> None:
        """Twice a heartbeat: give what can't get through to the far end of a call."""
        if now < self._look_at:
            return
        heartbeat = self._env.settings.heartbeat
        self._look_at = now + LOOK_EVERY * heartbeat
        silent = now - SILENT * heartbeat
        workers = self._workers.by_address
        for worker in workers.values():
            if not worker.calls:
                continue
            if worker.about is not None:
                for call in worker.calls.values():
                    if call.client_heard < silent and call.given < silent:
                        self._speak_for_client(worker, call, now)
            if self._is_hindered(worker, now):
                self._calls.beat_clients_of(worker, now)
        if workers:
            self._env.wake(self._look_at)

    def _is_hindered(self, worker: Worker, now: float) -> bool:
        """Whether a large message is on its way to this worker or from it, as far as is known."""
        if now - worker.last_heard > LATE * worker.interval:
            return True  # how long it may go on is for the registry to say
        if not worker.large_since:
            return False
        quiet = now - QUIET * self._env.settings.heartbeat
        if not worker.large_moves and all(call.next_beat > quiet for call in worker.calls.values()):
            return False
        progress = self._env.driver.progress_of(worker.address)
        verdict = STANDS if progress is None else progress.judge(now, worker.large_since, worker.interval)
        worker.large_moves = verdict is MOVES
        if progress is not None and verdict is MOVES:
            worker.large_since = progress.moved_at
        elif verdict is UNSURE:
            self._look_soon(now)
        elif progress is None or not progress.pending:
            worker.large_since = 0.0
        return verdict is not STANDS

    def _speak_for_client(self, worker: Worker, call: RoutedCall, now: float) -> None:
        """Not for one of Majordomo, which never says anything: see majordomo_clients.py."""
        if call.style is not None or call.abandoned:
            return
        heartbeat = self._env.settings.heartbeat
        heard, progress = (
            max(call.client_heard, call.given),
            self._env.driver.progress_of(call.client.address),
        )
        verdict = STANDS if progress is None else progress.judge(now, heard, heartbeat)
        if verdict is UNSURE:
            self._look_soon(now)
            return
        # One that gives no heartbeats is not asked about at every look.
        call.client_heard = now
        if verdict is MOVES:
            call.client_heard -= (SILENT - 1) * heartbeat
            self._outgoing.follow_control(worker, call, wire.BEAT)

    def _look_soon(self, now: float) -> None:
        self._look_at = min(self._look_at, now + AGAIN * self._env.settings.heartbeat)
