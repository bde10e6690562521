"""grpc.aio with generic handlers and msgpack values, so that no protobuf stands in its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from time import perf_counter
from typing import Any, TypeVar

import grpc
import grpc.aio
import msgpack

SERVICE = "bench.Service"
Result = TypeVar("Result")


async def _echo(value: bytes, _context: object) -> bytes:
    return value


async def _numbers(count: int, _context: object) -> AsyncIterator[int]:
    for number in range(count):
        yield number


def serve(ready: Callable[[str], None]) -> None:
    asyncio.run(_serve(ready))


async def _serve(ready: Callable[[str], None]) -> None:
    codec = {"request_deserializer": msgpack.unpackb, "response_serializer": msgpack.packb}
    methods = {
        "echo": grpc.unary_unary_rpc_method_handler(_echo, **codec),
        "numbers": grpc.unary_stream_rpc_method_handler(_numbers, **codec),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready(f"127.0.0.1:{port}")
    await server.wait_for_termination()


class Client:
    def __init__(self, endpoint: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._run(self._connect(endpoint))

    def sequential(self, payload: bytes, seconds: float) -> int:
        return self._run(self._repeat(payload, seconds))

    def concurrent(self, payload: bytes, callers: int, seconds: float) -> int:
        return self._run(self._crowd(payload, callers, seconds))

    def stream(self, items: int) -> int:
        return self._run(self._count(items))

    def close(self) -> None:
        self._run(self._channel.close())
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._loop.run_until_complete(work)

    async def _connect(self, endpoint: str) -> None:
        codec = {"request_serializer": msgpack.packb, "response_deserializer": msgpack.unpackb}
        self._channel = grpc.aio.insecure_channel(endpoint)
        self._echo = self._channel.unary_unary(f"/{SERVICE}/echo", **codec)
        self._numbers = self._channel.unary_stream(f"/{SERVICE}/numbers", **codec)

    async def _repeat(self, payload: bytes, seconds: float) -> int:
        end = perf_counter() + seconds
        count = 0
        while perf_counter() < end:
            await self._echo(payload)
            count += 1
        return count

    async def _crowd(self, payload: bytes, callers: int, seconds: float) -> int:
        return sum(await asyncio.gather(*(self._repeat(payload, seconds) for _ in range(callers))))

    async def _count(self, items: int) -> int:
        return len([number async for number in self._numbers(items)])
