"""What a session tells of its open calls, by itself and whatever its handlers do."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import nested, wire
from mesh.core.callers import FROM_PROCESS
from mesh.core.channel import NEVER, OPEN, STREAMING, State
from mesh.core.client_call import Call
from mesh.core.open_calls import MOST_ROWS, MOST_SUBCALLS, MOST_TEXT, ROW_BYTES, TOLD_FOR, Blocked, Look
from mesh.core.peer import Peer
from mesh.core.server_call import HubCall, ServerCall
from mesh.core.server_session import MAX_OUT, Limits, ServerSession
from mesh.core.wire import OPEN_CALLS

PEER = b"client"
TRACE = {"trace_id": "4b" * 16, "span_id": "f" * 16}


class Bench:
    """A session with a clock; places and blocked: what its driver would find."""

    def __init__(self, **limits: Any) -> None:
        self.session = ServerSession(b"5" * 24, 5.0, Limits(**limits), "users")
        self.now = 100.0
        self.places: dict[ServerCall, str] = {}
        self.blocked: Blocked | None = None
        told = self.session.open_calls_told
        told.look = lambda now: Look(self.places, self.blocked)
        told.process = lambda: ("box-3", 402)
        told.origin = lambda call: ("10.0.0.7", "") if type(call.peer) is bytes else ("", "tcp://hub:1")

    def call(self, number: bytes, method: str = "get", peer: Any = PEER, **header: Any) -> None:
        payload = wire.pack({"message_id": number, "v": 3, **header}, method, [])
        self.session.receive(peer, payload, self.now)

    def begin(self) -> ServerCall:
        call = self.session.ready.popleft()
        assert self.session.begin(call, self.now)
        return call

    def ask(self, peer: Any = b"who asks") -> dict[str, Any]:
        self.session.receive(peer, wire.pack({"message_id": b"q", "v": 3}, OPEN_CALLS, []), self.now)
        ((to, payload),) = self.session.take_out()
        header, name, args = wire.unpack(payload)
        assert (to, header["response_to"], name) == (peer, b"q", wire.OK)
        value: dict[str, Any] = args[0]
        return value

    def row(self) -> dict[str, Any]:
        (row,) = self.ask()["calls"]
        assert isinstance(row, dict)
        return row


@pytest.fixture
def bench() -> Bench:
    return Bench()


def subcall(method: str = "charge", *, opened: float = 100.0, peer: Peer | None = None) -> Call:
    call = Call(b"sub", method, opened, 5.0, NEVER)
    call.peer = peer
    call.state = State.QUEUED if peer is None else OPEN
    return call


class By:
    """A client's endpoint, as far as it is looked at."""

    service = "payments"


def test_a_server_that_does_nothing(bench: Bench) -> None:
    told = bench.ask()
    assert told == {
        "server": "users", "instance": "5" * 24, "host": "box-3", "pid": 402, "labels": {},
        "running": 0, "most": 0, "waiting": 0, "blocked": None, "total": 0, "calls": [],
    }  # fmt: skip


def test_who_calls_what_since_when(bench: Bench) -> None:
    bench.call(b"1", batch=1, **{FROM_PROCESS: ["web-2", 811, "uwsgi"]}, **TRACE)
    bench.now += 1.5
    bench.call(b"2", peer=b"another")
    bench.call(b"3", peer=HubCall(0, b"token"))
    bench.now += 0.25
    first, second, third = bench.ask()["calls"]
    assert [first[key] for key in ("id", "method", "age", "caller", "program", "state", "wanted")] == [
        "1", "get", 1.75, "web-2:811", "uwsgi", "waiting", True,
    ]  # fmt: skip
    assert {key: first[key] for key in TRACE} == TRACE
    assert (second["caller"], second["trace_id"], second["hub"]) == ("10.0.0.7", "", "")
    assert (third["caller"], third["hub"]) == ("", "tcp://hub:1")


@pytest.mark.parametrize("peer", [PEER, HubCall(0, b"token")])
def test_it_is_told_whatever_is_full_and_while_the_server_drains(peer: Any) -> None:
    bench = Bench(queue=1, channels=1)
    bench.session.take_load_from(lambda: (4, 4))
    bench.call(b"1")
    bench.call(b"2")
    bench.session.take_out()
    bench.session.drain()
    told = bench.ask(peer)
    assert [told[key] for key in ("running", "most", "waiting", "total")] == [4, 4, 1, 1]
    assert told["calls"][0]["waits_for"] == {"kind": "worker", "running": 4, "most": 4, "waiting": 1}
    assert not bench.session.channels.get(b"who asks")


def test_a_line_of_code(bench: Bench) -> None:
    bench.call(b"1")
    bench.places[bench.begin()] = "shop.py:12 in get"
    row = bench.row()
    assert (row["state"], row["waits_for"]) == ("running", {"kind": "line", "line": "shop.py:12 in get"})


def test_where_nobody_knows_nothing_is_inferred(bench: Bench) -> None:
    bench.call(b"1")
    bench.begin()
    assert bench.row()["waits_for"] == {"kind": "unknown"}


def test_a_client_that_does_not_read(bench: Bench) -> None:
    bench.call(b"1")
    call = bench.begin()
    bench.session.item(call, 1)
    call.item_at, call.waiter = bench.now, object()
    bench.places[call] = "shop.py:12 in export"
    bench.now += 39.8
    row = bench.row()
    assert (row["state"], row["waits_for"]) == ("streaming", {"kind": "credit", "seconds": 39.8})
    more = wire.pack({"message_id": b"m", "v": 3, "response_to": b"1"}, wire.MORE, [5])
    bench.session.receive(PEER, more, bench.now)
    bench.now += TOLD_FOR
    assert bench.row()["waits_for"]["kind"] == "line"


def test_the_calls_of_a_handler(bench: Bench) -> None:
    bench.call(b"1")
    call = bench.begin()
    hub = Peer("tcp://pay:1")
    hub.hub = True
    sent, unsent, done, read = (
        subcall(peer=hub),
        subcall("refund", opened=99.0),
        subcall(),
        subcall(peer=hub),
    )
    done.state = State.DONE
    read.begin_stream(0.0)
    read.state = STREAMING
    assert read.items is not None
    read.items.append("an item that is not taken yet")
    for one in (sent, unsent, done, read):
        nested.note(call, one, By)
    bench.now += 2.0
    waits_for = bench.row()["waits_for"]
    assert (waits_for["kind"], waits_for["more"]) == ("calls", 0)
    first, second = waits_for["calls"]
    assert [first[key] for key in ("service", "method", "state", "to", "age")] == [
        "payments", "refund", "unsent", "", 3.0,
    ]  # fmt: skip
    assert [second[key] for key in ("id", "method", "state", "to", "hub", "age")] == [
        "sub", "charge", "sent", "tcp://pay:1", True, 2.0,
    ]  # fmt: skip


def test_of_very_many_calls_of_one_handler_the_oldest(bench: Bench) -> None:
    bench.call(b"1")
    call = bench.begin()
    for number in range(MOST_SUBCALLS + 7):
        nested.note(call, subcall(f"m{number}"), By)
    waits_for = bench.row()["waits_for"]
    assert (len(waits_for["calls"]), waits_for["more"]) == (MOST_SUBCALLS, 7)


def test_a_handler_that_blocks_its_loop(bench: Bench) -> None:
    bench.session.take_load_from(lambda: (1, 4))
    bench.call(b"1", "make")
    bench.call(b"2")
    bench.now += 9.0
    bench.blocked = Blocked(bench.begin(), "thumbs.py:88 in resize", 9.0)
    told = bench.ask()
    assert told["blocked"] == {"method": "make", "at": "thumbs.py:88 in resize", "seconds": 9.0}
    first, second = (row["waits_for"] for row in told["calls"])
    assert first == {"kind": "nothing", "blocks": "thumbs.py:88 in resize", "seconds": 9.0}
    assert second == {"kind": "loop", **told["blocked"]}


def test_a_handler_that_runs_for_nobody(bench: Bench) -> None:
    bench.call(b"1")
    call = bench.begin()
    bench.session.lost([PEER])
    row = bench.row()
    assert (row["wanted"], row["id"]) == (False, "1")
    bench.session.handler_ended(call)
    bench.now += TOLD_FOR
    assert bench.ask()["total"] == 0


def test_many_are_told_up_to_a_bound_the_oldest_first() -> None:
    bench = Bench(queue=2 * MOST_ROWS)
    for number in range(MOST_ROWS + 5):
        bench.call(b"%d" % number, peer=b"p%d" % number)
        bench.now += 0.001
    told = bench.ask()
    assert (told["total"], len(told["calls"])) == (MOST_ROWS + 5, MOST_ROWS)
    assert [told["calls"][0]["id"], told["calls"][-1]["id"]] == ["0", str(MOST_ROWS - 1)]


def test_fewer_where_messages_are_small() -> None:
    bench = Bench(max_message=2 * ROW_BYTES)
    for number in range(5):
        bench.call(b"%d" % number)
    assert len(bench.ask()["calls"]) == 2


def test_it_is_looked_for_at_most_so_often(bench: Bench) -> None:
    looks = []
    bench.session.open_calls_told.look = lambda now: looks.append(now) or Look()  # type: ignore[func-returns-value]
    for _ in range(10):
        bench.ask()
    bench.now += TOLD_FOR
    bench.ask()
    assert looks == [100.0, 100.0 + TOLD_FOR]


def test_text_that_peers_send_has_an_end_and_travels(bench: Bench) -> None:
    bench.session.expose({"x" * 900: None})
    bench.call(b"\xff" * 200, "x" * 900, trace_id="\x1b[31m", batch=1, **{FROM_PROCESS: ["a\x1bb", 1, ""]})
    row = bench.row()
    assert row["caller"] == "ab:1" and row["trace_id"] == ""
    assert all(len(value) < 2 * MOST_TEXT for value in row.values() if isinstance(value, str))


def test_a_flood_of_questions_fills_no_more_than_one_of_pings(bench: Bench) -> None:
    for number in range(MAX_OUT + 5):
        payload = wire.pack({"message_id": b"%d" % number, "v": 3}, OPEN_CALLS, [])
        bench.session.receive(PEER, payload, bench.now)
    assert len(bench.session.out) == MAX_OUT and bench.session.dropped == {"not answered": 5}
