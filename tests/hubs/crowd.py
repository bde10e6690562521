"""Many workers, or many clients, by one socket with a connection for each, which costs the machine little.

Arguments: `workers`, how many, of how many services, the hub's endpoint: prints `registered` when the hub has
taken all. Or `clients`, and behind these the calls a second of all together, and for how many seconds: prints
`connected` when each has had its first answer, and then, for each line on standard input, what came of so
many calls. One is made when it is due, to the millisecond, whether those of before have an answer or not. Its
time is that from its sending to its answer. How late the calls were sent is told beside: by more than some
milliseconds where the machine has not enough for these programs themselves.
"""

from __future__ import annotations

import gc
import math
import resource
import sys
import time
from collections import Counter
from typing import Any

import zmq

from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD, Command, FromWorker

BEAT = 2.0
LOOK = 0.05
PATIENCE = 600
"""Looks without an answer, of that many seconds each, until the open calls count as lost. A machine may
stand still for many seconds, and nobody answers meanwhile."""
AT_ONCE = 20
"""First calls that are open at a time."""


class Crowd:
    """A socket with that many connections. names: what each is called here."""

    def __init__(self, number: int, endpoint: str) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        # Of its types the one that may have several connections to one endpoint, and says by which to send.
        self._socket = zmq.Context().socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.sndhwm = self._socket.rcvhwm = 0
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self.names = [b"%d" % one for one in range(number)]
        for name in self.names:
            self._socket.setsockopt(zmq.CONNECT_ROUTING_ID, name)
            self._socket.connect(endpoint)
        self.send = self._socket.send_multipart

    def arrivals(self, seconds: float) -> list[list[bytes]]:
        """All messages that are there, with their names; waits that long for the first. It sleeps to the next
        millisecond: to look again and again until then would take a processor from the hub."""
        if not self._poller.poll(math.ceil(max(0.0, seconds) * 1000)):
            return []
        messages = []
        while True:
            try:
                messages.append(self._socket.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return messages


def be_workers(number: int, services: int, endpoint: str) -> None:
    """They agree on batches with the hub, as workers of mesh do."""
    crowd = Crowd(number, endpoint)
    about = {"capacity": 10, "heartbeat": int(BEAT * 1000), "batch": mdp.MAX_BATCH}
    for one, name in enumerate(crowd.names):
        crowd.send([name, *mdp.ready(f"s{one % services}", about)])
    gc.freeze()
    start, beats, taken = time.monotonic(), 0, 0
    while True:
        # One worker after the other, as programs that were started at different times.
        due = start + beats * BEAT / number - time.monotonic()
        if due <= 0:
            crowd.send([crowd.names[beats % number], *mdp.heartbeat()])
            beats += 1
            continue
        for message in crowd.arrivals(due):
            taken += answer(crowd, *message)
            if taken == number:
                taken += 1
                print("registered", flush=True)


def answer(crowd: Crowd, name: bytes, *frames: bytes) -> bool:
    """Take a message; whether it was the hub's word that it has taken a worker."""
    if mdp.size_of_batch(frames[0]):
        answers: list[int | bytes] = []
        for _, token, event in mdp.read_batch(frames[0]):
            answers += (mdp.FINAL, token, echo(event))
        crowd.send([name, mdp.batch(answers)])
        return False
    message = mdp.read(frames)
    assert isinstance(message, FromWorker) and message.command is not Command.DISCONNECT, frames
    if message.command is Command.REQUEST:
        event = echo(message.body[0])
        crowd.send([name, *mdp.carried(STANDARD[2], Command.FINAL, message.address, [event])])
    return message.about is not None


def echo(request: bytes) -> bytes:
    header, _, args = wire.unpack(request)
    reply: wire.Header = {"message_id": b"w", "v": 3, "response_to": header["message_id"]}
    return wire.pack(reply, wire.OK, args)


class Callers:
    """Clients, one of which calls after the other. made: calls of theirs; open: those without an answer, and
    when they were sent; took: seconds of the others; errors: by what was answered.
    """

    def __init__(self, number: int, services: int, endpoint: str) -> None:
        self._crowd = Crowd(number, endpoint)
        self._services = services
        self.made = 0
        self.open: dict[bytes, float] = {}
        self.took: list[float] = []
        self.errors: Counter[str] = Counter()

    def call(self) -> float:
        """When it was."""
        made, names = self.made, self._crowd.names
        self.made += 1
        call, name = b"%d" % made, names[made % len(names)]
        header = {"message_id": call, "v": 3, "service": f"s{made % len(names) % self._services}"}
        self._crowd.send([name, b"", wire.pack(header, "echo", [made])])
        self.open[call] = now = time.monotonic()
        return now

    def take(self, seconds: float) -> int:
        """How many answers there were."""
        before = len(self.took)
        for message in self._crowd.arrivals(seconds):
            header, event, args = wire.unpack(message[-1])
            if event != wire.BEAT:
                call = header["response_to"]
                self.took.append(time.monotonic() - self.open.pop(call))
                if event != wire.OK or args != [int(call)]:
                    self.errors[f"{event} {args}"] += 1
        return len(self.took) - before

    def finish(self) -> None:
        """Take the answers to the open calls."""
        patience = PATIENCE
        while self.open and patience:
            patience = PATIENCE if self.take(LOOK) else patience - 1
        self.errors["no answer"] += len(self.open)
        self.open.clear()

    def warm_up(self, number: int) -> None:
        """A call of each, some at a time."""
        while self.made < number:
            for _ in range(AT_ONCE):
                self.call()
            self.finish()
        assert not self.errors.total(), self.errors


def be_clients(number: int, services: int, endpoint: str, rate: float, seconds: float) -> None:
    callers = Callers(number, services, endpoint)
    callers.warm_up(number)
    gc.freeze()
    print("connected", flush=True)
    while sys.stdin.readline():
        one_round(callers, rate, seconds)


def one_round(callers: Callers, rate: float, seconds: float) -> None:
    callers.took.clear()
    late: list[float] = []
    start = time.monotonic()
    while len(late) < rate * seconds:
        due = start + len(late) / rate
        wait = due - time.monotonic()
        if wait <= 0:
            late.append(callers.call() - due)
        else:
            callers.take(wait)
    callers.finish()
    tell(callers, sorted(callers.took), sorted(late))


def tell(callers: Callers, took: list[float], late: list[float]) -> None:
    half, most, slowest = (1000 * took[int(share * (len(took) - 1))] for share in (0.5, 0.99, 1.0))
    times = f"half below {half:.2f} ms, 99 % below {most:.2f} ms, the slowest {slowest:.2f} ms"
    sent = f"99 % sent at most {1000 * late[int(0.99 * (len(late) - 1))]:.2f} ms late"
    errors = callers.errors
    print(f"made {len(late)}, errors {errors.total()}, {times}; {sent} {str(+errors)[:500]}", flush=True)


def main(role: str, number: str, services: str, endpoint: str, *pace: Any) -> None:
    if role == "workers":
        be_workers(int(number), int(services), endpoint)
    else:
        be_clients(int(number), int(services), endpoint, *map(float, pace))


if __name__ == "__main__":
    main(*sys.argv[1:])
