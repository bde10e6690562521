"""Calls of a client that go to its hub in one frame, and wait for nobody for long.

The hub is the test itself, which sees every frame.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import gevent
import pytest
import zmq

import mesh
from mesh.core import cork, wire
from mesh.core.batch import holds_events, pack_events, read_events
from mesh.core.cork import SLOW, STUCK
from mesh.core.majordomo import LONE
from mesh.transport.client_endpoint import ClientEndpoint
from mesh.transport.client_link import Link
from tests.green.conftest import Connect
from tests.helpers.clients import endpoint_of, endpoint_to, link_of
from tests.helpers.processes import PATIENCE, eventually
from tests.hubs.wires import Wires

Header = dict[str, Any]


class Hub:
    """A hub as its one client sees it.

    frames: how many messages have come; batches: those with several calls.
    """

    def __init__(self, wires: Wires) -> None:
        self._socket = wires(zmq.ROUTER)
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.frames = self.batches = 0
        self._client = b""

    def next(self) -> list[tuple[Header, str, Any]]:
        """The events of the next message."""
        while not self._socket.poll(5):
            gevent.sleep(0.001)
        self._client, *frames = self._socket.recv_multipart()
        self.frames += 1
        events = [frames[-1]]
        if len(frames) == 1:
            assert holds_events(frames[0])
            events = read_events(frames[0])
            self.batches += 1
        return [wire.unpack(event) for event in events]

    def calls(self, number: int) -> list[Header]:
        """The headers of so many calls, however they come."""
        got: list[Header] = []
        while len(got) < number:
            got += [header for header, name, _ in self.next() if name != wire.BEAT]
        assert len(got) == number
        return got

    def agree(self, call: Header) -> None:
        answer = {"message_id": b"hub", "v": 3, "response_to": call["message_id"], "batch": 1}
        self._socket.send_multipart([self._client, b"", wire.pack(answer, wire.BEAT, [0])])

    def answer(self, *calls: Header) -> None:
        """In one frame where there are several, each with its message id."""
        events = [
            wire.pack(
                {"message_id": b"a", "v": 3, "response_to": call["message_id"]}, wire.OK, [call["message_id"]]
            )
            for call in calls
        ]
        frames = [b"", *events] if len(events) == 1 else [pack_events(events)]
        self._socket.send_multipart([self._client, *frames])


@pytest.fixture
def wires() -> Iterator[Wires]:
    with Wires() as one:
        yield one


@pytest.fixture
def hub(wires: Wires) -> Hub:
    return Hub(wires)


def until(condition: Callable[[], object]) -> None:
    """Let this loop turn until then."""
    eventually(lambda: gevent.sleep(0.005) or condition())


def welcome(hub: Hub, client: mesh.Client) -> None:
    """Two calls; with the first that knows where it goes, client and hub agree."""
    one = gevent.spawn(lambda: [client.echo(), client.echo()])
    meet(hub)
    one.get(timeout=PATIENCE)


def meet(hub: Hub) -> None:
    """Answer two calls, and agree to what one of them asks."""
    both = [hub.calls(1)[0]]
    for call in both:
        if call.get("batch"):
            hub.agree(call)
        hub.answer(call)
        both += hub.calls(1) if len(both) < 2 else []
    assert [bool(call.get("batch")) for call in both].count(True) == 1


def crowd(client: mesh.Client, callers: int, turns: int) -> list[gevent.Greenlet[..., Any]]:
    def many() -> list[bytes]:
        return [client.echo() for _ in range(turns)]

    return [gevent.spawn(many) for _ in range(callers)]


def test_who_is_answered_together_calls_together(hub: Hub, connect: Connect) -> None:
    client = connect(hub.endpoint)
    welcome(hub, client)
    callers = crowd(client, 50, 3)
    first = hub.calls(50)
    assert hub.batches == 0, "none waits for others that nobody knows of"
    frames = hub.frames
    hub.answer(*first)
    second = hub.calls(50)
    assert hub.batches and hub.frames - frames < 25
    hub.answer(*second)
    third = hub.calls(50)
    hub.answer(*third)
    got = sorted(answer for caller in callers for answer in caller.get(timeout=PATIENCE))
    assert got == sorted(call["message_id"] for call in first + second + third)
    assert not any("batch" in call for call in first + second + third), "it is asked once a connection"


def test_nothing_goes_together_where_the_far_end_has_not_agreed(hub: Hub, connect: Connect) -> None:
    client = connect(hub.endpoint)
    callers = crowd(client, 20, 3)
    for _ in range(3):
        calls = hub.calls(20)
        for call in calls:
            hub.answer(call)
    gevent.joinall(callers, timeout=PATIENCE, raise_error=True)
    assert hub.batches == 0 and hub.frames == 60


@pytest.mark.parametrize("options", [{"max_message": 10_000}, {"heartbeat": None}], ids=["small", "no guard"])
def test_nothing_goes_together_where_that_is_not_safe(hub: Hub, connect: Connect, options: Any) -> None:
    client = connect(hub.endpoint, **options)
    callers = crowd(client, 20, 3)
    for _ in range(3):
        calls = hub.calls(20)
        assert not any(call.get("batch") for call in calls) or "max_message" not in options
        hub.agree(calls[0])
        for call in calls:
            hub.answer(call)
    gevent.joinall(callers, timeout=PATIENCE, raise_error=True)
    assert hub.batches == 0


def test_a_new_connection_is_asked_anew(wires: Wires, connect: Connect) -> None:
    hub = Hub(wires)
    client = connect(hub.endpoint)
    welcome(hub, client)
    hub._socket.close(0)
    until(lambda: not link_of(endpoint_of(client)).live)
    again = Hub(wires)
    again._socket.bind(hub.endpoint)
    welcome(again, client)


@contextmanager
def beside(hub: Hub, work: Callable[[mesh.Client], None]) -> Iterator[None]:
    """A client in a native thread with a loop of its own, which may stand still."""

    def run() -> None:
        gevent.get_hub()
        with mesh.connect(hub.endpoint, timeout=PATIENCE) as client:
            work(client)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_no_call_waits_for_long_behind_one_that_computes(hub: Hub) -> None:
    """The first is answered, and calls again; the second stands still until that call is here."""
    here, ended = threading.Event(), threading.Event()

    def work(client: mesh.Client) -> None:
        assert client.echo() and client.echo()

        def quick() -> None:
            assert client.echo() and client.echo()

        def slow() -> None:
            assert client.echo()
            assert here.wait(PATIENCE)
            ended.set()

        gevent.joinall([gevent.spawn(quick), gevent.spawn(slow)], raise_error=True)

    with beside(hub, work):
        meet(hub)
        hub.answer(*hub.calls(2))
        last = hub.calls(1)
        assert not ended.is_set()
        here.set()
        hub.answer(*last)


def test_the_guard_looks_after_calls_that_are_held_back(hub: Hub) -> None:
    endpoint = endpoint_to(hub.endpoint, 5.0, wire.MAX_MESSAGE)
    now = endpoint.turn
    assert not endpoint.overdue(now)
    endpoint.cork.since = now - 1.1 * STUCK
    assert endpoint.overdue(now)
    endpoint.close()


def test_no_call_waits_for_one_that_took_its_time_before(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard, who would send it after a while."""
    monkeypatch.setattr(cork, "STUCK", 1e9)
    here, ended = threading.Event(), threading.Event()

    def work(client: mesh.Client) -> None:
        assert client.echo() and client.echo()

        def quick() -> None:
            assert client.echo() and client.echo() and client.echo()

        def slow() -> None:
            assert client.echo()
            end = monotonic() + 2 * SLOW
            while monotonic() < end:
                pass
            assert client.echo()
            assert here.wait(PATIENCE)
            ended.set()

        gevent.joinall([gevent.spawn(quick), gevent.spawn(slow)], raise_error=True)

    with beside(hub, work):
        meet(hub)
        hub.answer(*hub.calls(2))
        hub.answer(*hub.calls(2))
        last = hub.calls(1)
        assert not ended.is_set()
        here.set()
        hub.answer(*last)


class TestWhatWasKept:
    """The outbox of a link that has agreed."""

    @pytest.fixture
    def endpoint(self, hub: Hub) -> Iterator[ClientEndpoint]:
        """Its lock is for what touches the link: the guard stands in where a test takes long."""
        endpoint = endpoint_to(hub.endpoint, 5.0, wire.MAX_MESSAGE)
        yield endpoint
        endpoint.close()

    @pytest.fixture
    def link(self, endpoint: ClientEndpoint) -> Link:
        link: Link = link_of(endpoint)
        until(lambda: link.live)
        link.batch = True
        return link

    def sent(self, hub: Hub, number: int) -> list[list[str]]:
        """The names of the events in each message."""
        return [[name for _, name, _ in hub.next()] for _ in range(number)]

    def test_what_is_large_goes_by_itself_and_in_its_turn(self, hub: Hub, link: Link) -> None:
        for name, size in (("a", 1), ("b", 1), ("large", LONE), ("c", 1), ("d", 1), ("last", LONE)):
            payload = wire.pack({"message_id": b"m", "v": 3}, name, ["x" * size])
            link.keep(payload)
        link.flush()
        assert not link.waiting
        assert self.sent(hub, 4) == [["a", "b"], ["large"], ["c", "d"], ["last"]]

    def test_what_has_ended_does_not_go(self, hub: Hub, endpoint: ClientEndpoint, link: Link) -> None:
        session = link._session
        with endpoint.lock:
            calls = [session.open(name, (), None, 0.0, None, link) for name in "abc"]
            for call in calls:
                link.keep(call.payload, call)
            session.cancel(calls[0], 0.0)
            session.cancel(calls[2], 0.0)
            link.flush()
            assert not link.waiting
        assert self.sent(hub, 1) == [["b"]]

    def test_what_has_not_gone_when_the_connection_breaks_waits_for_another(
        self, endpoint: ClientEndpoint, link: Link
    ) -> None:
        session = link._session
        with endpoint.lock:
            call = session.open("a", (), None, 0.0, None)
            assert call.peer is link
            link.keep(call.payload, call)
            link._broke(0.0)
            assert session.unsent == {call.id: call}
            assert not link.waiting

    def test_rubbish_in_place_of_answers_is_counted(self, hub: Hub, link: Link) -> None:
        link.transmit(wire.pack({"message_id": b"m", "v": 3}, "a", []))
        hub.next()
        hub._socket.send_multipart([hub._client, pack_events([b"x" * 100] * 1000)])
        hub._socket.send_multipart([hub._client, pack_events([b"junk", b""])])
        until(lambda: link._session.dropped["malformed"] == 3)

    def test_a_link_that_the_service_has_left_is_given_no_calls_that_wait(
        self, endpoint: ClientEndpoint, link: Link
    ) -> None:
        """It has its old calls alone, also where its server has been started again."""
        session = link._session
        with endpoint.lock:
            session.remove(link)
            call = session.open("a", (), None, 0.0, None)
            link._stands(0.0)
            assert session.unsent == {call.id: call}
        session.add(link)
