"""What is checked before anything registers with hubs, be it a server or a sidecar."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.core import settings
from mesh.core.majordomo import MANAGEMENT
from mesh.core.registration import SLOWEST, VERSIONS
from mesh.errors import ConfigError
from mesh.names.endpoints import check_endpoint
from mesh.names.model import NAME_RULE, is_service_name


def check_registration(service: str, hub: str | Sequence[str], heartbeat: float, mdp: str) -> list[str]:
    """The hubs' endpoints. Raises ConfigError."""
    if not isinstance(service, str) or not is_service_name(service):
        raise ConfigError(f"{service!r:.80} is no name of a service: {NAME_RULE}")
    if service.startswith(MANAGEMENT):
        raise ConfigError(
            f"{service!r} can't be registered: names that begin with {MANAGEMENT!r} are a hub's own"
        )
    settings.seconds("heartbeat", heartbeat, most=SLOWEST, more=True)
    if mdp not in VERSIONS:
        raise ConfigError(
            f"{mdp!r:.80} is no version of Majordomo: mdp is {' or '.join(map(repr, VERSIONS))}"
        )
    if not isinstance(hub, (str, list, tuple)) or not hub:
        raise ConfigError(f"{hub!r:.80} is no hub: give the endpoint of its out side, or a list of them")
    endpoints = [hub] if isinstance(hub, str) else list(hub)
    twice = next((one for number, one in enumerate(endpoints) if one in endpoints[:number]), None)
    if twice is not None:
        raise ConfigError(f"{twice} is given twice")
    for endpoint in endpoints:
        check_endpoint(endpoint)
        if endpoint.startswith("inproc:"):
            raise ConfigError(f"{endpoint!r}: a hub is never in the same process; it has tcp:// or ipc://")
    return endpoints
