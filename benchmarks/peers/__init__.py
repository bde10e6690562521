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


class Client(Protocol):
    """The calling end. Every method returns how many calls were answered or items arrived."""

    def __init__(self, endpoint: str) -> None: ...

    def sequential(self, payload: bytes, seconds: float) -> int: ...

    def concurrent(self, payload: bytes, callers: int, seconds: float) -> int: ...

    def stream(self, items: int) -> int: ...

    def close(self) -> None: ...


class PeerModule(Protocol):
    Client: type[Client]

    def serve(self, ready: Callable[[str], None]) -> None:
        """Serve `echo` and `numbers` on a free port of 127.0.0.1 for ever; tell `ready` the endpoint."""


@dataclass(frozen=True, slots=True)
class Peer:
    """name: on the command line and in the tables. package: what it imports. distribution: what pip
    installs."""

    name: str
    module: str
    package: str
    distribution: str
    workloads: tuple[str, ...] = (*CALLS, "stream")

    def missing(self) -> str | None:
        """One line that says what to install, or None where all is there."""
        if find_spec(self.package) is not None:
            return None
        return (
            f"{self.name}: left out, for {self.distribution} is not installed; pip install 'zeromesh[bench]'"
        )

    def load(self) -> PeerModule:
        return cast(PeerModule, importlib.import_module(f"benchmarks.peers.{self.module}"))


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("floor", "floor", "zmq", "pyzmq", workloads=CALLS),
        Peer("mesh", "mesh_peer", "mesh", "zeromesh"),
        Peer("zerorpc", "zerorpc_peer", "zerorpc", "zerorpc"),
        Peer("rpyc", "rpyc_peer", "rpyc", "rpyc"),
        Peer("grpc.aio", "grpc_peer", "grpc", "grpcio"),
    )
}
