"""Answers that are asked for later, from greenlets and from native threads without a loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import mesh
from mesh.transport import native
from tests.green.conftest import Connect, Program, Serve
from tests.helpers.processes import PATIENCE, Process, eventually


class Desk:
    def __init__(self) -> None:
        self.notes: list[Any] = []

    def add(self, a: int, b: int) -> int:
        return a + b

    def slow(self, seconds: float) -> str:
        gevent.sleep(seconds)
        return "done"

    def note(self, value: Any) -> None:
        self.notes.append(value)

    def fail(self) -> None:
        raise KeyError("gone")

    def ticks(self) -> Any:
        try:
            while True:
                yield 1
                gevent.sleep(0.01)
        finally:
            self.notes.append("closed")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def client(desk: Desk, client_of: Callable[..., mesh.Client]) -> mesh.Client:
    return client_of(desk)


def in_thread(function: Callable[[], Any]) -> Any:
    """What the function returns in a native thread."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as exc:  # noqa: BLE001 - raised again in the test's thread
            outcome.append((None, exc))

    thread = threading.Thread(target=run)
    thread.start()
    eventually(lambda: not thread.is_alive(), what="the end of the thread")
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def here(function: Callable[[], Any]) -> Any:
    return function()


both = pytest.mark.parametrize("where", [here, in_thread])


@both
def test_a_result(client: mesh.Client, where: Callable[..., Any]) -> None:
    def use() -> list[Any]:
        pending = [client.add.future(n, b=1) for n in range(5)]
        return [one.result(timeout=20) for one in pending] + [one.done() for one in pending]

    assert where(use) == [1, 2, 3, 4, 5] + [True] * 5


@both
def test_the_request_leaves_at_once(client: mesh.Client, desk: Desk, where: Callable[..., Any]) -> None:
    pending = where(lambda: client.note.future("hello"))
    eventually(lambda: desk.notes == ["hello"], what="the note")
    assert where(lambda: pending.result(timeout=20)) is None


@both
def test_a_timeout_of_the_result_leaves_the_call_alone(
    client: mesh.Client, where: Callable[..., Any]
) -> None:
    def use() -> Any:
        pending = client.slow.future(0.3)
        assert not pending.done()
        with pytest.raises(mesh.TimeoutExpired, match=r"no result within 0.05 s; the call goes on"):
            pending.result(timeout=0.05)
        return pending.result(timeout=20)

    assert where(use) == "done"


@both
def test_an_error_comes_with_the_result_and_is_not_printed(
    client: mesh.Client, where: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    def use() -> None:
        pending = client.fail.future()
        for _ in range(2):
            with pytest.raises(KeyError, match="gone"):
                pending.result(timeout=20)

    where(use)
    assert capfd.readouterr().err == ""


@both
def test_a_cancelled_one_says_so(client: mesh.Client, where: Callable[..., Any]) -> None:
    def use() -> None:
        pending = client.slow.future(30)
        pending.cancel()
        with pytest.raises(mesh.MeshError, match="cancelled"):
            pending.result(timeout=20)
        assert pending.done()

    where(use)
    assert client.add(1, 1) == 2


def test_cancelling_what_has_ended_changes_nothing(client: mesh.Client) -> None:
    pending = client.add.future(1, 2)
    assert pending.result() == 3
    pending.cancel()
    assert pending.result() == 3


@both
def test_a_future_of_a_stream(client: mesh.Client, desk: Desk, where: Callable[..., Any]) -> None:
    def use() -> list[int]:
        stream = client.ticks.future().result(timeout=20)
        items = [next(stream) for _ in range(3)]
        stream.close()
        return items

    assert where(use) == [1, 1, 1]
    eventually(lambda: desk.notes == ["closed"], what="the end of the generator")


def test_a_gevent_timeout_around_the_result_is_its_own(client: mesh.Client) -> None:
    pending = client.slow.future(0.3)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        pending.result()
    assert pending.result(timeout=20) == "done"


def test_what_cannot_travel_is_the_results_error(client: mesh.Client) -> None:
    with pytest.raises(TypeError, match=r"args\[0\] is of type object"):
        client.note.future(object()).result(timeout=20)


def test_one_that_is_asked_again_and_again_comes_to_be_done(serve: Serve, connect: Connect) -> None:
    """In a program that does nothing else for gevent."""
    pending = connect(serve({"nap": lambda seconds: gevent.sleep(seconds)})).nap.future(0.1)
    end = time.monotonic() + 20
    while not pending.done() and time.monotonic() < end:
        native.sleep(0.01)
    assert pending.done() and pending.result() is None


@pytest.mark.parametrize("way", ["plain", "greenlets", "patched"])
def test_they_are_of_concurrent_futures(
    program: Program, service: Callable[..., tuple[str, Process]], way: str
) -> None:
    """Also where whoever waits keeps the thread of the loop that makes the call."""
    process = program("futures", way, service()[0])
    assert process.wait(timeout=60) == 0, process.describe()
    assert (process.stdout, process.stderr) == ("fine\n", ""), process.describe()


def test_one_may_be_awaited_in_a_loop_of_asyncio(client: mesh.Client) -> None:
    """In the main thread, too, whose loop of gevent does not turn meanwhile."""

    async def main() -> list[Any]:
        first = await asyncio.wait_for(asyncio.wrap_future(client.add.future(1, 0)), PATIENCE)
        others = [asyncio.wrap_future(client.add.future(number, 0)) for number in range(3)]
        return [first, *await asyncio.wait_for(asyncio.gather(*others), PATIENCE), client.add(4, 0)]

    assert asyncio.run(main()) == [1, 0, 1, 2, 4]
