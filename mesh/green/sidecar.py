"""The sidecar of a server that runs already, in greenlets: registers it with hubs, and stands beside it.

What it does there is mesh/transport/sidecar.py's; here is how it lives and ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gevent.event import Event

from mesh.core import wire
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.unfinished import Running
from mesh.green.loop import GeventLoop
from mesh.green.runnable import Runnable
from mesh.transport.sidecar import DEFAULT_CAPACITY, SidecarEndpoint


class Sidecar(Runnable):
    """A worker of a service at hubs, whose calls another program carries out.

    name: what callers call the service. endpoint: that program's, any server of zerorpc. hubs: the
    out sides of one or several. heartbeat: seconds between signs of life to the hubs, and without
    one of the server until it is asked for one. capacity: calls at once that each hub may give. mdp: the
    version of Majordomo that the hubs speak, "0.2" or "0.1". max_message, max_elements: bytes of one
    event, and values in it, either way. labels: what tells it from other workers of the service. Raises
    ConfigError.
    """

    __mesh_unexposed__ = "a sidecar"

    def __init__(
        self,
        name: str,
        endpoint: str,
        hubs: str | Sequence[str],
        *,
        heartbeat: float = 2.5,
        capacity: int = DEFAULT_CAPACITY,
        mdp: str = "0.2",
        max_message: int = wire.MAX_MESSAGE,
        max_elements: int = MAX_ELEMENTS,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._endpoint = SidecarEndpoint(
            name,
            endpoint,
            hubs,
            lambda: self.begin_to_stop(0.0),
            heartbeat=heartbeat,
            capacity=capacity,
            mdp=mdp,
            max_message=max_message,
            max_elements=max_elements,
            labels=labels,
        )
        self._name = name
        super().__init__()

    @property
    def _subject(self) -> str:
        return f"the sidecar of {self._name}"

    @property
    def problem(self) -> str:
        """Why it has stopped by itself, "" where it has not."""
        return self._endpoint.problem

    def forked(self) -> None:
        """In the child of a fork: it is the parent's."""
        self._endpoint.forked()
        super().forked()

    def _begin(self) -> None:
        self._endpoint.start(GeventLoop(self._hub))

    def _abandon(self) -> None:
        self._endpoint.close()

    def _drain(self, timeout: float | None) -> None:
        drained = Event()
        self._endpoint.drain(timeout, drained.set)
        drained.wait()

    def _end(self) -> None:
        self.cut_off = self._endpoint.cut_off
        self._endpoint.close()

    def _running(self) -> list[Running]:
        return self._endpoint.running()
