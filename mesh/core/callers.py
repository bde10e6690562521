"""Which process is at the other end of a connection, as it says itself with its first call there. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final, Generic, NamedTuple, TypeVar

from mesh.core.wire import clip

FROM_PROCESS: Final = "from_process"
"""The key of a request's header in which a client says it: [host, process id, program]."""
MOST_NAME: Final = 64
"""Characters of a host's name, and of a program's."""
MOST_CALLERS: Final = 10_000
"""Connections of which it is kept; beyond that the first to have said it are forgotten."""


class Caller(NamedTuple):
    """host and pid of a process, and the program that it runs, "" where it does not say."""

    host: str
    pid: int
    program: str

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


def caller_in(value: Any) -> Caller | None:
    """What a header has under FROM_PROCESS; None for what makes no sense."""
    if type(value) is not list or len(value) != 3:
        return None
    host, pid, program = value
    if type(host) is not str or type(pid) is not int or type(program) is not str:
        return None
    if not host or not 0 <= pid < 2**32:
        return None
    return Caller(_name(host), pid, _name(program))


def _name(text: str) -> str:
    return clip("".join(char for char in text[:MOST_NAME] if char.isprintable()))


P = TypeVar("P", bound=Hashable)


class Callers(Generic[P]):
    """Those that have said who they are, by what their connection is known by here."""

    __slots__ = ("_by_peer",)

    def __init__(self) -> None:
        self._by_peer: dict[P, Caller] = {}

    def __len__(self) -> int:
        return len(self._by_peer)

    def note(self, peer: P, value: Any) -> None:
        """A request of this peer has that under FROM_PROCESS, which may be anything."""
        caller = caller_in(value)
        if caller is None:
            return
        known = self._by_peer
        if len(known) >= MOST_CALLERS and peer not in known:
            del known[next(iter(known))]
        known[peer] = caller

    def knows(self, peer: P) -> bool:
        """Whether it has said who it is, as clients of mesh do."""
        return peer in self._by_peer

    def get(self, peer: P) -> Caller | None:
        return self._by_peer.get(peer)

    def forget(self, peer: P) -> None:
        """It is there no more."""
        self._by_peer.pop(peer, None)
