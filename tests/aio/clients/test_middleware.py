"""Middleware of a client for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import mesh
import mesh.aio
from tests.aio.clients.conftest import Desk, Run, Serve, until

TIMEOUT = 20.0


class Headers:
    def headers(self) -> dict[str, Any]:
        call = mesh.current_call()
        assert call is not None
        return {**call.headers, "timeout": call.timeout}


def test_what_it_sets_arrives_and_what_comes_back_is_seen(run: Run, serve: Serve) -> None:
    seen: list[Any] = []

    async def noting(call: Any, proceed: Any) -> Any:
        seen.append((call.service, call.method, call.args, call.kwargs))
        call.headers["tenant"] = "a"
        call.timeout = 5.0
        result = await proceed(call)
        seen.append(result)
        return result

    endpoint = serve(Headers())

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT, middleware=[noting]) as client:
            result = await client.headers()
            assert result["tenant"] == "a" and 0 < result["timeout"] <= 5
            assert seen == [(endpoint, "headers", (), {}), result]

    run(main())


def test_one_may_change_answer_and_try_again(run: Run, desk: Desk, endpoint: str) -> None:
    async def outer(call: Any, proceed: Any) -> Any:
        if call.method == "answered":
            return "by itself"
        call.args = (f"{call.args[0]} changed",)
        return await proceed(call)

    async def again(call: Any, proceed: Any) -> Any:
        try:
            return await proceed(call)
        except KeyError:
            call.method = "echo"
            return await proceed(call)

    async def last(call: Any, proceed: Any) -> Any:
        return await proceed(call)

    async def main() -> None:
        middleware = [outer, again, last]
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT, middleware=middleware) as client:
            assert await client.answered() == "by itself"
            assert await client.fail("it") == "it changed"
            assert await client.with_options(retries=1).echo("view") == "view changed"

    run(main())


@pytest.mark.parametrize("wraps", [True, False])
def test_streams_go_through_it(run: Run, desk: Desk, endpoint: str, wraps: bool) -> None:
    async def doubling(call: Any, proceed: Any) -> Any:
        stream = await proceed(call)

        async def items() -> AsyncIterator[int]:
            async with stream:
                async for item in stream:
                    yield 2 * item

        return items() if wraps else stream

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT, middleware=[doubling]) as client:
            factor = 2 if wraps else 1
            assert [item async for item in client.count(4)] == [0, factor, 2 * factor, 3 * factor]
            stream: Any = aiter(client.ticks())
            assert await anext(stream) == 0
            await stream.aclose()
            await until(lambda: desk.ended == ["ticks"], "the end of the generator")

    run(main())


def test_a_header_that_may_not_travel_raises_at_the_caller(run: Run, endpoint: str) -> None:
    async def wrong(call: Any, proceed: Any) -> Any:
        call.headers["deadline"] = 1
        return await proceed(call)

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT, middleware=[wrong]) as client:
            with pytest.raises(ValueError, match="'deadline', which is mesh's own"):
                await client.echo(1)

    run(main())


def test_what_is_no_list_of_functions_is_refused() -> None:
    with pytest.raises(mesh.ConfigError, match="middleware"):
        mesh.aio.connect("tcp://127.0.0.1:1", middleware=len)  # type: ignore[arg-type]


def test_one_that_forgets_to_await_is_told(run: Run, endpoint: str) -> None:
    async def forgets(call: Any, proceed: Any) -> Any:
        return proceed(call)

    async def main() -> None:
        async with mesh.aio.connect(endpoint, timeout=TIMEOUT, middleware=[forgets]) as client:
            with pytest.raises(TypeError, match="return await proceed"):
                await client.echo(1)

    run(main())
