"""Opening the connection of a command. Owns the one import of the network; it is slow, hence late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh import Client


def open_client(
    service: str,
    services_file: str | None,
    *,
    timeout: float | None = None,
    heartbeat: float | None = None,
) -> Client:
    """A client of `service`, a name of the registry or an endpoint; to be used in `with`.

    timeout, heartbeat: seconds; None for what the registry says, else the library's own.
    """
    import mesh

    quiet_interrupt()
    given = {"timeout": timeout, "heartbeat": heartbeat}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return mesh.connect(service, services=services_file, **options)


def quiet_interrupt() -> None:
    """Let Ctrl-C end the command without the traceback that gevent's hub prints by itself."""
    import gevent

    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
