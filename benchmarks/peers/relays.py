"""What stands between two ends: the hubs, and libzmq's own proxy that they are compared with.

The process that is measured as the server is the one in between. Calls go to mesh workers in
processes of their own; events and jobs are sent and received by the one client, which keeps so many
of them under way.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import zmq

from hubs.hub_types import make_hub
from hubs.spec import HubSpec, Side

ANY = "tcp://127.0.0.1:*"
SERVICE = "bench"
PATIENCE_MS = 10_000

Ready = Callable[[str, str], None]


class Relay:
    """What is in between: `serve` runs it and tells of its two sides."""

    def serve(self, ready: Ready) -> None:
        raise NotImplementedError


class Proxy(Relay):
    """libzmq's own, between sockets of these two types."""

    def __init__(self, front: int, back: int) -> None:
        self._kinds = front, back

    def serve(self, ready: Ready) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        front, back = (context.socket(kind) for kind in self._kinds)
        for socket in (front, back):
            socket.bind(ANY)
        ready(front.getsockopt_string(zmq.LAST_ENDPOINT), back.getsockopt_string(zmq.LAST_ENDPOINT))
        zmq.proxy(front, back)


class Hub(Relay):
    """A hub with its default settings."""

    def __init__(self, kind: str, *, anonymous: bool = False) -> None:
        self._spec = HubSpec(SERVICE, kind, Side((ANY,)), Side((ANY,)), anonymous=anonymous)

    def serve(self, ready: Ready) -> None:
        endpoints = make_hub(self._spec).start()
        ready(endpoints.in_[0], endpoints.out[0])
        while True:
            time.sleep(3600)


class Service:
    def echo(self, value: bytes) -> bytes:
        return value

    def pid(self) -> int:
        return os.getpid()


class Calls:
    """Calls through a relay. registered: the workers register with it, and the client names the service."""

    def __init__(self, relay: Relay, *, registered: bool) -> None:
        self.serve = relay.serve
        self._registered = registered

    def work(self, out: str) -> None:
        import mesh

        server = mesh.Server(Service())
        if self._registered:
            server.register(SERVICE, out)
        else:
            server.connect(out)
        server.run()

    def Client(self, in_: str, out: str) -> Caller:
        return Caller(in_, self._registered)


class Caller:
    """A mesh client, as soon as its calls come to more than one worker."""

    def __init__(self, endpoint: str, registered: bool) -> None:
        import mesh

        if registered:
            with tempfile.TemporaryDirectory() as folder:
                services = Path(folder) / "services.yml"
                services.write_text(f"{SERVICE}: {{hub: '{endpoint}'}}\n")
                self._remote = mesh.connect(SERVICE, services=str(services))
        else:
            self._remote = mesh.connect(endpoint)
        seen: set[int] = set()
        patient = self._remote.with_options(timeout=PATIENCE_MS / 1000, retries=100)
        end = perf_counter() + PATIENCE_MS / 1000
        while len(seen) < 2:
            seen.add(patient.pid())
            if perf_counter() > end:
                raise RuntimeError(f"only workers {seen} were given calls")

    def sequential(self, payload: bytes, seconds: float) -> int:
        from benchmarks.peers.loops import repeat

        return repeat(self._remote.echo, payload, seconds)

    def concurrent(self, payload: bytes, callers: int, seconds: float) -> int:
        from benchmarks.peers.loops import crowd

        return crowd(self._remote.echo, payload, callers, seconds)

    def close(self) -> None:
        self._remote.close()


class Messages:
    """Messages that go one way through a relay, between sockets of these two types."""

    def __init__(self, relay: Relay, sender: int, receiver: int) -> None:
        self.serve = relay.serve
        self._kinds = sender, receiver

    def Client(self, in_: str, out: str) -> Flow:
        return Flow(in_, out, *self._kinds)


class Flow:
    """Both ends, in one thread."""

    def __init__(self, in_: str, out: str, sender: int, receiver: int) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context = context
        self._sender, self._receiver = context.socket(sender), context.socket(receiver)
        if receiver == zmq.SUB:
            self._receiver.subscribe(b"")
        self._receiver.rcvtimeo = PATIENCE_MS
        # A PUB drops what is over, and learns only now and then what has left it: the usual 1,000 are
        # soon over with 100 under way, and a flow that has lost them all stands still.
        self._sender.sndhwm = 0
        self._receiver.connect(out)
        self._sender.connect(in_)
        self._until_carried()

    def _until_carried(self) -> None:
        """A publisher knows of its subscribers only after a moment."""
        end, sent = perf_counter() + PATIENCE_MS / 1000, 0
        while not self._receiver.poll(1):
            self._sender.send(b"%d" % sent)
            sent += 1
            if perf_counter() > end:
                raise RuntimeError("nothing was carried")
        self._sender.send(b"last")
        while self._receiver.recv() != b"last":
            pass

    def concurrent(self, payload: bytes, under_way: int, seconds: float) -> int:
        send, receive = self._sender.send, self._receiver.recv
        for _ in range(under_way):
            send(payload)
        count, end = 0, perf_counter() + seconds
        try:
            while perf_counter() < end:
                receive()
                send(payload)
                count += 1
            for _ in range(under_way):
                receive()
        except zmq.Again:
            raise RuntimeError(
                f"nothing more came after {count} messages, with {under_way} under way"
            ) from None
        return count + under_way

    def close(self) -> None:
        self._context.destroy(linger=0)


proxy = Calls(Proxy(zmq.ROUTER, zmq.DEALER), registered=False)
anonymous = Calls(Hub("queue", anonymous=True), registered=False)
queue = Calls(Hub("queue"), registered=True)
majordomo = Calls(Hub("majordomo"), registered=True)
event_proxy = Messages(Proxy(zmq.XSUB, zmq.XPUB), zmq.PUB, zmq.SUB)
forwarder = Messages(Hub("forwarder"), zmq.PUB, zmq.SUB)
job_proxy = Messages(Proxy(zmq.PULL, zmq.PUSH), zmq.PUSH, zmq.PULL)
streamer = Messages(Hub("streamer"), zmq.PUSH, zmq.PULL)
