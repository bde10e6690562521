"""A dealer by itself, and the ROUTER that the test has at its far end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent
import pytest
import zmq

from mesh.core.channel import NEVER
from mesh.errors import ConfigError
from mesh.green.loop import GeventLoop
from mesh.transport.dealer import RETRY, Dealer
from mesh.transport.dialer import Change
from tests.helpers.peers import nobody
from tests.helpers.processes import eventually


class Far:
    """The far end. came: what has come, without the routing id."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.linger = 0
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.peer = b""

    def receive(self) -> list[bytes]:
        eventually(lambda: self.socket.poll(0), what="a message")
        self.peer, *frames = self.socket.recv_multipart()
        return frames

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart([self.peer, *frames])

    def close(self) -> None:
        self.socket.close(0)
        self._context.term()


@pytest.fixture
def far() -> Iterator[Far]:
    one = Far()
    yield one
    one.close()


class Near:
    """A dealer whose owner notes what comes."""

    def __init__(self, endpoint: str, *, events: bool = True) -> None:
        self.events: list[bytes] = []
        self.messages: list[list[bytes]] = []
        self.dealer: Dealer[bytes] = Dealer(
            endpoint,
            10_000,
            self._on_message,
            (lambda event, now: self.events.append(event)) if events else None,
        )
        self.changes: list[Change] = []

    def _on_event(self, event: bytes, now: float) -> None:
        self.events.append(event)

    def _on_message(self, frame: bytes, now: float) -> int:
        frames = [frame]
        self.dealer.rest(frames, 3)
        self.messages.append(frames)
        return 0 if frame == b"stop" else 1

    def until(self, condition: Callable[[], object]) -> None:
        """Take in what comes until then."""

        def look() -> object:
            self.changes += self.dealer.changes(0.0)
            self.dealer.receive(0.0, 100)
            return condition()

        eventually(look)

    def up(self) -> None:
        self.until(lambda: self.changes == [Change.UP])


@pytest.fixture
def near(far: Far) -> Iterator[Near]:
    one = Near(far.endpoint)
    yield one
    one.dealer.close()


def test_nothing_goes_before_there_is_a_connection(far: Far) -> None:
    near = Near(nobody())
    assert not near.dealer.send(b"event")
    assert not near.dealer.send_frames([b"a", b"b"])
    assert near.dealer.progress is None
    near.dealer.close()
    assert near.dealer.closed


@pytest.mark.parametrize(("before", "frames"), [(1, 2), (1, 3), (2, 3), (1, 5), (2, 5), (4, 5)])
def test_a_connection_that_ends_between_two_frames(far: Far, near: Near, before: int, frames: int) -> None:
    """As a signal's handler can have it, in the midst of a call. libzmq says that it takes no more, or throws
    the message away, by how far it has come with the connection's end; none of its frames is left over.
    """
    near.up()
    send, count = near.dealer._send, 0

    def send_slowly(frame: bytes, flags: int) -> object:
        nonlocal count
        if count == before:
            far.socket.unbind(far.endpoint)
            far.socket.close(0)
            near.until(lambda: near.changes[1:] == [Change.DOWN])
        count += 1
        return send(frame, flags)

    near.dealer._send = send_slowly
    if frames == 2:
        near.dealer.send(b"event")
    else:
        near.dealer.send_frames([b"%d" % n for n in range(frames)])
    near.dealer._send = send
    far.socket = far._context.socket(zmq.ROUTER)
    far.socket.bind(far.endpoint)
    near.until(lambda: near.changes[2:] == [Change.UP])
    assert near.dealer.send(b"next")
    assert far.receive() == [b"", b"next"]


def test_events_and_other_messages(far: Far, near: Near) -> None:
    near.up()
    assert near.dealer.progress is not None
    assert near.dealer.send(b"event")
    assert far.receive() == [b"", b"event"]
    assert near.dealer.send_frames([b"one"]) and near.dealer.send_frames([b"a", b"b", b"c"])
    assert [far.receive(), far.receive()] == [[b"one"], [b"a", b"b", b"c"]]
    far.send(b"", b"answer")
    far.send(b"alone")
    far.send(b"a", b"b", b"c", b"beyond what is wanted")
    far.send(b"", b"last")
    near.until(lambda: near.events == [b"answer", b"last"])
    assert near.messages == [[b"alone"], [b"a", b"b", b"c"]]


def test_an_empty_frame_alone_is_no_event(far: Far, near: Near) -> None:
    near.up()
    near.dealer.send(b"hello")
    far.receive()
    far.send(b"")
    near.until(lambda: near.messages == [[b""]])
    assert near.events == []


def test_where_there_are_no_events_an_empty_frame_begins_a_message(far: Far) -> None:
    near = Near(far.endpoint, events=False)
    near.up()
    near.dealer.send_frames([b"hello"])
    far.receive()
    far.send(b"", b"event")
    near.until(lambda: near.messages == [[b"", b"event"]])
    near.dealer.close()


def test_its_owner_may_stop_and_takes_no_more_than_it_wants(far: Far, near: Near) -> None:
    near.up()
    near.dealer.send(b"hello")
    far.receive()
    for frame in (b"1", b"2", b"3", b"stop", b"4"):
        far.send(frame)
    eventually(lambda: near.dealer.receive(0.0, 2), what="the first")
    counts = []
    while len(near.messages) < 5:
        counts.append(near.dealer.receive(0.0, 2))
        gevent.sleep(0.01)
    assert max(counts) <= 2
    assert [frames[0] for frames in near.messages] == [b"1", b"2", b"3", b"stop", b"4"]


def test_what_waits_goes_in_order_as_far_as_it_goes(near: Near) -> None:
    near.up()
    sent: list[bytes] = []

    def send(message: bytes) -> bool:
        if len(sent) == 2:
            return False
        sent.append(message)
        return True

    dealer = near.dealer
    assert dealer.retry_at == NEVER
    for message in (b"1", b"2", b"3"):
        dealer.outbox.append(message, 1)
    assert dealer.retry_at < NEVER and RETRY > 0
    assert dealer.flush(send)
    assert sent == [b"1", b"2"] and list(dealer.outbox) == [b"3"]
    assert not dealer.flush(send)


def test_the_loop_hears_of_what_comes_and_of_the_connection(far: Far) -> None:
    near, heard = Near(far.endpoint), []

    def readable(name: str) -> None:
        near.dealer.receive(0.0, 10)
        heard.append((name, "readable"))

    def changed(name: str) -> None:
        heard.extend((name, change) for change in near.dealer.changes(0.0))

    near.dealer.watch(GeventLoop(gevent.get_hub()), readable, changed, "it")
    eventually(lambda: ("it", Change.UP) in heard)
    near.dealer.send(b"hello")
    far.receive()
    near.dealer.receive(0.0, 1)  # the edge that a send swallows
    far.send(b"", b"event")
    eventually(lambda: near.events == [b"event"])
    far.socket.close(0)
    eventually(lambda: ("it", Change.DOWN) in heard)
    near.dealer.unwatch()
    near.dealer.close()


def test_an_endpoint_that_is_none() -> None:
    with pytest.raises(ConfigError, match="can't connect to 'tcp://nonsense'"):
        Near("tcp://nonsense")
