"""What is recorded of calls: at both ends, of those that go well and of those that come to a bad end."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from mesh.core import recording, wire
from mesh.core.attempts import Attempts, Step
from mesh.core.call import Options
from mesh.core.client_call import Copy, RoutedCall
from mesh.core.client_session import Call, ClientSession
from mesh.core.peer import Peer
from mesh.core.record_rows import MAX_RECORDS
from mesh.core.recording import MAX_SERVICES, OTHER, Recorder
from mesh.core.route import Route
from mesh.core.sampling import Sampler
from mesh.core.server_session import ServerCall, ServerSession
from mesh.core.span import Span, span_in
from mesh.core.span_ids import SpanIds
from mesh.core.trace_counting import Counting
from mesh.core.trace_record import Kind, Record
from mesh.errors import LostRemote, RemoteError
from tests.tracing.batches import records_in

SPAN = Span("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "a" * 16)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()
RECORD = (Kind.CLIENT, "8f3a2c00" * 4, "ab" * 8, "", "orders", "place", 1.0, 1.0, 2.0, "OK", "")


def recorder(rate: float = 0.0, slow: float = 1.0) -> Recorder:
    random = Random(7)
    sampler = Sampler(random.random, SpanIds(random.getrandbits), rate)
    return Recorder(CLOCK, sampler, slow)


class Ends:
    """A client and a server of one service, and what passes between them."""

    def __init__(self, service: str, *, client: bool = True, server: bool = True) -> None:
        self.at_client, self.at_server = recorder(), recorder()
        base = service.encode().hex().ljust(24, "0")[:24].encode()
        own = self.at_client if client else None
        self.client = ClientSession(base, lambda: 0.5, service=service, recorder=own)
        self.peer = Peer(f"tcp://{service}:1")
        self.client.add(self.peer)
        self.client.peer_up(self.peer, CLOCK.now)
        theirs = self.at_server if server else None
        self.server = ServerSession(base[::-1], 5.0, name=service, recorder=theirs)

    def ask(self, method: str, span: Span | None = None, caller: ServerCall | None = None) -> Call:
        return self.client.open(method, (), None, CLOCK.now, None, None, None, span, caller)

    def begin(self, call: Call) -> ServerCall:
        self.server.receive(b"client", call.payload, CLOCK.now)
        served = self.server.ready.popleft()
        assert self.server.begin(served, CLOCK.now)
        return served

    def give(self, payload: bytes) -> None:
        self.client.receive(self.peer, payload, CLOCK.now)

    def fail(self, served: ServerCall, exc: Exception, trace: str = "Traceback\n") -> None:
        self.give(self.server.failure(served, exc, trace))


def records(of: Recorder) -> list[Record]:
    return records_in(of.kept)


def span_of(call: ServerCall) -> Span:
    """What its handler belongs to."""
    span = span_in(call.header)
    assert span is not None
    return span


def ids(record: Record) -> tuple[str, str, str]:
    return record.trace_id, record.span_id, record.parent_id


def test_both_ends_tell_of_a_call_with_ids() -> None:
    ends = Ends("orders")
    call = ends.ask("place", SPAN)
    CLOCK.now += 0.5
    ends.server.receive(b"client", call.payload, CLOCK.now)
    served = ends.server.ready.popleft()
    CLOCK.now += 0.25
    ends.server.begin(served, CLOCK.now)
    CLOCK.now += 1.0
    answer = ends.server.answer(served, 42)
    ends.give(answer)
    [near], [far] = records(ends.at_client), records(ends.at_server)
    assert near[:6] == (Kind.CLIENT, SPAN.trace_id, SPAN.span_id, SPAN.parent_id, "orders", "place")
    assert (near.ended - near.began, near.started - near.began) == (1.75, 0.0)
    assert near[9:] == ("OK", "tcp://orders:1", None)
    assert far[:6] == (Kind.SERVER, SPAN.trace_id, SPAN.span_id, "", "orders", "place")
    assert (far.started - far.began, far.ended - far.began) == (0.25, 1.25)
    assert far[9:] == ("OK", "", None)
    assert not {"trace_id", "span_id"} & set(wire.unpack(answer)[0]), "a good answer carries nothing"


def test_of_one_without_ids_only_the_time_is_kept() -> None:
    ends = Ends("orders")
    call = ends.ask("place")
    served = ends.begin(call)
    CLOCK.now += 0.5
    ends.give(ends.server.answer(served, 42))
    assert not records(ends.at_client) and not records(ends.at_server)
    for side, of in ((Kind.CLIENT, ends.at_client), (Kind.SERVER, ends.at_server)):
        times = of.times_of(side, "orders")
        assert list(times.drain()) == [("place", [0.5])] and not times.failed
    ends.ask(wire.PING)
    ends.client.fail_all(lambda _: LostRemote("closed"))
    assert not list(ends.at_client.times_of(Kind.CLIENT, "orders").drain()), "mesh's own are not counted"


def test_the_way_from_an_error_to_where_it_began_is_whole() -> None:
    web, orders = Ends("orders"), Ends("payments")
    first = web.ask("place")
    served = web.begin(first)
    second = orders.ask("charge", caller=served)
    orders.fail(orders.begin(second), KeyError("card"))
    assert isinstance(second.error, RemoteError)
    web.fail(served, second.error)
    raised, below, middle, root = (
        records(one)[0] for one in (orders.at_server, orders.at_client, web.at_server, web.at_client)
    )
    assert len({record.trace_id for record in (raised, below, middle, root)}) == 1
    assert raised.span_id == below.span_id and middle.span_id == root.span_id == below.parent_id
    assert root.parent_id == ""
    for record in (raised, below, middle, root):
        assert record.outcome == "KeyError"
        assert record.detail is not None and record.detail["late"] is True
    assert raised.detail is not None and raised.detail["traceback"] == "Traceback\n"
    assert isinstance(first.error, RemoteError) and first.error.trace_id == root.trace_id


def test_an_error_without_words_has_its_traceback_all_the_same() -> None:
    ends = Ends("orders")
    ends.fail(ends.begin(ends.ask("place", SPAN)), KeyError())
    [far] = records(ends.at_server)
    assert far.detail is not None
    assert (far.detail["message"], far.detail["traceback"]) == ("", "Traceback\n")


def test_each_call_of_an_old_client_that_tells_its_trace_alone_is_a_span_of_its_own() -> None:
    orders, stock = Ends("orders"), Ends("stock")
    for number in range(2):
        header = {"message_id": f"old {number}", "v": 3, "trace_id": "OLDER-9"}
        orders.server.receive(b"old client", wire.pack(header, "place", []), CLOCK.now)
        served = orders.server.ready.popleft()
        assert orders.server.begin(served, CLOCK.now)
        below = stock.ask("take", stock.at_client.sampler.child(span_of(served)))
        stock.give(stock.server.answer(stock.begin(below), 1))
        assert "span_id" not in wire.unpack(orders.server.answer(served, 1))[0]
    served_ids = [ids(one)[:2] for one in records(orders.at_server)]
    assert {trace_id for trace_id, _ in served_ids} == {"OLDER-9"}
    assert len(set(served_ids)) == 2 and all(len(span_id) == 16 for _, span_id in served_ids)
    assert [one.parent_id for one in records(stock.at_client)] == [span_id for _, span_id in served_ids]


def test_a_trace_of_an_old_client_that_makes_no_sense_gets_no_span() -> None:
    ends = Ends("orders")
    header = {"message_id": "old", "v": 3, "trace_id": ["no", "id"]}
    ends.server.receive(b"old client", wire.pack(header, "place", []), CLOCK.now)
    assert "span_id" not in ends.server.ready.popleft().header


def test_where_the_server_tells_of_nothing_its_client_tells_alone() -> None:
    ends = Ends("orders", server=False)
    ends.fail(ends.begin(ends.ask("place")), KeyError("tea"))
    assert not records(ends.at_client), "whose calls are not recorded there is for its server to say"
    ends = Ends("orders", client=False)
    call = ends.ask("place")
    ends.fail(ends.begin(call), KeyError("tea"))
    assert isinstance(call.error, RemoteError) and call.span is None
    assert len(records(ends.at_server)) == 1


def test_a_call_that_is_lost_is_told_of_by_its_client_and_above() -> None:
    web, orders = Ends("orders"), Ends("payments")
    served = web.begin(web.ask("place"))
    orders.ask("charge", caller=served)
    orders.client.peer_down(orders.peer, "killed", CLOCK.now)
    web.give(web.server.answer(served, "without"))
    [lost] = records(orders.at_client)
    [middle], [root] = records(web.at_server), records(web.at_client)
    assert (lost.outcome, middle.outcome, root.outcome) == ("LostRemote", "OK", "OK")
    assert lost.parent_id == middle.span_id == root.span_id
    assert lost.detail is not None and "killed" in lost.detail["message"]


def test_a_slow_call_is_recorded_for_that() -> None:
    ends = Ends("orders")
    call = ends.ask("place")
    served = ends.begin(call)
    CLOCK.now += 1.5
    ends.give(ends.server.answer(served, 42))
    [near], [far] = records(ends.at_client), records(ends.at_server)
    assert ids(near) == ids(far) and far.outcome == "OK" and call.value == 42


def test_of_many_that_fail_alike_one_a_second_is_recorded() -> None:
    ends = Ends("orders")
    for _ in range(100):
        ends.fail(ends.begin(ends.ask("place")), KeyError("tea"))
        ends.fail(ends.begin(ends.ask("place")), ValueError("tea"))
        ends.fail(ends.begin(ends.ask("find")), KeyError("tea"))
    assert len(records(ends.at_server)) == 3
    ends.at_server.next_second()
    ends.fail(ends.begin(ends.ask("place")), KeyError("tea"))
    [record] = records(ends.at_server)
    assert record.detail is not None and "traceback" not in record.detail
    assert record.detail["fingerprint"], "a traceback is told whole once"


def test_calls_that_nobody_wants_any_more() -> None:
    ends = Ends("orders")
    call = ends.ask("place", SPAN)
    served = ends.begin(call)
    out = ends.client.cancel(call, CLOCK.now)
    assert out is not None
    ends.server.receive(b"client", out[1], CLOCK.now)
    waits = ends.ask("place", SPAN)
    ends.server.receive(b"client", waits.payload, CLOCK.now)
    ends.server.lost([b"client"])
    assert [record.outcome for record in records(ends.at_client)] == ["cancelled"]
    assert [ids(one)[:2] for one in records(ends.at_server)] == [(SPAN.trace_id, SPAN.span_id)] * 2
    assert served.given_up


def test_streams() -> None:
    ends = Ends("orders")
    call = ends.ask("export", SPAN)
    served = ends.begin(call)
    CLOCK.now += 0.25
    served.item_at = CLOCK.now
    ends.give(ends.server.item(served, 0))
    served.waiter = "the handler, which waits for credit"
    CLOCK.now += 0.5
    assert call.items is not None and call.items.popleft() == 0
    credit = ends.client.grant(call)
    assert credit is not None
    ends.server.receive(b"client", credit, CLOCK.now)
    for number in (1, 2):
        ends.give(ends.server.item(served, number))
    CLOCK.now += 0.5
    ends.give(ends.server.end_stream(served))
    [near], [far] = records(ends.at_client), records(ends.at_server)
    assert near.detail == {"items": 3, "first": 0.25}
    assert far.detail == {"items": 3, "credit": 0.5}
    assert near.ended - near.began == 1.25


def test_what_is_kept_has_a_bound_and_what_is_over_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    one = recorder()
    for _ in range(MAX_RECORDS + 5):
        one.kept.add(*RECORD)
    times = one.times_of(Kind.CLIENT, "orders")
    for number in range(recording.MAX_TIMES + 3):
        times.ended("place", 0.1, failed=False)
        times.ended(str(number), 0.1, failed=True)
    assert (len(one.kept), one.kept.take_dropped(), one.kept.take_dropped()) == (MAX_RECORDS, 5, 0)
    taken = dict(times.drain())
    assert len(taken["place"]) == recording.MAX_TIMES
    assert len(taken) == len(times.failed) + 1 == recording.MAX_METHODS + 1
    for number in range(2_000):
        one.times_of(Kind.CLIENT, str(number))
    assert len(one.times) == recording.MAX_SERVICES + 1
    one.stop()
    one.kept.add(*RECORD)
    times.ended("place", 0.1, failed=False)
    assert not one.kept and not list(times.drain())


def test_a_child_of_a_fork_has_none_of_its_parent_s() -> None:
    one = recorder()
    one.kept.add(*RECORD)
    one.times_of(Kind.CLIENT, "orders").ended("place", 0.1, failed=True)
    one.forget()
    assert not one.kept and not list(one.times_of(Kind.CLIENT, "orders").drain())
    child = Counting(one, "web")
    one.times_of(Kind.CLIENT, "orders").ended("place", 0.1, failed=True)
    child.second(1.0)
    [rate] = child.take(10)
    assert (rate.sketch.count, rate.errors) == (1, 1)


def test_clients_of_any_number_of_services_are_counted() -> None:
    one = recorder()
    for number in range(MAX_SERVICES + 10):
        one.times_of(Kind.CLIENT, f"tcp://host:{number}").ended("get", 0.1, failed=False)
    assert len(one.times) == MAX_SERVICES + 1
    shared = one.times_of(Kind.CLIENT, "tcp://host:99999")
    assert shared.service == OTHER and [len(taken) for _, taken in shared.drain()] == [10]


class TestSampling:
    def sampler(self, rate: float) -> Sampler:
        random = Random(3)
        return Sampler(random.random, SpanIds(random.getrandbits), rate)

    def test_the_first_call_of_each_method_in_a_second(self) -> None:
        one = self.sampler(0.0)
        assert one.root("a") and one.root("b") and not one.root("a")
        one.next_second()
        assert one.root("a") and not one.root("a")

    @pytest.mark.parametrize("rate", [0.001, 0.01, 0.5])
    def test_and_a_share_of_the_others(self, rate: float) -> None:
        one = self.sampler(rate)
        one.root("a")
        count = sum(one.root("a") is not None for _ in range(100_000))
        assert count == pytest.approx(100_000 * rate, rel=0.3)

    @pytest.mark.parametrize("rate", [1e-17, 5e-324])
    def test_a_share_next_to_nothing(self, rate: float) -> None:
        one = self.sampler(rate)
        assert sum(one.root("a") is not None for _ in range(1_000)) == 1

    def test_all_and_none(self) -> None:
        one = self.sampler(1.0)
        assert all(one.root("a") for _ in range(100))
        one.set_rate(0.0)
        assert not any(one.root("a") for _ in range(10_000))

    def test_made_up_names_are_no_way_to_have_all_recorded(self) -> None:
        one = self.sampler(0.0)
        assert sum(one.root(str(number)) is not None for number in range(100_000)) == 1_000
        assert sum(one.keep(str(number), "KeyError") is not None for number in range(100_000)) == 1_000

    def test_ids(self) -> None:
        one = self.sampler(1.0)
        root = one.root("a")
        assert root is not None and (len(root.trace_id), len(root.span_id), root.parent_id) == (32, 16, "")
        child = one.child(Span("trace", "parent"))
        assert (child.trace_id, child.parent_id, len(child.span_id)) == ("trace", "parent", 16)


def test_an_answer_with_ids_that_make_no_sense() -> None:
    ends = Ends("orders")
    call = ends.ask("place")
    header: dict[str, Any] = {"message_id": b"x", "v": 3, "response_to": call.id}
    header |= {"trace_id": "\x1b[2J", "span_id": 7}
    ends.give(wire.pack(header, "OK", [1]))
    assert call.value == 1 and call.span is None and not records(ends.at_client)


def test_errors_of_which_each_has_another_traceback_are_told_whole_a_few_a_second() -> None:
    ends = Ends("orders")
    for number in range(100):
        ends.fail(ends.begin(ends.ask("place", SPAN)), KeyError("tea"), "x" * 65_536 + f"{number}\n")
    told = records(ends.at_server)
    whole = [one.detail["traceback"] for one in told if one.detail and "traceback" in one.detail]
    assert (len(told), len(whole)) == (100, recording.MAX_WHOLE)
    assert max(map(len, whole)) == recording.MAX_TRACEBACK
    assert all(one.detail and one.detail["fingerprint"] for one in told)


def test_an_error_is_recorded_all_the_way_or_not_at_all() -> None:
    """Each server has its bound, and the one that raises decides for those above it."""
    web, orders = Ends("orders"), Ends("payments")
    for number in range(6):
        first = web.ask("place")
        served = web.begin(first)
        second = orders.ask("charge", caller=served)
        orders.fail(orders.begin(second), KeyError("card"))
        assert isinstance(second.error, RemoteError)
        wrapped = ValueError(f"order {number}")
        wrapped.__cause__ = second.error
        web.fail(served, wrapped if number % 2 else second.error)
    told = [records(one) for one in (orders.at_server, orders.at_client, web.at_server, web.at_client)]
    assert [len(one) for one in told] == [1, 1, 1, 1]
    assert len({one[0].trace_id for one in told}) == 1


def test_an_error_that_a_client_has_found_out_goes_on_alike() -> None:
    web, orders = Ends("orders"), Ends("payments")
    for _ in range(3):
        served = web.begin(web.ask("place"))
        call = orders.ask("charge", caller=served)
        orders.client.peer_down(orders.peer, "killed", CLOCK.now)
        orders.client.peer_up(orders.peer, CLOCK.now)
        assert isinstance(call.error, LostRemote)
        web.fail(served, call.error)
    assert [len(records(one)) for one in (orders.at_client, web.at_server, web.at_client)] == [1, 1, 1]


def counted(of: Recorder) -> tuple[int, int]:
    """How many calls of orders.place were counted, and how many of them have failed."""
    times = of.times_of(Kind.CLIENT, "orders")
    return sum(len(seconds) for _, seconds in times.drain()), sum(times.failed.values())


def test_a_call_counts_once_however_often_it_is_tried() -> None:
    ends = Ends("orders")
    options = Options(timeout=None, retries=3, idempotent=True)
    attempts = Attempts(ends.client, options, None, "place", (), {}, lambda: 0.5, CLOCK.now)
    assert attempts.begin(CLOCK.now) is Step.REQUEST
    for last in (False, True):
        method, args, extra, timeout, to = attempts.request
        call = ends.client.open(method, args, extra, CLOCK.now, timeout, to, None, SPAN)
        if last:
            ends.give(ends.server.answer(ends.begin(call), 42))
        else:
            ends.client.peer_down(ends.peer, "killed", CLOCK.now)
            ends.client.peer_up(ends.peer, CLOCK.now)
        step = attempts.answered(call, CLOCK.now)
        if step is Step.PAUSE:
            step = attempts.waited(attempts.until)
    assert step is Step.DONE and attempts.outcome().value == 42
    assert counted(ends.at_client) == (1, 0)
    assert [one.outcome for one in records(ends.at_client)] == ["LostRemote", "OK"]


def test_a_first_attempt_that_others_may_follow_is_not_counted_by_itself() -> None:
    ends = Ends("orders")
    call = ends.ask("place")
    ends.client.peer_down(ends.peer, "killed", CLOCK.now)
    assert counted(ends.at_client) == (0, 0)
    attempts = Attempts(
        ends.client, Options(timeout=None), None, "place", (), {}, lambda: 0.5, CLOCK.now, call
    )
    assert attempts.begin(CLOCK.now) is Step.DONE
    with pytest.raises(LostRemote):
        attempts.outcome()
    assert counted(ends.at_client) == (1, 1)


def test_a_copy_is_part_of_the_call_that_it_is_of() -> None:
    """It ends with its connection, and tells of nothing by itself."""
    ends = Ends("orders")
    copy = Copy(b"c" * 32, "place", CLOCK.now, 5.0, CLOCK.now + 30.0)
    copy.original = RoutedCall(b"o" * 32, "place", CLOCK.now, 5.0, CLOCK.now + 30.0, Route(None, None))
    ends.client.calls[copy.id] = copy
    ends.client._bind(copy, ends.peer, CLOCK.now)
    ends.client.tell_open(Counting(ends.at_client, "web"), CLOCK.now + 2.0)
    ends.client.peer_down(ends.peer, "killed", CLOCK.now)
    assert not records(ends.at_client) and counted(ends.at_client) == (0, 0)


def test_a_call_of_which_there_was_a_copy_was_sent_twice() -> None:
    ends = Ends("orders")
    route = Route(None, None)
    call = RoutedCall(b"o" * 32, "place", CLOCK.now, 5.0, CLOCK.now + 30.0, route)
    call.span, call.was_copied, call.sent_at = SPAN, True, CLOCK.now
    ends.at_client.client_ended(ends.client._times, call, None, cancelled=False)
    [told] = records(ends.at_client)
    assert told.detail == {"attempts": 2}


class Odd(Exception):
    """One that raises when it is looked at."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]  # as the odd ones do
        raise RuntimeError("not to be looked at")


def test_whatever_is_raised_its_caller_has_an_answer() -> None:
    ends = Ends("orders")
    call = ends.ask("place")
    ends.fail(ends.begin(call), Odd("odd"))
    assert isinstance(call.error, RemoteError) and call.error.name == "Odd"
