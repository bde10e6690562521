"""Whether a server answers: when it is asked, and when it counts as sick.

Any event of the server is a sign of life; without one for a heartbeat it is asked with
`_zerorpc_ping`. Knows no socket: what the server sends is told, with the present time, by whoever
has one, and pings to send leave by `take_pings`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from mesh.core import wire
from mesh.core.channel import NEVER, Ids
from mesh.core.peer import NO_CONNECTION
from mesh.core.progress import Progress, second_look
from mesh.core.registration import LOST_AFTER
from mesh.core.wire import ERR, OK, PING, Header, as_text

LONGEST_PAUSE: Final = 60.0
"""Seconds between the questions to a server that has been sick for long."""

_NO_SUCH_METHOD: Final = re.compile(rf"{PING}|NameError|AttributeError|NotImplemented|method|function", re.I)


class Health:
    """One server's health.

    base: 24 hex digits that begin no other session's message ids. heartbeat: seconds. well: whether
    it may be given calls. mesh: whether it understands what mesh adds to zerorpc. pong: what it has
    answered, such as ["pong", "users"]; None where it knows no ping, or answers something else. why: the
    last reason for it not to be well. wake_at: when on_timer wants to be called.
    """

    def __init__(self, base: bytes, heartbeat: float) -> None:
        self.well = False
        self.mesh = False
        self.pong: list[str] | None = None
        self.why = NO_CONNECTION
        self._pings: list[bytes] = []
        self.wake_at = NEVER
        self._progress: Progress | None = None
        self._base = base
        self._ids = Ids(base)
        self.heartbeat = heartbeat
        self._last_heard = 0.0
        self._asked = NEVER  # since when a question waits for any sign of life
        self._pause = heartbeat

    # The connection

    def connected(self, now: float, progress: Progress | None = None) -> None:
        """A new connection: who answers there now may be another program.

        progress: what moves on it, where the driver can tell.
        """
        self._progress = progress
        self._sick("it has not answered on this connection yet", now)

    def broke(self, why: str) -> None:
        self.well = False
        self.why = why
        self._pings.clear()
        self.wake_at = NEVER

    def suspect(self, now: float) -> None:
        """Ask at once what is at that endpoint, unless a question waits already."""
        if self.well and self._asked is NEVER:
            self._ask(now)
            self.wake_at = min(self.wake_at, now + self.heartbeat)

    def take_pings(self) -> list[bytes]:
        """The questions that are to be sent, each once."""
        pings, self._pings = self._pings, []
        return pings

    # What comes in

    def heard(self, now: float) -> None:
        """Any event has come."""
        self._last_heard = now
        if self._asked is not NEVER:
            self._asked = NEVER
            self.wake_at = min(self.wake_at, now + self.heartbeat)

    def asked(self, key: bytes) -> bool:
        """Whether that is the message id of a question, which nobody else can know."""
        return key.endswith(self._base)

    def answered(self, header: Header, name: str, args: Any, now: float) -> None:
        """An event on the channel of a question; what is no answer yet is a sign of life all the same."""
        if name == OK:
            self.pong = _pong_in(args)
            self._is_well("mesh" in header, now)
        elif name == ERR:
            error = ": ".join(as_text(part)[:200] for part in args[:2]) if type(args) is list else ""
            if _NO_SUCH_METHOD.search(error):
                self.pong = None
                self._is_well(False, now)
            else:
                why = f"it answers a ping with an error, {error or 'which has no text'}"
                if self.well:
                    self._sick(why, now, ask=False)
                self.why = why

    # Time

    def on_timer(self, now: float) -> None:
        if now < self.wake_at:
            return
        if not self.well:
            self._ask(now)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self.wake_at = now + self._pause
        elif self._asked is NEVER and now < self._last_heard + self.heartbeat:
            self.wake_at = self._last_heard + self.heartbeat
        else:
            if self._asked is NEVER:
                self._ask(now)
            # Not before it has had time: this process may have stood still.
            sick_at = max(self._last_heard + LOST_AFTER * self.heartbeat, self._asked + self.heartbeat)
            if now >= sick_at:
                self._last_heard, sick_at = second_look(self._progress, now, self._last_heard, self.heartbeat)
            self.wake_at = sick_at
            if now >= sick_at:
                self._sick(f"it has not answered for {now - self._last_heard:.1f} s", now, ask=False)

    # Changes

    def _ask(self, now: float) -> None:
        if self._asked is NEVER:
            self._asked = now
        self._pings = [wire.pack({"message_id": self._ids.next(), "v": wire.VERSION, "mesh": 1}, PING, [])]

    def _is_well(self, mesh: bool, now: float) -> None:
        if not self.well:
            self.well = True
            self.wake_at = now + self.heartbeat
        self.mesh = mesh

    def _sick(self, why: str, now: float, *, ask: bool = True) -> None:
        self.well = False
        self.why = why
        self._pause = self.heartbeat
        self.wake_at = now + self._pause
        if ask:
            self._ask(now)


def _pong_in(args: Any) -> list[str] | None:
    """The value of an answer to a ping, where it is as zerorpc's."""
    value = args[0] if type(args) is list and args else None
    known = type(value) is list and len(value) == 2 and value[0] == "pong" and type(value[1]) is str
    return value if known else None
