"""What the Python servers of the conformance tests expose: the same for the old peer and for mesh."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent

from tests.helpers.computing import compute_a_moment


class Odd(Exception):
    """No built-in: only its name, text and traceback can travel."""


class Unserialisable(Exception):
    """Holds what no message can, and can't be made from its text."""

    def __init__(self, *, holds: object) -> None:
        super().__init__(holds, {1, 2}, lambda: None)
        self.holds = holds

    def __str__(self) -> str:
        return "it holds a socket"


class Service:
    def __init__(self) -> None:
        self._calls = 0
        self._open = 0
        self._left = 0

    def echo(self, value: Any) -> Any:
        """Answer with what came."""
        self._calls += 1
        return value

    def add(self, a: int, b: int = 10) -> int:
        """Add two numbers."""
        self._calls += 1
        return a + b

    def nothing(self) -> None:
        self._calls += 1

    def calls(self) -> int:
        """How often a method that counts was called."""
        return self._calls

    def fail(self, kind: str, text: str) -> None:
        self._calls += 1
        raise {"KeyError": KeyError, "ValueError": ValueError, "Odd": Odd}[kind](text)

    def fail_with_what_can_not_travel(self) -> None:
        raise Unserialisable(holds=socket.socket)

    def return_what_can_not_travel(self) -> Any:
        return {"rows": [1, object()]}

    def wait(self, seconds: float) -> str:
        """Take long, and let others run."""
        self._calls += 1
        gevent.sleep(seconds)
        return "waited"

    def compute(self, seconds: float) -> str:
        """Take long, and let nobody run."""
        self._calls += 1
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            compute_a_moment()
        return "computed"

    def die(self) -> None:
        os.kill(os.getpid(), 9)

    def open_streams(self) -> int:
        return self._open

    def left_streams(self) -> int:
        """How many streams ended because their reader left."""
        return self._left

    def count(self, number: int) -> Iterator[int]:
        return self._stream(number)

    def endless(self) -> Iterator[int]:
        return self._stream(2**31)

    def fail_after(self, number: int) -> Iterator[int]:
        yield from range(number)
        raise ValueError(f"after {number}")

    def items(self, values: list[Any]) -> Iterator[Any]:
        yield from values

    def numbered(self) -> dict[int, str]:
        """A map that MessagePack has, and zerorpc-python does not read."""
        return {1: "one"}

    def numbered_items(self) -> Iterator[Any]:
        yield "first"
        yield {1: "one"}
        yield "last"

    def slowly(self, number: int, seconds: float) -> Iterator[int]:
        for item in self._stream(number):
            gevent.sleep(seconds)
            yield item

    def _stream(self, number: int) -> Iterator[int]:
        self._open += 1
        try:
            for item in range(number):
                yield item
                if item % 50 == 0:
                    gevent.sleep(0)
        except GeneratorExit:
            self._left += 1
            raise
        finally:
            self._open -= 1


STREAMS = ("count", "endless", "fail_after", "items", "slowly")


def mark_streams(service: Service, stream: Callable[[Any], Any]) -> None:
    """Wrap the streaming methods of one service, as the old servers need it said."""
    for name in STREAMS:
        setattr(service, name, stream(getattr(service, name)))
