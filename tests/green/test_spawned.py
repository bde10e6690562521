"""Greenlets that are spawned within a trace."""

from __future__ import annotations

import threading
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.threadpool import ThreadPool

import mesh
from mesh.core.span import current_span
from tests.green.conftest import Connect, Program, Serve


def trace_id() -> str | None:
    span = current_span()
    return None if span is None else span.trace_id


def test_they_belong_to_it() -> None:
    assert gevent.spawn(trace_id).get() is None
    with mesh.trace() as span:
        early, late = gevent.spawn(trace_id), gevent.spawn_later(0.01, trace_id)
        pool = Pool(2).map(lambda _: gevent.spawn(trace_id).get(), range(5))
    assert early.get() == late.get() == span.trace_id, "however late they run"
    assert pool == [span.trace_id] * 5
    assert gevent.spawn(trace_id).get() is None


def test_what_a_handler_spawns_calls_in_its_trace(serve: Serve, connect: Connect) -> None:
    back = serve({"trace_id": trace_id})

    class Front:
        def __init__(self) -> None:
            self._back = connect(back)

        def spread(self) -> list[Any]:
            return [job.get() for job in [gevent.spawn(self._back.trace_id) for _ in range(3)]]

        def threads(self) -> list[Any]:
            pool = ThreadPool(1)
            return [pool.apply(self._back.trace_id), pool.apply(mesh.fork(self._back.trace_id))]

    client = connect(serve(Front()))
    assert client.spread() == [None] * 3
    with mesh.trace("abc"):
        assert client.spread() == ["abc"] * 3
        assert client.threads() == [None, "abc"]
    assert client.spread() == [None] * 3


def test_native_threads_need_a_fork() -> None:
    seen: list[Any] = []
    with mesh.trace("abc"):
        for target in (trace_id, mesh.fork(trace_id)):
            thread = threading.Thread(target=lambda target=target: seen.append(target()))
            thread.start()
            thread.join(10)
    assert seen == [None, "abc"]


def test_threads_of_a_patched_program(program: Program) -> None:
    process = program("traced")
    assert process.wait() == 0, process.describe()
    assert process.stdout == "['abc', 'abc', None]\n"
