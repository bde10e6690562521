"""Asks servers and hubs for the calls that are open there, all at once, each within bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import gevent
from gevent.pool import Pool

from mesh.cli.collector import client_of, collector_endpoints
from mesh.cli.endpoint_client import connections_to
from mesh.cli.open_calls_told import Told, Values, count, rows_of, text
from mesh.cli.reporting import one_line
from mesh.core.call import Options
from mesh.core.majordomo import CALLS
from mesh.core.trace_record import COLLECTOR
from mesh.core.wire import OPEN_CALLS
from mesh.errors import ConfigError, MeshError, RemoteError, ServiceNotFound, TimeoutExpired
from mesh.green.client import Client
from mesh.names.catalog import Catalog
from mesh.names.model import Endpoint, Missing
from mesh.transport import descriptors
from mesh.transport.client_target import ClientTarget
from mesh.transport.collector_names import dns_may_name_it, named_collector
from mesh.transport.recording import recording

PATIENCE: Final = 1.0
"""Seconds that each has for its answer, and once more where it is a worker that a hub asks for us."""
AT_ONCE: Final = 200
"""Endpoints that are asked at the same time: each takes a few descriptors."""


def ask_all(endpoints: Mapping[Endpoint, Sequence[str]], patience: float, *, workers: bool) -> list[Told]:
    """Ask each endpoint. Beside it stand the services that are asked for there, nothing for all that a hub
    has. workers: have hubs ask theirs, too. patience: seconds, see PATIENCE. Never raises a MeshError.
    """
    pool = Pool(descriptors.at_once(AT_ONCE))
    asked = [pool.spawn(_ask, endpoint, names, patience, workers) for endpoint, names in endpoints.items()]
    return [told for one in asked for told in one.get()]


class AskedCollector:
    """What the collectors are asked for meanwhile, where there are any: a program answers by way of the one
    that it tells. problem: why one of them has not answered, "".
    """

    def __init__(self, services_file: str | None, patience: float) -> None:
        self.problem = ""
        self._patience = patience
        self._rows: list[Values] = []
        self._asking = gevent.spawn(self._ask, services_file)

    def _ask(self, services_file: str | None) -> None:
        promised = True
        try:
            promised = bool(named_collector()) or _lists_collector(services_file)
            if not (promised or dns_may_name_it()):
                return
            # Not in this thread: DNS may take its time, and others are asked meanwhile.
            found = gevent.get_hub().threadpool.spawn(_look_up, services_file).get(timeout=self._patience)
            if isinstance(found, MeshError):
                raise found
        except MeshError as error:
            if promised or not isinstance(error, (ConfigError, ServiceNotFound)):  # else DNS has none either
                self._failed(error)
            return
        except gevent.Timeout:
            self._failed("its name could not be looked up in time")
            return
        gevent.joinall([gevent.spawn(self._ask_one, endpoint) for endpoint in found or ()])

    def _ask_one(self, endpoint: Endpoint) -> None:
        try:
            with client_of(endpoint, self._patience) as collector:
                answer = collector.open_calls()
        except MeshError as error:
            self._failed(error)
            return
        self._rows += rows_of(answer, "calls") if isinstance(answer, dict) else []

    def _failed(self, why: object) -> None:
        self.problem = one_line(f"calls that no server tells of are not shown: {why}")

    def rows(self, services: Sequence[str]) -> list[Values]:
        """What programs tell of their calls of these services, or of all; waits for it."""
        self._asking.join()
        return [row for row in self._rows if not services or text(row, "service") in services]


def _look_up(services_file: str | None) -> Sequence[Endpoint] | MeshError:
    """Where the collectors are. What a thread of gevent's pool raises is printed there with its traceback."""
    try:
        return collector_endpoints(None, services_file)
    except MeshError as error:
        return error


def _lists_collector(services_file: str | None) -> bool:
    """Whether the registry's file has one. Raises ConfigError where it can't be read."""
    return not isinstance(Catalog(services_file).lookup(COLLECTOR), Missing)


def ask_collector(services_file: str | None, patience: float) -> AskedCollector:
    """Begin to ask the collectors for the calls of programs. patience: see PATIENCE. Never raises."""
    recording.keep_out()
    return AskedCollector(services_file, patience)


def _ask(endpoint: Endpoint, names: Sequence[str], patience: float, workers: bool) -> list[Told]:
    """What an endpoint tells, and behind a hub its workers."""
    address = endpoint.address
    connections = connections_to(endpoint, {"service": CALLS})
    try:
        client = Client(ClientTarget(connections, Options(timeout=patience, retries=0)))
        service = names[0] if names and not endpoint.hub else ""
        told = _only(_answer(client, Told(address, service)), names)
        if told.error is not None and (causes := connections.causes):
            told = _without(told, f"nobody answers: {causes[0].removeprefix(f'{address}: ')}")
        return [told, *_ask_workers(client, told)] if workers and told.is_hub else [told]
    finally:
        connections.close()


def _only(told: Told, names: Sequence[str]) -> Told:
    """Of a hub of many services what it tells of these; nothing for all. Others have one, whatever its
    name."""
    values = told.values
    if values is None or not (told.is_hub and names and text(values, "type") == "majordomo"):
        return told
    rows = {
        key: [one for one in rows_of(values, key) if one.get("service") in names]
        for key in ("calls", "workers")
    }
    left_out = len(rows_of(values, "calls")) - len(rows["calls"])
    return replace(told, values={**values, **rows, "total": count(values, "total") - left_out})


def _ask_workers(client: Client, hub: Told) -> list[Told]:
    """What the workers of a hub tell, asked by the hub's own connections to them."""
    values = hub.values or {}
    rows = [row for row in rows_of(values, "workers") if type(row.get("number")) is int]
    asked = [gevent.spawn(_ask_worker, client, row, hub) for row in rows]
    gevent.joinall(asked)
    return [one.get() for one in asked]


def _ask_worker(client: Client, row: Values, hub: Told) -> Told:
    service, host, heard = text(row, "service"), text(row, "host"), row.get("last_heard")
    at = f"{service}@{host}:{count(row, 'pid')}" if host else f"a worker of {service}"
    heard = heard if type(heard) is float else None
    place = f"{at} at hub {text(hub.values or {}, 'hub')}"
    about = Told(place, service, hub=hub.place, number=row["number"], heard=heard)
    if row.get("mesh") is not True:
        return _without(about, "it is not of mesh, and does not tell what is open there")
    return _answer(client, about, row["number"])


def _answer(client: Client, about: Told, *args: int) -> Told:
    try:
        values = client(OPEN_CALLS, *args)
    except (RemoteError, ServiceNotFound) as error:
        what = "it is older, or not of mesh, and does not tell what is open there"
        return _without(about, str(error) if args and isinstance(error, ServiceNotFound) else what)
    except TimeoutExpired as error:
        if error.refused:
            return _without(about, "nobody answers; is a server running there?")
        heard = "" if about.heard is None else f", was last heard {about.heard:.1f} s ago"
        return _without(about, f"it is silent{heard}", silent=True)
    except MeshError as error:
        return _without(about, str(error))
    if not isinstance(values, dict) or not isinstance(values.get("calls"), list):
        return _without(about, "what answers does not tell what is open there")
    return replace(about, values=values)


def _without(about: Told, why: str, *, silent: bool = False) -> Told:
    return replace(about, error=TimeoutExpired(f"{about.place}: {why}"), silent=silent)
