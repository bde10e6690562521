"""One logical call over several attempts: each step, with a clock that the test owns."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import wire
from mesh.core.attempts import RENEW, Attempts, Step, pause
from mesh.core.call import Options
from mesh.core.client_session import Call, ClientSession
from mesh.core.peer import Peer
from mesh.core.route import Route
from mesh.errors import LostRemote, MeshError, Overloaded, ServiceNotFound, TimeoutExpired

START = 100.0


def half() -> float:
    return 0.5


def to(attempts: Attempts) -> Peer | None:
    """Whom the next request must go to."""
    peer = attempts.request[4]
    return peer.peer if isinstance(peer, Route) else peer


class Bench:
    """A session with peers and one call. sent: its requests, also those that ask. headers: theirs."""

    def __init__(self, *peers: str, kwargs: dict[str, Any] | None = None, **options: Any) -> None:
        self.now = START
        self.session = ClientSession(b"c" * 24, half)
        self.peers = [Peer(name) for name in peers]
        for peer in self.peers:
            self.session.add(peer)
            self.session.peer_up(peer, START)
        self.sent: list[Call] = []
        self.headers: list[dict[str, Any]] = []
        self.attempts = Attempts(
            self.session, Options(**options), {"service": "s"}, "pay", (1,), kwargs or {}, half, START
        )

    def begin(self) -> Step:
        return self.attempts.begin(self.now)

    def send(self) -> Call:
        method, args, extra, timeout, peer = self.attempts.request
        call = self.session.open(method, args, extra, self.now, timeout, peer, waiter=self)
        self.sent.append(call)
        self.headers.append(wire.unpack(call.payload)[0])
        return call

    def answer(self, name: str, args: list[Any], **header: Any) -> Step:
        """Send the request, and have its peer answer it so."""
        call = self.send()
        assert call.peer is not None
        head = {"message_id": b"a", "v": 3, "response_to": call.id, **header}
        self.session.receive(call.peer, wire.pack(head, name, args), self.now)
        return self.attempts.answered(call, self.now)

    def refuse(self, error: str, *, refused: bool = True, **header: Any) -> Step:
        return self.answer("ERR", [error, "for a reason", ""], refused=refused, **header)

    def wait(self) -> Step:
        self.now = self.attempts.until
        return self.attempts.waited(self.now)

    def error(self) -> MeshError:
        with pytest.raises(MeshError) as caught:
            self.attempts.outcome()
        return caught.value


def test_an_answer_is_the_end() -> None:
    bench = Bench("a")
    assert bench.begin() is Step.REQUEST
    assert bench.answer("OK", ["paid"]) is Step.DONE
    assert bench.attempts.outcome().value == "paid"
    assert bench.sent[0].method == "pay"


def test_a_stream_is_an_answer() -> None:
    bench = Bench("a", retries=3)
    bench.begin()
    assert bench.answer("STREAM", "first") is Step.DONE
    assert bench.attempts.outcome().items


def test_what_a_handler_raises_is_the_end_also_with_retries() -> None:
    bench = Bench("a", retries=3, idempotent=True)
    bench.begin()
    assert bench.answer("ERR", ["KeyError", "'x'", "trace"]) is Step.DONE
    assert isinstance(bench.error(), KeyError)


def test_one_that_stops_costs_no_attempt_where_another_is_there() -> None:
    bench = Bench("a", "b")
    bench.begin()
    assert bench.refuse("LostRemote") is Step.REQUEST
    assert bench.answer("OK", ["paid"]) is Step.DONE
    assert {call.peer for call in bench.sent} == set(bench.peers)


def test_a_call_goes_round_all_hubs_once() -> None:
    bench = Bench("a", "b", "c")
    bench.begin()
    assert [bench.refuse("ServiceNotFound") for _ in range(3)] == [Step.REQUEST, Step.REQUEST, Step.DONE]
    assert isinstance(bench.error(), ServiceNotFound) and bench.error().refused


def test_the_first_attempt_may_have_been_made_without() -> None:
    bench = Bench("a", "b")
    call = bench.send()
    bench.begin()
    assert call.peer is not None
    refusal = {"message_id": b"a", "v": 3, "response_to": call.id, "refused": True}
    bench.session.receive(call.peer, wire.pack(refusal, "ERR", ["LostRemote", "stops", ""]), bench.now)
    assert bench.attempts.answered(call, bench.now) is Step.REQUEST


class TestRenewal:
    def stopping(self, **options: Any) -> Bench:
        bench = Bench("a", **options)
        bench.begin()
        assert bench.refuse("LostRemote") is Step.RENEW
        return bench

    def test_where_it_is_of_no_use_the_call_ends(self) -> None:
        bench = self.stopping()
        assert bench.attempts.renewed(False, bench.now) is Step.DONE
        assert isinstance(bench.error(), LostRemote) and bench.error().refused

    def test_the_connection_is_waited_for_and_costs_no_attempt(self) -> None:
        bench = self.stopping()
        assert bench.attempts.renewed(True, bench.now) is Step.CONNECTION
        assert bench.attempts.until == START + RENEW
        bench.now += 0.1
        assert bench.attempts.waited(bench.now) is Step.CONNECTION, "it was woken for nothing"
        other = Peer("a")
        bench.session.add(other)
        bench.session.peer_up(other, bench.now)
        assert bench.attempts.waited(bench.now) is Step.REQUEST
        assert bench.answer("OK", ["paid"]) is Step.DONE
        assert bench.sent[-1].peer is other

    def test_a_connection_that_does_not_come_ends_the_call(self) -> None:
        bench = self.stopping()
        bench.attempts.renewed(True, bench.now)
        assert bench.wait() is Step.DONE
        assert isinstance(bench.error(), LostRemote)

    def test_it_is_waited_for_no_longer_than_the_caller_waits(self) -> None:
        bench = self.stopping(timeout=0.3)
        bench.attempts.renewed(True, bench.now)
        assert bench.attempts.until == START + 0.3
        assert bench.wait() is Step.DONE

    def test_once_a_call(self) -> None:
        bench = self.stopping(retries=1)
        bench.attempts.renewed(True, bench.now)
        assert bench.wait() is Step.PAUSE
        assert bench.wait() is Step.REQUEST
        assert bench.refuse("LostRemote") is Step.DONE

    def test_what_a_handler_may_have_seen_is_no_reason(self) -> None:
        bench = Bench("a")
        bench.begin()
        assert bench.refuse("LostRemote", refused=False) is Step.DONE


class TestRetries:
    def test_they_follow_pauses_that_grow(self) -> None:
        bench = Bench("a", retries=2)
        steps, pauses = [bench.begin()], []
        for _ in range(2):
            assert bench.refuse("Overloaded") is Step.PAUSE
            pauses.append(bench.attempts.until - bench.now)
            steps.append(bench.wait())
        assert steps == [Step.REQUEST] * 3
        assert pauses == pytest.approx([pause(1, half), pause(2, half)])
        assert bench.refuse("Overloaded") is Step.DONE
        assert isinstance(bench.error(), Overloaded)

    def test_each_has_what_is_left_of_the_time(self) -> None:
        bench = Bench("a", timeout=1.0, retries=2)
        bench.begin()
        bench.now += 0.25
        bench.refuse("Overloaded")
        bench.wait()
        assert bench.attempts.request[3] == pytest.approx(0.75 - pause(1, half))

    def test_none_where_the_pause_would_outlast_the_time(self) -> None:
        bench = Bench("a", timeout=1.0, retries=2)
        bench.begin()
        bench.now += 0.99
        assert bench.refuse("Overloaded") is Step.DONE

    def test_one_that_was_not_sent_is_tried_again(self) -> None:
        bench = Bench("a", retries=1)
        bench.begin()
        error = Overloaded("no room")
        error.refused = True
        assert bench.attempts.failed(error, bench.now) is Step.PAUSE

    def test_what_may_be_repeated_goes_to_two_others_without_a_word_of_retries(self) -> None:
        bench = Bench("a", "b", "c", "d", idempotent=True)
        bench.begin()
        for _ in range(2):
            assert bench.refuse("LostRemote", refused=False) is Step.PAUSE
            bench.wait()
        assert bench.refuse("LostRemote", refused=False) is Step.DONE
        assert len({call.peer for call in bench.sent}) == 3

    def test_without_a_word_of_retries_nobody_is_asked_twice(self) -> None:
        bench = Bench("a", "b", idempotent=True)
        bench.begin()
        assert bench.refuse("LostRemote", refused=False) is Step.PAUSE
        bench.wait()
        assert bench.refuse("Overloaded") is Step.DONE
        assert isinstance(bench.error(), LostRemote), "a handler may have seen it"

    def test_with_retries_one_that_was_asked_is_the_last_choice(self) -> None:
        bench = Bench("a", "b", "c", retries=3)
        bench.begin()
        for _ in range(3):
            assert bench.refuse("Overloaded") is Step.PAUSE
            bench.wait()
        assert {call.peer for call in bench.sent} == set(bench.peers)
        assert bench.answer("OK", ["paid"]) is Step.DONE

    def test_a_server_may_say_that_a_method_can_be_repeated(self) -> None:
        bench = Bench("a", "b")
        bench.begin()
        assert bench.refuse("LostRemote", refused=False) is Step.DONE
        bench = Bench("a", "b")
        bench.begin()
        bench.answer("OK", ["paid"], idempotent=True)
        call = bench.send()
        assert bench.headers[1]["idempotent"] is True, "whoever stands between may repeat it, too"
        assert call.peer is not None
        bench.session.peer_down(call.peer, "it broke", bench.now)
        bench.begin()
        assert bench.attempts.answered(call, bench.now) is Step.PAUSE

    def test_the_budget_is_the_bound(self) -> None:
        bench = Bench("a", "b", idempotent=True)
        while bench.session.budget.take(START):
            pass
        bench.begin()
        assert bench.refuse("LostRemote", refused=False) is Step.DONE
        assert bench.error().__notes__ == [
            "It was not tried again: too many calls of this service are already"
        ]

    def test_a_pause_that_a_server_asks_for_is_waited_for_where_there_is_no_other(self) -> None:
        bench = Bench("a", "b", retries=2)
        bench.begin()
        assert bench.refuse("Overloaded", pause=3_000) is Step.PAUSE
        assert bench.attempts.until - bench.now == pytest.approx(pause(1, half)), (
            "the other has asked for none"
        )
        bench.wait()
        assert bench.sent[0].peer is not None
        assert bench.sent[0].peer.paused == START + 3.0
        assert bench.refuse("Overloaded", pause=2_000) is Step.PAUSE
        assert bench.attempts.until == bench.now + 2.0
        assert isinstance(bench.attempts._error, Overloaded) and bench.attempts._error.pause == 2.0

    @pytest.mark.parametrize("said", [-1, 2**40, 1.5, "soon", None])
    def test_a_pause_that_is_no_time_is_none(self, said: Any) -> None:
        bench = Bench("a", "b")
        bench.begin()
        bench.refuse("Overloaded", pause=said)
        error = bench.attempts._error
        assert isinstance(error, Overloaded) and error.pause is None

    def test_a_value_that_can_not_travel_is_the_end(self) -> None:
        bench = Bench("a", retries=5, idempotent=True)
        bench.begin()
        assert bench.attempts.failed(TypeError("args[0]"), bench.now) is Step.DONE
        with pytest.raises(TypeError, match=r"args\[0\]"):
            bench.attempts.outcome()

    def test_nobody_is_to_think_that_no_handler_has_seen_it(self) -> None:
        bench = Bench("a", retries=2, idempotent=True)
        bench.begin()
        bench.refuse("Overloaded")
        bench.wait()
        assert bench.refuse("LostRemote", refused=False) is Step.PAUSE
        bench.wait()
        assert bench.refuse("TimeoutExpired") is Step.DONE
        error = bench.error()
        assert isinstance(error, LostRemote) and not error.refused
        assert ["TimeoutExpired" in str(note) or "in vain" in note for note in error.__notes__] == [True]

    def test_the_server_is_told_that_it_may_carry_it_out_twice(self) -> None:
        bench = Bench("a", idempotent=True)
        bench.begin()
        bench.send()
        assert bench.headers[-1]["idempotent"] is True and bench.headers[-1]["service"] == "s"


class TestKeywords:
    def test_a_peer_is_asked_once_a_connection(self) -> None:
        bench = Bench("a", kwargs={"amount": 1})
        assert bench.begin() is Step.REQUEST
        assert bench.answer("OK", ["pong"], mesh=1) is Step.REQUEST
        assert (bench.sent[0].method, bench.headers[-1]["mesh"]) == ("_zerorpc_ping", 1)
        assert bench.answer("OK", ["paid"]) is Step.DONE
        assert bench.headers[-1]["kwargs"] == {"amount": 1} and bench.headers[-1]["service"] == "s"
        assert bench.attempts.outcome().method == "pay"
        again = Attempts(bench.session, Options(), None, "pay", (), {"amount": 1}, half, bench.now)
        again.begin(bench.now)
        assert again.request[0] == "pay" and to(again) is bench.peers[0]

    def test_an_old_server_does_not_get_the_call(self) -> None:
        bench = Bench("a", kwargs={"amount": 1})
        bench.begin()
        assert bench.answer("OK", ["pong"]) is Step.DONE
        with pytest.raises(TypeError, match=r"'pay' can't take keyword .* at a is an old zerorpc"):
            bench.attempts.outcome()
        assert len(bench.sent) == 1

    def test_one_of_mesh_among_old_ones_is_found(self) -> None:
        bench = Bench("old", "new", kwargs={"amount": 1})
        bench.peers[0].priority = -1
        bench.begin()
        assert bench.answer("OK", ["pong"]) is Step.REQUEST
        assert bench.answer("OK", ["pong"], mesh=1) is Step.REQUEST
        assert bench.attempts.request[0] == "pay" and to(bench.attempts) is bench.peers[1]

    def test_a_peer_that_goes_while_it_is_asked_is_no_answer(self) -> None:
        bench = Bench("a", "b", kwargs={"amount": 1})
        bench.begin()
        call = bench.send()
        assert call.peer is not None
        bench.session.peer_down(call.peer, "it broke", bench.now)
        assert bench.attempts.answered(call, bench.now) is Step.REQUEST
        assert bench.attempts.request[0] == "_zerorpc_ping"
        assert to(bench.attempts) not in (None, call.peer)

    def test_where_only_the_question_was_sent_nobody_has_seen_the_call(self) -> None:
        bench = Bench("a", kwargs={"amount": 1}, timeout=0.5)
        bench.begin()
        call = bench.send()
        bench.now += 0.6
        bench.session.on_timer(bench.now)
        assert bench.attempts.answered(call, bench.now) is Step.DONE
        assert isinstance(bench.error(), TimeoutExpired)

    def test_without_a_connection_it_is_waited_for(self) -> None:
        bench = Bench(kwargs={"amount": 1}, timeout=0.5)
        bench.begin()
        call = bench.send()
        assert call.peer is None
        bench.now += 0.6
        bench.session.on_timer(bench.now)
        assert bench.attempts.answered(call, bench.now) is Step.DONE
        assert isinstance(bench.error(), TimeoutExpired) and bench.error().refused

    def test_asking_takes_of_the_time_of_the_call(self) -> None:
        bench = Bench("a", kwargs={"amount": 1}, timeout=1.0)
        bench.begin()
        bench.now += 0.4
        bench.answer("OK", ["pong"], mesh=1)
        assert bench.attempts.request[3] == pytest.approx(0.6)


class TestLabels:
    def bench(self, **options: Any) -> Bench:
        bench = Bench("a", "b", "c", **options)
        for peer, version in zip(bench.peers, "112", strict=True):
            peer.labels = {"version": version, "zone": "x"}
        bench.begin()
        return bench

    def test_only_who_has_them_is_called(self) -> None:
        bench = self.bench(version="2", zone="x", idempotent=True)
        assert bench.send().peer is bench.peers[2]
        assert bench.refuse("LostRemote", refused=False) is Step.DONE, "there is no other"

    def test_where_none_has_them_it_is_said_which_there_are(self) -> None:
        bench = self.bench(version="3")
        with pytest.raises(ServiceNotFound, match="no endpoint of 3 has version=3: there are version=1, ver"):
            bench.send()

    def test_a_call_waits_for_one_that_has_them(self) -> None:
        bench = self.bench(version="2")
        for peer in bench.peers:
            bench.session.peer_down(peer, "it broke", START)
        call = bench.send()
        bench.session.peer_up(bench.peers[0], START)
        assert bench.session.take_unsent(bench.peers[0], START) == []
        bench.session.peer_up(bench.peers[2], START)
        assert bench.session.take_unsent(bench.peers[2], START) == [call]
        assert call.peer is bench.peers[2] and not bench.session.unsent

    def test_keyword_arguments_too(self) -> None:
        bench = self.bench(version="2", kwargs={"amount": 1})
        assert bench.answer("OK", ["pong"], mesh=1) is Step.REQUEST
        assert bench.answer("OK", ["paid"]) is Step.DONE
        assert {call.peer for call in bench.sent} == {bench.peers[2]}
