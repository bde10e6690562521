"""Rendezvous hashing (Thaler and Ravishankar, 1998): who belongs to a key, with no word between who asks.

Each of several names claims a key with a weight that is a hash of both, and the strongest have it. Whoever
has the same names agrees on all keys, on every machine, and a name that comes or goes moves only its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from math import log
from typing import TypeVar

T = TypeVar("T")

_PARTS = 2.0**64


def claim(key: bytes, name: str, weight: float = 1.0) -> float:
    """How strongly a name claims a key. Of many keys each name has as many as its weight says (Schindelhauer
    and Schomaker, 2005).
    """
    hashed = blake2b(name.encode("utf-8", "surrogatepass"), key=blake2b(key, digest_size=16).digest())
    chance = (int.from_bytes(hashed.digest()[:8]) + 0.5) / _PARTS
    return weight / -log(chance) if chance < 1.0 else float("inf")


def strongest(key: bytes, among: Iterable[T], most: int, name: Callable[[T], str]) -> list[T]:
    """Those that claim a key most strongly, `most` of them, in the order that they came in."""
    among = list(among)
    if len(among) <= most:
        return among
    claims = sorted(range(len(among)), key=lambda place: claim(key, name(among[place])), reverse=True)
    return [among[place] for place in sorted(claims[:most])]
