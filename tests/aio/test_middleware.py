"""Middleware around the handlers of a server of asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import mesh

ClientOf = Callable[..., mesh.Client]


class Target:
    async def coroutine(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return [value, mesh.current_call().method]  # type: ignore[union-attr]

    def plain(self, value: Any) -> Any:
        return [value, mesh.current_call().method]  # type: ignore[union-attr]

    def where(self) -> str:
        return threading.current_thread().name

    async def generator(self, number: int) -> AsyncIterator[int]:
        for one in range(number):
            yield one

    def plain_generator(self, number: int) -> Iterator[str]:
        for _ in range(number):
            yield threading.current_thread().name

    async def fail(self) -> None:
        raise KeyError("k")


@pytest.mark.parametrize("threads", [0, 2])
def test_it_awaits_what_comes_after_it(client_of: ClientOf, threads: int) -> None:
    seen: list[Any] = []

    async def outer(call: Any, proceed: Any) -> Any:
        seen.append(call.method)
        try:
            return await proceed(call)
        except KeyError:
            return "caught"

    async def inner(call: Any, proceed: Any) -> Any:
        if call.method in ("coroutine", "plain"):
            call.args = (call.args[0] + 1,)
        return await proceed(call)

    client = client_of(Target(), middleware=[outer, inner], threads=threads)
    assert client.coroutine(1) == [2, "coroutine"] and client.plain(1) == [2, "plain"]
    assert list(client.generator(3)) == [0, 1, 2]
    names = set(client.plain_generator(3))
    assert all(name.startswith("mesh handlers") for name in (*names, client.where())) is bool(threads)
    assert client.fail() == "caught"
    assert seen == ["coroutine", "plain", "generator", "plain_generator", "where", "fail"]
    assert client("_zerorpc_ping")[0] == "pong"


def test_without_any_a_handler_knows_its_call(client_of: ClientOf) -> None:
    client = client_of(Target())
    assert client.coroutine(1) == [1, "coroutine"] and client.plain(2) == [2, "plain"]
    threaded = client_of(Target(), threads=1)
    assert threaded.coroutine(1) == [1, "coroutine"] and threaded.plain(2) == [2, "plain"]
