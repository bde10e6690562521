"""A service whose servers are found through DNS: who it is, and streams that go on."""

from __future__ import annotations

from collections.abc import Iterator

import gevent


class Users:
    def __init__(self, name: str) -> None:
        self.name = name

    def who(self) -> str:
        return self.name

    def hold(self, seconds: float) -> str:
        gevent.sleep(seconds)
        return self.name

    def ticks(self, number: int, pause: float = 0.01) -> Iterator[int]:
        for one in range(number):
            yield one
            gevent.sleep(pause)


def port_of(endpoint: str) -> str:
    return endpoint.rpartition(":")[2]
