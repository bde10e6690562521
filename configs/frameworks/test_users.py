"""Tests of one's own against a real server in the same loop, with pytest-asyncio and with anyio's plugin.

pytest -p pytest_asyncio configs/frameworks/test_users.py
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import pytest_asyncio

import mesh.aio

ANY_PORT = "tcp://127.0.0.1:*"


class Users:
    async def get(self, number: int) -> str:
        return {42: "Ann"}[number]


@pytest_asyncio.fixture
async def users() -> AsyncIterator[Any]:
    async with mesh.aio.Server(Users()) as server, mesh.aio.connect(server.bind(ANY_PORT)) as client:
        yield client


@pytest.mark.asyncio
async def test_with_pytest_asyncio(users: Any) -> None:
    assert await users.get(42) == "Ann"
    with pytest.raises(KeyError):
        await users.get(1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_with_anyio() -> None:
    async with mesh.aio.Server(Users()) as server, mesh.aio.connect(server.bind(ANY_PORT)) as users:
        names: list[str] = []

        async def look() -> None:
            names.append(await users.get(42))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(look)
        assert names == ["Ann"] * 5
