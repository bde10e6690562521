"""What a client calls, and how: all of a client that is the same whatever its calls wait by.

The `Client` of each driver is a thin shell around a ClientTarget; what waits for the answers is its own.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial, wraps
from time import monotonic
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from mesh.core import settings
from mesh.core.attempts import Attempts
from mesh.core.balance_rule import Balance, balance_of
from mesh.core.call import Options, key_bytes
from mesh.core.client_session import DEFAULT_HEARTBEAT, Call, check_settings
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.middleware import CallContext, Middleware, Proceed, chained, checked, request_headers
from mesh.core.traffic import Strike
from mesh.core.values import Encode
from mesh.core.wire import MAX_MESSAGE, Header
from mesh.errors import ConfigError
from mesh.names.catalog import Catalog
from mesh.names.followed import Followed
from mesh.names.model import Endpoint, Service
from mesh.names.resolver import Target, resolve
from mesh.transport import dns_entrance
from mesh.transport.client_connections import ClientConnections
from mesh.transport.client_endpoint import ClientEndpoint
from mesh.transport.client_traffic import MakePart

DEFAULT_TIMEOUT: Final = 30.0

P = ParamSpec("P")
C = TypeVar("C")
Request = tuple["ClientTarget", Header | None, str, tuple[Any, ...], dict[str, Any]]
"""What a driver makes a call of: by whom, what the header carries besides, the method, its arguments."""


class ClientTarget:
    """A service, the connections to it, and how it is called. It never changes; a view is another one.

    header: what every request carries besides. persistent: whether each call goes by Attempts. Else only one
    that has keyword arguments does, and one whose first answer says that another server can take it.
    """

    __slots__ = ("connections", "header", "middleware", "options", "persistent")

    def __init__(
        self,
        connections: ClientConnections,
        options: Options,
        middleware: tuple[Middleware, ...] = (),
    ) -> None:
        self.connections = connections
        self.header = connections.header
        self.options = options
        self.middleware = middleware
        self.persistent = not options.plain

    def with_options(self, **given: Any) -> ClientTarget:
        """The same, but for the options that are not `...`. Raises ConfigError."""
        return self._with({name: value for name, value in given.items() if value is not ...})

    def _with(self, changes: dict[str, Any]) -> ClientTarget:
        options = replace(self.options, **changes)
        return ClientTarget(self.connections, options, self.middleware)

    # Middleware

    def chain(self, last: Callable[[ClientTarget, CallContext], Any]) -> Proceed | None:
        """What goes through the middleware to the driver's `last`; None where there is none, for which
        nothing is to be paid then.
        """
        return chained(self.middleware, partial(last, self)) if self.middleware else None

    def context(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallContext:
        """A call, as the first middleware gets it."""
        return CallContext(self.connections.name, method, args, kwargs, {}, self.options.timeout)

    def request(self, call: CallContext) -> Request:
        """What is to be sent of a call that comes out of the last middleware. Raises as request_headers."""
        target, header = self, self.header
        if call.timeout != self.options.timeout:
            target = self._with({"timeout": call.timeout})
        if call.headers:
            header = {**(header or {}), **request_headers(call.headers, self.connections.encode)}
        if not isinstance(call.args, (tuple, list)) or type(call.kwargs) is not dict:
            raise TypeError(
                f"a middleware has left {call.args!r:.80} as call.args and {call.kwargs!r:.80} as "
                "call.kwargs: they have to be a tuple and a dict"
            )
        return target, header, call.method, tuple(call.args), call.kwargs

    # Rules

    def strike(self, method: str) -> Strike | None:
        """What befalls this call in a test, before it goes anywhere; None for nothing."""
        rules = self.connections.rules
        if rules is None or rules.faults is None:
            return None
        return rules.faults.strike(random.random, method, self.options.timeout)

    def ruled(self, paused: float = 0.0) -> ClientTarget:
        """Where a call goes by the rules of its service. paused: seconds that it has waited already."""
        rules, options = self.connections.rules, self.options
        part = None if rules is None else rules.part(None if options.key is None else key_bytes(options.key))
        if paused and options.timeout is not None:
            options = replace(options, timeout=options.timeout - paused)
        return ClientTarget(part or self.connections, options)

    # Calls

    def attempts(
        self,
        endpoint: ClientEndpoint,
        header: Header | None,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        first: Call | None = None,
    ) -> Attempts:
        """What a driver goes by with a call that may take several. first: one that it has made already."""
        now = monotonic()
        return Attempts(
            endpoint.session, self.options, header, method, args, kwargs, random.random, now, first
        )


def connect_target(
    coroutines: bool,
    target: Target,
    *,
    timeout: float | None = DEFAULT_TIMEOUT,
    heartbeat: float | None = DEFAULT_HEARTBEAT,
    services: str | None = None,
    max_message: int = MAX_MESSAGE,
    max_elements: int = MAX_ELEMENTS,
    encode: Encode | None = None,
    middleware: Iterable[Middleware] = (),
    balance: Balance | str | None = None,
) -> ClientTarget:
    """target: a name from the registry or DNS, an endpoint, or a list of endpoints. timeout: seconds that
    a call waits at most, None for no limit; a service's own in the registry goes before the
    default. heartbeat: seconds between heartbeats, the same as the server's where that is an
    old zerorpc; None for none. services: the registry file. max_message: bytes of one message.
    max_elements: values in one answer, each item, key and value counted; what holds more is not decoded.
    encode: gives what is to travel in place of an argument, or a part of one, that can't.
    middleware: functions of (call, proceed) that run around each call, the first outermost; see
    docs/middleware.md. balance: how calls are spread over several endpoints: "peak_ewma", unless another is
    given, "least_loaded", "round_robin", "key", or a mesh.Balance; see docs/balancing.md.

    Raises ServiceNotFound and ConfigError; but where DNS is to be asked for the name, the first call does.
    """
    # What connect() of either driver makes of its arguments. coroutines: whether its middleware is awaited.
    check_settings(heartbeat, max_message, max_elements)
    settings.function("encode", encode)
    around = checked(middleware, coroutines=coroutines)
    catalog = Catalog(services)
    service, source = _find(target, catalog)
    if timeout is DEFAULT_TIMEOUT and service.timeout is not None:
        timeout = service.timeout
    options = Options(timeout=timeout, retries=service.retries)

    def make(
        service: Service, source: Followed | None, make_part: MakePart | None = None
    ) -> ClientConnections:
        return ClientConnections(
            service,
            source,
            None,
            heartbeat,
            max_message,
            max_elements,
            encode,
            balance_of(service.balance if balance is None else balance),
            make_part,
        )

    connections = make(service, source, lambda name: make(*_find(name, catalog)))
    return ClientTarget(connections, options, around)


connect_target.__qualname__ = "connect"  # in Python's own errors, as users know no other


def with_arguments_of(
    model: Callable[Concatenate[bool, P], ClientTarget], *, coroutines: bool
) -> Callable[[Callable[[ClientTarget], C]], Callable[P, C]]:
    """Make of a driver's function of a ClientTarget its `connect`, with the arguments of connect_target.

    So what they are, what is said of them and the errors of wrong ones are the same in every driver.
    """

    def decorate(client_of: Callable[[ClientTarget], C]) -> Callable[P, C]:
        @wraps(client_of)
        def connect(*args: P.args, **kwargs: P.kwargs) -> C:
            return client_of(model(coroutines, *args, **kwargs))

        signature = inspect.signature(model)
        arguments = list(signature.parameters.values())[1:]
        returns = inspect.signature(client_of).return_annotation
        connect.__signature__ = inspect.Signature(arguments, return_annotation=returns)  # type: ignore[attr-defined]
        connect.__doc__ = f"{inspect.getdoc(client_of)}\n\n{inspect.getdoc(model)}"
        return connect

    return decorate


def check_takes_calls(service: Service) -> None:
    """Raise ConfigError for a service that no client of this release can call."""
    for endpoint in service.endpoints:
        check_endpoint(service.name, endpoint)


def check_endpoint(service: str, endpoint: Endpoint) -> None:
    """Raise ConfigError for an endpoint that no client of this release can call."""
    if endpoint.type != "router":
        raise ConfigError(f"{service} is of type {endpoint.type!r} ({endpoint.source}), which takes no calls")
    if endpoint.key is not None:
        raise ConfigError(f"{service} has a key ({endpoint.source}); this release can't encrypt yet")


def _find(target: Target, catalog: Catalog) -> tuple[Service, Followed | None]:
    if isinstance(target, str) and "://" not in target:
        source = Followed(target, catalog, check_endpoint, dns_entrance.follow)
        return source.service, source
    return resolve(target), None
