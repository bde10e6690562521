"""Asks one endpoint whether a server is there, over a connection that is kept between questions."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

from mesh.cli.endpoint_client import connections_to
from mesh.core.call import Options
from mesh.core.wire import PING, Header
from mesh.errors import MeshError, RemoteError
from mesh.green.client import Client
from mesh.names.model import Endpoint
from mesh.transport.client_target import ClientTarget


@dataclass(frozen=True, slots=True)
class Load:
    """The calls that run at a server, how many may at once, and those that wait."""

    running: int
    most: int
    waiting: int

    @property
    def full(self) -> bool:
        return self.running >= self.most and self.waiting > 0


@dataclass(frozen=True, slots=True)
class Pong:
    """What came of a ping; error: why nothing did.

    name: what the server calls itself, "" where it does not tell. ms: the round trip. load: None of a server
    that is not mesh's, and where somebody else has answered for it.
    """

    endpoint: str
    name: str = ""
    ms: float | None = None
    load: Load | None = None
    error: MeshError | None = None


class Pinger:
    """service: the name by which a hub is to know it; None for a server's own endpoint."""

    def __init__(self, endpoint: Endpoint, service: str | None = None) -> None:
        self._endpoint = endpoint.address
        header: Header = {"load": 1}
        if service is not None:
            header["service"] = service
        self._connections = connections_to(endpoint, header)
        self._client = Client(ClientTarget(self._connections, Options()))

    def ask(self, patience: float) -> Pong:
        """Ping it. patience: seconds for the first answer, which has to wait for the connection, and for the
        second, whose round trip is told. Never raises a MeshError."""
        client = self._client.with_options(timeout=patience)
        try:
            for _ in range(2):
                began = perf_counter()
                answer = _answer(client)
        except MeshError as error:
            return Pong(self._endpoint, error=error)
        ms = round((perf_counter() - began) * 1000, 2)
        name, load = _read(answer)
        return Pong(self._endpoint, name, ms, load)

    def close(self) -> None:
        self._connections.close()


def _answer(client: Client) -> Any:
    try:
        return client(PING)
    except RemoteError:
        return None  # it does not know a ping, but it is there


def _read(answer: Any) -> tuple[str, Load | None]:
    """Name and load of an answer, which may be anything."""
    if not isinstance(answer, list) or len(answer) < 2 or not isinstance(answer[1], str):
        return "", None
    told = answer[2] if len(answer) > 2 and isinstance(answer[2], dict) else {}
    keys = ("running", "most", "waiting")
    numbers = [told[key] for key in keys if type(told.get(key)) is int]
    return answer[1], Load(*numbers) if len(numbers) == len(keys) else None
