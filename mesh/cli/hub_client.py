"""Asks a hub what it has, over a connection that is kept between questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mesh.cli.endpoint_client import connections_to
from mesh.core.call import Options
from mesh.core.majordomo import STATUS
from mesh.errors import MeshError, RemoteError, ServiceNotFound, TimeoutExpired
from mesh.green.client import Client
from mesh.names.model import Endpoint
from mesh.transport.client_target import ClientTarget

PATIENCE = 2.0  # seconds that a hub has for its answer
_SILENT = "forwarders, streamers and anonymous queues can't be asked, see 'prometheus' in docs/hubs.md"


@dataclass(frozen=True, slots=True)
class HubAnswer:
    """What one hub has told; or error: why it has not. connected: somebody is there, told or not."""

    endpoint: str
    values: dict[str, Any] | None
    error: MeshError | None = None
    connected: bool = True


class HubControl:
    """One hub, by the endpoint of its in side."""

    def __init__(self, endpoint: Endpoint, patience: float = PATIENCE) -> None:
        self._endpoint = address = endpoint.address
        self._connections = connections_to(endpoint, {"service": STATUS}, f"the hub at {address}")
        self._client = Client(ClientTarget(self._connections, Options(timeout=patience)))

    def ask(self) -> HubAnswer:
        """What the hub tells of itself. Never raises a MeshError."""
        try:
            # No server has a method of that name.
            values = self._client(STATUS)
        except (RemoteError, ServiceNotFound):
            return self._failed(ServiceNotFound("what answers is no hub that can be asked"))
        except MeshError as error:
            for cause in self._connections.causes:
                return HubAnswer(self._endpoint, None, TimeoutExpired(f"{self._endpoint}: {cause}"), False)
            return self._failed(TimeoutExpired("nobody answers; is a hub running there?"), is_silent(error))
        if not _is_status(values):
            return self._failed(ServiceNotFound("what answers is no hub that can be asked"))
        return HubAnswer(self._endpoint, values)

    def _failed(self, error: MeshError, connected: bool = True) -> HubAnswer:
        told = type(error)(f"{self._endpoint}: {error} ({_SILENT})")
        return HubAnswer(self._endpoint, None, told, connected)

    def close(self) -> None:
        self._connections.close()


def is_silent(error: MeshError) -> bool:
    """Whether a question went out by a connection, and no answer came."""
    return isinstance(error, TimeoutExpired) and not error.refused


def _is_status(values: Any) -> bool:
    if type(values) is not dict:
        return False
    rows = [values.get("services"), values.get("workers")]
    return all(type(row) is list and all(type(one) is dict for one in row) for row in rows)
