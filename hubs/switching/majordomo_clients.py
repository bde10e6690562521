"""What a Majordomo client can't say of its call to a worker of mesh: credit for a stream, and heartbeats.

It says nothing after its request, so the hub speaks for it as the worker's events pass.
"""

from __future__ import annotations

from typing import Final

from hubs.switching.environment import Environment
from hubs.switching.model import RoutedCall, Worker
from hubs.switching.outgoing import Outgoing
from mesh.core import wire

WINDOW: Final = 100
"""Items of a stream that a worker may be ahead of a Majordomo client: an old server keeps no more."""


class MajordomoClients:
    """Speaks to workers for all clients that speak Majordomo."""

    def __init__(self, env: Environment, outgoing: Outgoing) -> None:
        self._env = env
        self._outgoing = outgoing
        # Credit that waits until its client reads: the call, the worker that had it then, and how much.
        self._owed: list[tuple[Worker, RoutedCall, int]] = []

    @property
    def idle(self) -> bool:
        """Whether no worker is owed credit."""
        return not self._owed

    def passed(self, worker: Worker, call: RoutedCall, name: str) -> None:
        """An event of that name has passed: credit follows items, and each heartbeat is given back, so that
        the worker's interval counts."""
        if name == wire.BEAT:
            self._outgoing.follow_control(worker, call, wire.BEAT)
        elif name == wire.STREAM:
            call.items += 1
            if call.items % (WINDOW // 2) == 1:
                self._grant(worker, call, WINDOW if call.items == 1 else WINDOW // 2)

    def _grant(self, worker: Worker, call: RoutedCall, credit: int) -> None:
        if self._env.driver.crowded(call.client.address):
            self._owed.append((worker, call, credit))
        else:
            self._outgoing.follow_control(worker, call, wire.MORE, credit)

    def grant_owed(self) -> None:
        """What was not granted while its client did not read; to be called when peers may have read."""
        owed, self._owed = self._owed, []
        for worker, call, credit in owed:
            if not call.abandoned and worker.calls.get(call.token) is call:
                self._grant(worker, call, credit)
