"""What the shop has on its shelf: plain functions, which know nothing of mesh."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

_PIECES = {"tea": 40, "cup": 12, "honey": 5, "teapot": 3, "piano": 1}
_CENTS = {"tea": 450, "cup": 900, "honey": 700, "teapot": 8_000, "piano": 250_000}
_WALK = 0.02  # seconds to the shelf and back


def count(item: str) -> int:
    """How many pieces there are."""
    return _PIECES[item]


def add(item: str, pieces: int = 1) -> int:
    """Put some more on the shelf; gives how many there are."""
    _PIECES[item] += int(pieces)
    return _PIECES[item]


def take(item: str) -> int:
    """Take a piece off the shelf; gives its price in cents."""
    time.sleep(_WALK)
    if not _PIECES[item]:
        raise LookupError(f"{item} is sold out")
    _PIECES[item] -= 1
    return _CENTS[item]


def shelf(pause: float = 0.0) -> Iterator[dict[str, Any]]:
    """All that there is, one by one.

    pause: seconds to rest before each but the first.
    """
    for position, (item, pieces) in enumerate(_PIECES.items()):
        if position:
            time.sleep(float(pause))
        yield {"item": item, "pieces": pieces, "cents": _CENTS[item]}
