"""How many values a MessagePack message holds, told before anything is made of them.

A value takes one byte in a message and some seventy in memory, so the bytes of a message don't bound
what it costs. Whoever decodes one looks here first. Every value counts: an array or a map itself, the
items of an array, the keys and the values of a map.
"""

from __future__ import annotations

import re
from typing import Final

MAX_ELEMENTS: Final = 1_000_000
"""Values in one message, unless whoever reads it is told otherwise."""
VALUE_BYTES: Final = 64
"""Bytes that a value takes in memory besides those in its message, as an empty map does."""

_FIXED: Final = {
    1: "ccd0",
    2: "cdd1d4dcde",
    3: "d5",
    4: "caced2dddf",
    5: "d6",
    8: "cbcfd3",
    9: "d7",
    17: "d8",
}
_BODIES: Final = {code: size for size, codes in _FIXED.items() for code in bytes.fromhex(codes)}
_TEXTS: Final = range(0xA0, 0xC0)
_LENGTHS: Final = {
    code: (digits, kind)
    for digits, kind, codes in (
        (1, 0, "c4d9"),
        (2, 0, "c5da"),
        (4, 0, "c6db"),
        (1, 1, "c7"),
        (2, 1, "c8"),
        (4, 1, "c9"),
    )
    for code in bytes.fromhex(codes)
}
"""The bytes of the length of a text, of binary data or of an extension, and those of the type after it."""


def _more(code: int) -> int:
    if code in _LENGTHS:
        return -1
    return code - _TEXTS[0] if code in _TEXTS else _BODIES.get(code, 0)


_MORE: Final = tuple(map(_more, range(256)))
"""The bytes that follow the first byte of a value, without the items of an array or a map, which are values
of their own; -1 where a length tells."""
_RUN: Final = re.compile(
    rb"[\x00-\xa0\xc0-\xc3\xe0-\xff]{8,}+"
    rb"|(?:\xcb.{8}){4,}+|(?:[\xca\xce\xd2].{4}){4,}+|(?:[\xcf\xd3].{8}){4,}+|(?:[\xcd\xd1].{2}){4,}+",
    re.DOTALL,
).match
"""Values of one size that follow each other, which as numbers they often do. Possessive, as to be able to go
back from each would take memory for it."""


def within(message: bytes | memoryview, most: int) -> bool:
    """Whether a message holds at most that many values. What is no MessagePack gives either.

    Takes no memory, and time for at most `most` values; none for a message of fewer bytes.
    """
    size = len(message)
    return size <= most or _walk(message, most, size) <= most


def weight(message: bytes | memoryview) -> int:
    """Bytes, about, that a message takes in memory once it is decoded. It has to be one MessagePack value."""
    size = len(message)
    return size + VALUE_BYTES * _walk(message, size, 2 * size)


def _walk(message: bytes | memoryview, most: int, enough: int) -> int:
    """How many values there are before the end, or before it is clear that no more than `most` will be; with
    more than `most` it is one more than that.

    enough: bytes of `message` in which `most` values end, if each of those to come takes one byte.
    """
    size, at, end = len(message), 0, most
    last = -1
    while at < size and end < enough:
        if at >= end:
            return most + 1
        code = message[at]
        if code == last and (run := _RUN(message, at, end)) is not None:
            length = run.end() - at
            more = length - length // (1 + _MORE[code])
            at += length
            end += more
            last = -1
            continue
        more = _MORE[code]
        if more < 0:
            digits, kind = _LENGTHS[code]
            begin = at + 1
            told = message[begin] if digits == 1 else int.from_bytes(message[begin : begin + digits], "big")
            more = digits + kind + told
        else:
            last = code
        at += 1 + more
        end += more
    return at - (end - most)
