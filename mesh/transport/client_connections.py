"""What the views of one client share: the service it reaches, and an endpoint in each loop that uses it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Final, Protocol
from weakref import finalize, ref

from mesh.core.balance_rule import DEFAULT_BALANCE, Balance
from mesh.core.client_session import DEFAULT_HEARTBEAT
from mesh.core.elements import MAX_ELEMENTS
from mesh.core.values import Encode
from mesh.core.wire import MAX_MESSAGE, Header
from mesh.errors import MeshError, ServiceNotFound
from mesh.names.model import Endpoint, Service
from mesh.transport import native, process
from mesh.transport.client_endpoint import ClientEndpoint, Woken
from mesh.transport.client_traffic import MakePart, rules_of
from mesh.transport.loop import Loop
from mesh.transport.name_watch import name_watch

log = logging.getLogger("mesh.names")

CLOSED: Final = "this client is closed; connect again"


class Source(Protocol):
    """Where the endpoints of a service come from, when they may change."""

    def refresh(self, now: float) -> int:
        """A number that changes with the endpoints."""
        ...

    def endpoints(self) -> Sequence[Endpoint]:
        """Where the service is now."""
        ...

    @property
    def absence(self) -> MeshError | None:
        """Why there are no endpoints; None where there are, or may be soon."""
        ...

    @property
    def awaited(self) -> str:
        """Who has still to tell where the service is, in words; "" where nobody has."""
        ...

    def want(self) -> None:
        """A connection was lost, or a call has nowhere to go: look sooner whether something has changed."""
        ...

    @property
    def service(self) -> Service:
        """All of what is known of it."""
        ...

    def close(self) -> None:
        """It is followed no more."""
        ...

    on_change: Callable[[], None]
    """Called, in any thread, where `refresh` may know something new."""


class ClientConnections:
    """The endpoints of one client, one for each event loop that it is used from. For any thread.

    service: whose they are. source: where they come from, if they may change. header: what every request
    carries besides. heartbeat: seconds or None. max_message, max_elements: bytes of one message, and values
    in one answer. encode: for values that can't travel. balance: how calls are spread over the endpoints.
    make_part: makes the connections to a service that calls are split to.

    rules: what else says how calls go; None for nothing, as nearly always.

    Raises as make_part does.
    """

    def __init__(
        self,
        service: Service,
        source: Source | None,
        header: Header | None,
        heartbeat: float | None = DEFAULT_HEARTBEAT,
        max_message: int = MAX_MESSAGE,
        max_elements: int = MAX_ELEMENTS,
        encode: Encode | None = None,
        balance: Balance = DEFAULT_BALANCE,
        make_part: MakePart | None = None,
    ) -> None:
        self.header = header
        self.closed = False
        self.left = False
        """Whether it was a part of a service whose calls go elsewhere by now."""
        self.name = service.name
        self._endpoints: Sequence[Endpoint] = service.endpoints
        self._absence: MeshError | None = None
        self._source = source
        self._heartbeat = heartbeat
        self._max_message = max_message
        self._max_elements = max_elements
        self.encode = encode
        self._balance = balance
        self._make_part = make_part
        self._version = 0
        if source is not None:
            self._version = source.refresh(monotonic())
            self._endpoints, self._absence = source.endpoints(), source.absence  # of that version
            service = source.service
        self.rules = rules_of(service, make_part, None)
        self._lock = native.allocate_lock()
        self._following = native.allocate_lock()
        """Of who moves to other endpoints: two at once might leave the older ones."""
        self._of_loop: dict[Hashable, ClientEndpoint] = {}
        if source is not None:
            source.on_change = partial(_each_looks, ref(self))
        process.remember(self)
        finalize(self, _abandon, self._of_loop).atexit = False

    def forked(self) -> None:
        self._lock, self._following = native.allocate_lock(), native.allocate_lock()
        self._of_loop.clear()

    def of(self, key: Hashable) -> ClientEndpoint | None:
        """The endpoint that `begin` has made under this key, where the service is now."""
        endpoint = self._of_loop.get(key)
        if endpoint is not None and self._source is not None:
            self._follow(self._source)
        return endpoint

    def begin(self, key: Hashable, loop: Loop, on_woken: Woken) -> ClientEndpoint:
        """One for the loop of this thread, of which there is none yet. key: the driver's own loop.

        Raises MeshError once the client is closed, and as ClientEndpoint does.
        """
        if self.closed:
            raise MeshError(CLOSED)
        with self._lock:
            endpoint = ClientEndpoint(
                loop,
                on_woken,
                self.name,
                self._endpoints,
                self._heartbeat,
                self._max_message,
                self._max_elements,
                self.encode,
                self._balance,
            )
            endpoint.follow = partial(_look, ref(self))  # a client that is dropped must not live on in it
            endpoint.want = partial(_want, ref(self))
            endpoint.session.awaited = partial(_awaited, ref(self))
            endpoint.set_endpoints(self._endpoints, self._absence)
            self._of_loop[key] = endpoint
            orphans = self._take_orphans()
        for orphan in orphans:
            orphan.close()
        if self._source is not None:
            self._follow(self._source)
            name_watch.watch(self._source, self._version)
        return endpoint

    def _take_orphans(self) -> list[ClientEndpoint]:
        """The endpoints of loops that never turn again."""
        dead = [key for key, endpoint in self._of_loop.items() if endpoint.orphaned]
        return [self._of_loop.pop(key) for key in dead]

    def _follow(self, source: Source) -> None:
        """Move to the service's endpoints of now, if they have changed. Whoever does goes on until they
        change no more, so that others need not wait.
        """
        version = source.refresh(monotonic())
        while version != self._version and self._following.acquire(False):
            try:
                self._move(source, version)
            finally:
                self._following.release()
            version = source.refresh(monotonic())

    def _move(self, source: Source, version: int) -> None:
        self._version = version
        endpoints, absence = source.endpoints(), source.absence
        self._follow_rules(source.service)
        if self.rules is not None and self.rules.split is not None:
            # For what waits for a connection that never comes now; new calls go elsewhere.
            absence = ServiceNotFound(
                f"calls of {self.name} are split by now ({source.service.source}): try again"
            )
        self._endpoints, self._absence = endpoints, absence
        with self._lock:
            users = list(self._of_loop.values())
        self._each_at_home(users, lambda user: user.set_endpoints(endpoints, absence))

    @property
    def causes(self) -> list[str]:
        """Why endpoints can't be reached, of those where more is known than that nobody is there."""
        with self._lock:
            users = list(self._of_loop.values())
        return [link.cause for user in users for link in user.links.current if link.cause and not link.live]

    def _follow_rules(self, service: Service) -> None:
        """Go by the rules of now. The last ones stay where a service of a split can't be found."""
        before = self.rules
        try:
            self.rules = rules = rules_of(service, self._make_part, before)
        except MeshError as exc:
            log.warning("%s; its last rules are kept", exc)
            return
        if before is not None:
            kept = () if rules is None else rules.parts.values()
            for part in before.parts.values():
                if part not in kept:
                    part.leave(f"calls of {self.name} are no longer split to {part.name}")

    def leave(self, why: str) -> None:
        """Begin no call any more; those that are open end where they are, and the connections with them."""
        self.left = True
        source, self._source = self._source, None
        if source is not None:
            name_watch.forget(source)
            source.close()
        absence = ServiceNotFound(why)
        self._endpoints, self._absence = (), absence
        with self._lock:
            users = list(self._of_loop.values())
        self._each_at_home(users, lambda user: user.set_endpoints((), absence))

    def close(self) -> None:
        """End every open call with LostRemote and close the sockets, in whatever loop they are."""
        self.closed = True
        if self.rules is not None:
            for part in self.rules.parts.values():
                part.close()
        with self._lock:
            users = list(self._of_loop.values())
            self._of_loop.clear()
        self._each_at_home(users, ClientEndpoint.close)
        if self._source is not None:
            name_watch.forget(self._source)
            self._source.close()

    @staticmethod
    def _each_at_home(users: Sequence[ClientEndpoint], function: Callable[[ClientEndpoint], None]) -> None:
        """Run `function` in each endpoint's own loop; at once where that is this one, or is dead."""
        for user in users:
            if user.orphaned or user.loop.here():
                function(user)
            else:
                user.loop.call_soon_threadsafe(function, user)


def _look(connections: ref[ClientConnections]) -> None:
    """As each call does: move to where the service is now."""
    one = connections()
    if one is not None and one._source is not None:
        one._follow(one._source)


def _want(connections: ref[ClientConnections]) -> None:
    """A connection was lost, or a call has nowhere to go."""
    one = connections()
    if one is not None and one._source is not None:
        one._source.want()


def _awaited(connections: ref[ClientConnections]) -> str:
    """Who has still to tell where the service is."""
    one = connections()
    return "" if one is None or one._source is None else one._source.awaited


def _each_looks(connections: ref[ClientConnections]) -> None:
    """Have each loop look, also where nobody calls: a stream that is read may be all that goes on there.

    In any thread, and so not here.
    """
    one = connections()
    if one is None or one.closed:
        return
    with one._lock:
        users = list(one._of_loop.values())
    for user in users:
        if not user.orphaned:
            user.loop.call_soon_threadsafe(user.follow)


def _abandon(users: dict[Hashable, ClientEndpoint]) -> None:
    """Close what a client has left that was dropped without close; from anywhere, so later."""
    for user in list(users.values()):
        if user.orphaned:
            # Not here: a finalizer may have interrupted whoever holds one of the locks that this takes.
            with suppress(RuntimeError):  # there are no threads to be had, as the program ends
                native.start_new_thread(user.close, ())
        elif not user.closed:
            user.loop.call_soon_threadsafe(user.close)
