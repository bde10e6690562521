"""Pings to the endpoints of services, all at once, over connections that are kept between rounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Literal, Self

import gevent
from gevent.pool import Pool

import mesh
from mesh.errors import MeshError, RemoteError
from mesh.names.model import Service

PATIENCE = 1.0  # seconds that an endpoint has for its answer
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Health:
    """What a ping to one endpoint found. ms: the round trip; state `-`: nothing to ask."""

    endpoint: str
    state: Literal["up", "down", "-"]
    ms: float | None = None


class Checker:
    """Checks services again and again. A context manager, which closes the connections."""

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._clients: dict[str, mesh.Client] = {}
        self._pool = Pool(AT_ONCE)

    def check(self, services: Iterable[Service]) -> list[Sequence[Health]]:
        """The health of each service's endpoints, in their order."""
        asked = [(service, self._check_all(service)) for service in services]
        self._forget({endpoint for service, _ in asked for endpoint in service.endpoints})
        return [[job if isinstance(job, Health) else job.get() for job in jobs] for _, jobs in asked]

    def sleep(self, seconds: float) -> None:
        """Wait, and let the connections live on meanwhile."""
        gevent.sleep(seconds)

    def _check_all(self, service: Service) -> list[gevent.Greenlet[[str], Health] | Health]:
        # Only the servers of calls answer a ping, and an encrypted one not to a plain client.
        if service.type != "router" or service.hub or service.key is not None:
            return [Health(endpoint, "-") for endpoint in service.endpoints]
        return [self._pool.spawn(self._ping, endpoint) for endpoint in service.endpoints]

    def _ping(self, endpoint: str) -> Health:
        client = self._clients.get(endpoint)
        if client is None:
            client = self._clients[endpoint] = mesh.connect(endpoint, timeout=self._patience)
        if not self._answers(client):
            return Health(endpoint, "down")
        # The first answer had to wait for the connection.
        began = perf_counter()
        if not self._answers(client):
            return Health(endpoint, "down")
        return Health(endpoint, "up", round((perf_counter() - began) * 1000, 2))

    def _answers(self, client: mesh.Client) -> bool:
        try:
            client("_zerorpc_ping")
        except RemoteError:
            return True  # it does not know the ping, but it is there
        except MeshError:
            return False
        return True

    def _forget(self, wanted: set[str]) -> None:
        for endpoint in [known for known in self._clients if known not in wanted]:
            self._clients.pop(endpoint).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.kill()
        self._forget(set())
