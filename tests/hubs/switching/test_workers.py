"""What a hub and its workers tell each other about themselves, in memory."""

from __future__ import annotations

from logging import INFO, WARNING
from typing import Any

import pytest

from hubs.log_limiter import MOST, LogLimiter
from hubs.switching.settings import Settings
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD, Command, FromWorker
from tests.hubs.switching.test_switch import IN, OUT, Bench, reply


def said(bench: Bench, command: Command) -> list[tuple[bytes, FromWorker]]:
    """What was sent to workers, of one kind."""
    read = [(to, mdp.read(frames)) for to, frames in bench.sent() if frames[0] != b""]
    return [(to, one) for to, one in read if isinstance(one, FromWorker) and one.command is command]


def acknowledged(bench: Bench) -> dict[str, Any] | None:
    """What the one heartbeat that was sent says."""
    ((_, message),) = said(bench, Command.HEARTBEAT)
    return message.about


def test_a_mesh_worker_is_told_what_the_hub_goes_by_before_its_first_call() -> None:
    bench = Bench(heartbeat=2.5)
    bench.call(b"c", b"1")
    bench.register(b"w", capacity=7, heartbeat=1000)
    commands = [frames[1] for _, frames in bench.sent()]
    assert commands == [b"\x05", b"\x02"]
    bench.worker_says(b"w", mdp.heartbeat(about={"capacity": 9}))
    assert acknowledged(bench) == {"heartbeat": 2500, "capacity": 9}


def test_a_strict_worker_never_gets_a_frame_that_it_does_not_know() -> None:
    bench = Bench(heartbeat=1.0)
    bench.register(b"w")
    assert bench.sent() == []
    bench.worker_says(b"w", mdp.heartbeat(about={"capacity": 9}))
    assert bench.sent() == []
    bench.switch.configure(Settings(heartbeat=1.0))
    bench.pass_time(1.0)
    assert bench.sent() == [(b"w", mdp.heartbeat())]
    bench.register(b"w")
    assert bench.sent() == [(b"w", mdp.disconnect())]
    bench.register(b"w2", "mmi.echo")
    bench.register(b"w3")
    bench.switch.farewell()
    assert bench.sent() == [(b"w2", mdp.disconnect()), (b"w3", mdp.disconnect())]


@pytest.mark.parametrize(
    ("about", "capacity"),
    [
        ({"capacity": 5}, 5),
        ({"capacity": 0}, 0),
        ({"capacity": 10**9}, 100_000),
        ({"capacity": -1}, 2),
        ({"capacity": True}, 2),
        ({"capacity": 2.5}, 2),
        ({"capacity": "3"}, 2),
        ({}, 2),
    ],
)
def test_a_capacity_that_makes_no_sense_changes_nothing(about: dict[str, Any], capacity: int) -> None:
    bench = Bench()
    bench.register(b"w", capacity=2)
    bench.sent()
    bench.worker_says(b"w", mdp.heartbeat(about=about))
    assert acknowledged(bench) == {"heartbeat": 2500, "capacity": capacity}


def test_a_worker_that_takes_no_more_finishes_what_it_has() -> None:
    bench = Bench()
    bench.register(b"w", capacity=2)
    bench.call(b"c", b"1")
    ((_, token, _),) = bench.requests()
    bench.worker_says(b"w", mdp.heartbeat(about={"capacity": 0}))
    payload = bench.call(b"c", b"2")
    assert bench.requests() == []
    bench.answer(b"w", token, reply(b"1"))
    assert bench.sent() == [(b"c", [b"", reply(b"1")])]
    bench.worker_says(b"w", mdp.heartbeat(about={"capacity": 1}))
    assert [body for _, _, body in bench.requests()] == [payload]


def test_a_worker_that_is_sick_when_it_registers_gets_nothing() -> None:
    bench = Bench()
    bench.register(b"w", capacity=0)
    bench.call(b"c", b"1")
    assert bench.requests() == []
    # RFC 8 asks no more than that a worker has registered.
    bench.switch.receive(IN, [b"m", *mdp.request("mmi.service", [b"echo"])], bench.now)
    assert bench.sent()[-1][1][-1] == b"200"


@pytest.mark.parametrize(
    ("theirs", "interval", "patience"),
    [(None, 2.0, 6.0), (500, 0.5, 6.0), (5000, 2.0, 15.0), (1, 0.05, 6.0), (float("nan"), 2.0, 6.0)],
)
def test_both_keep_to_the_shorter_interval_and_until_that_was_heard_the_longer_patience(
    theirs: float | None, interval: float, patience: float
) -> None:
    bench = Bench(heartbeat=2.0)
    bench.register(b"w", capacity=1, heartbeat=theirs)
    bench.sent()
    bench.pass_time(interval * 0.9)
    assert bench.sent() == []
    bench.pass_time(interval * 0.1 + 0.001)
    assert bench.sent() == [(b"w", mdp.heartbeat())]
    bench.now = 1000.0
    bench.pass_time(patience - 0.01)
    assert bench.switch.workers
    bench.pass_time(0.02)
    assert not bench.switch.workers
    assert "was silent for" in said(bench, Command.DISCONNECT)[-1][1].reason


def gone_after(bench: Bench, least: float) -> float:
    """Seconds until the one worker, which says no more, is lost; no less than `least`."""
    began = bench.now
    bench.pass_time(least)
    while bench.switch.workers:
        bench.pass_time(0.05)
    return round(bench.now - began, 1)


@pytest.mark.parametrize("theirs", [500, 5_000, 3_600_000])
def test_a_worker_that_has_heard_the_hubs_interval_is_lost_after_three_of_them(theirs: int) -> None:
    bench = Bench(heartbeat=2.0)
    bench.register(b"w", capacity=1, heartbeat=theirs)
    bench.worker_says(b"w", mdp.heartbeat())
    assert gone_after(bench, 5.9) == 6.0
    bench.register(b"w", capacity=1, heartbeat=theirs)
    bench.worker_says(b"w", mdp.heartbeat())
    bench.switch.configure(Settings(heartbeat=0.5))
    bench.worker_says(b"w", mdp.heartbeat(about={"capacity": 2}))
    bench.pass_time(1.4)
    assert bench.switch.workers, "nor is it lost before it has heard of another one"
    bench.worker_says(b"w", mdp.heartbeat())
    assert gone_after(bench, 1.4) == 1.5


def test_the_beats_of_many_workers_take_few_looks() -> None:
    bench = Bench(heartbeat=2.0)
    for number in range(500):
        bench.now += 0.004
        bench.register(b"%d" % number, capacity=1, heartbeat=60_000)
    bench.sent()
    end, looks = bench.now + 10.0, 0
    while bench.switch.wake_at < end:
        bench.now = bench.switch.wake_at
        bench.switch.on_timer(bench.now)
        looks += 1
    assert 5 * 500 <= len(bench.sent()) <= 5.5 * 500
    assert looks <= 150


def test_a_reload_tells_mesh_workers_the_new_interval() -> None:
    bench = Bench(heartbeat=2.0)
    bench.register(b"w", capacity=3)
    bench.sent()
    bench.switch.configure(Settings(heartbeat=0.5))
    assert acknowledged(bench) == {"heartbeat": 500, "capacity": 3}
    bench.pass_time(0.5)
    assert bench.sent() == [(b"w", mdp.heartbeat())]


@pytest.mark.parametrize(
    ("service", "stopping", "reason"),
    [
        ("other", False, "hub one serves 'echo', not 'other': register it as 'echo', or with "),
        ("mmi.x", False, "'mmi.x' is a service of the hub's own"),
        ("echo", True, "the hub is stopping"),
    ],
)
def test_a_mesh_worker_hears_why_it_is_not_taken(service: str, stopping: bool, reason: str) -> None:
    bench = Bench(only="echo", hub="one")
    if stopping:
        bench.switch.drain()
    bench.register(b"w", service, capacity=1)
    ((_, message),) = said(bench, Command.DISCONNECT)
    assert message.reason.startswith(reason)


WRONG = [
    (b"\x01", [b""], "a service name has 1 to 255 bytes, not 0"),
    (b"\x01", [b"x" * 256], "a service name has 1 to 255 bytes, not 256"),
    (b"\x01", [b"\xff"], "a service name must be text, not b'\\xff'"),
    (b"\x01", [], "READY lacks the service's name"),
    (b"\x09", [], "b'\\t' is no command of Majordomo 0."),
]


@pytest.mark.parametrize(("code", "rest", "problem"), WRONG, ids=[problem for *_, problem in WRONG])
@pytest.mark.parametrize("speaks", [1, 2])
def test_who_registers_wrongly_is_answered_and_the_log_says_once_why(
    speaks: int, code: bytes, rest: list[bytes], problem: str
) -> None:
    bench = Bench(heartbeat=2.0)
    style = STANDARD[speaks]
    frames = [*style.lead, b"MDPW0%d" % speaks, code, *rest]
    for _ in range(3):
        bench.worker_says(b"w", frames)
    assert bench.sent() == [(b"w", mdp.disconnect(style))]
    ((level, text),) = bench.log_lines
    assert level == WARNING and text.startswith(f"what is no worker yet breaks the protocol: {problem}")
    bench.pass_time(2.1)
    bench.worker_says(b"w", frames)
    assert bench.sent() == [(b"w", mdp.disconnect(style))]
    assert bench.switch.dropped["malformed"] == 4


def test_another_version_is_answered_in_one_that_is_spoken_here() -> None:
    bench = Bench()
    for number, empty in ((b"v", []), (b"w", [b""])):
        bench.worker_says(number, [*empty, b"MDPW03", b"\x01", b"echo"])
        assert bench.sent() == [(number, [*empty, *mdp.disconnect()])]
    assert "b'MDPW03' is no Majordomo protocol that is spoken here (0.1 and 0.2 are)" in str(bench.log_lines)
    bench.switch.receive(IN, [b"c", b"MDPC03", b"\x01", b"echo", b"x"], bench.now)
    assert bench.sent() == []


def test_a_worker_that_says_of_itself_that_it_is_of_mesh_reads_the_reason() -> None:
    bench = Bench()
    bench.worker_says(b"w", mdp.ready("", {"capacity": 1}))
    ((_, message),) = said(bench, Command.DISCONNECT)
    assert message.reason == "a service name has 1 to 255 bytes, not 0"


def test_clients_of_a_hub_with_two_sides_can_not_serve() -> None:
    bench = Bench(workers_at=OUT)
    bench.switch.receive(IN, [b"c", *mdp.ready("echo", {"capacity": 1})], bench.now)
    ((_, message),) = said(bench, Command.DISCONNECT)
    assert message.reason == "workers register at the hub's out side, and this is its in side"
    bench.register(b"w")
    assert len(bench.switch.workers) == 1


def test_a_queue_whose_own_name_looks_reserved_takes_workers_all_the_same() -> None:
    bench = Bench(only="mmi.queue", any_name=True)
    bench.register(b"w", "users", capacity=1)
    assert bench.switch.workers
    bench.register(b"v", "mmi.users", capacity=1)
    assert len(bench.switch.workers) == 1


def test_and_why_it_is_sent_away() -> None:
    bench = Bench()
    reasons = []
    wrong = (
        mdp.ready("echo", {"capacity": 1}),
        mdp.carried(STANDARD[2], Command.REQUEST, b"t", [b"x"]),
        [b"MDPW02", b"\x09"],
    )
    for number, frames in enumerate(wrong):
        bench.register(b"%d" % number, capacity=1)
        bench.sent()
        bench.worker_says(b"%d" % number, frames)
        reasons.append(said(bench, Command.DISCONNECT)[0][1].reason)
    assert reasons == [
        "the worker registered twice",
        "the worker broke the protocol: REQUEST is the hub's",
        "the worker broke the protocol: b'\\t' is no command of Majordomo 0.2",
    ]
    bench.register(b"w", capacity=1)
    bench.sent()
    bench.switch.farewell()
    assert said(bench, Command.DISCONNECT)[0][1].reason == "the hub is stopping"


def test_a_worker_that_registers_with_a_hub_that_stops_hears_the_same_again_and_nobody_warns() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    bench.sent()
    bench.log_lines.clear()
    bench.switch.farewell()
    bench.register(b"w", capacity=1)
    reasons = [message.reason for _, message in said(bench, Command.DISCONNECT)]
    assert reasons == ["the hub is stopping"] * 2
    assert bench.log_lines == []


def test_the_log_tells_who_comes_and_goes_and_why() -> None:
    bench = Bench(only="echo", hub="one", heartbeat=1.0)
    bench.register(b"a", capacity=1, host="box\n", pid=5)
    bench.register(b"b")
    bench.register(b"c", "other", capacity=1, host="h" * 500, pid=7)
    for capacity in (0, 0, 3):
        bench.worker_says(b"a", mdp.heartbeat(about={"capacity": capacity}))
    bench.call(b"client", b"1")
    bench.switch.unreachable((OUT, (b"a",)))
    bench.worker_says(b"b", mdp.disconnect())
    assert bench.log_lines == [
        (INFO, "a worker (box:5) of echo has registered"),
        (INFO, "a worker of echo has registered"),
        (WARNING, f"a worker ({'h' * 80}:7) of other is not taken: {REFUSED}"),
        (INFO, "the worker (box:5) of echo takes no more calls"),
        (INFO, "the worker (box:5) of echo takes calls again"),
        (WARNING, "the worker (box:5) of echo lost its connection, calls open: 1"),
        (INFO, "the worker of echo left"),
    ]


REFUSED = "hub one serves 'echo', not 'other': register it as 'echo', or with the hub of 'other'"


def test_a_worker_that_is_refused_again_and_again_is_told_ever_less_often() -> None:
    bench = Bench(only="echo", hub="one")
    told = []
    for attempt in range(300):
        # One with a name of its own each time, as a process has that is started again.
        bench.register(b"w", "other", capacity=1, host="box", pid=attempt)
        told += [(attempt, text) for _, text in bench.log_lines]
        bench.log_lines.clear()
        bench.now += 1.0
    assert [attempt for attempt, _ in told] == [0, 60, 180]
    assert told[1][1] == f"a worker (box:60) of other is not taken: {REFUSED}"
    bench.register(b"w", "third", capacity=1)
    assert len(bench.log_lines) == 1


def test_refusals_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubs.switching.workers.MAX_REFUSALS", 3)
    bench = Bench(only="echo")
    for number in range(10):
        bench.register(b"w", f"other{number}", capacity=1)
    assert len(bench.switch._workers._refusals._reminders) == 3
    assert len(bench.log_lines) == 10


def test_a_storm_of_workers_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(INFO, "hubs")
    notes = LogLimiter("one")
    for second in range(3):
        for part in range(10):
            notes.write([(INFO, "x")] * 5, 100.0 + second + part / 10)
    assert notes.owes
    notes.write([], 104.0)
    assert not notes.owes
    notes.write([(WARNING, "y")], 105.0)
    assert [record.message for record in caplog.records].count("hub one: x") == 3 * MOST
    assert [record.message for record in caplog.records if "more workers" in record.message] == [
        "hub one: 30 more workers came or went"
    ] * 3
    assert caplog.records[-1].message == "hub one: y"


def test_a_cancelled_call_keeps_its_slot_until_its_worker_has_ended_it() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    bench.call(b"c", b"1", idempotent=True)
    ((_, token, _),) = bench.requests()
    cancel = bench.event(b"c", {"message_id": b"x", "response_to": b"1", "cancel": True}, wire.BEAT, [0])
    assert bench.requests() == [(b"w", token, cancel)]
    bench.clean_of_clients()
    other = bench.call(b"c", b"2")
    assert bench.requests() == []
    bench.answer(b"w", token, b"an error")
    assert [body for _, _, body in bench.requests()] == [other]
    assert bench.switch.dropped["late"] == 1


def test_a_cancelled_call_is_not_repeated_when_its_worker_dies() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    bench.call(b"c", b"1", idempotent=True)
    bench.event(b"c", {"message_id": b"x", "response_to": b"1", "cancel": True}, wire.BEAT, [0])
    bench.sent()
    bench.switch.unreachable((OUT, (b"w",)))
    assert bench.sent() == []
    bench.clean()


def test_an_id_that_is_used_again_after_a_cancel_is_a_call_of_its_own() -> None:
    bench = Bench()
    bench.register(b"w", capacity=2)
    bench.call(b"c", b"1")
    bench.event(b"c", {"message_id": b"x", "response_to": b"1", "cancel": True}, wire.BEAT, [0])
    bench.call(b"c", b"1")
    first, _, second = (token for _, token, _ in bench.requests())
    bench.answer(b"w", first, b"for nobody")
    bench.answer(b"w", second, reply(b"1"))
    assert bench.sent() == [(b"c", [b"", reply(b"1")])]
    bench.clean()
