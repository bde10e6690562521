"""Names what still runs, for the log of a drain: what it is, for how long, and for whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MOST: Final = 10
"""That are named; the rest is counted."""

Running = tuple[str, float, str]
"""What it is, seconds since it came, and whom it is for: "from 10.0.0.7"; "" where that is not known."""


def in_words(running: Sequence[Running]) -> str:
    """Those that have taken longest, by name, and how many more there are."""
    longest = sorted(running, key=lambda one: one[1], reverse=True)
    parts = [
        f"{what!r:.80} for {seconds:.1f} s {whom:.200}".rstrip() for what, seconds, whom in longest[:MOST]
    ]
    if len(longest) > MOST:
        parts.append(f"and {len(longest) - MOST} more")
    return "; ".join(parts)
