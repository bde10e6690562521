"""What a server of asyncio carries out: coroutines, plain functions, streams of both; how many, and where."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import gevent
import pytest

import mesh
import mesh.aio
from mesh.core.server_session import Limits
from tests.aio.conftest import Connect, Serve
from tests.helpers.processes import PATIENCE, eventually

ClientOf = Callable[..., mesh.Client]
SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="fresh")


class Kinds:
    """Methods of every kind."""

    async def coroutine(self, value: Any, *, more: int = 0) -> Any:
        await asyncio.sleep(0)
        return [value, more]

    async def without_a_wait(self, value: Any) -> Any:
        return value

    async def none(self) -> None:
        await asyncio.sleep(0)

    def plain(self, value: Any, *, more: int = 0) -> Any:
        """In the loop's own thread, or in one of `threads`."""
        return [value, more]

    def where(self) -> str:
        return threading.current_thread().name

    async def where_async(self) -> int:
        return threading.get_ident()

    def future(self, value: Any) -> asyncio.Future[Any]:
        """Of a plain function, one that the loop has to wait for."""
        waited = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, waited.set_result, value)
        return waited

    async def generator(self, number: int) -> AsyncIterator[int]:
        for one in range(number):
            await asyncio.sleep(0)
            yield one

    def plain_generator(self, number: int) -> Iterator[int]:
        yield from range(number)

    def iterator(self, number: int) -> Any:
        return iter(range(number))

    async def late_generator(self, number: int) -> Any:
        """A coroutine that gives a stream."""
        await asyncio.sleep(0)
        return self.generator(number)

    async def late_iterator(self, number: int) -> Any:
        await asyncio.sleep(0)
        return iter(range(number))

    @mesh.stream
    async def marked(self, number: int) -> list[int]:
        return list(range(number))

    @mesh.stream
    def marked_plain(self, number: int) -> list[int]:
        return list(range(number))

    async def items(self, number: int) -> list[int]:
        return list(range(number))

    async def context(self, value: str) -> str:
        before = SEEN.get()
        SEEN.set(value)
        await asyncio.sleep(0)
        return before

    def plain_context(self, value: str) -> str:
        before = SEEN.get()
        SEEN.set(value)
        return before

    async def stream_context(self, value: str) -> AsyncIterator[str]:
        yield SEEN.get()
        SEEN.set(value)
        yield SEEN.get()


@pytest.mark.parametrize("threads", [0, 2])
def test_every_kind_of_method(client_of: ClientOf, threads: int) -> None:
    client = client_of(Kinds(), threads=threads)
    assert client.coroutine(1, more=2) == client.plain(1, more=2) == [1, 2]
    assert client.without_a_wait("x") == "x" and client.none() is None
    for method in ("generator", "plain_generator", "iterator", "late_generator", "late_iterator"):
        assert list(client(method, 5)) == [0, 1, 2, 3, 4], method
        assert list(client(method, 0)) == [], method
    assert list(client.marked(3)) == list(client.marked_plain(3)) == client.items(3) == [0, 1, 2]


def test_a_plain_function_may_give_a_future(client_of: ClientOf) -> None:
    assert client_of(Kinds()).future(7) == 7


@pytest.mark.parametrize("threads", [0, 2])
def test_the_context_of_each_call_is_fresh(client_of: ClientOf, threads: int) -> None:
    client = client_of(Kinds(), threads=threads)
    for method in ("context", "plain_context"):
        assert [client(method, "left") for _ in range(5)] == ["fresh"] * 5
    for _ in range(3):
        assert list(client.stream_context("mine")) == ["fresh", "mine"]


def test_a_stream_goes_through_all_of_a_large_number(client_of: ClientOf) -> None:
    client = client_of(Kinds())
    for method in ("generator", "plain_generator"):
        assert list(client(method, 3_000)) == list(range(3_000))


def test_plain_functions_run_in_threads_where_there_are_such_and_coroutines_never(
    client_of: ClientOf,
) -> None:
    client = client_of(Kinds(), threads=2)
    assert client.where().startswith("mesh handlers")
    inline = client_of(Kinds())
    assert not inline.where().startswith("mesh handlers")


class Counted:
    """How many run at once."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.lock = threading.Lock()

    def _begin(self) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)

    def _end(self) -> None:
        with self.lock:
            self.running -= 1

    async def nap(self, seconds: float) -> int:
        self._begin()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._end()
        return self.most

    def block(self, seconds: float) -> int:
        self._begin()
        try:
            time.sleep(seconds)
        finally:
            self._end()
        return self.most

    async def ticks(self) -> AsyncIterator[int]:
        self._begin()
        try:
            while True:
                yield self.running
        finally:
            self._end()

    def plain_ticks(self) -> Iterator[int]:
        while True:
            yield 1


@pytest.mark.parametrize(("method", "options"), [("nap", {"pool_size": 3}), ("block", {"threads": 3})])
def test_no_more_run_at_once_than_may(client_of: ClientOf, method: str, options: dict[str, int]) -> None:
    counted = Counted()
    client = client_of(counted, **options)
    calls = [getattr(client, method).future(0.02) for _ in range(12)]
    assert {call.result(timeout=PATIENCE) for call in calls} <= {1, 2, 3}
    assert counted.most == 3 and counted.running == 0


def test_one_waits_while_others_run(client_of: ClientOf) -> None:
    client = client_of(Counted())
    slow = client.nap.future(30.0)
    assert client.nap(0.0) >= 1
    slow.cancel()


def test_a_stream_keeps_its_place_in_the_pool(serve: Serve, connect: Connect) -> None:
    counted = Counted()
    client = connect(serve(counted, pool_size=1).endpoint)
    stream = client.ticks()
    assert next(stream) == 1
    with pytest.raises(mesh.TimeoutExpired):
        client.with_options(timeout=0.2).nap(0.0)
    stream.close()
    assert client.nap(0.0) == 1


def test_streams_that_nobody_reads_leave_the_threads_to_others(serve: Serve, connect: Connect) -> None:
    served = serve(Counted(), threads=2)
    clients = [connect(served.endpoint) for _ in range(3)]
    streams = [client.plain_ticks() for client in clients[:2]]
    assert [next(stream) for stream in streams] == [1, 1]
    calls = [clients[2].block.future(0.02) for _ in range(6)]
    assert {call.result(timeout=PATIENCE) for call in calls} <= {1, 2}
    assert served.server._slots.capacity == 4
    for stream in streams:
        stream.close()
    eventually(lambda: served.server._slots.capacity == 2)


class Busy:
    """Handlers that occupy the pool until they are let go, each in a way of its own."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    async def wait(self) -> None:
        self.begun.set()
        while not self.go_on.is_set():
            await asyncio.sleep(0.005)

    def block(self) -> None:
        self.begun.set()
        assert self.go_on.wait(20)


@pytest.mark.parametrize(
    ("method", "options"),
    [("wait", {"pool_size": 1}), ("block", {"threads": 1}), ("block", {"pool_size": 1, "heartbeat": 0.2})],
)
def test_pings_and_unknown_methods_are_answered_while_the_pool_and_its_queue_are_full(
    method: str, options: dict[str, Any], client_of: ClientOf, serve: Serve, connect: Connect
) -> None:
    """Of the last one the watchdog answers, for the handler keeps the loop."""
    busy = Busy()
    endpoint = serve(busy, name="busy", limits=Limits(queue=1), **options).endpoint
    client = connect(endpoint)
    calls = [getattr(client, method).future()]
    try:
        eventually(busy.begun.is_set)
        calls.append(client.wait.future())
        other = connect(endpoint)
        eventually(lambda: other("_zerorpc_ping") == ["pong", "busy"], what="the second call to be there")
        with pytest.raises(mesh.MethodNotFound, match="busy has no method 'wiat'; did you"):
            connect(endpoint).wiat()
        busy.go_on.set()
        assert [call.result() for call in calls] == [None, None]
    finally:
        busy.go_on.set()


def test_what_is_over_the_queue_is_refused(serve: Serve, connect: Connect) -> None:
    busy = Busy()
    client = connect(serve(busy, pool_size=1, limits=Limits(queue=2)).endpoint)
    calls = [client.wait.future()]
    eventually(busy.begun.is_set)
    calls += [client.wait.future() for _ in range(5)]

    def refused() -> int:
        gevent.sleep(0.01)
        return sum(call.done() for call in calls)

    eventually(lambda: refused() == 3)
    busy.go_on.set()
    refusals = 0
    for call in calls:
        try:
            assert call.result() is None
        except mesh.RemoteError as exc:
            assert exc.name == "Overloaded"
            refusals += 1
        except mesh.Overloaded:
            refusals += 1
    assert refusals == 3


def test_the_loop_has_its_turn_while_plain_functions_keep_coming(serve: Serve, connect: Connect) -> None:
    """Handlers that compute leave room for the timers of those that wait."""

    class Both:
        def compute(self) -> None:
            end = time.monotonic() + 0.002
            while time.monotonic() < end:
                pass

        async def nap(self) -> float:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            return time.monotonic() - began

    endpoint = serve(Both()).endpoint
    client, other = connect(endpoint), connect(endpoint)
    flood = [client.compute.future() for _ in range(500)]
    assert other.nap() < 0.7
    assert not all(call.done() for call in flood)
    for call in flood:
        call.cancel()


def test_a_partial_and_a_callable_object_are_seen_to_be_coroutines(client_of: ClientOf) -> None:
    async def add(first: int, second: int) -> int:
        await asyncio.sleep(0)
        return first + second

    class Adder:
        async def __call__(self, first: int, second: int) -> int:
            await asyncio.sleep(0)
            return first + second

    target = {"partial": functools.partial(add, 1), "object": Adder(), "function": add}
    client = client_of(target, threads=1)
    assert client.partial(2) == client("object", 1, 2) == client.function(1, 2) == 3


class Forgetful:
    async def fetch(self, value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    def passes_on(self, value: Any) -> Any:
        return self.fetch(value)

    async def forgets(self, value: Any) -> Any:
        return self.fetch(value)

    async def forgets_within(self, value: Any) -> Any:
        return {"value": [self.fetch(value)]}


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("threads", [0, 1])
def test_a_coroutine_that_is_returned_is_awaited_once_and_no_further(
    client_of: ClientOf, threads: int
) -> None:
    client = client_of(Forgetful(), threads=threads)
    assert client.passes_on(3) == 3
    for method, place in (("forgets", "the result"), ("forgets_within", r"the result\['value'\]\[0\]")):
        with pytest.raises(TypeError, match=f"{place} is of type coroutine; nobody has awaited it"):
            client(method, 3)


def test_signatures_and_docs(client_of: ClientOf) -> None:
    inspected = client_of(Kinds())("_zerorpc_inspect")["methods"]
    assert inspected["coroutine"]["signature"] == "(value, *, more=0)"
    assert inspected["generator"]["args"] == [{"name": "number"}]
    assert inspected["late_generator"]["doc"] == "A coroutine that gives a stream."


def test_the_server_of_gevent_refuses_coroutines_at_the_start() -> None:
    for name in ("coroutine", "generator"):
        with pytest.raises(mesh.ConfigError) as caught:
            mesh.Server({name: getattr(Kinds(), name), "plain": Kinds().plain}, name="kinds")
        assert f"kinds.{name} is a coroutine method (async def)" in str(caught.value)
        assert "mesh.aio.Server" in str(caught.value) and "mesh serve" in str(caught.value)


# Errors


class Failing:
    def __init__(self) -> None:
        self.raised: BaseException = KeyError("none")

    async def fail(self) -> None:
        await asyncio.sleep(0)
        raise type(self.raised)(*self.raised.args)

    async def fail_at_once(self) -> None:
        raise type(self.raised)(*self.raised.args)

    def fail_plain(self) -> None:
        raise type(self.raised)(*self.raised.args)

    async def fail_late(self) -> AsyncIterator[int]:
        yield 1
        raise type(self.raised)(*self.raised.args)

    def fail_late_plain(self) -> Iterator[int]:
        yield 1
        raise type(self.raised)(*self.raised.args)

    async def two(self, first: int, second: int) -> int:
        return first + second

    async def cannot_travel(self) -> Any:
        return {"at": [object()]}

    async def items_cannot_travel(self) -> AsyncIterator[Any]:
        yield object()

    async def inner_is_cancelled(self) -> None:
        """Waits for a task that somebody else has cancelled."""
        task = asyncio.ensure_future(asyncio.sleep(10))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    @mesh.expected(LookupError)
    async def looks(self) -> None:
        raise KeyError("expected")


EXCEPTIONS = [
    KeyError("k"),
    ValueError("v"),
    SystemExit("bye"),
    KeyboardInterrupt("c"),
    asyncio.CancelledError("mine"),
    GeneratorExit("g"),
    StopIteration("s"),
    StopAsyncIteration("a"),
]


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("method", ["fail", "fail_at_once", "fail_plain"])
def test_whatever_a_handler_raises_is_its_callers_and_the_server_goes_on(
    client_of: ClientOf, method: str, threads: int
) -> None:
    failing = Failing()
    client = client_of(failing, threads=threads)
    for raised in EXCEPTIONS:
        failing.raised = raised
        with pytest.raises(mesh.RemoteError) as caught:
            client(method)
        name = type(raised).__name__
        if method != "fail_plain" and isinstance(raised, StopIteration):
            name = "RuntimeError"  # Python itself makes one of it in a coroutine
        assert caught.value.name == name
        assert "tests/aio/test_handlers.py" in (caught.value.traceback or "")
        assert "mesh/aio" not in (caught.value.traceback or "")
        assert client.two(1, 2) == 3


@pytest.mark.parametrize("method", ["fail_late", "fail_late_plain"])
def test_a_stream_ends_with_what_its_handler_raises(client_of: ClientOf, method: str) -> None:
    failing = Failing()
    client = client_of(failing)
    for raised in EXCEPTIONS[:5]:
        failing.raised = raised
        stream = client(method)
        assert next(stream) == 1
        with pytest.raises(mesh.RemoteError) as caught:
            next(stream)
        assert caught.value.name == type(raised).__name__
        assert client.two(1, 2) == 3


def test_a_cancelled_inner_task_is_an_error_of_the_call(client_of: ClientOf) -> None:
    client = client_of(Failing())
    with pytest.raises(mesh.RemoteError) as caught:
        client.inner_is_cancelled()
    assert caught.value.name == "CancelledError"


def test_wrong_arguments_and_values_that_can_not_travel(
    client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mesh.server")
    client = client_of(Failing(), name="failing")
    for wrong in (lambda: client.two(1), lambda: client.two(1, second=2, third=3)):
        with pytest.raises(TypeError, match="two"):
            wrong()
    assert {record.levelname for record in caplog.records if "TypeError" in record.message} == {"INFO"}
    with pytest.raises(TypeError, match=r"the result\['at'\]\[0\] is a object|the result\['at'\]\[0\]"):
        client.cannot_travel()
    with pytest.raises(TypeError, match="the item"):
        list(client.items_cannot_travel())
    assert client.two(1, 2) == 3


def test_lines_in_the_log(serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mesh.server")
    failing = Failing()
    client = connect(serve(failing, name="failing", expected=OSError).endpoint)
    with pytest.raises(KeyError):
        client.fail()
    with pytest.raises(KeyError):
        client.looks()
    failing.raised = FileNotFoundError("f")
    with pytest.raises(FileNotFoundError):
        client.fail_plain()
    lines = {record.message.split(" raised ")[0]: record.levelname for record in caplog.records}
    assert lines["failing.fail"] == "ERROR"
    assert lines["failing.looks"] == lines["failing.fail_plain"] == "INFO"


def test_encode_limits_and_settings(client_of: ClientOf) -> None:
    class Point:
        x = 3

    async def point() -> Any:
        return Point()

    async def large() -> str:
        return "x" * 20_000

    client = client_of({"point": point, "large": large}, encode=lambda value: value.x, max_message=10_000)
    assert client.point() == 3
    with pytest.raises(mesh.RemoteError, match="takes 20"):
        client.large()
    for wrong in ({"threads": -1}, {"pool_size": 0}, {"heartbeat": -1}, {"limits": 3}, {"name": 3}):
        with pytest.raises(mesh.ConfigError):
            mesh.aio.Server({"point": point}, **wrong)  # type: ignore[arg-type]
    with pytest.raises(mesh.ConfigError, match="no public method"):
        mesh.aio.Server(object())
