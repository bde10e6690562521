"""One logical call as a driver makes it: attempt after attempt, until one succeeds or must not be followed.

A driver asks for the first step by `begin`, does it, and tells what came of it by the method that the step
names; each gives the next step, until it is DONE. So when to try again, whom to ask first whether it takes
keyword arguments, and how a call ends that was tried more than once, is decided here, where no time passes.

    REQUEST      send `request` and wait for its first answer, then `answered`; `failed` where it can't be
                 sent. It is the call itself, or the question by which a peer tells whether it takes keyword
                 arguments.
    RENEW        connect anew to what stops, where that is of use, then `renewed`
    CONNECTION   wait for a connection, at the longest until `until`, then `waited`
    PAUSE        wait until `until`, then `waited`
    DONE         give the `outcome`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final

from mesh.core.call import RETRIES, Options, key_bytes
from mesh.core.channel import STREAMING
from mesh.core.client_session import Call, ClientSession, another_may_take_it
from mesh.core.peer import Peer
from mesh.core.route import Route
from mesh.core.wire import Header, UnreadableKey
from mesh.errors import (
    LostRemote,
    MeshError,
    MethodNotFound,
    Overloaded,
    RemoteError,
    TimeoutExpired,
    WireError,
)

FIRST_PAUSE: Final = 0.02
LAST_PAUSE: Final = 1.0
RENEW: Final = 1.0
"""Seconds to wait for a connection that was made anew."""
LEAST: Final = 0.001
"""Seconds that an attempt has, at the least."""


class Step(Enum):
    """What the driver is to do; see the head of this file."""

    REQUEST = "send a request, and wait for its answer"
    RENEW = "connect anew to what stops"
    CONNECTION = "wait for a connection"
    PAUSE = "wait"
    DONE = "give the outcome"


class Attempts:
    """session: of the endpoint by which the call goes. header: what all of the client's requests carry.

    first: a call that was made without this, whose answer says that another server may take it.
    """

    def __init__(
        self,
        session: ClientSession,
        options: Options,
        header: Header | None,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        random: Callable[[], float],
        now: float,
        first: Call | None = None,
    ) -> None:
        self._first = first
        self._call: Call | None = None
        self._error: BaseException | None = None
        self.until = 0.0
        self._timeout: float | None = None
        self._extra: Header = dict(header or {})
        if options.idempotent:
            self._extra["idempotent"] = True
        if options.key is not None:
            self._extra["key"] = options.key
        if kwargs:
            self._extra["kwargs"] = kwargs
        self._question: Header = {**(header or {}), "mesh": 1}
        key = None if options.key is None else key_bytes(options.key)
        self._route = Route(key, options.labels, hedge=options.hedge, keywords=bool(kwargs))
        if first is not None:
            self._route.span = first.span
        self._session = session
        self._options = options
        self._method = method
        self._args = args
        self._random = random
        self._began = began = now if first is None else first.opened
        self._end = None if options.timeout is None else began + options.timeout
        self._asking = False
        self._pausing = False
        self._attempts = 0
        self._moves = 0
        self._renewing = False
        """Whether there was a connection to wait for, once a call."""
        self._unreadable: UnreadableKey | None = None
        """Why an old server could not read it."""
        self._seen: MeshError | None = None
        """How an earlier attempt ended that a handler may have seen."""

    def begin(self, now: float) -> Step:
        """The first step; also that of each attempt which follows."""
        self._attempts += 1
        first, self._first = self._first, None
        return self._attempt(now) if first is None else self.answered(first, now)

    def _attempt(self, now: float) -> Step:
        self._route.peer, self._timeout = None, self._left(now)
        return self._choose(now) if self._route.keywords or self._route.odd_keys else Step.REQUEST

    @property
    def request(self) -> tuple[str, tuple[Any, ...], Header, float | None, Peer | Route]:
        """What a REQUEST sends: the method, its arguments, what the header carries besides, seconds until
        it is given up or None, and the peer that it must go to or those that it may; as ClientSession.open
        takes them.
        """
        if self._asking:
            return "_zerorpc_ping", (), self._question, self._timeout, self._route.peer or self._route
        return self._method, self._args, self._extra, self._timeout, self._route

    def outcome(self) -> Call:
        """After DONE: the call that has its answer, or is a stream. Raises what the last one ended with."""
        call = self._call
        if call is None or call.items is None:  # a stream is counted when that ends
            self._session.count(self._method, self._began, failed=call is None)
        if call is None:
            assert self._error is not None
            raise self._error
        return call

    # What came of a step

    def answered(self, call: Call, now: float) -> Step:
        """The request has its first answer, or has ended."""
        if self._asking:
            return self._told(call, now)
        if call.error is None or call.state is STREAMING:
            self._call = call
            return Step.DONE
        if call.peer is not None:
            self._route.tried.add(call.peer)
        return self.failed(call.error, now)

    def failed(self, error: Exception, now: float) -> Step:
        """It has ended with this error, or could not be sent for it."""
        self._asking = False
        self._error = error
        if isinstance(error, UnreadableKey) and not self._route.odd_keys:
            self._unreadable, self._route.odd_keys = error, True
            return self._attempt(now)
        if not isinstance(error, MeshError):
            return Step.DONE
        if self._end is None or now < self._end:
            if (
                self._moves < len(self._session.peers)
                and another_may_take_it(error)
                and self._session.has_other(self._route, now)
            ):
                self._moves += 1
                return self._attempt(now)  # nobody has seen it, and it need not wait for anything
            if not self._renewing and isinstance(error, LostRemote) and error.refused:
                return Step.RENEW
        return self._retry(error, now)

    def renewed(self, hope: bool, now: float) -> Step:
        """hope: whether there is a connection now that may lead to another server."""
        if hope:
            self._renewing = True
            self.until = now + RENEW if self._end is None else min(now + RENEW, self._end)
        return self.waited(now)

    def waited(self, now: float) -> Step:
        """A CONNECTION may stand, or the time for it or for a PAUSE is over."""
        if self._pausing:
            self._pausing = False
            return self.begin(now)
        if self._renewing and self._session.connected(now):
            return self._attempt(now)
        if self._renewing and now < self.until:
            return Step.CONNECTION
        assert isinstance(self._error, MeshError)
        return self._retry(self._error, now)

    def _retry(self, error: MeshError, now: float) -> Step:
        self.until = now + self._pause(error, now)
        if not self._may_retry(error, now):
            self._error = outcome(error, self._seen)
            return Step.DONE
        if not error.refused:
            self._seen = error
        self._pausing = True
        return Step.PAUSE

    def _may_retry(self, error: MeshError, now: float) -> bool:
        idempotent = self._options.idempotent or self._method in self._session.idempotent
        again = may_retry(error, self._options, self._attempts, idempotent=idempotent)
        if again and self._options.retries is None:
            again = self._session.has_other(self._route, now)
        if not again or (self._end is not None and self.until >= self._end):
            return False
        if self._session.budget.take(now):
            return True
        error.add_note("It was not tried again: too many calls of this service are already")
        return False

    def _pause(self, error: MeshError, now: float) -> float:
        """Seconds until the next attempt; not before the time that its server has named, unless another can
        be asked."""
        asked = error.pause if isinstance(error, Overloaded) and error.pause is not None else 0.0
        seconds = pause(self._attempts, self._random)
        return seconds if seconds > asked or self._session.has_other(self._route, now) else asked

    def _left(self, now: float) -> float | None:
        return None if self._end is None else max(self._end - now, LEAST)

    # What old servers do not understand

    def _choose(self, now: float) -> Step:
        """Call one whose server takes keyword arguments, or reads the keys of all dicts, or ask; each is
        asked once a connection.

        Ends with TypeError where none does: zerorpc has no place for keyword arguments, and a server of it
        would carry out the call without; a call with numbers for keys zerorpc-python drops.
        """
        route, staying = self._route, self._session.staying(now)
        able = [peer for peer in staying if route.allows(peer)]
        self._timeout = self._left(now)
        if staying and not able and any(peer.mesh is False for peer in staying):
            unable = None if self._route.keywords else self._unreadable
            return self.failed(unable or _no_place(self._method, staying), now)
        route.peer = self._session.balancer.choose_of(able, now, route.tried, route.key)
        self._asking = route.peer is None or not route.suits(route.peer)
        if self._asking and self._end is not None and now >= self._end:
            expired = self._session.expired(self._method, now - self._began, route.peer)
            expired.refused = True  # only the question was sent
            return self.failed(expired, now)
        return Step.REQUEST

    def _told(self, call: Call, now: float) -> Step:
        peer, error = call.peer, call.error
        if peer is None or not peer.live or (isinstance(error, LostRemote) and not error.refused):
            return self._choose(now)
        if isinstance(error, MeshError) and not isinstance(error, RemoteError):
            return self.failed(error, now)
        self._session.took_part(peer)
        if not self._route.suits(peer) or peer not in self._session.staying(now):
            return self._choose(now)
        self._asking, self._route.peer, self._timeout = False, peer, self._left(now)
        return Step.REQUEST


def _no_place(method: str, peers: Sequence[Peer]) -> TypeError:
    where = ", ".join(peer.endpoint for peer in peers)
    return TypeError(
        f"{method!r:.80} can't take keyword arguments: the server at {where} is an old zerorpc, "
        "which has none; give them by position"
    )


def may_go_on(error: Exception) -> bool:
    """Whether a first attempt that ended so is worth asking Attempts what follows."""
    return isinstance(error, MeshError) and not isinstance(error, (RemoteError, TimeoutExpired))


def may_retry(error: MeshError, options: Options, attempts: int, *, idempotent: bool) -> bool:
    """Whether to try again after `attempts` of them, the last of which ended with `error`.

    A call goes out a second time only where no handler has seen it, or where it may be carried out twice, as
    its caller says, or its server.
    """
    most = RETRIES if options.retries is None else options.retries
    if attempts > most or isinstance(error, (WireError, MethodNotFound)):
        return False  # the same bytes fare no better
    return error.refused or (idempotent and isinstance(error, LostRemote))


def outcome(error: MeshError, seen: MeshError | None) -> MeshError:
    """What a call ends with, the last attempt of which ended with `error`.

    seen: how an earlier one ended that a handler may have seen: nobody is to think that none has.
    """
    if seen is None or not error.refused:
        return error
    seen.add_note(f"It was tried again, in vain: {error}")
    return seen


def pause(attempts: int, random: Callable[[], float]) -> float:
    """Seconds to wait before the next attempt: doubling, with jitter over its upper half."""
    longest = min(FIRST_PAUSE * 2.0 ** min(attempts, 16), LAST_PAUSE)
    return longest * (0.5 + random() / 2)
