"""Many workers, or many clients, in one process, each with a plain socket of its own.

Arguments: `workers` or `clients`, how many, of how many services, the hub's endpoint. Workers print
`registered N` whenever all of them have been acknowledged once more; clients call all together, again and
again, and print `round N took SECONDS, ERRORS errors`.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import zmq

from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import Command, FromWorker
from tests.hubs.worker import Worker

BEAT = 1.0
PATIENCE = 3.0
"""Seconds after which a client without an answer asks again: the hub may be another one."""
PAUSE = 0.2
FAILED_PAUSE = 0.05


class Member(Worker):
    """acknowledged: how often a hub has confirmed its registration."""

    acknowledged = 0

    def take(self, frames: Sequence[bytes]) -> None:
        message = mdp.read(frames)
        assert isinstance(message, FromWorker)
        self.acknowledged += message.command is Command.HEARTBEAT and message.about is not None
        super().take(frames)


def be_workers(context: zmq.Context[Any], number: int, services: int, endpoint: str) -> None:
    members = {}
    for one in range(number):
        member = Member(context, endpoint, f"s{one % services}", capacity=10)
        members[member.socket] = member
    poller = watch(members)
    print("ready", flush=True)
    beat_at, told = time.monotonic() + BEAT, 0
    while True:
        for socket in arrivals(poller):
            members[socket].take(socket.recv_multipart())
        everybody = min(member.acknowledged for member in members.values())
        if everybody > told:
            told = everybody
            print(f"registered {told}", flush=True)
        if time.monotonic() >= beat_at:
            beat_at += BEAT
            for socket in members:
                socket.send_multipart(mdp.heartbeat())


class Caller:
    """One client, which has one call open at the most. ask_at: when to call, or to call again."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, service: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.reconnect_ivl, self.socket.reconnect_ivl_max = 50, 1000
        self.socket.connect(endpoint)
        self.ask_at = 0.0
        self.errors = 0
        self.done = False
        self._service = service
        self._asked = 0

    def ask(self, now: float) -> None:
        self._asked += 1
        header = {"message_id": b"%d" % self._asked, "v": wire.VERSION, "service": self._service}
        self.socket.send_multipart([b"", wire.pack(header, "echo", [self._asked])])
        self.ask_at = now + PATIENCE

    def take(self, payload: bytes, now: float) -> None:
        header, name, args = wire.unpack(payload)
        if header.get("response_to") != b"%d" % self._asked or name == wire.BEAT:
            return
        if name == wire.OK:
            assert args == [self._asked]
            self.done = True
        else:
            self.errors += 1
            self.ask_at = now + FAILED_PAUSE


def be_clients(context: zmq.Context[Any], number: int, services: int, endpoint: str) -> None:
    callers = {}
    for one in range(number):
        caller = Caller(context, endpoint, f"s{one % services}")
        callers[caller.socket] = caller
    poller = watch(callers)
    print("ready", flush=True)
    count = 0
    while True:
        count += 1
        seconds, errors = one_round(callers, poller)
        print(f"round {count} took {seconds:.3f}, {errors} errors", flush=True)
        time.sleep(PAUSE)


def one_round(callers: dict[Any, Caller], poller: zmq.Poller) -> tuple[float, int]:
    """A call of each, until all have had an answer that is no error; how long it took, and errors."""
    begun = time.monotonic()
    for caller in callers.values():
        caller.ask_at, caller.errors, caller.done = 0.0, 0, False
    while waiting := [caller for caller in callers.values() if not caller.done]:
        now = time.monotonic()
        for caller in waiting:
            if now >= caller.ask_at:
                caller.ask(now)
        for socket in arrivals(poller):
            callers[socket].take(socket.recv_multipart()[-1], now)
    return time.monotonic() - begun, sum(caller.errors for caller in callers.values())


def watch(sockets: Any) -> zmq.Poller:
    poller = zmq.Poller()
    for socket in sockets:
        poller.register(socket, zmq.POLLIN)
    return poller


def arrivals(poller: zmq.Poller) -> list[Any]:
    return [socket for socket, _ in poller.poll(50)]


def main(role: str, number: str, services: str, endpoint: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context: zmq.Context[Any] = zmq.Context()
    context.max_sockets = 2 * int(number)
    {"workers": be_workers, "clients": be_clients}[role](context, int(number), int(services), endpoint)


if __name__ == "__main__":
    main(*sys.argv[1:])
