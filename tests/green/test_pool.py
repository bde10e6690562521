"""How many handlers run at once, in what they run, and what they see of each other."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import gevent.local
import pytest

import mesh
from mesh.core.server_session import Limits
from tests.green.conftest import Connect, Serve
from tests.helpers.processes import Process, eventually

Start = Callable[..., tuple[str, Process]]

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="clean")


class Worker:
    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.released = False
        self.local = gevent.local.local()
        self.ran: list[Any] = []

    def slow(self, seconds: float, value: Any = None) -> Any:
        self.running += 1
        self.most = max(self.most, self.running)
        gevent.sleep(seconds)
        self.running -= 1
        self.ran.append(value)
        return value

    def hold(self, value: Any) -> Any:
        """Until it is released."""
        self.running += 1
        while not self.released:
            gevent.sleep(0.005)
        return value

    def nap(self, seconds: float) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(seconds)
        self.running -= 1
        return threading.current_thread().name

    def echo(self, value: Any) -> Any:
        return value

    def leave(self, value: str) -> list[str]:
        """What is there from before, then leave something."""
        found = [variable.get(), getattr(self.local, "value", "clean")]
        variable.set(value)
        self.local.value = value
        return found

    def leave_and_yield(self, value: str) -> Iterator[list[str]]:
        for _ in range(3):
            yield self.leave(value)
            gevent.sleep(0.001)

    def count(self, number: int) -> Iterator[int]:
        for item in range(number):
            time.sleep(0.001)
            yield item

    def fail(self) -> None:
        raise KeyError("in a thread")


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_handlers_that_give_way_run_at_once(worker: Worker, client_of: Callable[..., mesh.Client]) -> None:
    client = client_of(worker)
    began = time.monotonic()
    jobs = [gevent.spawn(client.slow, 0.3) for _ in range(200)]
    assert len(gevent.joinall(jobs, timeout=10)) == 200
    assert time.monotonic() - began < 30, "one after the other they take 60 s"
    assert worker.most > 100


@pytest.mark.parametrize("size", [1, 3])
def test_the_pool_bounds_them(worker: Worker, client_of: Callable[..., mesh.Client], size: int) -> None:
    client = client_of(worker, pool_size=size)
    jobs = [gevent.spawn(client.slow, 0.02, n) for n in range(12)]
    assert [job.get(timeout=10) for job in jobs] == list(range(12))
    assert worker.most == size
    assert worker.ran == list(range(12))  # first come, first served


def test_a_full_queue_is_told_at_once(worker: Worker, client_of: Callable[..., mesh.Client]) -> None:
    client = client_of(worker, pool_size=1, limits=Limits(queue=5))
    jobs = [gevent.spawn(client.hold, n) for n in range(6)]
    eventually(lambda: worker.running)
    with pytest.raises(mesh.Overloaded, match="5 calls wait already") as caught:
        client.echo(1)  # while those that wait go on waiting
    assert caught.value.refused
    worker.released = True
    assert [job.get(timeout=10) for job in jobs] == list(range(6))
    assert client.echo(1) == 1


def test_a_refused_call_is_tried_again_where_retries_are_asked_for(
    worker: Worker, client_of: Callable[..., mesh.Client]
) -> None:
    client = client_of(worker, pool_size=1, limits=Limits(queue=1))
    persistent = client.with_options(retries=20, timeout=10)
    jobs = [gevent.spawn(persistent.slow, 0.05, n) for n in range(5)]
    assert sorted(job.get(timeout=10) for job in jobs) == list(range(5))
    assert sorted(worker.ran) == list(range(5))


@pytest.mark.parametrize("threads", [0, 1])
def test_no_call_sees_what_another_has_left(
    worker: Worker, client_of: Callable[..., mesh.Client], threads: int
) -> None:
    client = client_of(worker, threads=threads)
    for number in range(20):
        found = client.leave(f"value {number}")
        assert found[0] == "clean", "a context variable"
        if not threads:
            assert found[1] == "clean", "a greenlet's local"
    own = list(client.leave_and_yield("mine"))
    assert own[0][0] == "clean"
    assert own[1][0] == own[2][0] == "mine"  # but a stream keeps its own
    jobs = [gevent.spawn(client.leave, f"at once {n}") for n in range(20)]
    assert {job.get(timeout=20)[0] for job in jobs} == {"clean"}


def test_handlers_in_threads_may_block(worker: Worker, client_of: Callable[..., mesh.Client]) -> None:
    client = client_of(worker, threads=4)
    began = time.monotonic()
    jobs = [gevent.spawn(client.nap, 0.2) for _ in range(8)]
    assert len({job.get(timeout=10) for job in jobs}) <= 4
    assert time.monotonic() - began > 0.35
    assert worker.most == 4
    with pytest.raises(KeyError, match="in a thread"):
        client.fail()
    assert client.echo(value=3) == 3
    with pytest.raises(NameError):
        client.nothing()


def test_generators_in_threads(worker: Worker, client_of: Callable[..., mesh.Client]) -> None:
    client = client_of(worker, threads=2)
    jobs = [gevent.spawn(lambda: list(client.count(40))) for _ in range(4)]
    for job in jobs:
        assert job.get(timeout=10) == list(range(40))
    for item in client.count(100_000):
        if item == 3:
            break
    assert client.echo(1) == 1


def test_streams_that_nobody_reads_leave_the_threads_to_others(worker: Worker) -> None:
    server = mesh.Server(worker, threads=2)
    endpoint = server.bind("tcp://127.0.0.1:*")
    with server, ExitStack() as stack:
        clients = [stack.enter_context(mesh.connect(endpoint, timeout=20)) for _ in range(3)]
        streams = [client.count(1_500) for client in clients[:2]]
        assert [next(stream) for stream in streams] == [0, 0]
        jobs = [gevent.spawn(clients[2].nap, 0.05) for _ in range(8)]
        assert len({job.get(timeout=20) for job in jobs}) <= 2
        assert worker.most <= 2, "no more native threads than were asked for"
        assert server._workers._places._teller.due == float("inf"), "there is no hub to be told"
        assert server._slots.capacity == 4, "what hubs are offered: the streams count as calls there"
        assert [list(stream) for stream in streams] == [list(range(1, 1_500))] * 2
        assert clients[2].echo("again") == "again"
        eventually(lambda: server._slots.running == 0)
        assert server._slots.limit == server._slots.capacity == 2


def test_a_pool_bounds_streams_that_nobody_reads_too(
    worker: Worker, client_of: Callable[..., mesh.Client]
) -> None:
    client = client_of(worker, threads=2, pool_size=2)
    streams = [client.count(100_000) for _ in range(2)]
    assert [next(stream) for stream in streams] == [0, 0]
    with pytest.raises(mesh.TimeoutExpired):
        client.with_options(timeout=0.5).echo(1)
    streams[0].close()
    assert client.echo(2) == 2
    streams[1].close()


def test_a_handler_in_a_thread_calls_others(serve: Serve, connect: Connect) -> None:
    class Front:
        def ask(self, number: int) -> list[int]:
            return [back.echo(number), *back.count(3)]

    back = connect(serve(Worker()))
    client = connect(serve(Front(), threads=3))
    jobs = [gevent.spawn(client.ask, n) for n in range(10)]
    assert [job.get(timeout=10) for job in jobs] == [[n, 0, 1, 2] for n in range(10)]


def test_idle_greenlets_are_kept_in_bounds(worker: Worker) -> None:
    from mesh.green.workers import MAX_IDLE

    server = mesh.Server(worker)
    endpoint = server.bind("tcp://127.0.0.1:*")
    with server, mesh.connect(endpoint, timeout=10) as client:
        jobs = [gevent.spawn(client.slow, 0.2) for _ in range(MAX_IDLE * 2)]
        gevent.joinall(jobs, timeout=10)
        assert worker.most > MAX_IDLE
        assert len(server._workers._idle) <= MAX_IDLE
        eventually(lambda: server._slots.running == 0)


def test_a_saturated_server_still_turns_its_loop(service: Start, connect: Connect) -> None:
    """Handlers that compute leave room for the timers of those that wait."""
    endpoint, _ = service()
    client, other = connect(endpoint), connect(endpoint)
    stop = False

    def saturate() -> None:
        while not stop:
            client.compute(0.0001)

    jobs = [gevent.spawn(saturate) for _ in range(100)]
    other.echo(1)
    naps = sorted(other.nap(0.01) for _ in range(15))
    stop = True
    gevent.joinall(jobs, timeout=10)
    assert naps[len(naps) // 2] < 0.5


class Busy:
    """Handlers that occupy the pool until they are let go, each in a way of its own."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def wait(self) -> None:
        self.begun.set()
        while not self.go_on.is_set():
            gevent.sleep(0.005)

    def block(self) -> None:
        """Keeps its thread, be it that of the loop."""
        self.begun.set()
        assert self.go_on.wait(20)


@pytest.mark.parametrize(
    ("method", "options"),
    [("wait", {"pool_size": 1}), ("block", {"threads": 1}), ("block", {"pool_size": 1, "heartbeat": 0.2})],
)
def test_pings_and_unknown_methods_are_answered_while_the_pool_and_its_queue_are_full(
    method: str, options: dict[str, Any], serve: Serve, connect: Connect
) -> None:
    """Of the last one the guard answers, for the handler blocks the loop."""
    busy = Busy()
    endpoint = serve(busy, name="busy", limits=Limits(queue=1), **options)
    client = connect(endpoint)
    calls = [getattr(client, method).future()]
    try:
        eventually(busy.begun.is_set)
        calls.append(client.wait.future())
        assert connect(endpoint)("_zerorpc_ping") == ["pong", "busy"]
        with pytest.raises(mesh.MethodNotFound, match="busy has no method 'wiat'; did you"):
            connect(endpoint).wiat()
        busy.go_on.set()
        assert [call.result() for call in calls] == [None, None]
    finally:
        busy.go_on.set()
