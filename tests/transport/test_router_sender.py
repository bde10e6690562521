"""What a ROUTER sends, keeps for who does not read, and gives up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from mesh.core import outbox
from mesh.core.channel import NEVER
from mesh.transport.context import Context, new_context
from mesh.transport.router_sender import RETRY, RouterSender

NOW = 1e12
"""Later than any time to try again."""
FULL = 50
BODY = b"x" * 100_000


class Ends:
    """A sender, and a peer that is connected to it. gone, unread: what the sender has told."""

    def __init__(self, context: Context) -> None:
        self.gone: list[Any] = []
        self.unread: list[tuple[Any, int]] = []
        self.router, self.peer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        self.router.sndhwm = self.peer.rcvhwm = 1
        self.router.sndbuf = self.peer.rcvbuf = 4096
        self.sender = RouterSender(self.router, self.gone.append, lambda *told: self.unread.append(told))
        self.peer.routing_id, self.peer.rcvtimeo = b"peer", 30_000
        self.router.bind("tcp://127.0.0.1:*")
        self.peer.connect(self.router.last_endpoint.decode())
        self.peer.send(b"hello")
        assert self.router.recv_multipart() == [b"peer", b"hello"]

    def fill(self, envelope: Any = b"peer") -> int:
        """Send until something has to wait; how many were sent, that among them."""
        number = 0
        while not self.sender.owes:
            self.sender.send(envelope, (b"", b"%d" % number, BODY))
            number += 1
        return number


@pytest.fixture
def ends() -> Iterator[Ends]:
    context = new_context()
    one = Ends(context)
    yield one
    one.router.close(0)
    one.peer.close(0)
    context.term()


@pytest.mark.parametrize("envelope", [b"peer", (b"peer",), (b"peer", b"behind a device")])
@pytest.mark.parametrize("frames", [(b"one",), (b"", b"event"), (b"a", b"b", b"", b"c")])
def test_a_peer_that_reads_gets_it_at_once(ends: Ends, envelope: Any, frames: tuple[bytes, ...]) -> None:
    ends.sender.send(envelope, frames)
    behind = envelope[1:] if type(envelope) is tuple else ()
    assert ends.peer.recv_multipart() == [*behind, *frames]
    assert not ends.sender.owes and ends.sender.retry_at == NEVER


def test_of_who_has_no_connection_it_is_told(ends: Ends) -> None:
    for envelope in (b"nobody", (b"nobody", b"behind")):
        ends.sender.send(envelope, (b"x",))
    assert ends.gone == [b"nobody", (b"nobody", b"behind")]
    assert not ends.unread and not ends.sender.owes


def test_what_a_peer_takes_no_more_of_waits_in_order(ends: Ends) -> None:
    number = ends.fill()
    assert ends.sender.crowded((b"peer", b"behind")) and not ends.sender.crowded(b"other")
    assert ends.sender.retry_at < NEVER
    ends.sender.send(b"peer", (b"", b"%d" % number, BODY))
    for expected in range(number + 1):
        while not ends.peer.poll(1):
            ends.sender.flush(NOW)
            ends.sender.retry_at = 0.0
        assert int(ends.peer.recv_multipart()[1]) == expected
    ends.sender.flush(NOW)
    assert not ends.sender.owes and not ends.gone and not ends.unread


def test_it_is_tried_again_when_it_is_due(ends: Ends) -> None:
    for _ in range(1_000):
        ends.fill()
        due = ends.sender.retry_at
        ends.sender.flush(due - RETRY / 2)
        assert ends.sender.retry_at == due
        ends.sender.flush(due)
        if ends.sender.owes:  # else it had waited for ZeroMQ's thread, and not for its reader
            break
    assert ends.sender.retry_at == due + RETRY


def test_who_never_reads_is_given_up_with_all_behind_the_connection(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_MESSAGES", FULL)
    # The buffers of the system take something more now and then.
    monkeypatch.setattr(ends.sender, "_try_send", lambda *_: False)
    for number in range(FULL + 1):
        assert not ends.unread
        ends.sender.send((b"peer", b"b" if number % 2 else b"a"), (b"",))
    assert sorted(ends.unread) == [((b"peer", b"a"), 1 + FULL // 2), ((b"peer", b"b"), FULL // 2)]
    assert not ends.sender.owes
