"""What travels of values that MessagePack has no form for: one table, read by whoever packs and by whoever
says what can't be packed. What arrives is a plain value that every peer can read, old ones too.

The table is shown to users in docs/calls.md.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, ItemsView, KeysView, ValuesView
from dataclasses import fields
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from mesh.core.elements import MAX_ELEMENTS
from mesh.errors import name_of, text_of

Encode = Callable[[Any], Any]
"""A program's own: gives what is to travel in place of a value that the table lacks."""
Convert = Callable[[Any], Any]

STEPS: Final = 20
"""Times that a value may give way to another that is to travel in its place."""
NATIVE: Final = frozenset(
    {type(None), bool, int, float, str, bytes, bytearray, memoryview, list, dict, datetime}
)
"""What MessagePack has a form for."""


class CannotTravel(TypeError):
    """Says of a value, in words that follow its place, why it can't travel."""


def _member(value: Enum) -> Any:
    return value._value_


def _time(value: datetime) -> datetime:
    return datetime.combine(datetime.date(value), datetime.timetz(value))


def _range(value: range) -> list[int]:
    if value[MAX_ELEMENTS:]:
        raise CannotTravel(f"is a range of more than {MAX_ELEMENTS} numbers")
    return list(value)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


_TABLE: Final[tuple[tuple[tuple[type, ...], Convert], ...]] = (
    ((Enum,), _member),
    ((tuple, list), list),
    ((dict, MappingProxyType), dict),
    ((str,), str.__str__),
    ((int,), int.__int__),
    ((float,), float.__float__),
    ((bytes,), bytes),
    ((bytearray,), bytearray),
    ((datetime,), _time),
    ((date,), date.isoformat),
    ((time,), time.isoformat),
    ((timedelta,), timedelta.total_seconds),
    ((set, frozenset, deque, KeysView, ValuesView, ItemsView), list),
    ((range,), _range),
    ((array,), array.tolist),
    ((UUID, Decimal, Fraction, PurePath), str),
    ((IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface), str),
)
"""What each arrives as. The first that fits counts: an enum's member may be a text or a number as well, and a
datetime is a date."""


@lru_cache(maxsize=1_000)
def _converter(kind: type) -> Convert | None:
    if kind in NATIVE:
        return None
    for kinds, convert in _TABLE:
        if issubclass(kind, kinds):
            return convert
    return _fields if hasattr(kind, "__dataclass_fields__") else None


class Plain:
    """Gives the plain value that travels in place of another. Raises CannotTravel, and what `encode` raises.

    encode: for what the table lacks. arrays: not empty after something that may be a key of a dict has
    become a list or a map, which no receiver could read as a key.
    """

    __slots__ = ("_encode", "arrays")

    def __init__(self, encode: Encode | None = None) -> None:
        self._encode = encode
        self.arrays: list[None] = []

    def __call__(self, value: Any) -> Any:
        given = value
        for _ in range(STEPS):
            value = self._instead(value)
            kind = type(value)
            if kind in NATIVE:
                if (kind is list or kind is dict) and type(given).__hash__ is not None:
                    self.arrays.append(None)
                return value
        raise CannotTravel(f"{_of(given)}, for which encode gives ever other objects")

    def _instead(self, value: Any) -> Any:
        convert = _converter(type(value))  # type: ignore[arg-type]
        if convert is not None:
            return convert(value)
        if self._encode is None:
            raise CannotTravel(_of(value))
        try:
            encoded = self._encode(value)
        except Exception as exc:
            why = f"{name_of(exc)}: {text_of(exc)}"
            raise CannotTravel(f"{_of(value)}, for which encode raised {why}") from exc
        if encoded is value:
            raise CannotTravel(f"{_of(value)}, which encode gives back as it is")
        return encoded


def has_odd_key(value: Any, plain: Plain) -> bool:
    """Whether a dict in `value`, which can be packed, has a key that becomes a list or a map."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        kind = type(one)
        if kind not in NATIVE:
            one = plain(one)
            kind = type(one)
        if kind is dict:
            if any(type(key) not in NATIVE and type(plain(key)) in (list, dict) for key in one):
                return True
            waiting.extend(one.values())
        elif kind is list:
            waiting.extend(one)
    return False


def _of(value: Any) -> str:
    kind = type(value)
    return f"is of type {kind.__module__}.{kind.__qualname__}".replace(" builtins.", " ")
