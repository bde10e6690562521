"""Inside of clients: the endpoint that one has in the loop of this thread, and calls by an endpoint alone."""

from __future__ import annotations

from typing import Any

from gevent import get_hub
from greenlet import getcurrent

import mesh
from mesh.core.client_session import Call
from mesh.green.client import _endpoint
from mesh.green.loop import GeventLoop, switch_to, wait
from mesh.names.model import Endpoint
from mesh.transport.client_endpoint import ClientEndpoint
from tests.helpers.processes import eventually


def endpoint_of(client: mesh.Client) -> ClientEndpoint:
    endpoint = _endpoint(client._target.connections)
    assert endpoint is not None
    return endpoint


def until_connected(client: mesh.Client, number: int) -> None:
    """Wait until that many of its connections stand."""
    links = endpoint_of(client).links
    eventually(lambda: sum(link.live for link in links.current) == number, what=f"{number} connections")


def endpoint_to(target: str, heartbeat: float | None = None, max_message: int = 10_000) -> ClientEndpoint:
    endpoints = [Endpoint(target)]
    return ClientEndpoint(GeventLoop(get_hub()), switch_to, target, endpoints, heartbeat, max_message)


def call(endpoint: ClientEndpoint, method: str, timeout: float | None = None) -> Call:
    """Send it and wait for its answer."""
    one = endpoint.open(method, (), None, timeout, None, getcurrent())
    wait(endpoint, one)
    return one


def link_of(endpoint: ClientEndpoint) -> Any:
    (link,) = endpoint.links.current
    return link
