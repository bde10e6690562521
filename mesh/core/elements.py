"""How many values a MessagePack message holds, told before anything is made of them.

A value takes one byte in a message and some seventy in memory, so the bytes of a message don't bound
what it costs. Whoever decodes one looks here first. Every value counts: an array or a map itself, the
items of an array, the keys and the values of a map.

To look at a value in Python takes several times as long as to decode it in C. So many are one step: values
of one size that follow each other, and else 64 of any short ones by one pattern. It is possessive, as to be
able to go back from each would take memory for it; and what it has tried in vain it tries less and less
often, so that no message makes it slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
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
_BLOCK: Final = 64
"""Values that are taken in one step."""
_RUN: Final = 4096
"""The same of values of one size, at the most: bytes that are copied for it."""
_USUAL: Final = (0, 8, 4, 2, 1)
_USUAL_LENGTHS: Final = (36, 32, 40, 64)
"""Bytes after the first of the most usual values, and bytes of texts such as UUIDs and hashes. The pattern
looks for these before others."""


def _more(code: int) -> int:
    if code in _LENGTHS:
        return -1
    return code - _TEXTS[0] if code in _TEXTS else _BODIES.get(code, 0)


_MORE: Final = tuple(map(_more, range(256)))
"""The bytes that follow the first byte of a value, without the items of an array or a map, which are values
of their own; -1 where a length tells."""
_CODES: Final = [bytes(code for code in range(256) if _MORE[code] == more) for more in range(len(_TEXTS))]
"""The first bytes of the values after which that many follow."""


def _block_pattern() -> bytes:
    """Of a block of values of at most 255 bytes; of extensions that tell their length only the time."""
    fixed = [_one_of(_CODES[size]) + _any(size) for size in _usual_first(_USUAL, len(_CODES))]
    short = [b"\\x%02x" % size + _any(size) for size in _usual_first(_USUAL_LENGTHS, 256)]
    values = [*fixed, rb"[\xc4\xd9](?:%s)" % b"|".join(short), rb"\xc7\x0c.{13}+"]
    return b"(?:%s){%d}+" % (b"|".join(values), _BLOCK)


def _usual_first(usual: tuple[int, ...], end: int) -> list[int]:
    return [*usual, *(number for number in range(end) if number not in usual)]


def _one_of(codes: bytes) -> bytes:
    return b"[%s]" % b"".join(b"\\x%02x" % code for code in codes)


def _any(number: int) -> bytes:
    return b".{%d}+" % number if number > 8 else b"." * number


@cache
def _block_matcher() -> Callable[[bytes | memoryview, int], re.Match[bytes] | None]:
    """Made once a message is large enough to be looked at: to compile it takes 5 ms."""
    return re.compile(_block_pattern(), re.DOTALL).match


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
    size, at, end, match_block = len(message), 0, most, _block_matcher()
    pause = 0  # how many to look at one by one after a value that the pattern does not know
    while at < size and end < enough:
        room = end - at
        if room <= 0:
            return most + 1
        number, length = _run(message, at, room)
        if not number:
            block = match_block(message, at) if room >= _BLOCK else None
            if block is not None:
                number, length, pause = _BLOCK, block.end() - at, 0
            else:
                number, length = _singly(message, at, room, pause)
                pause = min(2 * pause + 1, _BLOCK)
        at += length
        end += length - number
    return at - (end - most)


def _run(message: bytes | memoryview, at: int, most: int) -> tuple[int, int]:
    """How many values of one size follow each other, and their bytes; none where they are no block."""
    more = _MORE[message[at]]
    size = 1 + more
    last = at + (_BLOCK - 1) * size
    if not size or most < _BLOCK or last >= len(message) or _MORE[message[last]] != more:
        return 0, 0
    number, until = 0, _BLOCK
    while True:
        codes = bytes(message[at + number * size : at + until * size : size])
        number += len(codes) - len(codes.lstrip(_CODES[more]))
        if number < until or number == most:
            return (number, number * size) if number >= _BLOCK else (0, 0)
        until = min(2 * number, number + _RUN, most)


def _singly(message: bytes | memoryview, at: int, most: int, pause: int) -> tuple[int, int]:
    """The values up to one that the pattern does not know, and `pause` more: how many, and their bytes."""
    size, begin, number = len(message), at, 0
    most = min(most, 2 * _BLOCK)
    while number < most and at < size:
        code = message[at]
        more = _MORE[code]
        if more < 0:
            digits, kind = _LENGTHS[code]
            at += 1
            more = digits + kind - 1 + int.from_bytes(message[at : at + digits], "big")
            if digits > 1 or kind:
                most = min(most, number + 1 + pause)
        at += 1 + more
        number += 1
    return number, at - begin
