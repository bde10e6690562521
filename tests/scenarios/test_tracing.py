"""One id for all that a call causes, whichever drivers the ends have, direct and through hubs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import mesh
import mesh.aio
from mesh.core.span import current_span
from tests.helpers.peers import old_server
from tests.helpers.processes import PATIENCE, eventually
from tests.hubs.test_registered import queue, running
from tests.scenarios.conftest import Pair, Served
from tests.scenarios.drivers import Aio, Driver
from tests.scenarios.test_events import KINDS, device

Start = Callable[..., Served]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def ids() -> list[str] | None:
    span = current_span()
    return None if span is None else [span.trace_id, span.span_id]


class Back:
    def ids(self, *_: Any, **__: Any) -> list[str] | None:
        return ids()

    def items(self) -> Any:
        yield ids()
        yield ids()

    def fail(self) -> None:
        raise KeyError("gone")


class Front:
    def __init__(self, back: str) -> None:
        self._back = mesh.connect(back, timeout=PATIENCE)

    def both(self) -> list[Any]:
        return [ids(), self._back.ids()]

    def fail(self) -> None:
        self._back.fail()


class AioFront:
    def __init__(self, back: str) -> None:
        self._back = mesh.aio.connect(back, timeout=PATIENCE)

    async def both(self) -> list[Any]:
        return [ids(), await self._back.ids()]

    async def fail(self) -> None:
        await self._back.fail()


def front(driver: Driver, back: str) -> Any:
    return (AioFront if isinstance(driver, Aio) else Front)(back)


def test_calls_of_a_handler_belong_to_its_trace(pair: Pair) -> None:
    client = pair.near.connect(pair.far.serve(front(pair.far, pair.far.serve(Back()))))
    assert client.call("both") == [None, None]
    with mesh.trace(TRACE) as span:
        first, second = client.call("both")
        assert [first[0], second[0]] == [TRACE, TRACE]
        assert len({span.span_id, first[1], second[1]}) == 3, "each call is a span of its own"
        assert client.begin("both").result(PATIENCE)[1][0] == TRACE
    assert client.call("both") == [None, None]


def test_through_a_hub(pair: Pair) -> None:
    with running(queue(service="back")) as (_, endpoints):
        pair.far.register("back", Back(), endpoints.out[0])
        client = pair.near.connect(endpoints.in_[0])
        assert client.call("ids") is None
        for trace_id in (TRACE, "<8F3A2C>"):
            with mesh.trace(trace_id):
                assert client.call("ids")[0] == trace_id
                assert client.call("ids", 1, two=2)[0] == trace_id
                assert client.with_options(idempotent=True, key="k").call("ids")[0] == trace_id
                assert [one[0] for one in client.stream("items")] == [trace_id] * 2
        assert client.call("ids") is None


def test_errors_say_to_which_trace_they_belong(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    client = pair.near.connect(pair.far.serve(front(pair.far, pair.far.serve(Back())), name="front"))
    with mesh.trace(TRACE), pytest.raises(KeyError) as caught:
        client.call("fail")
    assert isinstance(caught.value, mesh.RemoteError)
    assert caught.value.trace_id == TRACE
    assert f"TraceID: {TRACE}" in caught.value.__notes__
    assert f"front.fail [TraceID: {TRACE}] raised Traceback" in caplog.text
    with pytest.raises(KeyError) as caught:
        client.call("fail")
    assert isinstance(caught.value, mesh.RemoteError) and caught.value.trace_id is None


def test_a_call_that_nobody_answers_says_so_too(pair: Pair) -> None:
    client = pair.near.connect(pair.far.serve(pair.far.shop()))
    with mesh.trace(TRACE), pytest.raises(mesh.TimeoutExpired) as caught:
        client.with_options(timeout=0.1).call("nap", 5.0)
    assert caught.value.trace_id == TRACE


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])
def test_events_carry_it(pair: Pair, kind: tuple[str, str, str]) -> None:
    sends, receives, device_type = kind
    seen: list[Any] = []
    with device(device_type) as (into, out):
        pair.far.receive(receives, out, {"came": lambda number: seen.append([number, ids()])})
        send = pair.near.sender(sends, into)
        with mesh.trace(TRACE):
            send("came", 1)
        send("came", 2)
        eventually(lambda: len(seen) == 2, what="both events")
    assert seen[0][1][0] == TRACE and seen[1][1] is None


@pytest.mark.parametrize("language", ["python", "node"])
def test_an_old_server_does_not_mind(language: str) -> None:
    with old_server(language) as server, mesh.connect(server.endpoint) as client, mesh.trace():
        assert client.echo(1) == 1
        assert list(client.count(3)) == [0, 1, 2]
