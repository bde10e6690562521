"""`mesh.Server`: exposes a module, an object, a class or a dict of functions, unmodified."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

import gevent

from mesh.core import settings
from mesh.core.channel import NEVER
from mesh.core.log import tell_left_out
from mesh.core.methods import MethodTable
from mesh.core.registration import SLOWEST, VERSIONS, Registration
from mesh.core.server_session import Limits
from mesh.core.unfinished import Running, in_words
from mesh.core.values import Encode
from mesh.errors import ConfigError
from mesh.green.life import Life
from mesh.green.workers import Workers
from mesh.names.endpoints import check_endpoint
from mesh.transport.identity import myself, serves
from mesh.transport.ipc import MODE_RULE, Access, is_mode, path_of
from mesh.transport.registering import check_registration
from mesh.transport.server_endpoint import ServerEndpoint

log = logging.getLogger("mesh.server")

LINGER_MS = 1_000
GRACE = 0.25
"""Seconds that callers are given at the most to read the last answers, and refusals."""
MOMENT = 0.002
"""Seconds between two looks; and for calls that are in libzmq's hands already, to be refused in words."""
LEAVE = 1.0
"""Seconds that a hub has to take in that its worker wants no more calls."""


class Server(Life):
    """A service.

    target: what is exposed; a class is instantiated. name: what it calls itself, by default the
    target's name. pool_size: handlers that run at once, None for 10,000. heartbeat: seconds,
    None for none. threads: native threads in which the handlers run, 0 for greenlets of the
    server's own loop. limits: what peers may fill. max_message, max_elements: those of `limits`, which are
    the ones to be changed most: bytes of one request or answer, and values in one request, each item, key
    and value counted; what holds more is refused before it is decoded. encode: gives what is to
    travel in place of a result, or a part of one, that can't. expected: exceptions that handlers
    raise in the ordinary course of things: the log has them at level INFO, and all others at ERROR.

    Raises ConfigError for a target without a public method.
    """

    __mesh_unexposed__ = "a server"

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
            self._methods = MethodTable(target, name)
        except ValueError as exc:
            raise ConfigError(str(exc)) from None
        self.name = self._methods.name
        for hidden, why in self._methods.hidden.items():
            log.warning("%s: %r is not exposed, for to look at it raised %s", self.name, hidden, why)
        tell_left_out(log, f"{self.name} does not expose", self._methods.left_out)
        given = {"max_message": max_message, "max_elements": max_elements}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._endpoint = ServerEndpoint(self.name, heartbeat, replace(limits or Limits(), **changes), encode)
        self._workers = Workers(self._methods, pool_size, threads, expecting)
        Life.__init__(self, self.name)

    # Endpoints

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
        about = {"capacity": self._workers.capacity, **myself(), **serves(self._methods.functions)}
        if address is not None:
            about["address"] = address
        version = VERSIONS[mdp]
        self._endpoint.register({hub: Registration(service, about, heartbeat, version) for hub in endpoints})

    # Life

    def _begin(self) -> None:
        self._workers.start(self._hub, self._endpoint)

    def _abandon(self) -> None:
        self._endpoint.close(0)

    def _drain(self, timeout: float | None) -> None:
        give_up_at = NEVER if timeout is None else monotonic() + timeout
        running = self._running()
        if running:
            limit = "" if timeout is None else f", for at most {timeout:g} s"
            log.info("%s: waits for %d calls%s: %s", self.name, len(running), limit, in_words(running))
        self._leave_hubs(min(monotonic() + LEAVE, give_up_at))
        self._endpoint.drain()
        if not self._workers.wait_idle(None if timeout is None else max(0.0, give_up_at - monotonic())):
            running = self._running()
            log.warning(
                "%s: %d calls still ran after %g s and are given up: %s",
                self.name,
                len(running),
                timeout,
                in_words(running),
            )
        self._let_read(min(monotonic() + GRACE, max(give_up_at, monotonic() + MOMENT)))

    def _let_read(self, give_up_at: float) -> None:
        gevent.sleep(MOMENT)
        while monotonic() < min(self._endpoint.read_by, give_up_at):
            gevent.sleep(MOMENT)

    def _leave_hubs(self, give_up_at: float) -> None:
        """Let the hubs give new calls to others, before this server refuses them."""
        hubs = self._endpoint.hubs
        self._workers.leave()
        while not hubs.settled and monotonic() < give_up_at:
            gevent.sleep(MOMENT)

    def _running(self) -> list[Running]:
        """The calls that wait, run or stream, and those that run for nobody any more."""
        return self._endpoint.running()

    def _end(self) -> None:
        self.cut_off = len(self._running())
        self._endpoint.give_up_all()
        self._endpoint.close(LINGER_MS)
        self._workers.close()


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
