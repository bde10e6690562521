"""Asks the endpoints of services whether they are there, all at once, over connections that are kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final, Literal, Protocol, Self, TypeVar

from gevent.pool import Pool

from mesh.cli.hub_client import HubControl, is_silent
from mesh.cli.pinger import Pinger, Pong
from mesh.errors import Overloaded, ServiceNotFound
from mesh.names.model import Endpoint, Service
from mesh.transport import descriptors

PATIENCE = 2.0
"""Seconds that a server has for its answer."""
SILENT_PATIENCE = 1.5
"""Seconds more where it has taken the connection: for one whose loop is blocked its second thread answers,
which steps in after 2.5 seconds."""
HUB_PATIENCE = 1.0
"""Seconds that a hub has for each of its two answers."""
AT_ONCE = 100

State = Literal["up", "full", "down", "silent", "no workers", "paused", "-"]
UP: Final[frozenset[State]] = frozenset(("up", "full"))
"""What is there and takes calls, be it that they have to wait."""


class _Closes(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closes)
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """What a look at one endpoint found. ms: the round trip. workers: that a hub has of the service.

    state: `full` of one that is up, but whose handlers or workers are all busy while calls wait, be it at the
    worker that a hub would give the next one; `-` where
    there is nothing to ask; `silent` where a connection stands, but no answer comes;
    `no workers` and `paused` of a hub that is up, but has no worker of the service, or none that takes
    calls now.
    """

    endpoint: str
    state: State
    ms: float | None = None
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    """A look at one hub. services: what it has of each; None where it does not tell."""

    health: EndpointHealth
    type: str = ""
    services: Sequence[dict[str, Any]] | None = None


class Checker:
    """Checks services again and again. A context manager, which closes the connections."""

    def __init__(self) -> None:
        # By endpoint, and the service behind a hub; None for a server's own endpoint.
        self._pingers: dict[tuple[str, str | None], Pinger] = {}
        self._hubs: dict[str, HubControl] = {}
        self._pool = Pool(descriptors.at_once(AT_ONCE))
        self._keeps = True
        """Whether connections stay for the next look. Where descriptors are few they go after answers."""

    def check(self, services: Iterable[Service]) -> Sequence[Sequence[EndpointHealth]]:
        """The health of each service's endpoints, in their order."""
        services = list(services)
        asked = [(one, end) for one in services for end in one.endpoints if _answers_calls(end)]
        self._fit(len({(end.address, end.hub and one.name) for one, end in asked}))
        # A hub is asked once for all its services.
        hubs = self._start((end for _, end in asked if end.hub), self._ask_hub)
        servers = self._start((end for _, end in asked if not end.hub), self._ping)
        behind = {
            (end.address, one.name): self._pool.spawn(self._look_behind, one, end, hubs[end.address])
            for one, end in asked
            if end.hub
        }

        def health(service: Service, endpoint: Endpoint) -> EndpointHealth:
            address = endpoint.address
            if not _answers_calls(endpoint):
                return EndpointHealth(address, "-")
            look = behind[address, service.name] if endpoint.hub else servers[address]
            found: EndpointHealth = look.get()
            return found

        found = [[health(service, endpoint) for endpoint in service.endpoints] for service in services]
        _close_others(self._pingers, [*behind, *((address, None) for address in servers)])
        _close_others(self._hubs, hubs)
        return found

    def _fit(self, connections: int) -> None:
        """Have no more of so many connections open at once than there are descriptors for."""
        if (
            self._keeps
            and descriptors.at_once(more := connections - len(self._pingers) - len(self._hubs)) < more
        ):
            self._keeps = False
            self._pool = Pool(descriptors.at_once(AT_ONCE))

    def _start(self, endpoints: Iterable[Endpoint], look: Callable[[Endpoint], Any]) -> dict[str, Any]:
        """Begin to look at each address of them."""
        by_address = {endpoint.address: endpoint for endpoint in endpoints}
        return {address: self._pool.spawn(look, endpoint) for address, endpoint in by_address.items()}

    def sleep(self, seconds: float) -> None:
        """Wait, and let the connections live on meanwhile."""
        import gevent

        gevent.sleep(seconds)

    def _ping(self, endpoint: Endpoint) -> EndpointHealth:
        with self._pinger(endpoint, None) as pinger:
            pong = pinger.ask(PATIENCE)
            if pong.error is not None and is_silent(pong.error):
                pong = pinger.ask(SILENT_PATIENCE)
        return EndpointHealth(endpoint.address, _of_server(pong), pong.ms)

    @contextmanager
    def _pinger(self, endpoint: Endpoint, service: str | None) -> Iterator[Pinger]:
        key = endpoint.address, service
        pinger = self._pingers.get(key)
        if pinger is None:
            pinger = self._pingers[key] = Pinger(endpoint, service)
        try:
            yield pinger
        finally:
            if not self._keeps:
                del self._pingers[key]
                pinger.close()

    def _look_behind(self, service: Service, endpoint: Endpoint, hub: Any) -> EndpointHealth:
        """The health of a service at a hub, and of the worker that would get the next call.

        Calls wait there that the hub knows nothing of, as it is called directly, or by another hub, or stands
        behind an anonymous queue. hub: the look at that.
        """
        told: _Told = hub.get()
        health = _of_hub(service, told)
        if health.state != "up" or not _is_busy(service, told):
            return health
        with self._pinger(endpoint, service.name) as pinger:
            load = pinger.ask(HUB_PATIENCE).load
        return replace(health, state="full") if load is not None and load.full else health

    def _ask_hub(self, endpoint: Endpoint) -> _Told:
        address = endpoint.address
        client = self._hubs.get(address)
        if client is None:
            client = self._hubs[address] = HubControl(endpoint, HUB_PATIENCE)
        try:
            client.ask()
            began = perf_counter()
            answer = client.ask()
        finally:
            if not self._keeps:
                del self._hubs[address]
                client.close()
        if answer.values is not None:
            up = EndpointHealth(address, "up", _ms_since(began))
            return _Told(up, str(answer.values.get("type")), answer.values["services"])
        if isinstance(answer.error, ServiceNotFound):
            # Something has answered that can't tell, as a worker behind an anonymous queue.
            return _Told(EndpointHealth(address, "up", _ms_since(began)))
        return _Told(EndpointHealth(address, "silent" if answer.connected else "down"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.kill()
        _close_others(self._pingers, ())
        _close_others(self._hubs, ())


def _of_server(pong: Pong) -> State:
    error = pong.error
    if error is None:
        return "full" if pong.load is not None and pong.load.full else "up"
    if isinstance(error, Overloaded):
        return "full"  # a hub, as it seems, that lets pings wait for workers of other makes
    return "silent" if is_silent(error) else "down"


def _answers_calls(endpoint: Endpoint) -> bool:
    """Only the servers of calls, and hubs, answer; an encrypted one not to a plain client."""
    return endpoint.type == "router" and endpoint.key is None


def _of_hub(service: Service, told: _Told) -> EndpointHealth:
    if told.services is None:
        return told.health
    row = _row_of(service, told)
    return replace(told.health, state=_of_row(row), workers=row.get("workers") or 0)


def _row_of(service: Service, told: _Told) -> dict[str, Any]:
    # A queue hub has one service, whatever the registry calls it.
    rows = told.services or ()
    return next((one for one in rows if told.type == "queue" or one.get("name") == service.name), {})


def _is_busy(service: Service, told: _Told) -> bool:
    """Whether there are calls at its workers, as far as the hub tells."""
    return told.services is None or bool(_row_of(service, told).get("busy"))


def _of_row(row: dict[str, Any]) -> State:
    """From what a hub tells of a service."""
    capacity, busy, waiting = (row.get(key) or 0 for key in ("capacity", "busy", "waiting"))
    if not row.get("workers"):
        return "no workers"
    if not capacity:
        return "paused"
    return "full" if busy >= capacity and waiting else "up"


def _ms_since(began: float) -> float:
    return round((perf_counter() - began) * 1000, 2)


def _close_others(known: dict[K, C], wanted: Iterable[K]) -> None:
    for key in set(known) - set(wanted):
        known.pop(key).close()
