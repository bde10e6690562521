"""A client's connections to one endpoint alone, whatever else its service has. Loads the network."""

from __future__ import annotations

from mesh.core.wire import Header
from mesh.names.model import Endpoint, Service
from mesh.transport.client_connections import ClientConnections


def connections_to(endpoint: Endpoint, header: Header, called: str = "") -> ClientConnections:
    """To be closed. header: what each request carries. called: how errors name it; else by its address."""
    address = endpoint.address
    alone = Service(called or address, (Endpoint(address, hosts=endpoint.hosts),))
    return ClientConnections(alone, None, header)
