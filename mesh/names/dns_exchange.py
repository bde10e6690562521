"""One question, asked of several name servers until one of them has answered it or the time is over.

Pure: the bytes to send come out with their server, what has come goes in, each with the time. A server that
keeps still is given a second, then the next is asked beside it, and the first answer counts; one that fails
has the next asked at once; an answer that is too large for a datagram is asked for by TCP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mesh.names.dns_messages import (
    IsNoAnswer,
    IsTruncated,
    Question,
    Reply,
    ServerFailed,
    needs_plain_question,
    pack_question,
    read_reply,
)
from mesh.names.dns_settings import NameServer

NEXT_AFTER: Final = 1.0
"""Seconds until another server is asked, or the same one again."""
LIMIT: Final = 4.0
"""Seconds that a question has."""
ROUNDS: Final = 2
"""How often each server is asked, at the most; one that is alone twice as often."""
REMEMBERED: Final = 30.0
"""Seconds for which a server that has answered in place of a silent one is asked before it."""
NEVER: Final = float("inf")


@dataclass(eq=False, slots=True)
class Attempt:
    """One question to one server. payload: what to send. tcp: by TCP. number: the id of the message."""

    server: NameServer
    tcp: bool
    number: int
    payload: bytes
    edns: bool = True
    over: bool = field(default=False, init=False)
    """Nothing more is expected of it: its socket may be closed."""


class Order:
    """Which of several servers is asked first: for a while the one that has answered where those before it
    kept still (RFC 1035, section 7.2, has what is known of servers remembered).

    Only an answer that has records counts: a server that knows nothing of a domain denies all names in it.
    """

    def __init__(self) -> None:
        self._first: NameServer | None = None
        self._until = 0.0

    def of(self, servers: Sequence[NameServer], now: float) -> Sequence[NameServer]:
        """The servers as they are to be asked now."""
        if self._first is None or self._until <= now:
            return servers
        return sorted(servers, key=lambda server: server != self._first)

    def ended(self, exchange: Exchange, now: float) -> None:
        """Learn from what has come of a question."""
        replied, outcome = exchange.replied, exchange.outcome
        if replied is not None and isinstance(outcome, Reply) and outcome.records and exchange.waited:
            self._first, self._until = replied, now + REMEMBERED


class Exchange:
    """outcome: the reply, or the reasons why there is none; None as long as it goes on. replied: the server
    that it came from. waited: another server, asked before that one, has kept still.

    number: gives the id of a message, from 0 to 65535, that nobody can guess.
    """

    def __init__(
        self, question: Question, servers: Sequence[NameServer], now: float, number: Callable[[], int]
    ) -> None:
        self.question = question
        self.outcome: Reply | ServerFailed | None = None
        rounds = ROUNDS if len(servers) > 1 else 2 * ROUNDS
        self._servers = [server for _ in range(rounds) for server in servers]
        self.replied: NameServer | None = None
        self.waited = False
        self._number = number
        self._open: list[Attempt] = []
        self.reasons: dict[str, str] = {}
        """What was wrong so far with each server that has failed, by its name."""
        self._ends = now + LIMIT
        self._next = now

    @property
    def wake_at(self) -> float:
        """When `due` is to be called."""
        if self.outcome is not None:
            return NEVER
        return min(self._next, self._ends) if self._servers else self._ends

    def due(self, now: float) -> Attempt | None:
        """What is to be sent now, if anything."""
        if self.outcome is not None:
            return None
        if now >= self._ends:
            silent = not self.reasons
            for attempt in self._open:
                self.reasons.setdefault(str(attempt.server), "does not answer")
            failure = self._failure()
            failure.silent = silent
            self._end(failure)
            return None
        if now < self._next or not self._servers:
            return None
        self._next = now + NEXT_AFTER
        server = self._servers.pop(0)
        try:
            return self._attempt(server, tcp=server.tcp)
        except ServerFailed as exc:
            self._end(exc)  # it would be the same with the others
            return None

    def received(self, attempt: Attempt, payload: bytes, now: float) -> Attempt | None:
        """A server has sent this; what is to be sent to it in turn."""
        if self.outcome is not None or attempt.over:
            return None
        try:
            reply = read_reply(payload, self.question, attempt.number)
        except IsNoAnswer:
            return None
        except IsTruncated:
            if not attempt.tcp:
                self._leave(attempt)
                self._next = max(self._next, now + NEXT_AFTER)
                return self._attempt(attempt.server, tcp=True)
            self.failed(attempt, "cuts its answer off, by TCP, too", now)
        except ServerFailed as exc:
            if attempt.edns and needs_plain_question(exc):
                self._leave(attempt)
                return self._attempt(attempt.server, tcp=attempt.tcp, edns=False)
            self.failed(attempt, str(exc), now)
        else:
            self.replied = attempt.server
            self.waited = self._open[0].server != attempt.server
            self._end(reply)
        return None

    def failed(self, attempt: Attempt, reason: str, now: float) -> None:
        """Nothing will come of this attempt. reason: what follows on the name of the server."""
        if attempt.over:
            return
        self._leave(attempt)
        self.reasons[str(attempt.server)] = reason
        # What has failed does so again: the others come first, and it comes once more a second later.
        self._next = now if any(str(one) not in self.reasons for one in self._servers) else now + NEXT_AFTER
        if not self._open and not self._servers:
            self._end(self._failure())

    def _attempt(self, server: NameServer, *, tcp: bool, edns: bool = True) -> Attempt:
        number = self._number()
        attempt = Attempt(server, tcp, number, pack_question(self.question, number, edns=edns), edns)
        self._open.append(attempt)
        return attempt

    def _leave(self, attempt: Attempt) -> None:
        attempt.over = True
        self._open.remove(attempt)

    def _end(self, outcome: Reply | ServerFailed) -> None:
        self.outcome = outcome
        for attempt in list(self._open):
            self._leave(attempt)

    def _failure(self) -> ServerFailed:
        reasons = [f"{server} {reason}" for server, reason in self.reasons.items()]
        return ServerFailed(", ".join(reasons) or "no name server was asked")
