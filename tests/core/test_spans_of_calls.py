"""The spans of calls, as sessions and attempts have them."""

from __future__ import annotations

from traceback import format_exception

from mesh.core import wire
from mesh.core.attempts import Attempts, Step
from mesh.core.call import Options
from mesh.core.client_session import ClientSession
from mesh.core.peer import Peer
from mesh.core.route import Route
from mesh.core.span import Span
from mesh.errors import LostRemote

SPAN = Span("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


def session() -> tuple[ClientSession, Peer]:
    one, peer = ClientSession(b"0" * 24, lambda: 0.5), Peer("tcp://a:1")
    one.add(peer)
    one.peer_up(peer, 0.0)
    return one, peer


def test_a_request_carries_it_and_its_error_tells_of_it() -> None:
    one, peer = session()
    call = one.open("echo", (1,), None, 0.0, 5.0, None, None, SPAN)
    header = wire.unpack(call.payload)[0]
    assert (header["trace_id"], header["span_id"]) == (SPAN.trace_id, SPAN.span_id)
    one.peer_down(peer, "killed", 1.0)
    assert isinstance(call.error, LostRemote) and call.error.trace_id == SPAN.trace_id
    assert call.error.__notes__ == [f"TraceID: {SPAN.trace_id}"]


def test_an_error_that_is_passed_on_tells_of_its_trace_once() -> None:
    trace = "Traceback (most recent call last):\nKeyError: 1\n"
    for _ in range(5):
        one, peer = session()
        call = one.open("echo", (1,), None, 0.0, 5.0, None, None, SPAN)
        header = {"message_id": b"x", "v": 3, "response_to": call.id}
        one.receive(peer, wire.pack(header, "ERR", ["KeyError", "1", trace]), 1.0)
        error = call.error
        assert error is not None
        trace = "".join(format_exception(error))  # as a handler does that passes it on
        assert trace.count("TraceID") == 1 and trace.endswith(f"\nTraceID: {SPAN.trace_id}\n")
        assert error.__notes__[-1] == f"TraceID: {SPAN.trace_id}"


def test_without_one_nothing_of_it_travels() -> None:
    one, peer = session()
    call = one.open("echo", (1,), None, 0.0, 5.0)
    assert not {"trace_id", "span_id"} & set(wire.unpack(call.payload)[0])
    one.peer_down(peer, "killed", 1.0)
    assert isinstance(call.error, LostRemote) and call.error.trace_id is None
    assert not hasattr(call.error, "__notes__")


def test_attempts_after_a_first_call_have_its_span() -> None:
    one, peer = session()
    first = one.open("echo", (1,), None, 0.0, None, None, None, SPAN)
    one.peer_down(peer, "killed", 1.0)
    attempts = Attempts(
        one,
        Options(timeout=None, retries=3, idempotent=True),
        None,
        "echo",
        (1,),
        {},
        lambda: 0.5,
        1.0,
        first,
    )
    assert attempts.begin(1.0) is Step.PAUSE
    one.peer_up(peer, 2.0)
    assert attempts.waited(attempts.until) is Step.REQUEST
    route = attempts.request[-1]
    assert isinstance(route, Route) and route.span is SPAN
