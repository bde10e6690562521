"""What a server is, whichever loop carries out its calls: what is exposed, its settings, where it is reached.

Owns the arguments that the program gives, what they mean, and what is wrong with them.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from mesh.core import settings
from mesh.core.labels import check_labels
from mesh.core.log import tell_left_out
from mesh.core.methods import MethodTable
from mesh.core.middleware import Middleware, checked
from mesh.core.registration import SLOWEST, VERSIONS, Registration
from mesh.core.server_call import Limits
from mesh.core.slots import Slots
from mesh.core.unfinished import Running
from mesh.core.values import Encode
from mesh.errors import ConfigError
from mesh.names.endpoints import check_endpoint
from mesh.transport.draining import Draining
from mesh.transport.handlers import Handlers
from mesh.transport.identity import myself, serves
from mesh.transport.ipc import MODE_RULE, Access, is_mode, path_of
from mesh.transport.lifecycle import Life
from mesh.transport.registering import check_registration
from mesh.transport.server_endpoint import ServerEndpoint

LINGER_MS: Final = 1_000

log = logging.getLogger("mesh.server")


class Serving(Life):
    """A server but for its loop. Who inherits lives in one, and carries out the calls there."""

    __mesh_unexposed__ = "a server"

    _coroutines: ClassVar[bool]
    """Whether the loop has coroutines: handlers and middleware."""

    def __init__(
        self,
        target: Any,
        name: str | None = None,
        pool_size: int | None = None,
        heartbeat: float | None = 5.0,
        *,
        threads: int = 0,
        limits: Limits | None = None,
        expected: settings.Classes = (),
        max_message: int | None = None,
        max_elements: int | None = None,
        encode: Encode | None = None,
        middleware: Iterable[Middleware] = (),
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """target: what is exposed; a class is instantiated. name: what it calls itself, by default the
        target's name. pool_size: handlers that run at once, None for 10,000. heartbeat: seconds, None for
        none. threads: native threads in which handlers run that are no coroutines, 0 for the server's own
        loop. limits: what peers may fill. max_message, max_elements: those of `limits`, which are the ones to
        be changed most: bytes of one request or answer, and values in one request, each item, key and value
        counted; what holds more is refused before it is decoded. encode: gives what is to travel in place of
        a result, or a part of one, that can't. expected: exceptions that handlers raise in the ordinary
        course of things: the log has them at level INFO, and all others at ERROR. middleware: functions of
        (call, proceed) that run around each handler, the first outermost; see docs/middleware.md. labels:
        what tells it from other servers of its service, such as {"version": "2", "zone": "eu"}; hubs where it
        registers tell them.

        Raises ConfigError, also for a target without a public method.
        """
        settings.count("pool_size", pool_size, none=True)
        settings.seconds("heartbeat", heartbeat, most=SLOWEST, more=True, none=True)
        settings.count("threads", threads, 0)
        settings.function("encode", encode)
        expecting = settings.exceptions("expected", expected)
        if not isinstance(name, str | None):
            raise ConfigError(f"name must be text, not {name!r:.80}")
        if not isinstance(limits, Limits | None):
            raise ConfigError(f"limits must be a mesh.core.server_session.Limits, not {limits!r:.80}")
        methods = _methods(target, name, self._coroutines)
        self.name = methods.name
        given = {"max_message": max_message, "max_elements": max_elements}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._slots = Slots(pool_size, threads)
        self._endpoint = ServerEndpoint(self.name, heartbeat, replace(limits or Limits(), **changes), encode)
        around = checked(middleware, coroutines=self._coroutines)
        handlers = Handlers(methods, expecting, around, self._endpoint.whom)
        session = self._endpoint.session
        session.take_load_from(self._slots.load)
        session.expose(methods.functions, methods.unknown, methods.idempotent)
        self._methods = methods.functions
        self._labels = session.open_calls_told.labels = check_labels(labels)
        self._use(handlers, threads)
        super().__init__()

    @abstractmethod
    def _use(self, handlers: Handlers, threads: int) -> None:
        """Have calls carried out by these handlers."""

    # Endpoints, from any thread

    def bind(
        self,
        endpoint: str,
        *,
        fd: int | None = None,
        mode: int | None = None,
        group: str | int | None = None,
    ) -> str:
        """Listen on an endpoint; gives the real one, with the port that `*` became.

        fd: a listening TCP socket of yours to accept connections from, in place of a new one. mode, such
        as 0o660, and group: of the file of an ipc:// path, which say who may connect; without a mode the
        umask does, or 0o660 where there is a group. Raises ConfigError.
        """
        self._endpoint.require_open()
        check_endpoint(endpoint, bind=True)
        settings.count("fd", fd, 0, none=True)
        access = _access(endpoint, mode, group)
        if access is not None and fd is not None:
            raise ConfigError("give fd, or mode and group: who may connect to your socket is yours to say")
        return self._endpoint.attach(endpoint, "bind", access, fd)

    def connect(self, endpoint: str) -> None:
        """Serve a plain device, or a client that has bound."""
        check_endpoint(endpoint)
        self._endpoint.attach(endpoint, "connect")

    def register(
        self,
        service: str,
        hub: str | Sequence[str],
        *,
        heartbeat: float = 2.5,
        address: str | None = None,
        mdp: str = "0.2",
    ) -> None:
        """Be a worker of a service at a hub, or at several.

        service: the name that callers use. hub: the endpoint of the hub's out side, or a list of
        them. heartbeat: seconds between signs of life to the hub, or less where it wants more; it
        takes a worker that was silent for three of them out. address: an endpoint where this
        server can be called without the hub, for the hub to tell. mdp: "0.1" for brokers that speak no
        newer Majordomo: they give one call at a time, and take no streams.

        A worker is given `pool_size` calls at once, 1,000 where there is no limit. It registers
        as soon as a hub is there, and again whenever the hub has forgotten it. Raises ConfigError.
        """
        endpoints = check_registration(service, hub, heartbeat, mdp)
        if address is not None:
            check_endpoint(address)
        about = {"capacity": self._slots.capacity, **myself(), **serves(self._methods)}
        if address is not None:
            about["address"] = address
        if self._labels:
            about["labels"] = self._labels
        version = VERSIONS[mdp]
        self._endpoint.register({one: Registration(service, about, heartbeat, version) for one in endpoints})

    # Its life

    @property
    def _subject(self) -> str:
        return self.name

    def _abandon(self) -> None:
        self._endpoint.close(0)

    def _running(self) -> list[Running]:
        return self._endpoint.running()

    def _drain_by_steps(self, timeout: float | None) -> Draining:
        return Draining(self.name, self._endpoint, self._slots, timeout)

    def _cut_off(self) -> int:
        """Cut off what still runs and close the sockets; how many calls that were."""
        cut_off = len(self._endpoint.running())
        self._endpoint.give_up_all()
        self._endpoint.close(LINGER_MS)
        return cut_off


def _methods(target: Any, name: str | None, coroutines: bool) -> MethodTable:
    """What is exposed of a target; the log has what is not. Raises ConfigError."""
    try:
        methods = MethodTable(target, name)
    except ValueError as exc:
        raise ConfigError(str(exc)) from None
    for hidden, why in methods.hidden.items():
        log.warning("%s: %r is not exposed, for to look at it raised %s", methods.name, hidden, why)
    tell_left_out(log, f"{methods.name} does not expose", methods.left_out)
    if not coroutines and (method := methods.first_async()) is not None:
        raise ConfigError(
            f"{methods.name}.{method} is a coroutine method (async def), which mesh.Server can't carry out: "
            "expose it by mesh.aio.Server, or by `mesh serve --loop asyncio`"
        )
    return methods


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
