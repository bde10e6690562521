"""The addresses of one endpoint whose host has a name: which is dialled, when another is, when to ask again.

One address at a time, so that nothing is ever connected twice to what is one endpoint. The next is tried
where one does not connect within a quarter of a second or is refused (as RFC 8305 has it, but IPv4 first:
what listens at `tcp://*` has IPv4 alone). libzmq connects again and again to the number that it was given; so
while there is no connection it is asked now and then whether the host has another by now. What was known
stays good as long as nothing better is found: a name server that is silent, or says that there is no such
host, takes no address away.

Time comes in as an argument, in seconds of any monotonic clock.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mesh.core.channel import NEVER

PATIENCE: Final = 0.25
LONGEST_PATIENCE: Final = 4.0
"""Seconds that one address has to connect before the next is tried: in the first round, and at the most, for
each round doubles them."""
MOST_DOUBLED: Final = 8
PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between a round in which the last address refused and the next round, at first and at the most."""
ASK_AGAIN: Final = 1.0
LONGEST_ASK: Final = 5.0
"""Seconds from one answer to the next question while there is no connection, at first and at the most."""


class HostAnswer(NamedTuple):
    """What is known of a host. addresses: in the order in which to try them. problem: why there are none.

    whole: those of IPv6 are among them, if there are any; they are asked for where IPv4 does not do.
    """

    addresses: tuple[str, ...]
    problem: str = ""
    whole: bool = True


class HostAddresses:
    """at: the address to be connected to; "" while none is known. problem: why that is so. ask_at: when the
    host is to be asked for; NEVER while that is so already, or a connection stands. whole: then its addresses
    of IPv6 too. move_at: when `on_timer` is to be called.

    answered: it was asked for, and there was an answer.

    host: its name. known: addresses that it had once, which will do while there is no answer.
    """

    __slots__ = (
        "_addresses",
        "_ask_pause",
        "_asked",
        "_complete",
        "_next",
        "_round",
        "_taken",
        "_up",
        "answered",
        "ask_at",
        "at",
        "move_at",
        "problem",
        "whole",
    )

    def __init__(self, host: str, now: float, known: tuple[str, ...] = ()) -> None:
        self.at = ""
        self.problem = f"its host {host!r} is still being looked up, nobody has answered yet"
        self.answered = False
        self.ask_at = now
        self.whole = any(":" in one for one in known)
        self._addresses = known
        self._complete = False
        self._next = known[0] if known else ""
        """The address that is to be dialled at `move_at`; "" for the one that follows."""
        self.move_at = now + PATIENCE if known else NEVER
        self._round = 0
        self._taken = False
        """Whether the address has taken the connection, which may be in its handshake still."""
        self._up = False
        self._asked = -NEVER
        self._ask_pause = ASK_AGAIN

    # Questions

    def asked(self, now: float) -> None:
        """The host is being asked for: `found` follows."""
        self._asked, self.ask_at = now, NEVER

    def found(self, answer: HostAnswer, now: float) -> None:
        """The answer has come."""
        self.answered = True
        if not self._up:
            self.ask_at = now + self._ask_pause
            self._ask_pause = min(2 * self._ask_pause, LONGEST_ASK)
        if not answer.addresses:
            self.problem = answer.problem
            self.whole = True
            if not self.at and self._next:
                self._dial(self._next, now)
            return
        self.problem = ""
        self._addresses, self._complete = answer.addresses, answer.whole
        if self._up:
            return
        if self.at not in answer.addresses:
            self._round = 0
            self._dial(answer.addresses[0], now)
        elif self.whole and not answer.whole:
            self.ask_at = now  # it was asked before there was need for them
        elif self._round and self.move_at == NEVER and not self._taken and len(answer.addresses) > 1:
            self._go_on(now, pause=0.0)  # those that are new: the others have had their turn

    # The connection

    def connected(self) -> None:
        """The address has taken the connection."""
        self.move_at, self._next, self._taken = NEVER, "", True

    def stands(self) -> None:
        """Its handshake has ended well."""
        self.connected()
        self.problem, self._up, self._round = "", True, 0
        self.ask_at, self._ask_pause = NEVER, ASK_AGAIN
        self.whole = ":" in self.at

    def broke(self, now: float) -> None:
        """The connection has ended; the same address is tried again by itself, if the host still has it."""
        self._up = False
        self._ask_soon(now)
        gone = self._addresses and self.at not in self._addresses
        self._dial(self._addresses[0] if gone else self.at, now)

    def refused(self, now: float) -> None:
        """The address did not take the connection."""
        if not self._up and not self._next and self.move_at != NEVER:
            self._go_on(now, min(PAUSE * self._doubled, LONGEST_PAUSE))

    def redialled(self, now: float) -> None:
        """The address was left, for its handshake had failed; now another attempt is due."""
        self._up = False
        self._ask_soon(now)
        if self.at:
            self._dial(self._addresses[self._following() % len(self._addresses)], now)

    def _ask_soon(self, now: float) -> None:
        self.ask_at = min(self.ask_at, max(now, self._asked + ASK_AGAIN))

    # Time

    def on_timer(self, now: float) -> None:
        """Go on to the next address where it is time to."""
        if now < self.move_at:
            return
        if self._next:
            self._dial(self._next, now)
        else:
            self._go_on(now, pause=0.0)

    def _dial(self, address: str, now: float) -> None:
        self.at, self._next, self._taken = address, "", False
        others = len(self._addresses) > 1 or not self._complete
        self.move_at = now + min(PATIENCE * self._doubled, LONGEST_PATIENCE) if others else NEVER

    @property
    def _doubled(self) -> int:
        return int(2 ** min(self._round, MOST_DOUBLED))

    def _go_on(self, now: float, pause: float) -> None:
        """To the next address, or after so many seconds to another round."""
        following = self._following()
        if following < len(self._addresses):
            self._dial(self._addresses[following], now)
            return
        self._round += 1
        self.move_at = NEVER  # a lone address is tried again by itself
        if not self._complete and not self.whole:
            self.whole, self.ask_at = True, now
        if len(self._addresses) > 1 and pause:
            self._next, self.move_at = self._addresses[0], now + pause
        elif len(self._addresses) > 1:
            self._dial(self._addresses[0], now)

    def _following(self) -> int:
        """The place of the address after the present one, if there is any."""
        return self._addresses.index(self.at) + 1 if self.at in self._addresses else 0
