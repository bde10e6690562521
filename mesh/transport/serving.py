"""What a server is made of, whichever loop carries out its calls: what is exposed, its settings, where it is.

Owns what the arguments of a server mean, and what is wrong with them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from mesh.core import settings
from mesh.core.log import tell_left_out
from mesh.core.methods import MethodTable
from mesh.core.middleware import Middleware, checked
from mesh.core.registration import SLOWEST, VERSIONS, Registration
from mesh.core.server_call import Limits
from mesh.core.slots import Slots
from mesh.core.values import Encode
from mesh.errors import ConfigError
from mesh.names.endpoints import check_endpoint
from mesh.transport.handlers import Handlers
from mesh.transport.identity import myself, serves
from mesh.transport.ipc import MODE_RULE, Access, is_mode, path_of
from mesh.transport.registering import check_registration
from mesh.transport.server_endpoint import ServerEndpoint

LINGER_MS: Final = 1_000

log = logging.getLogger("mesh.server")


class Serving:
    """All arguments as those of `mesh.Server`. coroutines: the driver awaits its middleware. Raises
    ConfigError.
    """

    def __init__(
        self,
        target: Any,
        name: str | None,
        pool_size: int | None,
        heartbeat: float | None,
        *,
        threads: int,
        limits: Limits | None,
        expected: settings.Classes,
        max_message: int | None,
        max_elements: int | None,
        encode: Encode | None,
        middleware: Iterable[Middleware],
        coroutines: bool,
    ) -> None:
        settings.count("pool_size", pool_size, none=True)
        settings.seconds("heartbeat", heartbeat, most=SLOWEST, more=True, none=True)
        settings.count("threads", threads, 0)
        settings.function("encode", encode)
        expecting = settings.exceptions("expected", expected)
        if not isinstance(name, str | None):
            raise ConfigError(f"name must be text, not {name!r:.80}")
        if not isinstance(limits, Limits | None):
            raise ConfigError(f"limits must be a mesh.core.server_session.Limits, not {limits!r:.80}")
        try:
            self.methods = MethodTable(target, name)
        except ValueError as exc:
            raise ConfigError(str(exc)) from None
        self.name = self.methods.name
        for hidden, why in self.methods.hidden.items():
            log.warning("%s: %r is not exposed, for to look at it raised %s", self.name, hidden, why)
        tell_left_out(log, f"{self.name} does not expose", self.methods.left_out)
        given = {"max_message": max_message, "max_elements": max_elements}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self.slots = Slots(pool_size, threads)
        self.endpoint = ServerEndpoint(self.name, heartbeat, replace(limits or Limits(), **changes), encode)
        around = checked(middleware, coroutines=coroutines)
        self.handlers = Handlers(self.methods, expecting, around, self.endpoint.whom)
        session = self.endpoint.session
        session.take_load_from(self.slots.load)
        session.expose(self.methods.functions, self.methods.unknown)

    def bind(
        self, endpoint: str, fd: int | None = None, mode: int | None = None, group: str | int | None = None
    ) -> str:
        """As `mesh.Server.bind`."""
        self.endpoint.require_open()
        check_endpoint(endpoint, bind=True)
        settings.count("fd", fd, 0, none=True)
        access = _access(endpoint, mode, group)
        if access is not None and fd is not None:
            raise ConfigError("give fd, or mode and group: who may connect to your socket is yours to say")
        return self.endpoint.attach(endpoint, "bind", access, fd)

    def connect(self, endpoint: str) -> None:
        """As `mesh.Server.connect`."""
        check_endpoint(endpoint)
        self.endpoint.attach(endpoint, "connect")

    def register(
        self, service: str, hub: str | Sequence[str], heartbeat: float, address: str | None, mdp: str
    ) -> None:
        """As `mesh.Server.register`."""
        endpoints = check_registration(service, hub, heartbeat, mdp)
        if address is not None:
            check_endpoint(address)
        about = {"capacity": self.slots.capacity, **myself(), **serves(self.methods.functions)}
        if address is not None:
            about["address"] = address
        version = VERSIONS[mdp]
        self.endpoint.register({one: Registration(service, about, heartbeat, version) for one in endpoints})

    def end(self) -> int:
        """Cut off what still runs and close the sockets; how many calls that were."""
        cut_off = len(self.endpoint.running())
        self.endpoint.give_up_all()
        self.endpoint.close(LINGER_MS)
        return cut_off


def _access(endpoint: str, mode: int | None, group: str | int | None) -> Access | None:
    """Who may connect, None where that is not said. Raises ConfigError."""
    if mode is None and group is None:
        return None
    if not path_of(endpoint):
        raise ConfigError(f"mode and group are for the path of an ipc:// endpoint, not for {endpoint!r}")
    if mode is not None and (type(mode) is not int or not is_mode(mode)):
        shown = f"{mode:#o}" if type(mode) is int else repr(mode)
        raise ConfigError(f"mode must be {MODE_RULE}, as a number such as 0o660; not {shown:.80}")
    if group is not None and (type(group) not in (str, int) or group in ("", -1)):
        raise ConfigError(f"group must be the name of a group, or its number, not {group!r:.80}")
    return Access(mode, None if group is None else str(group))
