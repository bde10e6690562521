"""What was dropped: how often, by kind, and what is known of the last one of each kind.

The kinds are few and the program's own. What a peer has sent stands in the detail alone, of which one
is kept for a kind, and no more of it than fits in a line of the log.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

TELL_EVERY: Final = 1.0
"""Seconds between two lines in the log."""
MAX_DETAIL: Final = 300
"""Characters."""


class Dropped(Counter[str]):
    """Counts what was dropped, and says so at most once a second.

    fresh: the kind of one that has just come in, of which nobody has said yet from where.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fresh = ""
        self._details: dict[str, str] = {}
        self._told: Counter[str] = Counter()
        self._next = 0.0

    def add(self, what: str, detail: str = "", *, number: int = 1, quiet: bool = False) -> None:
        """Count some. detail: what is known of the last of them. quiet: it is nothing to tell of."""
        self[what] += number
        if quiet:
            self._told[what] += number
        else:
            self._details[what] = detail[:MAX_DETAIL]

    def came_from(self, address: str) -> None:
        """Where the fresh one came from; "" where that is not known."""
        if address:
            self._details[self.fresh] += f", from {address}"
        self.fresh = ""

    def news(self, now: float) -> str:
        """What has not been told yet, for the log; "" where there is nothing, or it is too early."""
        if now < self._next or self == self._told:
            return ""
        self._next = now + TELL_EVERY
        unknown = self - self._told
        self._told = Counter(self)
        return "; ".join(self._line(what, number) for what, number in unknown.items())

    def _line(self, what: str, number: int) -> str:
        detail = self._details.get(what)
        last = "the last: " if number > 1 else ""
        return f"{number} {what} ({last}{detail})" if detail else f"{number} {what}"
