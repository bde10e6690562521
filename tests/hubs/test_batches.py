"""Answers of a worker that go to its hub in one frame, and do not wait for what takes its time.

The hub is the test itself, which sees every frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.cork import STUCK
from mesh.core.majordomo import Command, FromWorker
from mesh.core.server_call import Limits
from mesh.transport.server_endpoint import ServerEndpoint
from tests.e2e.commands import environment
from tests.helpers.processes import python
from tests.hubs.cluster import WORKER
from tests.hubs.wires import Wires

HEARTBEAT = 5.0


class Hub:
    """One worker, as its hub sees it. frames: how many batches it has sent."""

    def __init__(self, wires: Wires) -> None:
        self._socket = wires(zmq.ROUTER)
        self._socket.rcvtimeo = 30_000
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self._number = 0
        self.frames = 0

    def welcome(self) -> None:
        self._worker, *frames = self._socket.recv_multipart()
        ready = mdp.read(frames)
        assert isinstance(ready, FromWorker) and ready.command is Command.READY
        assert ready.about is not None and ready.about["batch"] == mdp.MAX_BATCH
        about = {"capacity": 100, "heartbeat": int(HEARTBEAT * 1000), "batch": mdp.MAX_BATCH}
        self._socket.send_multipart([self._worker, *mdp.heartbeat(about=about)])

    def give(self, *calls: tuple[object, ...]) -> list[bytes]:
        """Calls in one frame, each its method and arguments; their tokens."""
        items: list[int | bytes] = []
        for name, *args in calls:
            self._number += 1
            token = b"t%d" % self._number
            items += [mdp.REQUEST, token, wire.pack({"message_id": token, "v": 3}, str(name), args)]
        self._socket.send_multipart([self._worker, mdp.batch(items)])
        return items[1::3]  # type: ignore[return-value]

    def answers(self) -> list[tuple[bytes, object]]:
        """(token, value) of the next frame with answers."""
        while True:
            _, *frames = self._socket.recv_multipart()
            if frames[0][:1] >= mdp.BATCHED:
                self.frames += 1
                read = [(token, wire.unpack(event)) for _, token, event in mdp.read_batch(frames[0])]
                return [(token, args) for token, (_, name, args) in read if name != wire.BEAT]

    def answers_of(self, *tokens: bytes) -> dict[bytes, object]:
        """The values of these calls, one each, and of no others."""
        got: dict[bytes, object] = {}
        while len(got) < len(tokens):
            got.update(self.answers())
        assert sorted(got) == sorted(tokens)
        return got


@pytest.fixture
def hub(wires: Wires) -> Iterator[Hub]:
    one = Hub(wires)
    with python(WORKER, "users", str(HEARTBEAT), "0", one.endpoint, env=environment()):
        one.welcome()
        yield one


def test_quick_answers_go_together(hub: Hub) -> None:
    hub.answers_of(*hub.give(("echo", 0)))
    before = hub.frames
    tokens = hub.give(*(("echo", number) for number in range(50)))
    assert hub.answers_of(*tokens) == {token: [number] for number, token in enumerate(tokens)}
    assert hub.frames - before < 45


def test_none_waits_for_a_method_that_was_never_quick(hub: Hub, tmp_path: Path) -> None:
    hub.answers_of(*hub.give(("echo", 0)))
    # More than once, for this machine may stand still for as long as the worker does.
    for seconds in (1, 4, 16):
        ended = tmp_path / str(seconds)
        first, second, last = hub.give(("echo", 1), ("echo", 2), ("seize", seconds, str(ended)))
        assert hub.answers_of(first, second) == {first: [1], second: [2]}
        in_time = not ended.exists()
        hub.answers_of(last)
        if in_time:
            return
    pytest.fail("the answers came only after the method had ended")


def test_none_waits_for_long_where_a_quick_method_is_slow_for_once(hub: Hub, tmp_path: Path) -> None:
    there, later = tmp_path / "there", tmp_path / "later"
    there.touch()
    for _ in range(3):
        hub.answers_of(*hub.give(("echo", 0), ("wait_for", str(there))))
    first, second, last = hub.give(("echo", 1), ("echo", 2), ("wait_for", str(later)))
    assert hub.answers_of(first, second) == {first: [1], second: [2]}
    later.touch()
    assert hub.answers_of(last) == {last: [str(later)]}


def test_the_guard_looks_after_answers_that_are_held_back() -> None:
    endpoint = ServerEndpoint("users", HEARTBEAT, Limits())
    now = endpoint.turn
    assert not endpoint.overdue(now)
    endpoint.cork.since = now - 1.1 * STUCK
    assert endpoint.overdue(now)
    endpoint.close(0)


def test_no_item_of_a_stream_waits_for_the_next(hub: Hub, tmp_path: Path) -> None:
    later = tmp_path / "later"
    (token,) = hub.give(("wait_between", str(later)))
    assert hub.answers() == [(token, "first")]
    later.touch()
