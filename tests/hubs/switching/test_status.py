"""What a hub tells of itself, in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubs.switching import event_header, status
from hubs.switching.call_stats import WINDOW, CallStats
from hubs.switching.switch import STATUS_FOR
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD, Command
from tests.hubs.switching.test_switch import IN, OUT, Bench

ERROR = wire.pack({"message_id": b"x", "v": 3, "response_to": b"1"}, wire.ERR, ["KeyError", "", ""])


def ask(bench: Bench) -> Any:
    """The hub's answer to an event, with all that was sent before thrown away."""
    bench.sent()
    bench.now += STATUS_FOR
    bench.event(b"who", {"message_id": b"q", "service": "mmi.status"}, "whatever")
    ((to, frames),) = bench.sent()
    header, name, args = wire.unpack(frames[-1])
    assert (to, frames[0], header["response_to"], name) == (b"who", b"", b"q", wire.OK)
    (values,) = args
    return values


def test_an_idle_hub() -> None:
    assert ask(Bench()) == {
        "services": [],
        "workers": [],
        "unlisted": 0,
        "clients": 0,
        "open": 0,
        "draining": False,
        "refused": {},
        "dropped": {},
    }


def test_the_one_service_of_a_queue_hub_is_called_as_its_workers_call_it() -> None:
    bench = Bench(only="q", any_name=True)
    bench.call(b"c", b"1")
    assert [one["name"] for one in ask(bench)["services"]] == ["q"]
    bench.register(b"w", "users")
    bench.pass_time(1.0)
    values = ask(bench)
    assert [one["name"] for one in values["services"]] == ["users"]
    assert [one["service"] for one in values["workers"]] == ["users"]


def names(bench: Bench) -> list[tuple[str, bool, int]]:
    """Of the services: what they are called, whether they are known, and their workers."""
    return [(one["name"], one["known"], one["workers"]) for one in status.services(bench.switch, bench.now)]


@pytest.mark.parametrize("any_name", [True, False])
def test_the_one_service_of_a_queue_hub_is_told_of_without_a_worker_too(any_name: bool) -> None:
    """Whoever waits for the number of its workers to be 0 is to see it."""
    own = "q"
    called = "users" if any_name else own
    bench = Bench(only=own, any_name=any_name, heartbeat=1.0)
    assert names(bench) == [(own, True, 0)]
    bench.pass_time(60.0)
    assert names(bench) == [(own, True, 0)]
    bench.register(b"w", called)
    assert names(bench) == [(called, True, 1)]
    bench.switch.unreachable((OUT, (b"w",)))
    for _ in range(3):
        assert names(bench) == [(called, True, 0)]
        bench.switch.configure(bench.switch.settings)
        bench.pass_time(60.0)


def test_the_name_that_its_first_worker_gave_a_queue_hub_stays() -> None:
    bench = Bench(only="q", any_name=True, hub="one", heartbeat=1.0)
    bench.register(b"w", "users")
    bench.worker_says(b"w", mdp.disconnect())
    bench.register(b"v", "orders")
    assert names(bench) == [("users", True, 1)]
    assert bench.log_lines[-1][1].startswith("workers of orders get the same calls as those of users")
    bench.worker_says(b"v", mdp.disconnect())
    bench.pass_time(60.0)
    bench.sent()
    bench.call(b"c", b"1")
    bench.pass_time(1.1)
    ((_, frames),) = bench.sent()
    text = wire.unpack(frames[-1])[2][1]
    assert text.startswith("users: hub 'one' has no worker: start one with 'mesh-register users TARGET")


def test_a_service_of_a_majordomo_hub_is_told_of_for_ten_heartbeats_more() -> None:
    bench = Bench(heartbeat=1.0)
    bench.register(b"w", "users")
    bench.call(b"c", b"1", service="made-up")
    bench.switch.unreachable((OUT, (b"w",)))
    assert names(bench) == [("users", True, 0), ("made-up", False, 0)]
    bench.pass_time(9.0)
    assert names(bench) == [("users", True, 0)]
    bench.pass_time(2.0)
    assert names(bench) == []


def test_services_and_workers() -> None:
    bench = Bench(heartbeat=60.0)
    bench.register(
        b"w",
        capacity=2,
        version="0.1.0",
        pid=7,
        host="box",
        address="tcp://10.0.0.1:1",
        kind="sidecar",
        labels={"version": "2", "by": "me"},
    )
    bench.register(b"old", "other", speaks=1)
    bench.call(b"c", b"1")
    ((_, token, _),) = bench.requests()
    bench.pass_time(0.5)
    for number in (b"2", b"3", b"4"):
        bench.call(b"c", number)
    bench.pass_time(1.0)
    bench.answer(b"w", token, ERROR)
    values = ask(bench)
    echo, other = values["services"]
    assert echo.pop("waiting_bytes") > 20
    assert echo == {
        "name": "echo",
        "known": True,
        "workers": 1,
        "capacity": 2,
        "busy": 2,
        "waiting": 1,
        "oldest_waiting": 1.1,
        "calls": 1,
        "errors": 1,
        "refused": 0,
        "rate": 0.2,
    }
    assert (other["name"], other["workers"], other["capacity"], other["oldest_waiting"]) == ("other", 1, 1, 0)
    worker, strict = values["workers"]
    assert worker == {
        "service": "echo",
        "address": "tcp://10.0.0.1:1",
        "protocol": "0.2",
        "mesh": True,
        "version": "0.1.0",
        "host": "box",
        "pid": 7,
        "kind": "sidecar",
        "labels": {"version": "2"},
        "since": 1.6,
        "capacity": 2,
        "busy": 2,
        "calls": 1,
        "errors": 1,
        "oldest_call": 1.1,
        "last_heard": 0.1,
    }
    assert (strict["protocol"], strict["mesh"], strict["address"], strict["since"]) == (
        "0.1",
        False,
        None,
        1.6,
    )
    assert (values["clients"], values["open"]) == (1, 3)


def test_what_a_worker_says_of_itself_is_passed_on_only_if_it_is_what_it_should_be() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1, version={"x": 1}, pid=True, host="h" * 1000, address=5, kind=b"x")
    (worker,) = ask(bench)["workers"]
    assert [worker[key] for key in ("version", "pid", "address", "kind")] == [None] * 4
    assert worker["host"] == "h" * 255


@pytest.mark.parametrize("version", [1, 2])
def test_majordomo_clients_get_it_as_json(version: int) -> None:
    bench = Bench()
    bench.register(b"w")
    bench.switch.receive(IN, [b"c", *mdp.request(mdp.STATUS, [b""], STANDARD[version])], bench.now)
    ((_, frames),) = bench.sent()
    assert frames[:-1] == mdp.answer(STANDARD[version], Command.FINAL, mdp.STATUS, [])
    assert json.loads(frames[-1]) == ask(bench) | {
        "workers": [{**one, "since": 0, "last_heard": 0} for one in ask(bench)["workers"]]
    }


def test_calls_that_come_to_nothing() -> None:
    bench = Bench(queue=1, heartbeat=1.0)
    bench.call(b"c", b"1")
    bench.call(b"c", b"2")
    assert ask(bench)["refused"] == {"Overloaded": 1}
    bench.register(b"w", capacity=1)
    bench.switch.unreachable((OUT, (b"w",)))
    bench.register(b"v", capacity=0)
    bench.event(b"c", {"message_id": b"9"})
    bench.call(b"c", b"3", deadline=1_000)
    bench.pass_time(2)
    values = ask(bench)
    assert values["refused"] == {"Overloaded": 1, "ServiceNotFound": 1, "TimeoutExpired": 1}
    bench.switch.receive(IN, [b"x", b"MDPW09"], bench.now)
    assert ask(bench)["dropped"] == {"malformed": 1}


def test_a_call_that_was_lost_with_its_worker_is_an_error_and_a_cancelled_one_is_none() -> None:
    bench = Bench(heartbeat=60.0)
    bench.register(b"w1", capacity=1)
    bench.call(b"c", b"1")
    bench.switch.unreachable((OUT, (b"w1",)))
    bench.register(b"w2", capacity=1)
    bench.sent()
    bench.call(b"c", b"2")
    ((_, token, _),) = bench.requests()
    bench.event(b"c", {"message_id": b"x", "response_to": b"2", "cancel": True}, wire.BEAT, [0])
    bench.answer(b"w2", token, ERROR)
    values = ask(bench)
    assert [(one["calls"], one["errors"], one["refused"]) for one in values["services"]] == [(2, 1, 0)]
    assert [(one["calls"], one["errors"]) for one in values["workers"]] == [(1, 0)]


def test_it_is_told_again_for_a_moment_before_it_is_gathered_anew() -> None:
    bench = Bench()
    ask(bench)
    bench.register(b"w")
    bench.sent()
    bench.event(b"who", {"message_id": b"q", "service": "mmi.status"})
    ((_, frames),) = bench.sent()
    assert wire.unpack(frames[-1])[2][0]["services"] == []
    assert len(ask(bench)["services"]) == 1


def test_who_asks_without_an_id_gets_nothing() -> None:
    bench = Bench()
    bench.event(b"who", {"service": "mmi.status"})
    bench.event(b"who", {"service": "mmi.status", "message_id": 5})
    assert bench.sent() == []
    assert bench.switch.dropped["malformed"] == 2


def test_it_has_an_end_with_any_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "MAX_LISTED", 3)
    bench = Bench()
    for number in range(5):
        bench.register(b"%d" % number)
    values = ask(bench)
    assert (len(values["workers"]), values["unlisted"], values["services"][0]["workers"]) == (3, 2, 5)


# Rates


def count(stats: CallStats, now: float, calls: int) -> None:
    if now >= stats.slice_ends:
        stats.begin_slice(now)
    stats.calls += calls


def test_a_steady_rate() -> None:
    stats = CallStats()
    assert stats.rate(0.0) == 0
    for step in range(1000):
        count(stats, step / 100, 1)
    assert stats.rate(10.0) == pytest.approx(100, abs=1)
    assert stats.rate(12.5) == pytest.approx(50, abs=1)
    assert stats.rate(16.0) == 0


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 50)), max_size=60), st.floats(0, 8))
def test_it_is_never_more_than_what_was_counted_in_the_window_and_a_slice(
    steps: list[tuple[float, int]], later: float
) -> None:
    stats, now, seen = CallStats(), 100.0, list[tuple[float, int]]()
    for pause, calls in steps:
        now += pause
        count(stats, now, calls)
        seen.append((now, calls))
    now += later
    inside = sum(calls for at, calls in seen if at > now - WINDOW + 1)
    around = sum(calls for at, calls in seen if at > now - WINDOW - 1)
    assert inside - 1e-6 <= stats.rate(now) * WINDOW <= around + 1e-6


# A look at events


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (ERROR, "ERR"),
        (wire.pack({}, "OK", ["x" * 100_000]), "OK"),
        (wire.pack({"x": "y" * 10_000}, "OK", []), None),
        (b"", None),
        (b"\x93\x80", None),
        (b"\x93\x80\x01\x90", None),
        (b"\x92\x80\xa2OK", None),
        (b"\x93" * 4000, None),
        (b"\x93\xdf\xff\xff\xff\xff\xa2OK\x90", None),
    ],
)
def test_the_name_of_an_event(payload: bytes, name: str | None) -> None:
    assert event_header.name_of(payload) == name
    assert event_header.is_error(payload) == (name == "ERR")


def test_the_word_for_an_error_elsewhere_is_none() -> None:
    assert not event_header.is_error(wire.pack({"trace": "ERR"}, "OK", ["ERR"]))
    assert not event_header.is_error(b"\xa3ERR")


@given(st.binary(max_size=40))
def test_rubbish_has_no_name_and_raises_nothing(payload: bytes) -> None:
    name = event_header.name_of(payload)
    assert name is None or type(name) is str
    event_header.is_error(b"\x93\x80\xa3ERR" + payload)


def test_a_service_has_nobody_where_no_worker_takes_calls() -> None:
    bench = Bench(hub="box")
    none = "hub box has no worker of 'users'"
    assert status.unserved(bench.switch, ["users", "users"]) == {"users": none}
    bench.register(b"w", "users", capacity=1)
    bench.register(b"v", "orders", capacity=0)
    bench.event(b"c", {"message_id": b"1", "service": "users"})
    paused = "no worker of 'orders' at hub box takes calls now"
    assert status.unserved(bench.switch, ["users", "orders"]) == {"orders": paused}
    bench.worker_says(b"w", mdp.disconnect())
    assert status.unserved(bench.switch, ["users"]) == {"users": none}


def test_a_queue_has_one_service_whatever_it_is_called() -> None:
    bench = Bench(hub="q", only="q", any_name=True)
    assert set(status.unserved(bench.switch, ["users", "other"])) == {"users", "other"}
    bench.register(b"w", "users", capacity=1)
    assert status.unserved(bench.switch, ["users", "other"]) == {}
    bench = Bench(only="users")
    bench.register(b"w", "users", capacity=1)
    assert set(status.unserved(bench.switch, ["users", "other"])) == {"other"}
