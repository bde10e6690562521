"""Who is measured, and what each of them must offer.

A peer is a module with `serve` and `Client`. It is imported only in the processes that play it, so
that a missing package costs its own row and nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol, cast

CALLS = ("sequential", "concurrent", "payload")
THROUGH_HUB = ("hub", "hub-idle")


class Client(Protocol):
    """The calling end. Every method returns how many calls were answered or items arrived."""

    def sequential(self, payload: bytes, seconds: float) -> int: ...

    def concurrent(self, payload: bytes, callers: int, seconds: float) -> int: ...

    def stream(self, items: int) -> int: ...

    def close(self) -> None: ...


class PeerModule(Protocol):
    def Client(self, *endpoints: str) -> Client:
        """The client of what listens there."""

    def serve(self, ready: Callable[..., None]) -> None:
        """Serve `echo` and `numbers` on a free port of 127.0.0.1 for ever; tell `ready` the endpoint, and
        the other one where there are two sides."""

    def work(self, out: str) -> None:
        """Be a worker of the out side, for ever; for those that have workers."""


@dataclass(frozen=True, slots=True)
class Peer:
    """name: on the command line and in the tables. module: in this folder, or MODULE:NAME of an object in
    it. package: what it imports. distribution: what pip installs. workers: processes beside the
    server's that do the work."""

    name: str
    module: str
    package: str
    distribution: str
    workloads: tuple[str, ...] = (*CALLS, "stream")
    workers: int = 0

    def missing(self) -> str | None:
        """One line that says what to install, or None where all is there."""
        if find_spec(self.package) is not None:
            return None
        return (
            f"{self.name}: left out, for {self.distribution} is not installed; pip install 'zeromesh[bench]'"
        )

    def load(self) -> PeerModule:
        module, _, name = self.module.partition(":")
        loaded = importlib.import_module(f"benchmarks.peers.{module}")
        return cast(PeerModule, getattr(loaded, name) if name else loaded)


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("floor", "floor", "zmq", "pyzmq", workloads=CALLS),
        Peer("mesh", "mesh_peer", "mesh", "zeromesh"),
        Peer("mesh.threads", "mesh_peer:in_threads", "mesh", "zeromesh", ("concurrent", "stream")),
        Peer("mesh.aio", "aio_peer:plain", "mesh", "zeromesh"),
        Peer("mesh.uvloop", "aio_peer:on_uvloop", "uvloop", "uvloop"),
        Peer("zerorpc", "zerorpc_peer", "zerorpc", "zerorpc"),
        Peer("rpyc", "rpyc_peer", "rpyc", "rpyc"),
        Peer("grpc.aio", "grpc_peer", "grpc", "grpcio"),
        Peer("proxy", "relays:proxy", "mesh", "zeromesh", THROUGH_HUB, workers=2),
        Peer("anonymous", "relays:anonymous", "hubs", "zeromesh", THROUGH_HUB, workers=2),
        Peer("queue", "relays:queue", "hubs", "zeromesh", THROUGH_HUB, workers=2),
        Peer("majordomo", "relays:majordomo", "hubs", "zeromesh", THROUGH_HUB, workers=2),
        Peer("event-proxy", "relays:event_proxy", "zmq", "pyzmq", ("events",)),
        Peer("forwarder", "relays:forwarder", "hubs", "zeromesh", ("events",)),
        Peer("job-proxy", "relays:job_proxy", "zmq", "pyzmq", ("jobs",)),
        Peer("streamer", "relays:streamer", "hubs", "zeromesh", ("jobs",)),
    )
}
