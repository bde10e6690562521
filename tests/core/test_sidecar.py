"""The calls that a sidecar carries: what passes, what is refused, and what ends them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mesh.core import wire
from mesh.core.carried_call import ServerConnection
from mesh.core.channel import NEVER
from mesh.core.health import Health
from mesh.core.server_call import HubCall
from mesh.core.sidecar import (
    CALLS_PER_CONNECTION,
    GONE_FOR,
    MARGIN,
    MAX_CONNECTIONS,
    MAX_FOLLOW_UP,
    MAX_GONE,
    SidecarSession,
)
from mesh.core.wire import BEAT, ERR, MORE, OK, STREAM, STREAM_DONE

HEARTBEAT = 1.0
ONE, TWO = HubCall(0, b"one"), HubCall(0, b"two")
OTHER = HubCall(1, b"one")


def event(name: str = "echo", args: Any = (1,), **header: Any) -> bytes:
    return wire.pack({"v": 3, **header}, name, list(args) if isinstance(args, tuple) else args)


def request(number: bytes | str = b"1", name: str = "echo", **header: Any) -> bytes:
    return event(name, message_id=number, **header)


def follow(name: str, number: bytes | str = b"1", args: Any = (0,), **header: Any) -> bytes:
    return event(name, args, message_id=b"follow", response_to=number, **header)


class Stand:
    """A session between hubs and a server that the test plays."""

    def __init__(self, *, mesh: bool = False, capacity: int = 10) -> None:
        self.now = 100.0
        self._ping = b""
        health = Health(b"f" * 24, HEARTBEAT)
        self.session = SidecarSession(b"0" * 24, "tcp://server:1", health, capacity)
        self.connect(mesh=mesh)

    def connect(self, *, mesh: bool = False) -> None:
        self.session.connection_up(self.session.connections[0], None, self.now)
        self.pong(mesh=mesh)

    def pong(self, name: str = OK, args: Any = (["pong", "x"],), *, mesh: bool = False) -> None:
        ping = self.ping()
        assert ping
        self._ping = b""
        header = {"mesh": 1} if mesh else {}
        self.answer(follow(name, wire.unpack(ping)[0]["message_id"], args, **header))

    def ping(self) -> bytes:
        """The last question, where the server has not answered it."""
        for ping in self.session.take_pings():
            self._ping = ping
        return self._ping

    def receive(self, peer: HubCall, payload: bytes) -> None:
        self.session.receive(peer, payload, self.now)

    def call(self, peer: HubCall = ONE, number: bytes | str = b"1", **header: Any) -> None:
        """A call that the server has."""
        self.receive(peer, request(number, **header))
        assert len(self.sent()) == 1, self.answered()

    def sent(self) -> list[bytes]:
        """What goes to the server, and does go."""
        events = self.session.take_for_server()
        for call, _ in events:
            call.mark_sent()
        return [payload for _, payload in events]

    def answer(self, payload: bytes) -> None:
        self.answer_on(0, payload)

    def answer_on(self, connection: int, payload: bytes) -> None:
        """The server's word by that connection."""
        self.session.answer(self.session.connections[connection], payload, self.now)

    def out(self) -> list[tuple[HubCall, bytes]]:
        return self.session.take_out()

    def answered(self) -> list[tuple[HubCall, Any, str, Any]]:
        """What goes to the hubs: whose, and header, name, arguments."""
        return [(peer, *wire.unpack(payload)) for peer, payload in self.out()]

    def error(self, peer: HubCall = ONE) -> tuple[Any, str, str]:
        """The one error for that call, its last event: header, name, text."""
        ((whose, header, name, args),) = self.answered()
        assert (whose, name) == (peer, ERR)
        assert peer not in self.session.channels
        if len(args) == 1:
            return header, "", args[0]
        assert args == wire.plain_error(*args[:2])
        return header, args[0], args[1]

    def until(self, when: float, *, well: bool = True) -> None:
        """Let time pass, while the server answers its pings."""
        while self.session.wake_at <= when:
            self.now = max(self.now, self.session.wake_at)
            self.session.on_timer(self.now)
            assert self.session.wake_at > self.now
            if self.ping() and well:
                self.pong(mesh=self.session.health.mesh)
        self.now = when


@pytest.fixture
def stand() -> Stand:
    return Stand()


# What passes


@pytest.mark.parametrize("number", [b"\x00\xff", "text", b"x" * 256])
def test_a_call_and_its_answer_pass_unchanged(stand: Stand, number: bytes | str) -> None:
    call = request(number, deadline=5, trace_id="t", service="users")
    stand.receive(ONE, call)
    assert stand.sent() == [call]
    answer = follow(OK, number, ("value",))
    stand.answer(answer)
    assert stand.out() == [(ONE, answer)]
    assert not stand.session.channels


@pytest.mark.parametrize(("asked", "answered"), [(b"id", "id"), ("id", b"id")])
def test_a_peer_may_write_as_text_what_came_as_bytes(
    stand: Stand, asked: bytes | str, answered: bytes | str
) -> None:
    stand.call(number=asked)
    stand.answer(follow(OK, answered))
    assert [peer for peer, _ in stand.out()] == [ONE]


def test_a_stream_passes_with_its_credit_and_heartbeats(stand: Stand) -> None:
    stand.call()
    for payload in (follow(BEAT), follow(MORE, args=(100,)), event(BEAT, (5,), response_to=b"1", v=2)):
        stand.receive(ONE, payload)
        assert stand.sent() == [payload]
    for payload in (follow(STREAM, args="bare"), follow(BEAT), follow("of the future")):
        stand.answer(payload)
        assert stand.out() == [(ONE, payload)]
        assert ONE in stand.session.channels, "no last event"
    last = follow(STREAM_DONE, args=None)
    stand.answer(last)
    assert ONE not in stand.session.channels
    assert stand.out() == [(ONE, last)]


@pytest.mark.parametrize("name", [OK, ERR, STREAM_DONE])
def test_these_answers_are_the_last(stand: Stand, name: str) -> None:
    stand.call()
    stand.answer(follow(name))
    assert ONE not in stand.session.channels
    stand.out()
    stand.answer(follow(name))
    assert stand.out() == []
    assert stand.session.dropped == {"late": 1}


def test_arguments_are_nobody_elses_business(stand: Stand) -> None:
    raw = request().replace(b"\x91\x01", b"\x91\xa2\xff\xfe")
    stand.receive(ONE, raw)
    assert stand.sent() == [raw]


def test_calls_of_two_hubs_do_not_meet(stand: Stand) -> None:
    stand.call(ONE, b"1")
    stand.call(OTHER, b"2")
    stand.answer(follow(OK, b"2"))
    assert [peer for peer, _ in stand.out()] == [OTHER]
    assert list(stand.session.channels) == [ONE]


def test_keyword_arguments_pass_to_a_server_of_mesh() -> None:
    stand = Stand(mesh=True)
    stand.call(kwargs={"a": 1})
    assert stand.out() == []


PING = event("_zerorpc_ping", (), message_id=b"7", mesh=1)


def test_a_ping_passes_to_a_server_of_mesh() -> None:
    stand = Stand(mesh=True)
    stand.receive(ONE, PING)
    assert stand.sent() == [PING]


def test_a_ping_is_answered_for_an_old_server_that_is_well(stand: Stand) -> None:
    """Its pool may be full; that it is no server of mesh is told by the missing key."""
    stand.call(TWO, b"1")
    stand.receive(ONE, PING)
    assert stand.sent() == []
    ((peer, header, name, args),) = stand.answered()
    assert (peer, name, args) == (ONE, OK, [["pong", "x"]])
    assert header["response_to"] == b"7" and "mesh" not in header
    assert list(stand.session.channels) == [TWO]


def test_a_ping_is_refused_for_a_server_that_is_out(stand: Stand) -> None:
    stand.until(stand.now + 10 * HEARTBEAT, well=False)
    stand.receive(ONE, PING)
    header, name, text = stand.error()
    assert (name, header["refused"]) == ("LostRemote", True) and "out for now" in text


@pytest.mark.parametrize(
    "answer", [(ERR, ["NameError", "_zerorpc_ping", ""]), (OK, ["pong"]), (OK, [["pong", 1]])]
)
def test_a_ping_passes_to_a_server_that_answers_it_otherwise(answer: tuple[str, Any]) -> None:
    stand = Stand()
    stand.session.connection_down(stand.session.connections[0], "gone")
    stand.session.connection_up(stand.session.connections[0], None, stand.now)
    stand.pong(*answer)
    assert stand.session.health.well
    stand.receive(ONE, PING)
    assert stand.sent() == [PING]


def test_a_ping_with_arguments_passes(stand: Stand) -> None:
    wrong = request(b"7", "_zerorpc_ping")
    stand.receive(ONE, wrong)
    assert stand.sent() == [wrong]


# What is refused


def test_keyword_arguments_are_refused_for_an_old_server(stand: Stand) -> None:
    stand.receive(ONE, request(kwargs={"a": 1}))
    assert stand.sent() == []
    header, name, text = stand.error()
    assert "refused" not in header, "a caller of mesh would take it for an error of mesh"
    assert name == "TypeError"
    assert text == (
        "the server at tcp://server:1 is no mesh server and takes no keyword arguments; pass them by position"
    )
    stand.call(kwargs={})


def test_an_id_that_is_open_on_each_connection_is_refused() -> None:
    stand = Stand(capacity=10_000)
    peers = [HubCall(0, b"%d" % number) for number in range(MAX_CONNECTIONS)]
    for peer in peers:
        stand.call(peer, b"id")
    for again in (b"id", "id"):
        stand.receive(ONE, request(again))
        header, name, text = stand.error()
        assert (header["refused"], name) == (True, "WireError")
        assert text == (
            "a call with this message id is open already on each connection to the server at tcp://server:1"
        )
        assert header["response_to"] == again
    assert stand.sent() == []
    stand.call(TWO, b"another")
    stand.answer_on(7, follow(OK, b"id"))
    assert [peer for peer, _ in stand.out()] == [peers[7]]
    stand.call(ONE, b"id")


def test_an_own_question_that_comes_back_shows_a_loop(stand: Stand) -> None:
    stand.call(ONE, b"id")
    stand.call(TWO, b"id")  # it may be the same one
    stand.receive(OTHER, stand.ping())
    assert stand.session.circular
    assert stand.session.capacity == 0
    assert stand.error(OTHER)[2] == "what is at tcp://server:1 is a hub that gives this worker its own calls"
    assert stand.sent() == []
    stand.pong()
    assert stand.session.capacity == 0


def test_ids_that_are_open_twice_are_a_reason_to_ask_once(stand: Stand) -> None:
    stand.call(ONE, b"id")
    for _ in range(3):
        stand.receive(TWO, request(b"id"))
    stand.pong()
    assert stand.session.health.well
    assert not stand.session.circular
    assert stand.session.wake_at <= stand.now + HEARTBEAT


def test_a_hub_that_gives_more_than_it_may_is_refused() -> None:
    stand = Stand(capacity=5)
    for number in range(5 + MARGIN):
        stand.call(HubCall(0, b"%d" % number), b"%d" % number)
    stand.receive(ONE, request(b"one more"))
    header, name, _ = stand.error()
    assert (header["refused"], name) == (True, "Overloaded")
    stand.call(OTHER, b"of another hub")
    stand.answer(follow(OK, b"0"))
    stand.out()
    stand.call(ONE, b"again")


def test_the_bytes_that_the_server_may_not_have_read_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 4_000
    monkeypatch.setattr("mesh.core.sidecar.MAX_UNANSWERED", most)
    stand, body = Stand(capacity=100), b"x" * (most // 4)
    peers = [HubCall(0, b"%d" % number) for number in range(3)]
    for peer in peers:
        stand.receive(peer, event("echo", (body,), message_id=peer.token))
        assert len(stand.sent()) == 1
    large = event("echo", (body,), message_id=b"3")
    stand.receive(ONE, large)
    header, name, _ = stand.error()
    assert (header["refused"], name) == (True, "Overloaded")
    stand.call(ONE, b"small")
    stand.answer(follow(OK, b"small"))
    stand.out()
    for sign in (follow(BEAT, b"0"), follow(OK, b"1")):
        stand.answer(sign)
        stand.out()
        stand.receive(ONE, large)
        assert len(stand.sent()) == 1
        stand.receive(ONE, follow(BEAT, b"3", cancel=True))
        stand.answer(follow(OK, b"3"))
        stand.sent(), stand.out()
    stand.session.lost(peers)
    assert stand.session._unanswered == 0
    alone = event("echo", (b"x" * most,), message_id=b"alone")
    stand.receive(ONE, alone)
    assert stand.sent() == [alone]


def test_errors_for_a_caller_of_the_first_version(stand: Stand) -> None:
    stand.receive(ONE, wire.pack({"message_id": b"1", "kwargs": {"a": 1}}, "echo", []))
    assert stand.error()[2].startswith("TypeError('the server at")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"rubbish",
        wire.pack({"v": 3}, "echo", []),
        request(b""),
        request(b"x" * 257),
        request("x" * 257),
        wire.pack({"message_id": 7}, "echo", []),
        wire.pack({"message_id": [1]}, "echo", []),
        request(name=BEAT),
        request(name=MORE),
    ],
)
def test_what_is_no_call_is_counted_and_not_passed_on(stand: Stand, payload: bytes) -> None:
    stand.receive(ONE, payload)
    assert stand.session.dropped == {"malformed": 1}
    assert stand.session.channels == {}
    assert (stand.sent(), stand.out()) == ([], [])


def test_a_call_that_can_not_be_read_is_answered(stand: Stand) -> None:
    stand.receive(ONE, request()[:-1] + b"\xc1")
    header, name, _ = stand.error()
    assert (header["response_to"], name) == (b"1", "WireError")


def test_what_follows_no_call_is_late(stand: Stand) -> None:
    stand.receive(ONE, follow(BEAT))
    assert stand.session.dropped == {"late": 1}
    assert (stand.sent(), stand.out()) == ([], [])


def test_what_follows_must_be_of_the_same_call(stand: Stand) -> None:
    stand.call(ONE, b"1")
    stand.call(TWO, b"2")
    large = follow(MORE, args=(b"x" * MAX_FOLLOW_UP,))
    for payload in (follow(BEAT, b"2", cancel=True), follow(MORE, b"2"), request(b"3"), b"rubbish", large):
        stand.receive(ONE, payload)
    assert stand.session.dropped == {"malformed": 5}
    assert (stand.sent(), stand.out()) == ([], [])
    assert list(stand.session.channels) == [ONE, TWO]


def test_an_answer_that_can_not_be_read_ends_its_call(stand: Stand) -> None:
    stand.call()
    stand.answer(follow(OK)[:-1] + b"\xc1")
    header, name, text = stand.error()
    assert (header["refused"], name) == (False, "WireError")
    assert text.startswith("the answer of the server at tcp://server:1 can't be read: ")


@pytest.mark.parametrize(
    "payload", [b"", b"rubbish", follow(OK, b"another"), event(response_to=[1]), request()]
)
def test_other_words_of_the_server_are_counted(stand: Stand, payload: bytes) -> None:
    stand.call()
    stand.answer(payload)
    assert sum(stand.session.dropped.values()) == 1
    assert stand.out() == []
    assert ONE in stand.session.channels


def test_rubbish_raises_nothing_and_leaves_nothing() -> None:
    chance, stand = random.Random(3), Stand()
    for number in range(5_000):
        payload = request(b"%d" % number) if number % 3 else follow(chance.choice([OK, STREAM, BEAT]))
        at = chance.randrange(len(payload))
        payload = payload[:at] + chance.randbytes(chance.randrange(3)) + payload[at + 1 :]
        stand.receive(HubCall(0, b"%d" % chance.randrange(200)), payload)
        stand.answer(payload.replace(b"message_id", b"response_to"))
        assert len(stand.session.channels) <= 10 + MARGIN
        stand.sent(), stand.out()
    stand.session.lost(list(stand.session.channels))
    assert not any(connection.calls for connection in stand.session.connections)
    assert not any(stand.session._of_hub.values())


# Cancels


@pytest.mark.parametrize("mesh", [False, True])
def test_a_cancel_passes_and_ends_the_call_at_once(mesh: bool) -> None:
    stand = Stand(mesh=mesh)
    stand.call()
    cancel = follow(BEAT, cancel=True)
    stand.receive(ONE, cancel)
    assert stand.sent() == [cancel]
    header, name, text = stand.error()
    assert (name, text) == ("LostRemote", "the caller is gone, or has cancelled")
    assert "refused" not in header
    stand.answer(follow(STREAM))
    stand.answer(follow(OK))
    assert stand.out() == []
    assert stand.session.dropped == {"late": 2}


def cancelled(stand: Stand, peer: HubCall, number: bytes = b"1") -> ServerConnection:
    """The connection of a call that its client has cancelled, while the server is still at it."""
    stand.call(peer, number)
    connection = stand.session.channels[peer].connection
    stand.receive(peer, follow(BEAT, number, cancel=True))
    stand.sent(), stand.out()
    return connection


def test_an_id_is_taken_while_the_server_may_answer_it(stand: Stand) -> None:
    for last in (lambda: stand.answer(follow(OK)), lambda: stand.until(stand.now + GONE_FOR + HEARTBEAT)):
        first = cancelled(stand, ONE)
        stand.call(TWO)
        second = stand.session.channels[TWO].connection
        assert [first, second] == stand.session.connections, "else its answers could be the other's"
        stand.answer_on(0, follow(STREAM))
        assert stand.out() == []
        stand.answer_on(1, follow(OK))
        assert [peer for peer, _ in stand.out()] == [TWO]
        last()
        assert cancelled(stand, OTHER, b"another") is first
        stand.answer(follow(OK, b"another"))
    stand.call()
    assert stand.session.channels[ONE].connection is first


def test_an_id_that_the_server_may_answer_on_each_connection_is_refused() -> None:
    stand = Stand(capacity=10_000)
    for _ in range(MAX_CONNECTIONS):
        cancelled(stand, ONE)
    stand.receive(TWO, request())
    header, name, text = stand.error(TWO)
    assert (header["refused"], name) == (True, "LostRemote")
    assert text == (
        "an earlier call with this message id may still be open on each connection to the server at "
        "tcp://server:1"
    )


def test_a_call_that_was_never_sent_leaves_no_trace(stand: Stand) -> None:
    stand.receive(ONE, request())
    stand.receive(ONE, follow(BEAT, cancel=True))
    assert all(call.ended and not call.sent for call, _ in stand.session.take_for_server())
    stand.session.take_for_server()
    stand.out()
    stand.call(TWO)


def test_the_ids_of_ended_calls_are_bounded() -> None:
    stand = Stand()
    for number in range(MAX_GONE + 50):
        stand.call(ONE, b"%d" % number)
        stand.receive(ONE, follow(BEAT, b"%d" % number, cancel=True))
        stand.sent(), stand.out()
    assert len(stand.session._gone) == MAX_GONE


@pytest.mark.parametrize("mesh", [False, True])
def test_a_hub_that_is_lost_takes_its_calls_along(mesh: bool) -> None:
    stand = Stand(mesh=mesh)
    for peer, number in ((ONE, b"1"), (TWO, b"2"), (OTHER, b"3")):
        stand.call(peer, number)
    stand.session.lost([ONE, TWO])
    assert list(stand.session.channels) == [OTHER]
    assert stand.out() == [], "nobody is there to hear it"
    cancels = [wire.unpack(payload) for payload in stand.sent()]
    assert [(header["response_to"], header["cancel"], name) for header, name, _ in cancels] == (
        [(b"1", True, BEAT), (b"2", True, BEAT)] if mesh else []
    ), "an old server would take it for a sign of life"
    stand.answer(follow(OK, b"3"))
    assert [peer for peer, _ in stand.out()] == [OTHER]


# The server's health


def test_nothing_is_offered_before_the_server_has_answered() -> None:
    session = SidecarSession(b"0" * 24, "tcp://server:1", Health(b"f" * 24, HEARTBEAT), 10)
    assert session.capacity == 0
    session.connection_up(session.connections[0], None, 0.0)
    assert session.capacity == 0
    session.receive(ONE, request(), 0.0)
    ((_, payload),) = session.take_out()
    header, _, args = wire.unpack(payload)
    assert header["refused"] is True
    assert args[0] == "LostRemote"


def test_the_ids_of_ended_calls_are_forgotten_in_their_order(stand: Stand) -> None:
    """Also those that were used again meanwhile."""
    session = stand.session
    for number in (b"1", b"2", b"1", b"3"):
        stand.call(ONE, number)
        session.channels[ONE].sent = True
        session.lost([ONE])
        stand.now += GONE_FOR * 0.6
    assert [key for _, key in session._gone] == [b"1", b"3"]


def test_a_silent_server_gets_no_calls_and_keeps_those_it_has(stand: Stand) -> None:
    stand.call()
    stand.until(stand.now + 3 * HEARTBEAT, well=False)
    assert stand.session.capacity == 0
    assert stand.out() == []
    stand.receive(TWO, request(b"2"))
    header, name, text = stand.error(TWO)
    assert (header["refused"], name) == (True, "LostRemote")
    assert text == "the server at tcp://server:1 is out for now: it has not answered for 3.0 s"
    stand.receive(ONE, follow(MORE))
    assert stand.sent() == [follow(MORE)]
    stand.answer(follow(OK))
    assert [peer for peer, _ in stand.out()] == [ONE]
    stand.pong()
    assert stand.session.capacity == 10


def test_a_busy_server_is_not_asked(stand: Stand) -> None:
    stand.call()
    for _ in range(10):
        stand.now += HEARTBEAT / 2
        stand.answer(follow(STREAM))
        stand.session.on_timer(stand.now)
        assert stand.session.take_pings() == []


def test_a_broken_connection_ends_all_that_the_server_had(stand: Stand) -> None:
    stand.call(ONE, b"1")
    stand.receive(TWO, request(b"2"))
    stand.session.connection_down(stand.session.connections[0], "the connection broke")
    assert stand.session.capacity == 0
    assert stand.session.channels == {}
    assert stand.session.take_for_server() == []
    ends = {peer: (header["refused"], name, args) for peer, header, name, args in stand.answered()}
    text = "the server at tcp://server:1 is gone (the connection broke) while the call was open"
    assert ends[ONE] == (False, ERR, wire.plain_error("LostRemote", text))
    assert ends[TWO] == (True, ERR, wire.plain_error("LostRemote", text)), "no handler has seen it"
    stand.connect()
    stand.call(ONE, b"1")


def test_what_the_server_does_not_read_is_told(stand: Stand) -> None:
    stand.call()
    stand.receive(ONE, follow(MORE))
    ((call, _),) = stand.session.take_for_server()
    stand.session.not_accepted(call)
    header, name, text = stand.error()
    assert (header["refused"], name) == (False, "Overloaded")
    assert text == "the server at tcp://server:1 does not read"


# Several connections


def calls(stand: Stand, number: int) -> list[HubCall]:
    peers = [HubCall(0, b"%d" % index) for index in range(number)]
    for peer in peers:
        stand.call(peer, peer.token)
    return peers


def test_few_calls_share_a_connection_and_the_first_with_room_is_taken(stand: Stand) -> None:
    each = CALLS_PER_CONNECTION
    peers = calls(stand, 2 * each + 1)
    connections = [stand.session.channels[peer].connection for peer in peers]
    assert stand.session.connections == [connections[0], connections[each], connections[2 * each]]
    assert [len(connection.calls) for connection in stand.session.connections] == [each, each, 1]
    stand.answer(follow(OK, peers[1].token))
    stand.call(ONE, b"one more")
    assert stand.session.channels[ONE].connection is connections[0]
    assert len(stand.session.connections) == 3


@pytest.mark.parametrize("again", [b"id", "id"])
def test_calls_with_one_id_go_by_two_connections(stand: Stand, again: bytes | str) -> None:
    stand.call(ONE, b"id")
    stand.call(TWO, again)
    assert [list(connection.calls) for connection in stand.session.connections] == [[b"id"], [b"id"]]
    stand.answer_on(1, follow(STREAM, again))
    assert [peer for peer, _ in stand.out()] == [TWO]
    stand.receive(ONE, follow(MORE, b"id"))
    assert [call.connection for call, _ in stand.session.take_for_server()] == stand.session.connections[:1]
    stand.sent()
    stand.answer_on(0, follow(OK, b"id"))
    assert [peer for peer, _ in stand.out()] == [ONE]
    stand.answer_on(1, follow(OK, b"id")[:-1] + b"\xc1")
    assert stand.error(TWO)[1] == "WireError", "it can't be read"


def test_a_call_whose_id_is_taken_waits_for_no_connection_that_may_never_stand(stand: Stand) -> None:
    stand.call(ONE, b"id")
    stand.receive(TWO, request(b"id"))
    stand.session.take_for_server()
    stand.until(stand.now + 2 * HEARTBEAT)
    assert "it takes no further connection" in stand.error(TWO)[2]
    stand.receive(TWO, request(b"id"))
    assert stand.error(TWO)[1] == "WireError"
    assert len(stand.session.connections) == 2


def test_the_number_of_connections_is_bounded() -> None:
    stand = Stand(capacity=10_000)
    calls(stand, 3 * CALLS_PER_CONNECTION * MAX_CONNECTIONS)
    assert [len(connection.calls) for connection in stand.session.connections] == [
        3 * CALLS_PER_CONNECTION
    ] * MAX_CONNECTIONS


def test_a_connection_that_never_stands_is_given_up(stand: Stand) -> None:
    peers = calls(stand, CALLS_PER_CONNECTION)
    stand.receive(ONE, request(b"one"))
    second = stand.session.channels[ONE].connection
    stand.session.take_for_server()
    stand.until(stand.now + 2 * HEARTBEAT)
    header, name, text = stand.error()
    assert (header["refused"], name) == (True, "LostRemote")
    assert "it takes no further connection" in text
    stand.call(TWO, b"two")
    assert stand.session.channels[TWO].connection is stand.session.channels[peers[0]].connection
    assert len(stand.session.connections) == 2, "no more are tried for now"
    second.up = True
    stand.call(ONE, b"three")
    assert stand.session.channels[ONE].connection is second


def test_a_connection_that_breaks_takes_its_calls_along_and_no_others(stand: Stand) -> None:
    peers = calls(stand, CALLS_PER_CONNECTION + 2)
    second = stand.session.connections[1]
    stand.session.connection_down(second, "the connection broke")
    assert [peer for peer, *_ in stand.answered()] == peers[CALLS_PER_CONNECTION:]
    assert list(stand.session.channels) == peers[:CALLS_PER_CONNECTION]
    assert second.calls == {}
    assert stand.session.capacity == 10
    stand.session.connection_down(second, "the connection broke")
    assert stand.answered() == []


def test_the_first_connection_stands_for_the_server(stand: Stand) -> None:
    peers = calls(stand, CALLS_PER_CONNECTION + 2)
    stand.session.connection_down(stand.session.connections[0], "the connection broke")
    assert sorted(peer for peer, *_ in stand.answered()) == peers
    assert [connection.calls for connection in stand.session.connections] == [{}]


# Calls that nobody ends


def test_a_call_that_both_ends_have_given_up_is_ended(stand: Stand) -> None:
    stand.call()
    for _ in range(3):
        stand.until(stand.now + 2.0)
        stand.receive(ONE, follow(BEAT))
        stand.answer(follow(BEAT))
        stand.sent(), stand.out()
    stand.until(stand.now + 6.0)
    assert ONE in stand.session.channels, "three of its longest gaps are not over yet"
    stand.until(stand.now + 2 * HEARTBEAT)
    header, name, text = stand.error()
    assert (header["refused"], name) == (False, "LostRemote")
    assert text.startswith("neither the caller nor the server at tcp://server:1 was heard for ")


def test_one_that_never_had_heartbeats_may_take_for_ever(stand: Stand) -> None:
    stand.call()
    stand.until(stand.now + 3600.0)
    assert stand.out() == []
    stand.answer(follow(OK))
    assert [peer for peer, _ in stand.out()] == [ONE]


def test_one_that_either_end_keeps_alive_goes_on(stand: Stand) -> None:
    stand.call(ONE, b"1")
    stand.call(TWO, b"2")
    for _ in range(100):
        stand.until(stand.now + 1.0)
        stand.receive(ONE, follow(BEAT, b"1"))
        stand.answer(follow(BEAT, b"2"))
    assert list(stand.session.channels) == [ONE, TWO]


def test_a_server_that_stood_still_may_first_say_what_it_has_to(stand: Stand) -> None:
    stand.call()
    stand.answer(follow(BEAT))
    stand.out()
    stand.until(stand.now + 60.0, well=False)
    assert stand.session.capacity == 0
    assert ONE in stand.session.channels
    stand.pong()
    stand.session.on_timer(stand.now)
    stand.until(stand.now + HEARTBEAT)
    assert ONE in stand.session.channels
    stand.answer(follow(OK))
    assert [peer for peer, _ in stand.out()] == [ONE]


def test_a_sidecar_that_stood_still_itself_may_first_hear_them(stand: Stand) -> None:
    stand.call()
    stand.answer(follow(BEAT))
    stand.out()
    stand.now += 60.0
    stand.until(stand.now + HEARTBEAT)
    assert ONE in stand.session.channels
    stand.answer(follow(OK))
    assert [peer for peer, _ in stand.out()] == [ONE]


def test_a_server_of_mesh_is_told_of_them() -> None:
    stand = Stand(mesh=True)
    stand.call()
    stand.receive(ONE, follow(BEAT))
    stand.sent()
    stand.until(stand.now + 5.0)
    stand.error()
    (cancel,) = stand.sent()
    assert wire.unpack(cancel)[0]["cancel"] is True


# The end


def test_a_sidecar_that_stops_takes_no_more_and_ends_what_is_left(stand: Stand) -> None:
    stand.call()
    stand.session.drain()
    assert stand.session.capacity == 0
    stand.receive(TWO, request(b"2"))
    header, name, text = stand.error(TWO)
    assert (header["refused"], name, text) == (
        True,
        "LostRemote",
        "the sidecar is stopping and takes no more calls",
    )
    stand.session.give_up("the sidecar has stopped")
    header, name, text = stand.error()
    assert (header["refused"], name, text) == (False, "LostRemote", "the sidecar has stopped")


def test_without_calls_and_connection_there_is_nothing_to_wake_for(stand: Stand) -> None:
    stand.call()
    stand.session.connection_down(stand.session.connections[0], "x")
    stand.until(stand.now + 10.0)
    assert stand.session.wake_at is NEVER
