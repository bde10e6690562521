"""How many of each kind are passed on in a minute; the others are counted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

MINUTE: Final = 60.0
MOST_OF_KIND: Final = 10
MOST: Final = 300
"""Of all kinds, in one minute."""
MOST_KINDS: Final = 2_000
"""That are told apart; the one that came last the longest ago is forgotten first."""


class _Kind:
    __slots__ = ("began", "held_back", "passed")

    def __init__(self, began: float) -> None:
        self.began = began
        self.passed = 0
        self.held_back = 0


class Meter:
    """held_back: in all."""

    def __init__(self, of_kind: int = MOST_OF_KIND, most: int = MOST) -> None:
        self._of_kind = of_kind
        self._most = most
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()
        self._all = _Kind(0.0)
        self.held_back = 0

    def passes(self, kind: Hashable, now: float) -> int | None:
        """None for one that is held back; else how many of its kind were since the last that passed. now:
        seconds of a monotonic clock.
        """
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Kind(now)
            if len(self._kinds) > MOST_KINDS:
                self._kinds.popitem(last=False)
        else:
            self._kinds.move_to_end(kind)
        for one in (known, self._all):
            if now >= one.began + MINUTE:
                one.began, one.passed = now, 0
        if known.passed >= self._of_kind or self._all.passed >= self._most:
            known.held_back += 1
            self.held_back += 1
            return None
        known.passed += 1
        self._all.passed += 1
        held_back, known.held_back = known.held_back, 0
        return held_back
