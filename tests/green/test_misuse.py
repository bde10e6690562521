"""What programs are told that use a client, its calls, streams and answers as those of asyncio are used."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Callable, Iterator
from typing import Any

import pytest

import mesh
import mesh.aio


class Desk:
    def echo(self, value: Any) -> Any:
        return value

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)


@pytest.fixture
def client(client_of: Callable[..., mesh.Client]) -> mesh.Client:
    return client_of(Desk())


async def enter(one: Any) -> None:
    async with one:
        pass


async def wait_for(one: Any) -> None:
    await one


@pytest.mark.parametrize(
    ("made", "use", "advice"),
    [
        (
            lambda client: client,
            enter,
            r"used with `with`; one for asyncio, with `async with`, .* mesh\.aio\.connect",
        ),
        (lambda client: client.count(3), enter, r"left by `with` or close\(\), .* mesh\.aio\.connect"),
        (lambda client: client.echo.future(1), wait_for, r"asked by result\(\); .* mesh\.aio\.connect"),
        (
            lambda client: mesh.Server(Desk()),
            enter,
            r"mesh\.Server is used with `with`; `async with` is for those of mesh\.aio",
        ),
    ],
)
def test_use_as_of_asyncio(
    client: mesh.Client, made: Callable[[Any], Any], use: Callable[[Any], Any], advice: str
) -> None:
    with pytest.raises(TypeError, match=advice):
        asyncio.run(use(made(client)))
    assert client.echo(1) == 1


def test_an_attribute_of_a_method(client: mesh.Client) -> None:
    method: Any = client.echo
    with pytest.raises(
        AttributeError, match=r"'echo' has no attribute 'all'; .* as client\('echo\.all', …\)"
    ):
        method.all(1)


def test_frameworks_still_take_a_stream_for_what_it_is(client: mesh.Client) -> None:
    """Such as Starlette's StreamingResponse and whoever awaits what can be."""
    stream = client.count(3)
    assert not isinstance(stream, AsyncIterable) and not inspect.isawaitable(stream)
    assert not inspect.isawaitable(client) and not inspect.isawaitable(client.echo)
    assert list(stream) == [0, 1, 2]


def test_connect_is_the_same_for_both() -> None:
    """Its arguments, and what is said of them."""
    green, aio = (inspect.signature(one).parameters for one in (mesh.connect, mesh.aio.connect))
    assert list(green.values()) == list(aio.values())
    assert [*green][:3] == ["target", "timeout", "heartbeat"]
    for one in (mesh.connect, mesh.aio.connect):
        assert one.__name__ == "connect"
        assert one.__doc__ is not None and one.__doc__.startswith("A client of a service")
        assert "\ntarget: a name from the registry" in one.__doc__
        with pytest.raises(TypeError, match=r"unexpected keyword argument 'timout'"):
            one("tcp://127.0.0.1:1", timout=1)  # type: ignore[call-arg]  # that is the test
