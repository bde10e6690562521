"""`mesh.connect`: a remote service as an object whose attributes are its methods."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from types import EllipsisType
from typing import Any, Final

import gevent

from mesh.core import outcomes, settings, wire
from mesh.core.call import Options, may_retry, outcome, pause
from mesh.core.channel import State
from mesh.core.client_answers import GO_ELSEWHERE
from mesh.core.client_session import DEFAULT_HEARTBEAT, Call, check_settings
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.values import Encode
from mesh.core.wire import Header
from mesh.errors import ConfigError, LostRemote, MeshError, RemoteError
from mesh.green.caller import Caller
from mesh.green.client_links import RENEW
from mesh.green.connection import Connection
from mesh.green.link import Link
from mesh.green.pending import Pending, ThreadPending, outcome_of
from mesh.green.stream import Stream, ThreadStream
from mesh.green.threads import loop_thread
from mesh.names.catalog import Catalog
from mesh.names.followed import Followed, endpoints_of
from mesh.names.model import Service
from mesh.names.resolver import Target, resolve

DEFAULT_TIMEOUT: Final = 30.0
LOOK: Final = 0.005
"""Seconds between two looks whether a connection stands."""


class Method:
    """One remote method: call it, or ask for its answer later with `future`."""

    __slots__ = ("_client", "_name")
    __mesh_unexposed__ = "a method of another service"

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return _call(self._client, self._name, args, kwargs)

    def future(self, /, *args: Any, **kwargs: Any) -> Pending | ThreadPending:
        """Send the request now and give its answer to come."""
        return _future(self._client, self._name, args, kwargs)

    def __repr__(self) -> str:
        return f"<remote method {self._name!r} of {self._client!r}>"


class Client:
    """A remote service. Its attributes are the remote methods; `client("name", …)` is the same.

    Safe in any number of greenlets and native threads, and after a fork. Use it as a context
    manager, or `close` it.
    """

    __slots__ = ("__weakref__", "_connection", "_options", "_service")
    __mesh_unexposed__ = "a client of another service"

    def __init__(self, service: Service, connection: Connection, options: Options) -> None:
        self._service = service
        self._connection = connection
        self._options = options

    def __getattr__(self, name: str) -> Method:
        if name.startswith("_") and not name.startswith("_zerorpc_"):
            raise AttributeError(f"names that begin with _ are never remote methods: {name!r}")
        return Method(self, name)

    def __call__(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call the remote method of that name."""
        if not isinstance(method, str):
            raise TypeError(f"the name of a method must be str, not {type(method).__name__}")
        return _call(self, method, args, kwargs)

    def with_options(
        self,
        *,
        timeout: float | EllipsisType | None = ...,
        retries: int | EllipsisType = ...,
        idempotent: bool | EllipsisType = ...,
        key: str | bytes | int | EllipsisType | None = ...,
    ) -> Client:
        """A view of this client whose calls have another timeout, retries, idempotent or key.

        timeout: seconds or None. retries: further attempts. idempotent: the calls may be
        carried out twice, so that a lost one may be tried again. key: a sharded hub gives all calls
        with the same one to the same worker; None for none. Raises ConfigError.
        """
        given = {"timeout": timeout, "retries": retries, "idempotent": idempotent, "key": key}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not ...}
        return Client(self._service, self._connection, replace(self._options, **changes))

    def close(self) -> None:
        """End the open calls with LostRemote and close the connections."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<mesh client of {self._service.name}>"


def connect(
    target: Target,
    *,
    timeout: float | None = DEFAULT_TIMEOUT,
    heartbeat: float | None = DEFAULT_HEARTBEAT,
    services: str | None = None,
    max_message: int = wire.MAX_MESSAGE,
    max_elements: int = MAX_ELEMENTS,
    encode: Encode | None = None,
) -> Client:
    """A client of a service.

    target: a name from the registry, an endpoint, or a list of endpoints. timeout: seconds that
    a call waits at most, None for no limit; a service's own in the registry goes before the
    default. heartbeat: seconds between heartbeats, the same as the server's where that is an
    old zerorpc; None for none. services: the registry file. max_message: bytes of one message.
    max_elements: values in one answer, each item, key and value counted; what holds more is not decoded.
    encode: gives what is to travel in place of an argument, or a part of one, that can't.

    Connects in the background, and again for ever. Raises ServiceNotFound and ConfigError.
    """
    check_settings(heartbeat, max_message, max_elements)
    settings.function("encode", encode)
    service, source = _find(target, services)
    check_takes_calls(service)
    if timeout is DEFAULT_TIMEOUT and service.timeout is not None:
        timeout = service.timeout
    options = Options(timeout=timeout, retries=service.retries or 0)
    header: Header | None = {"service": service.name} if service.hub else None
    connection = Connection(
        endpoints_of(service), source, header, heartbeat, max_message, max_elements, encode
    )
    client = Client(service, connection, options)
    connection.caller()
    return client


def check_takes_calls(service: Service) -> None:
    """Raise ConfigError for a service that no client of this release can call."""
    if service.type != "router":
        raise ConfigError(
            f"{service.name} is of type {service.type!r} ({service.source}), which takes no calls"
        )
    if service.key is not None:
        raise ConfigError(f"{service.name} has a key ({service.source}); this release can't encrypt yet")


def _find(target: Target, services: str | None) -> tuple[Service, Followed | None]:
    if isinstance(target, str) and "://" not in target:
        source = Followed(target, Catalog(services))
        return source.service, source
    return resolve(target), None


def _call(client: Client, method: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    connection, options = client._connection, client._options
    caller = connection.caller()
    if caller is None:
        return loop_thread.call(_call_for_thread, client, method, args, kwargs)
    if kwargs or options.retries or options.idempotent or options.key is not None:
        call = _persist(caller, connection, options, method, tuple(args), kwargs)
    else:
        call = caller.call(method, args, connection.header, options.timeout, None)  # type: ignore[arg-type]
        if call.error is not None and isinstance(call.error, GO_ELSEWHERE) and call.error.refused:
            call = _persist(caller, connection, options, method, tuple(args), kwargs, call)
    if call.items is not None and (call.error is None or call.items):
        return Stream(connection, caller, call, options.timeout)
    if call.error is not None:
        raise call.error
    return call.value


def _call_for_thread(client: Client, method: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The call of a thread without a loop; this runs in the loop thread."""
    result = _call(client, method, args, kwargs)
    return ThreadStream(result) if type(result) is Stream else result


def _future(
    client: Client, method: str, args: Sequence[Any], kwargs: dict[str, Any]
) -> Pending | ThreadPending:
    if client._connection.caller() is None:
        return ThreadPending(loop_thread.submit(_call_for_thread, client, method, args, kwargs))
    greenlet = gevent.spawn(outcome_of, _call, client, method, args, kwargs)
    gevent.sleep(0)  # lets it send before the program computes on
    return Pending(greenlet, client._options.timeout)


def _persist(
    caller: Caller,
    connection: Connection,
    options: Options,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    call: Call | None = None,
) -> Call:
    """Attempts until one succeeds, or must not be followed by another. call: the first, where it was made."""
    began = monotonic() if call is None else call.opened
    give_up_at = None if options.timeout is None else began + options.timeout
    attempts = moves = 0
    renewed = False
    seen: MeshError | None = None
    while True:
        attempts += 1
        left = None if give_up_at is None else max(give_up_at - monotonic(), 0.001)
        try:
            call = call or _attempt(caller, connection, method, args, kwargs, left, options)
            error = call.error
        except MeshError as exc:
            error = exc
        if call is not None and (error is None or call.state is State.STREAMING):
            return call
        call = None
        now = monotonic()
        in_time = give_up_at is None or now < give_up_at
        if in_time and moves < len(caller.links) and caller.session.elsewhere(error, now):
            moves += 1
            attempts -= 1  # nobody has seen it, and it need not wait for anything
            continue
        if in_time and not renewed and caller.renew(error):
            renewed = True
            if _connects(caller, RENEW if give_up_at is None else min(RENEW, give_up_at - now)):
                attempts -= 1
                continue
        if error is None:
            raise AssertionError("an attempt ended without an outcome")
        if not isinstance(error, MeshError) or not may_retry(error, options, attempts):
            raise outcome(error, seen)
        seconds = pause(attempts, random.random)
        if give_up_at is not None and monotonic() + seconds >= give_up_at:
            raise outcome(error, seen)
        seen = seen if error.refused else error
        gevent.sleep(seconds)


def _connects(caller: Caller, seconds: float) -> bool:
    """Wait that long for a connection."""
    end = monotonic() + seconds
    while not caller.connected and monotonic() < end:
        gevent.sleep(LOOK)
    return caller.connected


def _attempt(
    caller: Caller,
    connection: Connection,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    timeout: float | None,
    options: Options,
) -> Call:
    extra: Header = dict(connection.header or {})
    if options.idempotent:
        extra["idempotent"] = True
    if options.key is not None:
        extra["key"] = options.key
    if not kwargs:
        return caller.call(method, args, extra, timeout, None)
    link = _mesh_link(caller, connection, method, timeout)
    extra["kwargs"] = kwargs
    return caller.call(method, args, extra, timeout, link)


def _mesh_link(caller: Caller, connection: Connection, method: str, timeout: float | None) -> Link:
    """A live link whose server takes keyword arguments; each is asked once a connection.

    Raises TypeError where none does: zerorpc has no place for them, and a server of it would
    carry out the call without.
    """
    began = monotonic()
    while True:
        now = monotonic()
        links = [link for link in caller.links if link.live]
        links = [link for link in links if link.leaving <= now] or links
        unasked = [link for link in links if link.mesh is None]
        able = [link for link in links if link.mesh]
        if able:
            return min(able, key=lambda link: (link.silent, link.open / link.weight))
        if links and not unasked:
            where = ", ".join(link.endpoint for link in links)
            raise TypeError(
                f"{method!r:.80} can't take keyword arguments: the server at {where} is an old zerorpc, "
                "which has none; give them by position"
            )
        left = None if timeout is None else timeout - (monotonic() - began)
        if left is not None and left <= 0:
            asked = unasked[0] if unasked else None
            expired = outcomes.expired(method, monotonic() - began, asked, caller.links)
            expired.refused = True  # only the question was sent
            raise expired
        extra: Header = {**(connection.header or {}), "mesh": 1}
        probe = caller.call("_zerorpc_ping", (), extra, left, unasked[0] if unasked else None)
        peer, error = probe.peer, probe.error
        if peer is None or not peer.live or (isinstance(error, LostRemote) and not error.refused):
            continue
        if isinstance(error, MeshError) and not isinstance(error, RemoteError):
            raise error
        if peer.mesh is None:
            peer.mesh = False
