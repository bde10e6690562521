"""Callers that give up: what they leave behind at either end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import pytest

import mesh
from tests.green.conftest import Connect, Program, Serve
from tests.helpers.clients import endpoint_of
from tests.helpers.processes import eventually


class Desk:
    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.ended: list[Any] = []

    def echo(self, value: Any) -> Any:
        return value

    def slow(self, seconds: float, value: Any) -> Any:
        self.begun.append(value)
        gevent.sleep(seconds)
        self.ended.append(value)
        return value

    def blocked(self) -> Iterator[int]:
        """One item, then a wait without end."""
        try:
            yield 1
            gevent.event.Event().wait()
        except GeneratorExit as exc:
            self.ended.append(f"GeneratorExit {isinstance(exc, gevent.GreenletExit)}")
            raise
        finally:
            self.ended.append("finally")

    def blocked_at_once(self) -> Iterator[int]:
        self.begun.append("blocked")
        try:
            gevent.event.Event().wait()
            yield 1
        finally:
            self.ended.append("finally")

    def late_generator(self) -> Any:
        """A generator that is made only after its caller has gone."""
        self.begun.append("late")
        gevent.sleep(0.3)
        self.ended.append("made")
        return self._items()

    def _items(self) -> Iterator[int]:
        self.ended.append("an item was asked for")
        yield 1

    def stubborn(self) -> Iterator[int]:
        """Ignores that nobody wants more, once."""
        try:
            yield 1
            gevent.sleep(60)
        except GeneratorExit:
            yield 2
        finally:
            self.ended.append("finally")

    def ticks(self, pause: float = 0.01) -> Iterator[int]:
        try:
            while True:
                yield 1
                gevent.sleep(pause)
        finally:
            self.ended.append("finally")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def single(desk: Desk, client_of: Callable[..., mesh.Client]) -> mesh.Client:
    """A client of a server that carries out one call at a time."""
    return client_of(desk, pool_size=1)


def calls_of(client: mesh.Client) -> int:
    return len(endpoint_of(client).session.calls)


def test_a_stream_that_is_left_frees_its_slot(single: mesh.Client, desk: Desk) -> None:
    for _ in single.ticks():
        break
    assert single.echo(1) == 1
    assert desk.ended == ["finally"]


def test_a_generator_that_waits_is_ended_too(single: mesh.Client, desk: Desk) -> None:
    stream = single.blocked()
    assert next(stream) == 1
    stream.close()
    assert single.echo(1) == 1
    assert desk.ended == ["GeneratorExit True", "finally"]


def test_a_stream_whose_item_takes_too_long_is_ended(single: mesh.Client, desk: Desk) -> None:
    stream = single.with_options(timeout=0.1).blocked()
    with pytest.raises(mesh.TimeoutExpired):
        list(stream)
    assert single.echo(1) == 1
    assert desk.ended == ["GeneratorExit True", "finally"]


def test_a_stream_whose_first_item_takes_too_long_is_ended(single: mesh.Client, desk: Desk) -> None:
    with pytest.raises(mesh.TimeoutExpired):
        single.with_options(timeout=0.1).blocked_at_once()
    assert single.echo(1) == 1
    assert desk.ended == ["finally"]


def test_a_generator_made_too_late_is_not_begun(single: mesh.Client, desk: Desk) -> None:
    with pytest.raises(mesh.TimeoutExpired):
        single.with_options(timeout=0.1).late_generator()
    assert single.echo(1) == 1
    assert desk.ended == ["made"]


def test_a_stubborn_generator_is_closed(single: mesh.Client, desk: Desk) -> None:
    stream = single.stubborn()
    assert next(stream) == 1
    stream.close()
    assert single.echo(1) == 1
    assert desk.ended == ["finally"]


def test_a_call_that_was_given_up_in_the_queue_is_never_carried_out(single: mesh.Client, desk: Desk) -> None:
    first = gevent.spawn(single.slow, 1.0, "first")
    eventually(lambda: desk.begun)
    with pytest.raises(mesh.TimeoutExpired):
        single.with_options(timeout=0.1).slow(0, "timed out")
    killed = gevent.spawn(single.slow, 0, "killed")
    gevent.sleep(0.02)
    killed.kill()
    cancelled = single.slow.future(0, "cancelled")
    cancelled.cancel()
    assert first.get(timeout=20) == "first"
    assert single.slow(0, "last") == "last"
    assert desk.begun == ["first", "last"]


@pytest.mark.parametrize("how", ["kill", "timeout", "closed client"])
def test_no_trace_of_a_caller_that_went(desk: Desk, serve: Serve, connect: Connect, how: str) -> None:
    client = connect(serve(desk))
    client.echo(1)

    def call() -> None:
        if how == "timeout":
            with gevent.Timeout(0.05, False):
                client.slow(0.2, "v")
        else:
            client.slow(0.2, "v")

    jobs = [gevent.spawn(call) for _ in range(50)]
    eventually(lambda: len(desk.begun) == 50)
    if how == "kill":
        gevent.killall(jobs)
    if how == "closed client":
        client.close()
        gevent.joinall(jobs, timeout=20)
        assert all(isinstance(job.exception, mesh.LostRemote) for job in jobs)
        client = connect(serve(desk))
    gevent.joinall(jobs, timeout=20)
    eventually(lambda: calls_of(client) == 0)
    # Their answers come meanwhile, and reach nobody.
    results = [client.echo(n) for n in range(100)]
    eventually(lambda: len(desk.ended) == 50)
    assert results + [client.echo(n) for n in range(100)] == [*range(100), *range(100)]
    assert all(job.dead for job in jobs)


def test_a_dead_client_frees_its_slot(desk: Desk, serve: Serve, connect: Connect, program: Program) -> None:
    endpoint = serve(desk, pool_size=1)
    for method in ("ticks", "blocked", "blocked_at_once"):
        desk.begun.clear()
        desk.ended.clear()
        client = program("consumer", endpoint, method)
        client.wait_for("consuming")
        if method == "blocked_at_once":
            eventually(lambda: desk.begun == ["blocked"])
        else:
            client.wait_for("item")
        client.signal(signal.SIGKILL)
        eventually(lambda: "finally" in desk.ended, what=f"the end of {method}")
        assert connect(endpoint).echo(1) == 1


def test_a_silent_client_frees_its_slot(desk: Desk, serve: Serve, connect: Connect, program: Program) -> None:
    endpoint = serve(desk, pool_size=1, heartbeat=0.4)
    client = program("consumer", endpoint, "blocked", "--heartbeat", 0.4)
    client.wait_for("item")
    client.signal(signal.SIGSTOP)
    eventually(lambda: "finally" in desk.ended, what="the end of the generator")
    assert connect(endpoint, heartbeat=0.4).echo(1) == 1


def test_a_thread_that_ends_in_the_middle_of_a_stream(single: mesh.Client, desk: Desk) -> None:
    def consume() -> None:
        for _ in single.ticks():
            return

    thread = threading.Thread(target=consume)
    thread.start()
    eventually(lambda: desk.ended == ["finally"])
    assert single.echo(1) == 1


def test_ctrl_c_in_a_waiting_program(serve: Serve, desk: Desk, program: Program, connect: Connect) -> None:
    endpoint = serve(desk, pool_size=1)
    for method in ("slow", "blocked"):
        desk.ended.clear()
        client = program("consumer", endpoint, method)
        client.wait_for("consuming" if method == "slow" else "item")
        if method == "slow":
            eventually(lambda: desk.begun)
        client.signal(signal.SIGINT)
        assert client.wait() == 0, client.describe()
        assert "interrupted, then 7" in client.stdout
        assert client.stderr == ""
