"""Every request that a hub hands in has an end, whatever the worker's session makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.channel import Ids
from mesh.core.health import Health
from mesh.core.hub_calls import HubCalls
from mesh.core.majordomo import STANDARD, Command, FromWorker
from mesh.core.registration import Registration
from mesh.core.server_call import Limits
from mesh.core.server_session import MAX_OUT, ServerSession
from mesh.core.sidecar import SidecarSession

HEARTBEAT = 1.0


class Desk:
    """A worker of one hub that the test plays. known: the hub is mesh's."""

    def __init__(self, session: Any, *, known: bool) -> None:
        self.session = session
        self.now = 100.0
        self.registration = Registration("echo", {"capacity": 10}, HEARTBEAT)
        self.calls = HubCalls(0, self.registration, session, Ids(b"1" * 24))
        self.registration.connected(self.now)
        if known:
            self.registration.receive(mdp.heartbeat(about={"capacity": 10}), self.now)
        self.registration.out.clear()

    def hand_in(self, token: bytes, body: bytes) -> None:
        frames = mdp.carried(STANDARD[2], Command.REQUEST, token, [body])
        for one in self.registration.receive(frames, self.now):
            self.calls.receive(*one, self.now)

    def ends(self) -> list[bytes]:
        """The tokens of the FINALs since the last time, after what the session answers at once."""
        self.session.on_timer(self.now)
        while self.session.out:
            out = self.session.take_out()
            for peer, event in out:
                self.calls.send(peer, event)
        messages = [mdp.read(frames) for frames in self.registration.out]
        self.registration.out.clear()
        finals = []
        for message in messages:
            assert isinstance(message, FromWorker)
            if message.command is Command.FINAL:
                finals.append(message.address)
        return finals


def server() -> ServerSession:
    return ServerSession(b"0" * 24, None, Limits(queue=100))


def sidecar() -> SidecarSession:
    session = SidecarSession(b"0" * 24, "tcp://server:1", Health(b"f" * 24, HEARTBEAT), 100)
    session.connection_up(session.connections[0], None, 100.0)
    (ping,) = session.take_pings()
    pong = {"message_id": b"pong", "v": 3, "response_to": wire.unpack(ping)[0]["message_id"]}
    session.answer(session.connections[0], wire.pack(pong, wire.OK, [["pong", "x"]]), 100.0)
    return session


def event(name: Any = "echo", args: Any = (1,), **header: Any) -> bytes:
    packed: bytes = msgpack.packb([{"v": 3, **header}, name, args])
    return packed


DROPPED = {
    "a stray answer": event(message_id=b"m", response_to=b"zz"),
    "a stray end": event(wire.OK, message_id=b"m", response_to=b"zz"),
    "a stray cancel": event(wire.BEAT, [0], message_id=b"m", response_to=b"zz", cancel=True),
    "an answer to no id": event(message_id=b"m", response_to=5),
    "an answer to an empty id": event(message_id=b"m", response_to=b""),
    "an answer to a long id": event(message_id=b"m", response_to=b"x" * 300),
    "a heartbeat": event(wire.BEAT, [0], message_id=b"m"),
    "credit": event(wire.MORE, [5], message_id=b"m"),
    "no id": event(),
    "an id that is a number": event(message_id=5),
    "an empty id": event(message_id=b""),
    "a long id": event(message_id=b"x" * 300),
    "no header": msgpack.packb([None, "echo", []]),
    "a name that is a number": event(5, message_id=b"m"),
    "a name that is endless": event("x" * 2_000, message_id=b"m"),
    "arguments that are a map": event("echo", {"a": 1}, message_id=b"m"),
    "no array": msgpack.packb({"a": 1}),
    "half an event": event(message_id=b"m")[:-3],
    "no MessagePack": b"\xc1\xc1",
    "nothing": b"",
}


@pytest.mark.parametrize("known", [True, False], ids=["mesh hub", "other hub"])
@pytest.mark.parametrize("session", [server, sidecar])
@pytest.mark.parametrize("body", DROPPED.values(), ids=DROPPED)
def test_what_is_no_call_has_an_end(session: Callable[[], Any], body: bytes, known: bool) -> None:
    desk = Desk(session(), known=known)
    desk.hand_in(b"t1", body)
    desk.hand_in(b"t2", body)
    ends = desk.ends()
    if not ends and isinstance(desk.session, SidecarSession):
        # It is a call to the server, whose connection breaks.
        assert len(desk.registration.tokens) == 2
        desk.session.connection_down(desk.session.connections[0], "the connection broke")
        ends = desk.ends()
    assert sorted(ends) == [b"t1", b"t2"]
    assert not desk.session.channels and not desk.registration.tokens


def test_what_comes_late_is_no_call_of_its_own() -> None:
    """The hub of mesh takes the FINAL of a token that it has forgotten for late, too."""
    desk = Desk(server(), known=True)
    desk.hand_in(b"t", event(message_id=b"m"))
    call = desk.session.ready.popleft()
    assert desk.session.begin(call, desk.now)
    desk.calls.send(call.peer, desk.session.answer(call, 1))
    assert desk.ends() == [b"t"]
    desk.hand_in(b"t", event(wire.MORE, [5], message_id=b"n", response_to=b"m"))
    assert desk.ends() == [b"t"]
    assert not desk.session.channels and not desk.registration.tokens


def test_what_follows_on_an_open_call_is_none_of_its_own() -> None:
    desk = Desk(server(), known=True)
    desk.hand_in(b"t", event(message_id=b"m"))
    for strange in DROPPED.values():
        desk.hand_in(b"t", strange)
    desk.hand_in(b"t", event(message_id=b"m"))
    assert desk.ends() == []
    desk.hand_in(b"t", event(wire.BEAT, [0], message_id=b"n", response_to=b"m", cancel=True))
    assert desk.ends() == [b"t"]
    assert not desk.session.channels and not desk.registration.tokens


@pytest.mark.parametrize("ids", [(b"1", b"2", b"3"), (b"1", b"1", b"1")], ids=["three ids", "one id"])
def test_several_requests_that_a_hub_names_alike_have_an_end_each(ids: tuple[bytes, ...]) -> None:
    """A broker of another make gives the client's address, which all calls of that client share."""
    desk = Desk(server(), known=False)
    for number in ids:
        desk.hand_in(b"client", event(message_id=number))
    desk.hand_in(b"client", DROPPED["a stray answer"])
    assert desk.ends() == [b"client"]
    desk.hand_in(b"client", event(wire.MORE, [5], message_id=b"n", response_to=ids[-1]))
    last = desk.session.ready[-1]
    assert desk.ends() == [] and last.credit > 5
    while desk.session.ready:
        call = desk.session.ready.popleft()
        assert desk.session.begin(call, desk.now)
        desk.calls.send(call.peer, desk.session.answer(call, 1))
        assert desk.ends() == [b"client"]
    desk.hand_in(b"client", event(wire.MORE, [5], message_id=b"n", response_to=ids[-1]))
    assert desk.ends() == [b"client"]
    assert not desk.session.channels and not desk.registration.tokens


def test_a_call_with_a_long_header_of_another_hub_takes_no_other_calls_along() -> None:
    desk = Desk(server(), known=False)
    for number in (b"1", b"2"):
        desk.hand_in(b"client", event(message_id=number, kwargs={"text": "x" * 200_000}))
    assert [call.id for call in desk.session.ready] == [b"1", b"2"]


def test_what_is_known_of_calls_of_other_hubs_does_not_grow() -> None:
    desk = Desk(server(), known=False)
    for number in range(1_000):
        desk.hand_in(b"client", event(message_id=b"%d" % number))
        call = desk.session.ready.popleft()
        assert desk.session.begin(call, desk.now)
        desk.calls.send(call.peer, desk.session.answer(call, 1))
    assert len(desk.ends()) == 1_000
    assert len(desk.calls._by_channel) <= 2


def test_a_worker_with_too_much_to_answer_refuses() -> None:
    desk = Desk(server(), known=True)
    strange = event("echo", {"a": 1}, message_id=b"m")
    for number in range(MAX_OUT + 5):
        desk.hand_in(b"%d" % number, strange)
    desk.hand_in(b"last", b"\xc1")
    over = [mdp.read(frames) for frames in desk.registration.out]
    assert len(desk.session.out) == MAX_OUT and len(over) == 6
    assert isinstance(over[0], FromWorker) and isinstance(over[-1], FromWorker)
    header, name, args = wire.unpack(over[0].body[0])
    assert (header["response_to"], header["refused"], name, args[0]) == (b"m", True, wire.ERR, "LostRemote")
    assert over[-1].body[0] == b"Overloaded"
    assert len(desk.ends()) == MAX_OUT + 6


def test_a_call_that_has_waited_too_long_has_an_end_however_much_there_is_to_answer() -> None:
    desk = Desk(server(), known=True)
    desk.hand_in(b"t", event(message_id=b"m", deadline=10))
    for number in range(MAX_OUT):
        desk.hand_in(b"%d" % number, event("echo", {"a": 1}, message_id=b"m"))
    assert not desk.session.begin(desk.session.ready.popleft(), desk.now + 1.0)
    assert b"t" in desk.ends()
    assert not desk.registration.tokens


def test_the_end_of_a_registration_is_that_of_its_calls() -> None:
    desk = Desk(server(), known=True)
    desk.hand_in(b"t", event(message_id=b"m"))
    desk.session.receive(b"direct", event(message_id=b"m"), desk.now)
    desk.registration.broke("the connection broke", desk.now)
    desk.calls.lost()
    assert [call.peer for call in desk.session.open_calls()] == [b"direct"]
    assert desk.ends() == []


def test_credit_that_comes_when_a_stream_has_just_ended_spoils_nothing() -> None:
    """The stream's last event waits for others of this turn; the hub would take what comes first for it."""
    desk = Desk(server(), known=True)
    desk.registration.receive(mdp.heartbeat(about={"capacity": 10, "batch": 10_000}), desk.now)
    desk.registration.out.clear()
    desk.hand_in(b"t1", event(message_id=b"m"))
    call = desk.session.ready.popleft()
    assert desk.session.begin(call, desk.now)
    desk.calls.send(call.peer, desk.session.item(call, 1))
    desk.calls.send(call.peer, desk.session.end_stream(call))
    desk.hand_in(b"t1", event(wire.MORE, [5], message_id=b"n", response_to=b"m"))
    batch, *_ = desk.registration.out
    assert [code for code, _, _ in mdp.read_batch(batch[0])] == [mdp.PARTIAL, mdp.FINAL]
