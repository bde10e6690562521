"""What the views of one client share: the service it reaches, from each loop that uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Protocol
from weakref import finalize, ref

from gevent import get_hub
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub

from mesh.core.elements import MAX_ELEMENTS
from mesh.core.values import Encode
from mesh.core.wire import Header
from mesh.errors import MeshError
from mesh.green.caller import Caller
from mesh.transport import descriptors, native, process

Endpoints = Sequence[tuple[str, int]]


class Source(Protocol):
    """Where the endpoints of a service come from, when they may change."""

    def refresh(self, now: float) -> int:
        """A number that changes with the endpoints."""
        ...

    def endpoints(self) -> Endpoints:
        """Pairs of endpoint and weight."""
        ...


class Connection:
    """The callers of one client, one for each event loop that it is used from.

    header: what every request carries besides. heartbeat: seconds or None. max_message, max_elements:
    bytes of one message, and values in one answer.
    encode: for values that can't travel.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        source: Source | None,
        header: Header | None,
        heartbeat: float | None,
        max_message: int,
        max_elements: int = MAX_ELEMENTS,
        encode: Encode | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._source = source
        self.header = header
        self._heartbeat = heartbeat
        self._max_message = max_message
        self._max_elements = max_elements
        self._encode = encode
        self._version = source.refresh(monotonic()) if source else 0
        self._lock = native.allocate_lock()
        self._callers: dict[Hub, Caller] = {}
        self._closed = False
        process.remember(self)
        finalize(self, _abandon, self._callers).atexit = False

    def forked(self) -> None:
        self._lock = native.allocate_lock()
        self._callers.clear()

    def caller(self) -> Caller | None:
        """The caller of the current loop; None in a native thread that has no loop."""
        hub = get_hub_if_exists()
        if hub is None:
            if not process.in_main_thread():
                return None
            descriptors.require(descriptors.LOOP)
            hub = get_hub()
            # Ctrl-C is no error to print: the main greenlet gets it, as in every program.
            hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
        caller = self._callers.get(hub)
        if caller is None:
            caller = self._begin(hub)
        if self._source is not None:
            self._follow(self._source)
        return caller

    def _begin(self, hub: Hub) -> Caller:
        if self._closed:
            raise MeshError("this client is closed; connect again")
        with self._lock:
            caller = Caller(
                hub, self._endpoints, self._heartbeat, self._max_message, self._max_elements, self._encode
            )
            caller.follow = partial(_look, ref(self))  # a client that is dropped must not live on in it
            self._callers[hub] = caller
            orphans = self._take_orphans()
        for orphan in orphans:
            orphan.close()
        return caller

    def _take_orphans(self) -> list[Caller]:
        """The callers of loops that never turn again."""
        dead = [hub for hub, caller in self._callers.items() if caller.orphaned]
        return [self._callers.pop(hub) for hub in dead]

    def _follow(self, source: Source) -> None:
        """Move to the service's endpoints of now, if they have changed."""
        version = source.refresh(monotonic())
        if version == self._version:
            return
        self._version = version
        self._endpoints = source.endpoints()
        with self._lock:
            callers = list(self._callers.values())
        self._each_at_home(callers, lambda caller: caller.set_endpoints(self._endpoints))

    def close(self) -> None:
        """End every open call with LostRemote and close the sockets, in whatever loop they are."""
        self._closed = True
        with self._lock:
            callers = list(self._callers.values())
            self._callers.clear()
        self._each_at_home(callers, Caller.close)

    @staticmethod
    def _each_at_home(callers: Sequence[Caller], function: Callable[[Caller], None]) -> None:
        """Run `function` in each caller's own loop; at once where that is this one, or is dead."""
        here = get_hub_if_exists()
        for caller in callers:
            if caller.hub is here or caller.orphaned:
                function(caller)
            else:
                caller.hub.loop.run_callback_threadsafe(function, caller)


def _look(connection: ref[Connection]) -> None:
    """As each call does: move to where the service is now."""
    one = connection()
    if one is not None and one._source is not None:
        one._follow(one._source)


def _abandon(callers: dict[Hub, Caller]) -> None:
    """Close what a client has left that was dropped without close; from anywhere, so later."""
    for caller in list(callers.values()):
        if caller.orphaned:
            caller.close()
        elif not caller.closed:
            caller.hub.loop.run_callback_threadsafe(caller.close)
