"""Conformance and abuse suite for brokers of the Majordomo protocol: 0.1 (RFC 7), 0.2 (RFC 18), MMI (RFC 8).

    python -m tests.conformance.majordomo ENDPOINT [WORKERS_ENDPOINT]

One line for each case, and exit code 1 where one failed. Needs nothing but a broker that runs at ENDPOINT;
its heartbeat should be 2.5 s or less. Knows nothing of this project's own broker and
writes all frames itself.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import zmq

PATIENCE = 20.0
QUIET = 0.1
"""Seconds after which what has not come does not come."""

READY, REQUEST, REPLY, PARTIAL, HEARTBEAT, DISCONNECT = "ready", "request", "reply", "partial", "beat", "bye"
CODES = {
    1: {READY: b"\x01", REQUEST: b"\x02", REPLY: b"\x03", HEARTBEAT: b"\x04", DISCONNECT: b"\x05"},
    2: {
        READY: b"\x01",
        REQUEST: b"\x02",
        PARTIAL: b"\x03",
        REPLY: b"\x04",
        HEARTBEAT: b"\x05",
        DISCONNECT: b"\x06",
    },
}
WORKER = {1: [b"", b"MDPW01"], 2: [b"MDPW02"]}
CLIENT = {1: [b"", b"MDPC01"], 2: [b"MDPC02", b"\x01"]}

Frames = list[bytes]


class Failed(Exception):
    """What the broker did wrong."""


def check(true: object, why: str) -> None:
    if not true:
        raise Failed(why)


class Peer:
    """A DEALER that speaks one version."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, version: int) -> None:
        self.version = version
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.sndtimeo = int(PATIENCE * 1000)
        self.socket.connect(endpoint)

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def next(self, timeout: float) -> Frames | None:
        if not self.socket.poll(max(0, int(timeout * 1000))):
            return None
        return self.socket.recv_multipart()


class Client(Peer):
    def ask(self, service: bytes, *body: bytes) -> None:
        self.send(*CLIENT[self.version], service, *body)

    def answer(self, service: bytes, kind: bytes = b"\x03") -> Frames:
        """The body of the next message, which has to be the answer of that service."""
        frames = self.next(PATIENCE)
        if frames is None:
            raise Failed(f"no answer within {PATIENCE:g} s")
        head = [b"", b"MDPC01", service] if self.version == 1 else [b"MDPC02", kind, service]
        check(frames[: len(head)] == head, f"an answer begins with {head}, not {frames[:4]}")
        return frames[len(head) :]

    def nothing(self) -> None:
        frames = self.next(QUIET)
        check(frames is None, f"the client got {frames and frames[:5]}")


class Worker(Peer):
    def say(self, command: str, *frames: bytes) -> None:
        self.send(*WORKER[self.version], CODES[self.version][command], *frames)

    def reply(self, request: Frames, *body: bytes, command: str = REPLY) -> None:
        self.say(command, request[0], b"", *body)

    def command(self, wanted: str, timeout: float | None = None) -> Frames:
        """The rest of the next command, which has to be that one; heartbeats may come before it."""
        timeout = PATIENCE if timeout is None else timeout
        end, head = time.monotonic() + timeout, WORKER[self.version]
        while True:
            frames = self.next(end - time.monotonic())
            if frames is None:
                raise Failed(f"no {wanted} within {timeout:g} s")
            check(frames[: len(head)] == head, f"a command begins with {head}, not {frames[:4]}")
            names = [name for name, code in CODES[self.version].items() if frames[len(head)] == code]
            if names == [wanted]:
                return frames[len(head) + 1 :]
            check(names == [HEARTBEAT], f"{wanted} was due, and {names or frames[:5]} came")

    def request(self) -> Frames:
        frames = self.command(REQUEST)
        check(
            len(frames) >= 3 and frames[0] and not frames[1],
            f"REQUEST has address, empty, body: {frames[:4]}",
        )
        return frames

    def nothing(self) -> None:
        try:
            frames = self.command(REQUEST, QUIET)
        except Failed as exc:
            check(str(exc).startswith("no "), str(exc))
        else:
            raise Failed(f"the worker got {frames[:4]}")


@dataclass(slots=True)
class Bench:
    """Peers of the broker that is tested. version: of the protocol that this run of the case is for."""

    context: zmq.Context[zmq.Socket[bytes]]
    clients: str
    workers: str
    version: int
    chance: random.Random
    service: bytes
    # A socket that nobody holds closes itself.
    peers: list[Peer] = field(default_factory=list)

    def client(self, version: int | None = None) -> Client:
        client = Client(self.context, self.clients, version or self.version)
        self.peers.append(client)
        return client

    def worker(self, service: bytes | None = None, version: int | None = None) -> Worker:
        """A registered one."""
        worker = self.stranger(version)
        worker.say(READY, self.service if service is None else service)
        return worker

    def stranger(self, version: int | None = None) -> Worker:
        worker = Worker(self.context, self.workers, version or self.version)
        self.peers.append(worker)
        return worker

    def works(self) -> None:
        """The broker still serves others."""
        name = b"works-" + os.urandom(6).hex().encode()
        worker, client = self.worker(name), self.client()
        client.ask(name, b"a")
        worker.reply(worker.request(), b"b")
        check(client.answer(name) == [b"b"], "a call of others came to nothing")
        worker.say(DISCONNECT)

    def registered(self, service: bytes, code: bytes = b"200") -> None:
        """Wait until mmi.service says so."""
        client, end = self.client(), time.monotonic() + PATIENCE
        while True:
            client.ask(b"mmi.service", service)
            got = client.answer(b"mmi.service")
            if got == [code]:
                return
            check(time.monotonic() < end, f"mmi.service says {got} of {service[:40]!r}, not {code!r}")
            time.sleep(0.01)


Case = Callable[[Bench], None]


def run(clients: str, workers: str, cases: list[tuple[str, int, Case]]) -> int:
    """Run the cases, say how each went; how many failed."""
    failed = 0
    for name, version, case in cases:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        service = f"{case.__name__}-{os.urandom(6).hex()}".encode()
        try:
            bench = Bench(context, clients, workers, version, random.Random(1), service)
            case(bench)
            bench.works()
            verdict = "ok"
        except (Failed, zmq.ZMQError, LookupError) as exc:
            failed += 1
            verdict = f"FAILED {exc}"
        finally:
            context.destroy(linger=0)
        print(f"0.{version} {name}: {verdict}", flush=True)
    return failed


def problem(endpoint: str) -> str | None:
    """Why there is nothing to test at this endpoint; None where somebody speaks ZMTP."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        with socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
            try:
                socket.connect(endpoint)
            except zmq.ZMQError as exc:
                return (
                    f"{endpoint!r} is no endpoint to connect to ({exc}): write tcp://HOST:PORT or ipc://PATH"
                )
            reached = monitor.poll(int(PATIENCE * 1000))
            socket.disable_monitor()
    return (
        None if reached else f"{endpoint!r}: nobody answers within {PATIENCE:g} s; is a broker running there?"
    )


def main(arguments: list[str]) -> int:
    from tests.conformance.majordomo_cases import CASES

    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if not 1 <= len(arguments) <= 2 or any(one.startswith("-") for one in arguments):
        print(__doc__, file=sys.stderr)
        return 2
    for endpoint in dict.fromkeys(arguments):
        why = problem(endpoint)
        if why:
            print(f"majordomo: {why}", file=sys.stderr)
            return 2
    return 1 if run(arguments[0], arguments[-1], CASES) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
