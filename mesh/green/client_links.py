"""The connections of one client in one event loop: one for each endpoint, as its service has them now.

Owns their sockets and watchers, and looks why there is none while a call waits for one. What comes and
goes on them is caller.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from gevent.hub import Hub

from mesh.core.channel import NEVER
from mesh.core.client_session import ClientSession
from mesh.errors import LostRemote
from mesh.green.link import Link
from mesh.green.loop import GeventLoop
from mesh.transport import native
from mesh.transport.lookup import LookUp
from mesh.transport.spin import Spin

FOLLOW: Final = 0.25
"""Seconds between two looks at where a service is, and why it can't be reached, while a call
of it can't be sent."""
RENEW: Final = 1.0
"""Seconds after which an endpoint whose server stops is connected to anew once more, at the least."""


class ClientLinks:
    """Who inherits gives `_connection_changed`, `_drain`, `_wake` and `_arm`.

    follow: looks whether the service is elsewhere by now.
    """

    def __init__(self, hub: Hub, session: ClientSession, max_message: int) -> None:
        self.hub = hub
        self.session = session
        self.lock = native.allocate_lock()
        self.closed = False
        self.follow: Callable[[], None] = lambda: None
        self._max_message = max_message
        self._links: list[Link] = session.peers  # type: ignore[assignment]
        self._retired: set[Link] = set()
        self._watched: list[Link] = []
        # One that repeats: a timer that has ended and is started again is due at once.
        self._follower: Any = hub.loop.timer(FOLLOW, FOLLOW)
        self._look_up = LookUp(self._looked_up)

    def _connection_changed(self, link: Link) -> None:
        raise NotImplementedError

    def _drain(self, link: Link) -> None:
        raise NotImplementedError

    def _wake(self) -> None:
        raise NotImplementedError

    def _arm(self) -> None:
        raise NotImplementedError

    @property
    def links(self) -> Sequence[Link]:
        return self._links

    def set_endpoints(self, endpoints: Sequence[tuple[str, int]]) -> None:
        """Connect to what is new, and leave what is no longer there."""
        wanted = dict(endpoints)
        for link in [link for link in self._links if link.endpoint not in wanted]:
            self._retire(link)
        known = {link.endpoint: link for link in self._links}
        for endpoint, weight in wanted.items():
            if endpoint in known:
                known[endpoint].weight = weight
            else:
                self._add(endpoint, weight)

    def _add(self, endpoint: str, weight: int) -> None:
        with self.lock:
            link = Link(endpoint, weight, self.session, self._max_message)
            self._links.append(link)
        loop = GeventLoop(self.hub)
        link.spin = Spin(loop, partial(self._readable, link), partial(self._drain, link))
        link.dealer.watch(loop, self._drain, self._connection_changed, link)
        self._watched.append(link)

    def _readable(self, link: Link) -> Any:
        with self.lock:  # the watchdog may be at the same socket
            return link.dealer.readable()

    def _retire(self, link: Link) -> None:
        """Choose it no more; it is dropped when its open calls have ended."""
        with self.lock:
            self._links.remove(link)
        self._retired.add(link)
        self._drop_retired()

    def renew(self, error: Exception | None) -> bool:
        """Connect anew where what is there stops: behind the same address may be another server by now.

        Whether a call that was refused so may find a connection made since. Elsewhere there is none.
        """
        if self.closed or not isinstance(error, LostRemote) or not error.refused:
            return False
        now = monotonic()
        for link in [link for link in self._links if link.live and link.leaving > now]:
            if now - link.renewed >= RENEW:
                # The new one first, for whoever counts connections.
                self._add(link.endpoint, link.weight)
                self._links[-1].renewed = now
                self._retire(link)
        return any(not link.live and now - link.renewed < RENEW for link in self._links)

    @property
    def connected(self) -> bool:
        """Whether some connection stands to what does not stop."""
        now = monotonic()
        return any(link.live and link.leaving <= now for link in self._links)

    def _drop_retired(self) -> None:
        for link in [link for link in self._retired if not link.open]:
            self._drop(link)

    def _drop(self, link: Link) -> None:
        self._retired.discard(link)
        if link in self._watched:
            self._watched.remove(link)
        if self._loop_lives():
            link.dealer.unwatch()
            link.spin.close()
        with self.lock:
            if link in self._links:
                self._links.remove(link)
            self.session.peer_down(link, "it is no longer an address of the service")
            link.dealer.close(linger_ms=100)
        if self._loop_lives():
            self.hub.loop.run_callback(self._wake)

    def _loop_lives(self) -> bool:
        """Not where the thread has destroyed its hub, as gevent asks it to do when it ends."""
        return self.hub.loop is not None

    # While a call waits for a connection

    def _follow_later(self) -> None:
        """A call that waits for a connection goes where its service has moved meanwhile."""
        if not self._follower.active and not self.closed:
            self._redial(wanted=True)
            self._follower.start(self._follow)

    def _redial(self, *, wanted: bool = False) -> None:
        """Try the connections again whose handshake failed, where it is time to. wanted: a call waits."""
        now = monotonic()
        with self.lock:
            for link in self._links:
                link.redial(now, wanted=wanted and not link.live)
        self._arm()

    @property
    def redial_at(self) -> float:
        """When that is to be done next."""
        return min([link.dealer.redial_at for link in self._links], default=NEVER)

    def _follow(self) -> None:
        if self.session.unsent and not self.closed:
            self.follow()
            self._redial(wanted=True)
            self._look_up.begin(link.endpoint for link in self._links if not link.live)
        else:
            self._follower.stop()

    def _looked_up(self, endpoint: str, problem: str) -> None:
        """From a native thread."""
        with self.lock:
            for link in self._links:
                if link.endpoint == endpoint:
                    link.looked_up(problem)
