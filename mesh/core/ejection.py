"""When a peer that fails is left alone, and when it is tried again: outlier ejection.

A peer is ejected after failures one behind the other, or where too many of its calls fail within a while. It
is left alone then, for longer each time. After that it is pinged, and one that answers has one call at a time
on trial: a good one ends the ejection, a failure makes it a longer one.

What counts as a failure is for the balancer to say, and whether the pool can do without this peer.
"""

from __future__ import annotations

from typing import Final

from mesh.core.channel import NEVER

IN_A_ROW: Final = 5
"""Failures one behind the other that are too many."""
WINDOW: Final = 30.0
"""Seconds within which the share of good calls counts, from the first failure in them."""
ENOUGH: Final = 20
"""Calls within them, of which fewer tell nothing."""
GOOD: Final = 0.8
"""The share of them that must be good, at the least."""
SHORTEST: Final = 5.0
LONGEST: Final = 300.0
JITTER: Final = 0.25
"""The share by which an ejection may be longer, so that not all clients come back at the same moment."""


class Conduct:
    """What the calls of one peer have come to, as far as it bears on whether it is ejected.

    good: how many did not fail, counted by whoever is told of them. suspect: whether a good one is of
    interest here, so that `well` is to be called. ejected: it is left alone. pinged: the time for that is
    over, and a ping is on its way. trial: a call shows what becomes of it. probe_at: when it is to be pinged,
    NEVER where it is not.
    """

    __slots__ = (
        "_bad",
        "_begun",
        "_good_before",
        "_in_a_row",
        "_length",
        "_returned",
        "_times",
        "ejected",
        "good",
        "pinged",
        "probe_at",
        "suspect",
        "trial",
    )

    def __init__(self) -> None:
        self.good = 0
        self.suspect = False
        self.ejected = False
        self.pinged = False
        self.trial = False
        self.probe_at = NEVER
        self._in_a_row = 0
        self._begun = -NEVER
        self._good_before = 0
        self._bad = 0
        self._times = 0
        self._length = 0.0
        self._returned = -NEVER

    def failed(self, now: float) -> bool:
        """A call has failed; whether the peer is to be ejected for it."""
        if self.ejected:
            return False
        self.suspect = True
        self._in_a_row += 1
        if now - self._begun > WINDOW:
            self._begun, self._good_before, self._bad = now, self.good, 0
        self._bad += 1
        good = self.good - self._good_before
        calls = good + self._bad
        few_good = calls >= ENOUGH and good < GOOD * calls
        return self.trial or self._in_a_row >= IN_A_ROW or few_good

    def eject(self, now: float, chance: float) -> None:
        """Leave it alone for a while. chance: a float in [0, 1)."""
        if not self.trial and now - self._returned > self._length:
            self._times = 0  # it was well for longer than it was out: that is past
        self.ejected = self.suspect = True
        self.trial = False
        self._out(now, chance)

    def ping(self, now: float, chance: float) -> None:
        """It is pinged now. Where it does not answer, the next ping comes after a longer time."""
        self.pinged = True
        self._out(now, chance)

    def _out(self, now: float, chance: float) -> None:
        self._length = min(SHORTEST * 2.0**self._times, LONGEST / (1.0 + JITTER)) * (1.0 + JITTER * chance)
        self._times = min(self._times + 1, 16)
        self.probe_at = now + self._length

    def well(self, now: float) -> bool:
        """It has answered, be it a ping or a call; whether it is on trial from now on, or no longer."""
        if self.ejected:
            if not self.pinged:
                return False  # the answer to a call of before
            self.ejected = self.pinged = False
            self.trial = True
            self.probe_at = NEVER
            return True
        was_on_trial, self.trial = self.trial, False
        self.suspect = False
        self._in_a_row = 0
        if was_on_trial:
            self._returned = now
            self._begun = -NEVER
        return was_on_trial
