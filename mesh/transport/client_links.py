"""The connections of one client in one event loop: one for each endpoint, as its service has them now.

Owns their sockets and watchers, moves to other endpoints, and looks why none can be reached while a call
waits for one. What comes and goes on them is client_endpoint.py's. For the loop's own thread, without the
lock, unless a method says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from mesh.core.channel import NEVER
from mesh.core.client_session import ClientSession
from mesh.names.model import LAST_RESORT, Endpoint
from mesh.names.subset import used_by
from mesh.transport import process
from mesh.transport.client_link import Link
from mesh.transport.lookup import LookUp
from mesh.transport.loop import Loop
from mesh.transport.spin import Spin

FOLLOW: Final = 0.25
"""Seconds between two looks at where a service is, and why it can't be reached, while a call
of it can't be sent."""
RENEW: Final = 1.0
"""Seconds after which an endpoint whose server stops is connected to anew once more, at the least."""
LINGER_MS: Final = 100


class ClientLinks:
    """lock: the endpoint's. drain: called in the loop where something may have come; changed: with a link
    whose connection has something to tell. ended: called where calls of a link that is dropped have
    ended.
    """

    def __init__(
        self,
        loop: Loop,
        session: ClientSession,
        lock: Any,
        max_message: int,
        drain: Callable[[], None],
        changed: Callable[[Link], None],
        ended: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._session = session
        self._lock = lock
        self._max_message = max_message
        self._drain = drain
        self._changed = changed
        self._ended = ended
        self.current: list[Link] = []
        """Those that calls go to: the session's peers."""
        self.open: dict[Link, None] = {}
        """These, and those that are left, until their calls have ended: all that have a socket."""
        self._id = process.new_base()
        self._follow_at = NEVER
        self._look_up = LookUp(self._looked_up)

    def set_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """Connect to what is new, and leave what is no longer there."""
        live = {link.endpoint for link in self.current if link.live}
        last = [one for one in endpoints if one.priority >= LAST_RESORT and one.address in live]
        in_use: Sequence[Endpoint] = [one for one in endpoints if one.priority < LAST_RESORT]
        if not self._session.balancer.by_key:
            in_use = used_by(self._id, in_use)
        wanted = {one.address: one for one in (*in_use, *last)}
        for link in list(self.current):
            record = wanted.get(link.endpoint)
            if record is None or record.hub != link.hub:
                self._retire(link)
        known = {link.endpoint: link for link in self.current}
        for address, record in wanted.items():
            if address in known:
                with self._lock:
                    known[address].moved(record, monotonic())
            else:
                self._add(record)

    def _add(self, record: Endpoint) -> Link:
        with self._lock:
            link = Link(record, self._session, self._max_message)
            self._session.add(link)
            self.current.append(link)
        link.spin = Spin(self._loop)
        link.dealer.watch(self._loop, partial(self._came, link), partial(self._changed, link))
        self.open[link] = None
        return link

    def _came(self, link: Link) -> None:
        """Something may have come by it, or may go out again."""
        link.unread = True
        self._drain()

    def _retire(self, link: Link) -> None:
        """Choose it no more; it is dropped when its open calls have ended."""
        with self._lock:
            self._forget(link)
        self.drop_retired()

    def _forget(self, link: Link) -> None:
        """Under the lock."""
        if link in self.current:
            self.current.remove(link)
            self._session.remove(link)

    def renew(self) -> bool:
        """Connect anew where what is there stops: behind the same address may be another server by now.

        Whether a call that was refused may find a connection made since. Elsewhere there is none.
        """
        now = monotonic()
        for link in [link for link in self.current if link.live and link.leaving > now]:
            if now - link.renewed >= RENEW:
                # The new one first, for whoever counts connections.
                self._add(link.record).renewed = now
                self._retire(link)
        return any(not link.live and now - link.renewed < RENEW for link in self.current)

    def drop_retired(self) -> None:
        """Close those that are left and whose calls have ended."""
        for link in [link for link in self.open if not link.open and link not in self.current]:
            self._drop(link)

    def _drop(self, link: Link) -> None:
        self.open.pop(link, None)
        if self._loop.alive():
            link.dealer.unwatch()
            link.spin.close()
        with self._lock:
            self._forget(link)
            self._session.peer_down(link, "it is no longer an address of the service", monotonic())
            link.dealer.close(LINGER_MS)
        self._ended()

    def close(self) -> None:
        """Close all. Also from another thread, where the loop never turns again."""
        for link in list(self.open):
            self._drop(link)

    def forked(self, lock: Any, *, here: bool) -> None:
        """In the child of a fork: leave the parent's sockets alone. here: the loop is this thread's own."""
        self._lock = lock
        if here:
            for link in self.open:
                link.spin.stop()
                link.dealer.unwatch()
        self.open.clear()
        self.current.clear()

    # While a call waits for a connection

    @property
    def redial_at(self) -> float:
        """When connections are to be tried again whose handshake has failed. In any thread."""
        return min([link.dealer.redial_at for link in self.current], default=NEVER)

    @property
    def wake_at(self) -> float:
        """When those are to be tried again, or `follow_due` wants to be asked."""
        return min(self.redial_at, self._follow_at)

    def wanted(self) -> None:
        """A call waits for a connection: try those again whose handshake failed, and look from now on where
        the service is.
        """
        if self._follow_at == NEVER:
            self._redial_wanted()
            self._follow_at = monotonic() + FOLLOW

    def follow_due(self, now: float) -> bool:
        """Whether it is time to look where the service is; if so, the other things are done here."""
        if now < self._follow_at:
            return False
        if not self._session.unsent:
            self._follow_at = NEVER
            return False
        self._follow_at = now + FOLLOW
        self._redial_wanted()
        self._look_up.begin(link.endpoint for link in self.current if not link.live)
        return True

    def _redial_wanted(self) -> None:
        now = monotonic()
        with self._lock:
            for link in self.current:
                link.redial(now, wanted=not link.live)

    def _looked_up(self, endpoint: str, problem: str) -> None:
        """From a native thread."""
        with self._lock:
            for link in self.current:
                if link.endpoint == endpoint:
                    link.looked_up(problem)
