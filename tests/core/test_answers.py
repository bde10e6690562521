"""What an answer does to a client's call: every pair of state and event, and where it came from."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mesh.core import wire
from mesh.core.channel import ANSWERS, Ids, State
from mesh.core.client_session import Call, ClientSession
from mesh.core.server_session import ServerSession
from mesh.errors import LostRemote, MethodNotFound, Overloaded, RemoteError, TimeoutExpired, WireError
from tests.helpers.pair import ClientEnd, Connection, Pair, ServerEnd, World, lost, twice

EVENTS = (
    *(wire.OK, wire.ERR, wire.STREAM, wire.STREAM_DONE, wire.MORE, wire.BEAT),
    *("", "ok", "unknown", "_zpc_other", "O" * 100_000),
)
STOPPING = "the server is stopping and takes no more calls"
ARGS: dict[str, Any] = {wire.OK: [1], wire.ERR: ["KeyError", "'a'", "trace"], wire.STREAM: 1}


def call_in(state: State, pair: Pair) -> Call:
    """A call in that state, whose caller waits."""
    if state is State.QUEUED:
        pair.connection.down()
        return pair.call()
    call, served = pair.begun()
    if state is State.STREAMING:
        pair.server.stream(served, iter(int, 1))
        pair.advance()
        pair.client.take(call)
        pair.advance()
        pair.client.take(call)
    elif state is State.DONE:
        pair.server.answer(served, 1)
        pair.advance()
    assert call.state is state
    return call


@pytest.mark.parametrize("name", EVENTS, ids=lambda name: name[:12] or "empty")
@pytest.mark.parametrize("state", State)
def test_every_event_in_every_state(state: State, name: str) -> None:
    pair = Pair()
    call = call_in(state, pair)
    pair.connection.up()
    before = call.state
    outcome = (call.value, call.error, list(call.items or ()))
    pair.client.session.dropped.clear()
    pair.connection.send = lambda *_: None  # type: ignore[method-assign]
    payload = wire.pack({"message_id": b"x", "v": 3, "response_to": call.id}, name, ARGS.get(name, [0]))
    pair.client.receive(pair.peer, payload)

    dropped = pair.client.session.dropped
    if before is State.DONE:
        assert dropped == {"late": 1}
        assert (call.value, call.error, list(call.items or ())) == outcome
    elif name in (wire.MORE, wire.BEAT):
        assert call.state is before and not dropped
        assert call.last_heard == pair.now
    elif (before, name) in ANSWERS:
        assert call.state is ANSWERS[before, name] and not dropped
        assert isinstance(call.error, KeyError if name == wire.ERR else type(None))
    else:
        assert call.state is State.DONE and dropped == {"protocol": 1}
        assert isinstance(call.error, WireError)
        assert len(str(call.error)) < 200
    assert (call.id in pair.client.session.calls) is (call.state is not State.DONE)


def test_the_table_knows_every_answer_of_a_server() -> None:
    assert {name for _, name in ANSWERS} == {wire.OK, wire.ERR, wire.STREAM, wire.STREAM_DONE}
    assert not [state for state, _ in ANSWERS if state in (State.QUEUED, State.DONE)]


@pytest.mark.parametrize("value", [None, 0, [], [[]], {"a": None}, "x" * 100_000])
def test_a_result_comes_back_as_it_was(value: Any) -> None:
    pair = Pair()
    call, served = pair.begun("echo", value)
    assert served.args == [value]
    pair.server.answer(served, value)
    pair.advance()
    assert (call.state, call.value, call.error) == (State.DONE, value, None)
    assert pair.client.woken == [call]
    assert not pair.client.session.calls and not pair.server.session.calls and pair.peer.open == 0


@pytest.mark.parametrize("args", [None, [], {}, "text", 5])
def test_an_ok_without_a_value_is_a_wire_error(args: Any) -> None:
    pair = Pair()
    call, _ = pair.begun("find")
    pair.say(call.id, wire.OK, args)
    assert isinstance(call.error, WireError)
    assert "tcp://server:1 answered 'find' without a value" in str(call.error)


def test_a_stream_that_is_empty_is_a_stream() -> None:
    pair = Pair()
    call, served = pair.begun()
    pair.server.stream(served, ())
    pair.advance()
    assert call.state is State.DONE and call.error is None
    assert list(call.items or ()) == [] and call.items is not None


def test_items_that_came_before_an_error_can_still_be_taken() -> None:
    pair = Pair()
    call, served = pair.begun()
    pair.server.stream(served, iter([1]))
    pair.say(call.id, wire.ERR, ["ValueError", "late", None])
    assert list(call.items or ()) == [1]
    assert isinstance(call.error, ValueError)


class TestWhoAnswers:
    """An answer counts only when it comes from the peer that the call went to."""

    def setup_method(self) -> None:
        self.world = World()
        self.client = ClientEnd(self.world)
        self.servers = [ServerEnd(self.world), ServerEnd(self.world)]
        self.links = [
            Connection(self.world, self.client, server, f"tcp://server:{number}")
            for number, server in enumerate(self.servers)
        ]
        for link in self.links:
            link.up()

    @pytest.mark.parametrize("name", [wire.OK, wire.ERR, wire.STREAM, wire.STREAM_DONE, wire.BEAT, "rubbish"])
    def test_an_answer_from_another_peer_is_dropped(self, name: str) -> None:
        call = self.client.call()
        right = next(link for link in self.links if link.peer is call.peer)
        wrong = next(link for link in self.links if link.peer is not call.peer)
        forged = {"message_id": b"x", "v": 3, "response_to": call.id, "mesh": 1}
        self.client.receive(wrong.peer, wire.pack(forged, name, ARGS.get(name)))
        self.client.receive(wrong.peer, msgpack.packb([forged, name, [{(1,): 2}]]))
        assert self.client.session.dropped == {"from another peer": 1, "malformed": 1}
        assert call.state is State.OPEN and call.last_heard == 0.0 and wrong.peer.mesh is None
        self.world.advance()
        right.server.answer(right.server.running[0], "right")
        self.world.advance()
        assert call.value == "right"

    def test_a_lost_peer_ends_its_own_calls_only(self) -> None:
        calls = [self.client.call("work", timeout=None) for _ in range(10)]
        self.world.advance()
        gone, stays = self.links
        gone.down("it was killed")
        for call in calls:
            if call.peer is gone.peer:
                assert isinstance(call.error, LostRemote) and not call.error.refused
                assert str(call.error) == "tcp://server:0 is gone (it was killed) while 'work' was open"
            else:
                assert call.state is State.OPEN
        assert (gone.peer.open, stays.peer.open) == (0, 5)
        assert not gone.server.session.calls and len(stays.server.session.calls) == 5


@pytest.mark.parametrize("channel", [b"nobody", "nobody", None, 5, [1], {}, {"a": 1}, b"", 1.5, "x" * 10_000])
def test_a_reply_to_nobody_is_dropped(channel: Any) -> None:
    pair = Pair()
    call, _ = pair.begun()
    for name in (wire.OK, wire.ERR, wire.STREAM, wire.STREAM_DONE, wire.MORE, wire.BEAT):
        payload = msgpack.packb([{"message_id": b"x", "v": 3, "response_to": channel}, name, [1]])
        pair.client.receive(pair.peer, payload)
    assert pair.client.session.dropped.total() == 6
    assert call.state is State.OPEN and list(pair.client.session.calls.values()) == [call]


@pytest.mark.parametrize("channel_id", [b"\x00\xff", "text", b"b" * 256, "é" * 256])
def test_a_message_id_comes_back_as_it_came(channel_id: bytes | str) -> None:
    pair = Pair()
    answers = pair.spy()
    pair.say(None, "work", [], to_server=True, message_id=channel_id)
    (served,) = pair.server.running
    pair.server.stream(served, [1])
    pair.say(channel_id, wire.MORE, [5], to_server=True)
    sent = [wire.unpack(letter.payload) for letter in answers if not letter.to_server]
    assert [name for _, name, _ in sent] == [wire.STREAM, wire.STREAM_DONE]
    for header, _, _ in sent:
        assert header["response_to"] == channel_id and type(header["response_to"]) is type(channel_id)


def test_text_and_bytes_are_two_channels() -> None:
    pair = Pair()
    pair.say(None, "work", [], to_server=True, message_id=b"1")
    pair.say(None, "work", [], to_server=True, message_id="1")
    assert [call.id for call in pair.server.running] == [b"1", "1"]


@pytest.mark.parametrize("channel_id", [None, 5, b"", "", b"b" * 257, "t" * 257, [b"1"], {}, True, 1.0])
def test_a_message_id_of_another_kind_is_dropped(channel_id: Any) -> None:
    pair = Pair()
    pair.server.receive(b"peer", msgpack.packb([{"message_id": channel_id, "v": 3}, "work", []]))
    assert pair.server.session.dropped == {"malformed": 1}
    assert not pair.server.session.calls and not pair.server.running


def test_a_peer_that_writes_the_id_as_text_is_understood() -> None:
    pair = Pair()
    call, _ = pair.begun()
    pair.say(call.id.decode(), wire.OK, [5])
    assert call.value == 5


def test_the_same_id_from_two_peers_is_two_calls() -> None:
    pair = Pair()
    other = Connection(pair, ClientEnd(pair, base=b"d" * 24), pair.server, "other")
    request = wire.pack({"message_id": b"1", "v": 3}, "work", [])
    for identity in (pair.connection.identity, other.identity):
        pair.server.receive(identity, request)
    first, second = pair.server.running
    pair.server.receive(other.identity, wire.pack({"response_to": b"1", "cancel": True}, wire.BEAT, [0]))
    assert second.given_up and not first.given_up


def test_a_doubled_request_is_carried_out_once_while_it_is_open() -> None:
    pair = Pair()
    pair.fate = twice
    call = pair.call()
    pair.advance()
    assert len(pair.server.running) == 1 and pair.server.session.dropped == {"duplicate": 1}
    pair.server.answer(pair.server.running[0], 1)
    pair.advance()
    assert call.value == 1 and pair.client.session.dropped == {"late": 1}
    assert pair.client.woken == [call]


class TestUnreadableAnswers:
    """The caller of an answer that can't be read would wait for it in vain."""

    def test_the_call_ends_with_the_reason(self) -> None:
        pair = Pair()
        call, served = pair.begun("pairs")
        pair.server.session._answers._pack = msgpack.packb  # as that of another make
        pair.server.answer(served, {(1, 2): 3})
        pair.advance()
        assert isinstance(call.error, WireError)
        assert "the answer of tcp://server:1 to 'pairs' can't be read" in str(call.error)
        assert "can't be the key of a map" in str(call.error)
        assert pair.client.session.dropped == {"malformed": 1} and pair.client.woken == [call]

    def test_a_request_is_refused(self) -> None:
        pair = Pair()
        pair.client.session._pack = msgpack.packb  # as that of another make
        call = pair.call("add", {(1, 2): 3})
        pair.advance()
        assert isinstance(call.error, WireError) and call.error.refused
        assert not pair.server.session.calls

    def test_without_a_header_nobody_is_to_be_told(self) -> None:
        pair = Pair()
        call, _ = pair.begun()
        for payload in (b"", b"\xc1", b"\x93\xc1", b"\x93\x80\xc1", b"\x92\x80\xa1m"):
            pair.client.receive(pair.peer, payload)
            pair.server.receive(b"peer", payload)
        assert pair.client.session.dropped == pair.server.session.dropped == {"malformed": 5}
        assert call.state is State.OPEN and not pair.server.session.out

    def test_a_follow_up_that_cant_be_read_gets_no_answer(self) -> None:
        pair = Pair()
        call, _ = pair.begun()
        letters = pair.spy()
        pair.server.receive(
            pair.connection.identity,
            msgpack.packb([{"message_id": b"2", "response_to": call.id}, wire.MORE, [{(1,): 1}]]),
        )
        assert not letters and pair.server.session.dropped == {"malformed": 1}


class TestErrorsOfPeers:
    def error(self, args: Any, **header: Any) -> BaseException:
        pair = Pair()
        call, _ = pair.begun()
        pair.say(call.id, wire.ERR, args, **header)
        assert call.error is not None and call.state is State.DONE
        return call.error

    def test_class_text_and_traceback(self) -> None:
        error = self.error(["KeyError", "'a'", "Traceback: …"])
        assert isinstance(error, RemoteError) and isinstance(error, KeyError)
        assert (error.name, error.msg, error.traceback) == ("KeyError", "'a'", "Traceback: …")
        assert error.__notes__ == ["The remote traceback:\nTraceback: …"]

    @pytest.mark.parametrize("trace", [None, "", False])
    def test_without_a_traceback(self, trace: Any) -> None:
        error = self.error(["Boom", "text", trace])
        assert isinstance(error, RemoteError) and error.traceback is None
        assert not hasattr(error, "__notes__")

    @pytest.mark.parametrize("text", ["no such method", "", "x" * 100_000])
    def test_a_traceback_that_is_but_the_text_is_not_shown_twice(self, text: str) -> None:
        error = self.error(["NameError", text, f"NameError: {text}\n" if text else "NameError\n"])
        assert isinstance(error, NameError) and isinstance(error, RemoteError)
        assert error.traceback and not hasattr(error, "__notes__")

    @pytest.mark.parametrize("trace", ["", None, "NameError: users has no method 'gte'\n"])
    def test_of_a_method_that_does_not_exist(self, trace: Any) -> None:
        error = self.error(["NameError", "users has no method 'gte'", trace], refused=True)
        assert type(error) is MethodNotFound and error.refused is True
        assert (error.name, error.msg) == ("NameError", "users has no method 'gte'")
        assert str(error) == "users has no method 'gte'" and not hasattr(error, "__notes__")

    @pytest.mark.parametrize("said", [{}, {"refused": False}, {"refused": 1}, {"refused": None}])
    def test_a_name_that_a_handler_lacks_is_none(self, said: dict[str, Any]) -> None:
        error = self.error(["NameError", "name 'x' is not defined", "Traceback: …"], **said)
        assert isinstance(error, NameError) and type(error) is not MethodNotFound
        assert isinstance(error, RemoteError) and error.refused is False

    CORE = '  File "/usr/lib/python3/dist-packages/zerorpc/core.py", line 152, in _async_task\n'
    RAISES = "    raise NameError(event.name)\n"
    HEAD = "Traceback (most recent call last):\n"

    @pytest.mark.parametrize("lines", [RAISES, RAISES + "    ^^^^^^^^^^^^\n", ""])
    def test_an_old_server_tells_it_by_the_frame_that_raised_it(self, lines: str) -> None:
        error = self.error(["NameError", "echo", f"{self.HEAD}{self.CORE}{lines}NameError: echo\n"])
        assert type(error) is MethodNotFound and error.refused is True
        assert str(error) == "tcp://server:1 has no method 'echo'" and error.name == "NameError"

    @pytest.mark.parametrize(
        ("text", "trace"),
        [
            ("echo", f'{HEAD}{CORE}    functor()\n  File "users.py", line 1, in echo\nNameError: echo\n'),
            ("other", f"{HEAD}{CORE}{RAISES}NameError: other\n"),
            ("echo", f"{HEAD}{CORE.replace('_async_task', 'echo')}{RAISES}NameError: echo\n"),
            ("echo", f"{HEAD}{CORE.replace('zerorpc', 'users')}{RAISES}NameError: echo\n"),
            ("echo", f"{HEAD}{CORE}{RAISES}KeyError: echo\n"),
            ("echo", f"{HEAD}{CORE}{RAISES}NameError: echo\n\nDuring handling …\n"),
            ("echo", "NameError: echo\n"),
            ("echo", None),
        ],
    )
    def test_where_it_does_not_it_is_a_remote_error(self, text: str, trace: str | None) -> None:
        error = self.error(["NameError", text, trace])
        assert isinstance(error, NameError) and type(error) is not MethodNotFound

    def test_a_class_of_its_own_carries_its_builtin(self) -> None:
        error = self.error(["NotThere", "x", None], builtin="KeyError")
        assert isinstance(error, KeyError) and str(error) == "NotThere: x"

    @pytest.mark.parametrize(
        "builtin",
        [
            "",
            "SystemExit",
            "KeyboardInterrupt",
            "print",
            "__import__",
            "object",
            "BaseException",
            "a.b",
            "\x00",
        ]
        + ["StopIteration", "GeneratorExit", "MemoryError", "ExceptionGroup", "é" * 100_000, None, 5, [], {}],
    )
    def test_weird_builtins_are_plain_remote_errors(self, builtin: Any) -> None:
        error = self.error(["Mine", "x", None], builtin=builtin)
        assert type(error) is RemoteError and error.name == "Mine"

    @pytest.mark.parametrize("args", [None, [], {}, "text", 5, b"", {"a": 1}])
    def test_without_a_text(self, args: Any) -> None:
        assert isinstance(self.error(args), WireError)

    def test_of_protocol_version_1(self) -> None:
        error = self.error(["KeyError('a')"])
        assert type(error) is RemoteError and error.msg == "KeyError('a')"

    def test_values_that_are_no_texts(self) -> None:
        deep: list[Any] = []
        for _ in range(900):
            deep = [deep]
        for strange in (None, 5, deep, {"a": [1]}, b"\xff", ["x"] * 100_000):
            error = self.error([strange, strange, strange])
            assert isinstance(error, RemoteError)
            assert len(str(error)) < 1_000

    def test_huge_texts_are_clipped(self) -> None:
        error = self.error(["N" * 10**6, "m" * 10**6, "t" * 10**6])
        assert isinstance(error, RemoteError) and error.traceback is not None
        assert len(error.name) <= 200
        assert len(error.msg) < wire.MAX_TEXT + 100 and len(error.traceback) < wire.MAX_TEXT + 100

    @pytest.mark.parametrize(
        ("name", "cls"),
        [("Overloaded", Overloaded), ("LostRemote", LostRemote), ("TimeoutExpired", TimeoutExpired)]
        + [("WireError", WireError), ("NewKind", Overloaded), ("RemoteError", Overloaded)],
    )
    def test_a_refusal_is_the_servers_own(self, name: str, cls: type) -> None:
        error = self.error([name, "why", ""], refused=True)
        assert type(error) is cls and error.refused  # type: ignore[attr-defined]
        assert str(error) == "tcp://server:1 refused 'echo': why"

    def test_an_error_of_the_servers_own_that_is_no_refusal(self) -> None:
        error = self.error(["LostRemote", "why", ""], refused=False)
        assert type(error) is LostRemote and not error.refused
        assert str(error) == "tcp://server:1 gave up 'echo': why"

    @pytest.mark.parametrize("refused", [None, 1, "True", [True]])
    def test_what_only_looks_like_a_refusal(self, refused: Any) -> None:
        error = self.error(["Overloaded", "why", ""], refused=refused)
        assert type(error) is RemoteError and not error.refused


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        ({}, f"LostRemote: {STOPPING}\n"),
        ({"task": "of zerorpc's user"}, f"LostRemote: {STOPPING}\n"),
        ({"deadline": 1_000}, ""),
        ({"heartbeat": 0}, ""),
    ],
)
def test_a_refusal_has_a_traceback_for_who_prints_that_alone(header: wire.Header, trace: str) -> None:
    session = ServerSession(b"e" * 24, 5.0)
    session.drain()
    session.receive(b"peer", wire.pack({"message_id": b"1", "v": 3, **header}, "add", []), 0.0)
    ((_, payload),) = session.out
    assert wire.unpack(payload)[2] == ["LostRemote", STOPPING, trace]


@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.parametrize("text", ["no method 'gte'", "", "x" * 100_000])
def test_a_mesh_client_shows_an_error_without_a_traceback_once(timeout: float | None, text: str) -> None:
    pair = Pair()
    call, served = pair.begun("gte", timeout=timeout)
    pair.server.fail(served, NameError(text), "")
    pair.advance()
    assert isinstance(call.error, NameError) and isinstance(call.error, RemoteError)
    assert bool(call.error.traceback) is (timeout is None) and not hasattr(call.error, "__notes__")


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_old_client_is_told_of_a_method_that_does_not_exist_as_ever(version: int) -> None:
    session = ServerSession(b"e" * 24, 5.0, name="users")
    session.expose({"get"})
    session.receive(b"peer", wire.pack({"message_id": b"1", "v": version}, "gte", []), 0.0)
    ((_, payload),) = session.out
    header, name, args = wire.unpack(payload)
    text = "users has no method 'gte'"
    plain = ["NameError", text, f"NameError: {text}\n"] if version > 1 else [f"NameError({text!r})"]
    assert (name, args) == ("ERR", plain)
    assert list(header) == ["message_id", "v", "response_to", "refused"]
    assert not session.calls


@pytest.mark.parametrize(("version", "three"), [(1, False), (0, False), (-5, False), (2, True), (3, True)])
def test_old_versions_get_an_answer(version: int, three: bool) -> None:
    pair = Pair()
    letters = pair.spy()
    pair.say(None, "work", [], to_server=True, message_id=b"1", v=version)
    pair.say(None, "work", [], to_server=True, message_id=b"2", v=version)
    pair.server.answer(pair.server.running[0], "fine")
    pair.server.fail(pair.server.running[0], KeyError("a"), "trace")
    good, bad = (wire.unpack(letter.payload) for letter in letters if not letter.to_server)
    assert good[1:] == (wire.OK, ["fine"])
    assert bad[1:] == (wire.ERR, ["KeyError", "'a'", "trace"] if three else ["KeyError(\"'a'\")"])


@pytest.mark.parametrize("version", [None, "3", 2.5, [], True])
def test_a_version_that_is_none_counts_as_the_first(version: Any) -> None:
    pair = Pair()
    pair.say(None, "work", [], to_server=True, message_id=b"1", v=version)
    assert pair.server.running[0].version == 1


def test_ids_are_unlike_also_when_the_counter_has_overflowed() -> None:
    ids = Ids(b"e" * 24)
    first = ids.next()
    assert first == b"00000001" + b"e" * 24
    ids._count = 2**32 - 2
    later = [ids.next() for _ in range(4)]
    assert len({first, *later}) == 5 and all(len(one) in (32, 40) for one in later)


@pytest.mark.parametrize("base", [b"", b"e" * 23, b"e" * 25])
def test_a_base_of_another_length_is_refused(base: bytes) -> None:
    with pytest.raises(ValueError, match="24 hex digits"):
        ClientSession(base, lambda: 0.5)


def test_a_peer_is_known_as_mesh_from_its_answer() -> None:
    pair = Pair()
    call = pair.call("_zerorpc_ping", extra={"mesh": 1})
    assert pair.peer.mesh is None
    pair.advance()
    assert call.value == ["pong", ""] and pair.peer.mesh is True
    pair.connection.down()
    pair.connection.up()
    assert pair.peer.mesh is None, "another server may have taken its place"


def test_a_lost_answer_ends_with_the_deadline() -> None:
    pair = Pair()
    call, served = pair.begun("slow", timeout=2.0)
    pair.fate = lost
    pair.server.answer(served, 1)
    pair.advance(2.0)
    assert isinstance(call.error, TimeoutExpired)
    assert str(call.error) == "no answer from tcp://server:1 to 'slow' after 2 s"


def test_an_answer_that_holds_too_many_values_ends_its_call_undecoded() -> None:
    pair = Pair()
    call, other = pair.call("export"), pair.call("work")
    pair.advance()
    head = msgpack.packb({"message_id": b"1", "v": 3, "response_to": call.id})
    maps = b"\x91\xdd" + (2_000_000).to_bytes(4, "big") + b"\x80" * 2_000_000
    pair.client.session.receive(pair.peer, b"\x93" + head + b"\xa2OK" + maps, pair.now)
    assert isinstance(call.error, WireError)
    assert "to 'export' can't be read" in str(call.error) and "more than 1000000 values" in str(call.error)
    assert other.error is None
