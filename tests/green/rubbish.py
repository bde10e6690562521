"""Messages that no sane peer sends."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgpack

Frames = list[bytes]


def event(header: Any, name: Any, args: Any) -> bytes:
    return bytes(msgpack.packb([header, name, args]))


def head(number: int, **more: Any) -> dict[str, Any]:
    return {"message_id": f"rubbish {number}", "v": 3, **more}


def payloads(dice: random.Random) -> Iterator[bytes]:
    """What may stand where the event should be."""
    good = event(head(dice.randrange(10**9)), "echo", ["x" * 20])
    yield b""
    yield b"\xc1"
    yield dice.randbytes(dice.randrange(1, 200))
    yield good[: dice.randrange(len(good))]
    yield good + b"\x00"
    yield b"\x91" * 100_000
    yield b"\xdd\xff\xff\xff\xff"
    yield b"\xdf\xff\xff\xff\xff" + b"\xc0" * 100
    yield b"\xc7\xff\x05" + b"x" * 255
    for odd in (None, 1, "text", [], {}, [1, 2], [1, 2, 3, 4], [[], "echo", []], [{}, "echo", [1]]):
        yield bytes(msgpack.packb(odd))
    number = dice.randrange(10**9)
    for message_id in (None, 7, [], {}, True, "", "x" * 100_000, b"\xff" * 300):
        yield event({"message_id": message_id, "v": 3}, "echo", [1])
    for version in (None, "3", -1, 2**63, [], 1.5):
        yield event({"message_id": f"v{number}", "v": version}, "echo", [1])
    for name in (None, 5, [], b"\xff\xfe", "x" * 100_000, "\x00", "_zerorpc_nothing", "__class__"):
        yield event(head(number), name, [1])
    for args in ({}, "args", 5, {"a": 1}):
        yield event(head(number + 1), "echo", args)
    for name, args in (
        ("_zpc_more", [-5]),
        ("_zpc_more", [2**63]),
        ("_zpc_more", []),
        ("_zpc_more", None),
        ("_zpc_more", ["many"]),
        ("_zpc_hb", [0]),
        ("OK", [1]),
        ("ERR", ["a", "b", "c"]),
        ("STREAM", 1),
        ("STREAM_DONE", None),
        ("what is that", [1]),
    ):
        yield event(head(number, response_to=f"nobody {number}"), name, args)
        yield event(head(number), name, args)
        yield event(head(number, response_to=[1]), name, args)
    for key, value in (
        ("deadline", -1),
        ("deadline", 2**63),
        ("deadline", "soon"),
        ("heartbeat", 0),
        ("heartbeat", -3),
        ("heartbeat", 2**60),
        ("kwargs", 5),
        ("kwargs", [1]),
        ("kwargs", {"no": 1}),
        ("kwargs", {5: 1}),
        ("trace_id", [[]]),
        ("service", {}),
    ):
        yield event(head(dice.randrange(10**9), **{key: value}), "echo", [1])


def messages(dice: random.Random) -> Iterator[Frames]:
    """Rubbish in every shape of message, without end."""
    while True:
        for payload in payloads(dice):
            yield [b"", payload]
        good = event(head(dice.randrange(10**9)), "echo", [1])
        yield [b""]
        yield [b"", b""]
        yield [good]
        yield [good, good]
        yield [b"", good, good]
        yield [b"", b"", good]
        yield [b"", good, b""]
        yield [b"somebody", b"", good]
        yield [b"somebody", b"else", b"", good]
        yield [b"x"] * 5
        yield [b"x"] * 200 + [b"", good]
