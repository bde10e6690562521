"""What a hub decides, in memory, with a clock that the test owns."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubs.switching import status
from hubs.switching.model import Address
from hubs.switching.settings import Settings
from hubs.switching.switch import Switch
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD, Command, FromWorker
from mesh.core.progress import Progress

IN, OUT = 0, 1
BASE = b"0123456789abcdef01234567"


def reply(number: bytes, value: object = "x", name: str = wire.OK) -> bytes:
    """A worker's answer to the call of that id."""
    return wire.pack({"message_id": b"of the worker", "v": 3, "response_to": number}, name, [value])


class Bench:
    """A switch, what it has sent and logged, and what its driver knows.

    began: when the hub was started. is_crowded: clients have to read. progress: what moves on the connections
    of peers.
    """

    def __init__(self, *, began: float = -math.inf, **settings: Any) -> None:
        self.switch = Switch(Settings(**settings), BASE, self, began)
        self.now = 1000.0
        self.is_crowded = False
        self.out_endpoint = ""
        self.progress: dict[Address, Progress] = {}
        self._log_lines: list[tuple[int, str]] = []

    # What the switch asks of its driver

    def crowded(self, client: Address) -> bool:
        return self.is_crowded

    def progress_of(self, peer: Address) -> Progress | None:
        return self.progress.get(peer)

    def worker_endpoint(self) -> str:
        return self.out_endpoint

    def host_of(self, peer: Address) -> str:
        return ""

    def describe(self) -> dict[str, Any]:
        return {"type": "queue"}

    def status(self) -> dict[str, Any]:
        return status.full(self.switch, self.now)

    # What it does

    @property
    def log_lines(self) -> list[tuple[int, str]]:
        """The lines of the log since this was cleared."""
        self._log_lines += self.switch.take_log_lines()
        return self._log_lines

    def sent(self) -> list[tuple[bytes, list[bytes]]]:
        return [(envelope[0], frames) for (_, envelope), frames in self.switch.take_out()]

    def register(
        self, name: bytes, service: str = "echo", capacity: int | None = None, speaks: int = 2, **more: Any
    ) -> None:
        about = None if capacity is None and not more else {"capacity": capacity, **more}
        self.worker_says(name, mdp.ready(service, about, STANDARD[speaks]))

    def worker_says(self, name: bytes, frames: list[bytes]) -> None:
        self.switch.receive(OUT, [name, *frames], self.now)

    def event(self, client: bytes, header: dict[str, Any], name: str = "echo", args: Any = ()) -> bytes:
        payload = wire.pack({"v": 3, **header}, name, list(args))
        self.switch.receive(IN, [client, b"", payload], self.now)
        return payload

    def call(self, client: bytes, number: bytes, **header: Any) -> bytes:
        return self.event(client, {"message_id": number, "service": "echo", **header})

    def requests(self) -> list[tuple[bytes, bytes, bytes]]:
        """(worker, token, body) of the requests sent."""
        seen = []
        for worker, frames in self.sent():
            message = mdp.read(frames)
            if isinstance(message, FromWorker) and message.command is Command.REQUEST:
                seen.append((worker, message.address, message.body[0]))
        return seen

    def answer(self, worker: bytes, token: bytes, body: bytes, command: Command = Command.FINAL) -> None:
        self.worker_says(worker, mdp.carried(STANDARD[2], command, token, [body]))

    def pass_time(self, seconds: float) -> None:
        """Each timer in its time."""
        end = self.now + seconds
        while self.switch.wake_at <= end:
            self.now = max(self.now, self.switch.wake_at)
            self.switch.on_timer(self.now)
        self.stand_still(end - self.now)

    def stand_still(self, seconds: float) -> None:
        """Let that time pass, and only then look at what is due."""
        self.now += seconds
        self.switch.on_timer(self.now)

    def error(self) -> tuple[bytes, str, bool]:
        """(client, name, refused) of the one error sent."""
        ((client, frames),) = self.sent()
        header, name, args = wire.unpack(frames[-1])
        assert name == wire.ERR
        return client, args[0], header["refused"]

    def clean_of_clients(self) -> None:
        """Nothing is kept for a client."""
        assert not self.switch.calls
        assert not self.switch.clients

    def clean(self) -> None:
        """No call is left anywhere."""
        switch = self.switch
        self.clean_of_clients()
        assert not any(service.scheduler.waiting.count for service in switch.services.values())
        assert not any(worker.calls for worker in switch.workers.values())


def test_a_call_goes_to_a_worker_and_its_answer_back() -> None:
    bench = Bench()
    bench.register(b"w")
    payload = bench.call(b"c", b"1")
    ((worker, token, body),) = bench.requests()
    assert (worker, body) == (b"w", payload)
    bench.answer(b"w", token, reply(b"1"))
    assert bench.sent() == [(b"c", [b"", reply(b"1")])]
    bench.clean()


def test_all_of_a_call_stays_with_its_worker() -> None:
    bench = Bench()
    for worker in (b"w1", b"w2", b"w3"):
        bench.register(worker, capacity=10)
    bench.call(b"c", b"1")
    bench.call(b"c", b"2")
    first, second = bench.requests()
    assert first[0] != second[0]
    for _ in range(3):
        more = bench.event(b"c", {"message_id": b"x", "response_to": b"1"}, "_zpc_more", [100])
        assert bench.requests() == [(first[0], first[1], more)]
    bench.answer(first[0], first[1], reply(b"1", "item"), Command.PARTIAL)
    assert bench.sent() == [(b"c", [b"", reply(b"1", "item")])]
    bench.answer(first[0], first[1], reply(b"1", "done"))
    bench.event(b"c", {"message_id": b"y", "response_to": b"1"}, "_zpc_more", [100])
    assert bench.requests() == []


def test_the_same_id_of_two_clients_is_two_calls() -> None:
    bench = Bench()
    bench.register(b"w", capacity=2)
    bench.call(b"c1", b"1")
    bench.call(b"c2", b"1")
    one, two = bench.requests()
    bench.answer(b"w", two[1], reply(b"1", 2))
    bench.answer(b"w", one[1], reply(b"1", 1))
    assert bench.sent() == [(b"c2", [b"", reply(b"1", 2)]), (b"c1", [b"", reply(b"1", 1)])]


def test_a_token_of_another_worker_or_of_before_a_restart_fits_nobody() -> None:
    bench = Bench()
    bench.register(b"w1")
    bench.register(b"w2")
    bench.call(b"c", b"1")
    ((worker, token, _),) = bench.requests()
    other = b"w2" if worker == b"w1" else b"w1"
    bench.answer(other, token, b"forged")
    bench.answer(worker, b"00000000-before-the-restart", b"late")
    assert bench.sent() == []
    assert bench.switch.dropped["late"] == 2
    assert len(bench.switch.calls) == 1


def test_calls_wait_for_a_worker_and_go_in_turn() -> None:
    bench = Bench()
    for number in (b"1", b"2", b"3"):
        bench.call(b"flood", number)
    mine = bench.call(b"c", b"1")
    bench.register(b"w", capacity=2)
    seen = bench.requests()
    assert len(seen) == 2
    assert seen[1][2] == mine
    bench.answer(b"w", seen[0][1], reply(b"1"))
    assert len(bench.requests()) == 1


def test_what_came_while_a_call_waited_follows_it() -> None:
    bench = Bench()
    payload = bench.call(b"c", b"1")
    more = bench.event(b"c", {"message_id": b"x", "response_to": b"1"}, "_zpc_more", [5])
    bench.register(b"w", capacity=1)
    assert [body for _, _, body in bench.requests()] == [payload, more]


def test_a_call_that_came_before_the_first_worker_has_its_own_deadline_again() -> None:
    bench = Bench(heartbeat=0.5)
    for number in (b"1", b"2"):
        bench.call(b"c", number, deadline=20_000)
    bench.pass_time(0.4)
    bench.register(b"w", capacity=1)
    assert len(bench.requests()) == 1
    for _ in range(45):
        bench.pass_time(0.4)
        bench.worker_says(b"w", mdp.heartbeat())
    assert b"TimeoutExpired" not in b"".join(frames[-1] for _, frames in bench.sent())
    for _ in range(5):
        bench.pass_time(0.4)
        bench.worker_says(b"w", mdp.heartbeat())
    assert b"TimeoutExpired" in b"".join(frames[-1] for _, frames in bench.sent())


def test_a_call_whose_service_has_lost_its_workers_says_so_at_its_deadline() -> None:
    """So that its client tries another hub."""
    bench = Bench(heartbeat=0.5)
    bench.register(b"w", capacity=1)
    bench.switch.unreachable((OUT, (b"w",)))
    bench.call(b"c", b"1", deadline=3_000)
    bench.pass_time(3.0)
    _, frames = bench.sent()[-1]
    header, name, args = wire.unpack(frames[-1])
    assert (name, args[0], header["refused"]) == (wire.ERR, "ServiceNotFound", True)


def test_a_call_that_a_worker_had_never_ends_as_one_that_nobody_has_seen() -> None:
    bench = Bench(heartbeat=0.5)
    bench.register(b"w", capacity=1)
    bench.call(b"c", b"1", deadline=3_000, idempotent=True)
    assert len(bench.requests()) == 1
    bench.switch.unreachable((OUT, (b"w",)))
    bench.pass_time(3.0)
    _, frames = bench.sent()[-1]
    header, name, args = wire.unpack(frames[-1])
    assert (name, args[0], header["refused"]) == (wire.ERR, "LostRemote", False)
    assert "a worker that had it is gone, and then" in args[1]
    bench.clean()


def test_what_follows_on_a_call_is_bounded() -> None:
    """It is kept while the call waits, beside what the queue counts."""
    bench = Bench()
    bench.call(b"c", b"1")
    for size in (4_000, 5_000):
        bench.event(b"c", {"message_id": b"m", "response_to": b"1"}, wire.MORE, [b"x" * size])
    (call,) = bench.switch.calls
    assert [len(one) > 4_000 for one in call.early] == [True]
    assert sum(map(len, call.early)) < 4_200
    assert bench.switch.dropped == {"malformed": 1}


def test_a_header_of_any_size_is_read() -> None:
    bench = Bench()
    payload = bench.call(b"c", b"1", kwargs={"text": "x" * 100_000})
    bench.register(b"w", capacity=1)
    assert [body for _, _, body in bench.requests()] == [payload]


def test_an_endless_message_id_is_nobodys() -> None:
    bench = Bench()
    bench.call(b"c", b"1" * 257)
    assert bench.switch.dropped["malformed"] == 1
    bench.clean()


def test_a_cancel_takes_a_waiting_call_out() -> None:
    bench = Bench()
    bench.call(b"c", b"1")
    bench.event(b"c", {"message_id": b"x", "response_to": b"1", "cancel": True}, "_zpc_hb", [0])
    bench.clean()


def test_workers_have_time_to_come_back_after_a_start() -> None:
    """However short the heartbeats are: libzmq's pauses between two attempts are not."""
    bench = Bench(heartbeat=0.2, began=1000.0)
    bench.call(b"c", b"1")
    bench.pass_time(1.9)
    assert wire.ERR not in [wire.unpack(frames[-1])[1] for _, frames in bench.sent()]
    bench.pass_time(0.15)
    assert bench.error() == (b"c", "ServiceNotFound", True)
    bench.call(b"c", b"2")
    bench.pass_time(0.25)
    assert bench.error() == (b"c", "ServiceNotFound", True)


def test_an_unknown_service_is_told_soon_and_a_busy_one_at_the_deadline() -> None:
    bench = Bench(heartbeat=2.5)
    bench.call(b"c", b"1", deadline=60_000)
    bench.pass_time(2.4)
    assert bench.sent() == []
    bench.pass_time(0.2)
    assert bench.error() == (b"c", "ServiceNotFound", True)
    assert not len(bench.switch.services)

    bench.register(b"w")
    bench.call(b"c", b"2")
    bench.call(b"c", b"3", deadline=4_000)
    bench.requests()
    for _ in range(8):
        bench.pass_time(0.5)
        bench.worker_says(b"w", mdp.heartbeat())
    errors = [frames for to, frames in bench.sent() if to == b"c" and wire.unpack(frames[-1])[1] == wire.ERR]
    assert [wire.unpack(frames[-1])[2][0] for frames in errors] == ["TimeoutExpired"]


def test_a_full_queue_is_said_at_once() -> None:
    bench = Bench(queue=2)
    for number in (b"1", b"2"):
        bench.call(b"c", number)
    assert bench.sent() == []
    bench.call(b"c", b"3")
    assert bench.error() == (b"c", "Overloaded", True)


def test_who_has_most_of_a_full_queue_makes_room() -> None:
    bench = Bench(queue=4)
    for number in (b"1", b"2", b"3", b"4"):
        bench.call(b"flood", number)
    bench.call(b"c", b"1")
    assert bench.error() == (b"flood", "Overloaded", True)
    bench.call(b"flood", b"5")
    assert bench.error() == (b"flood", "Overloaded", True)
    bench.call(b"c", b"2")
    assert bench.error() == (b"flood", "Overloaded", True)
    bench.call(b"c", b"3")
    assert bench.error() == (b"c", "Overloaded", True)
    bench.register(b"w", capacity=9)
    assert len(bench.requests()) == 4


def test_the_bytes_that_wait_are_bounded_too() -> None:
    bench = Bench(queue_bytes=5_000)
    for number in (b"1", b"2"):
        bench.event(b"flood", {"message_id": number, "service": "echo"}, args=[b"x" * 2_000])
    bench.event(b"c", {"message_id": b"1", "service": "echo"}, args=[b"x" * 1_500])
    assert bench.error() == (b"flood", "Overloaded", True)
    bench.event(b"c", {"message_id": b"2", "service": "echo"}, args=[b"x" * 4_000])
    assert bench.error() == (b"c", "Overloaded", True)


def test_a_repeatable_call_goes_to_a_worker_that_is_idle_already() -> None:
    bench = Bench()
    bench.register(b"w1", capacity=2)
    bench.register(b"w2", capacity=1)
    call = bench.call(b"c", b"1", idempotent=True)
    more = bench.event(b"c", {"message_id": b"x", "response_to": b"1"}, "_zpc_more", [5])
    assert [worker for worker, _, _ in bench.requests()] == [b"w1", b"w1"]
    bench.switch.unreachable((OUT, (b"w1",)))
    assert [(worker, body) for worker, _, body in bench.requests()] == [(b"w2", call), (b"w2", more)]


def test_a_call_that_workers_die_of_is_not_repeated_for_ever() -> None:
    bench = Bench()
    bench.call(b"c", b"1", idempotent=True)
    for number in range(3):
        bench.register(b"w%d" % number)
        assert len(bench.requests()) == 1
        bench.switch.unreachable((OUT, (b"w%d" % number,)))
    assert bench.error() == (b"c", "LostRemote", False)
    bench.clean()


def test_a_heartbeat_of_the_worker_is_no_answer() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    call = bench.call(b"c", b"1", idempotent=True)
    ((_, token, _),) = bench.requests()
    bench.answer(b"w", token, wire.pack({"response_to": b"1"}, "_zpc_hb", [0]), Command.PARTIAL)
    bench.sent()
    bench.switch.unreachable((OUT, (b"w",)))
    bench.register(b"w2")
    assert [body for _, _, body in bench.requests()] == [call]


def test_a_strict_worker_sees_requests_only_and_its_client_lives_on() -> None:
    bench = Bench(heartbeat=1.0)
    bench.register(b"w")
    bench.call(b"c", b"1")
    assert len(bench.requests()) == 1
    bench.event(b"c", {"message_id": b"x", "response_to": b"1"}, "_zpc_hb", [0])
    assert bench.requests() == []
    bench.pass_time(1.0)
    beats = [wire.unpack(frames[-1])[1] for to, frames in bench.sent() if to == b"c"]
    assert beats == ["_zpc_hb"]


def test_a_queue_of_any_name_is_one_service() -> None:
    bench = Bench(only="q", any_name=True)
    bench.register(b"w", "users", capacity=2)
    bench.call(b"c", b"1", service="other")
    bench.switch.receive(IN, [b"d", *mdp.request("third", [b"a"])], bench.now)
    assert len(bench.requests()) == 2
    assert set(bench.switch.services.by_name) == {"q"}


def test_mmi_service_takes_the_name_from_the_first_frame() -> None:
    bench = Bench()
    bench.register(b"w")
    for body, code in (([b"echo", b"extra"], b"200"), ([b"extra", b"echo"], b"404")):
        bench.switch.receive(IN, [b"c", *mdp.request("mmi.service", body)], bench.now)
        assert bench.sent()[-1][1][-1] == code


def test_names_that_are_made_up_leave_nothing_behind() -> None:
    bench = Bench(heartbeat=1.0)
    for number in range(3_000):
        bench.call(b"c", b"%d" % number, service=f"s{number}")
    assert len(bench.switch.services) == 1_000
    for number in range(500):
        bench.register(b"w", f"w{number}")
        bench.worker_says(b"w", mdp.disconnect())
    for _ in range(12):
        bench.pass_time(1.0)
    assert not len(bench.switch.services)
    assert bench.switch.wake_at == float("inf")
    bench.clean()


def test_who_waits_for_something_is_probed() -> None:
    bench = Bench()
    bench.register(b"w")
    bench.call(b"c", b"1")
    bench.sent()
    bench.switch.probe(OUT)
    assert bench.sent() == [(b"w", mdp.heartbeat())]
    bench.switch.probe(IN)
    ((client, frames),) = bench.sent()
    header, name, _ = wire.unpack(frames[-1])
    assert (client, header["response_to"], name) == (b"c", b"1", "_zpc_hb")


def test_what_is_open_at_the_end_is_told_so() -> None:
    bench = Bench()
    bench.register(b"w")
    bench.call(b"c", b"1")
    bench.call(b"c", b"2")
    bench.sent()
    bench.switch.farewell()
    *errors, goodbye = bench.sent()
    refused = {wire.unpack(frames[-1])[0]["refused"] for _, frames in errors}
    assert goodbye == (b"w", mdp.disconnect())
    assert refused == {True, False}
    assert not bench.switch.calls


def test_who_does_not_read_is_given_up_and_the_log_says_so() -> None:
    bench = Bench()
    bench.register(b"w", host="vm", pid=7)
    bench.call(b"c", b"1")
    bench.call(b"c", b"2")
    bench.call(b"d", b"1")
    bench.log_lines.clear()
    bench.switch.not_read((IN, (b"c",)), 10_001)
    assert len(bench.switch.calls) == 1
    bench.switch.not_read((OUT, (b"w",)), 5)
    assert not bench.switch.workers
    assert bench.switch.dropped["not read"] == 10_006
    assert [text for _, text in bench.log_lines] == [
        "a client did not read: 10001 messages are thrown away, calls given up: 2",
        "the worker (vm:7) of echo did not read: 5 messages are thrown away, calls open: 1",
    ]


def test_other_settings_count_for_what_is_there() -> None:
    bench = Bench(queue=1)
    bench.call(b"c", b"1")
    bench.switch.configure(Settings(queue=2))
    bench.call(b"c", b"2")
    assert bench.sent() == []
    bench.call(b"c", b"3")
    assert bench.error() == (b"c", "Overloaded", True)


def test_a_client_of_zerorpc_that_waits_is_kept_alive() -> None:
    bench = Bench(heartbeat=2.0)
    bench.register(b"w", capacity=1)
    bench.call(b"c", b"1")
    bench.call(b"c", b"2")
    bench.sent()
    bench.worker_says(b"w", mdp.heartbeat())
    bench.pass_time(2.0)
    beats = [frames for to, frames in bench.sent() if to == b"c"]
    assert [wire.unpack(frames[-1])[0]["response_to"] for frames in beats] == [b"2"]


@pytest.mark.parametrize("how", ["silent", "unreachable", "disconnect", "ready twice"])
def test_the_calls_of_a_lost_worker_end_unless_they_may_be_repeated(how: str) -> None:
    bench = Bench(heartbeat=2.0)
    bench.register(b"w", capacity=2)
    bench.call(b"c", b"1")
    again = bench.call(b"c", b"2", idempotent=True)
    bench.requests()
    if how == "silent":
        bench.pass_time(6.1)
    elif how == "unreachable":
        bench.switch.unreachable((OUT, (b"w",)))
    elif how == "disconnect":
        bench.worker_says(b"w", mdp.disconnect())
    else:
        bench.register(b"w")
    errors = [wire.unpack(frames[-1]) for to, frames in bench.sent() if to == b"c"]
    assert [(args[0], header["refused"]) for header, name, args in errors if name == wire.ERR] == [
        ("LostRemote", False)
    ]
    bench.register(b"w2")
    assert [body for _, _, body in bench.requests()] == [again]


def test_the_time_for_which_the_hub_stood_still_is_not_its_workers_silence() -> None:
    bench = Bench(heartbeat=2.0)
    bench.register(b"w", capacity=2)
    bench.pass_time(3.0)
    bench.stand_still(600.0)
    assert bench.switch.workers
    bench.pass_time(1.9)
    assert bench.switch.workers
    bench.pass_time(0.2)
    assert not bench.switch.workers, "six seconds in which it ran, and the worker said nothing"


def test_a_repeatable_call_that_was_answered_in_part_is_not_repeated() -> None:
    bench = Bench()
    bench.register(b"w")
    bench.call(b"c", b"1", idempotent=True)
    ((_, token, _),) = bench.requests()
    bench.answer(b"w", token, reply(b"1"), Command.PARTIAL)
    bench.sent()
    bench.switch.unreachable((OUT, (b"w",)))
    assert bench.error() == (b"c", "LostRemote", False)
    bench.clean()


def test_a_client_that_has_gone_takes_its_calls_along() -> None:
    bench = Bench()
    bench.register(b"w", capacity=1)
    bench.call(b"c", b"1")
    bench.call(b"c", b"2")
    bench.call(b"d", b"1")
    ((_, token, _),) = bench.requests()
    bench.switch.unreachable((IN, (b"c",)))
    ((_, cancelled, cancel),) = bench.requests()
    header, name, _ = wire.unpack(cancel)
    assert (cancelled, name, header["cancel"], header["response_to"]) == (token, "_zpc_hb", True, b"1")
    bench.answer(b"w", token, b"for nobody")
    ((_, token, _),) = bench.requests()
    bench.answer(b"w", token, reply(b"1"))
    assert bench.sent() == [(b"d", [b"", reply(b"1")])]
    bench.clean()


def test_workers_are_told_to_register_again_by_whom_does_not_know_them() -> None:
    bench = Bench(heartbeat=1.0)
    late = mdp.carried(STANDARD[2], Command.FINAL, b"t", [b"x"])
    for frames in (mdp.heartbeat(), late):
        bench.worker_says(b"w", frames)
        assert bench.sent() == [(b"w", mdp.disconnect())]
        # Once, for all that it had sent before it heard of it.
        bench.worker_says(b"w", late)
        assert bench.sent() == []
        bench.pass_time(1.0)
    bench.worker_says(b"w", mdp.disconnect())
    assert bench.sent() == []
    assert bench.switch.wake_at == float("inf")


def test_workers_get_heartbeats_in_their_own_style() -> None:
    bench = Bench(heartbeat=1.0)
    bench.register(b"w1", speaks=1)
    bench.register(b"w2", speaks=2)
    bench.pass_time(1.0)
    assert dict(bench.sent()) == {b"w1": mdp.heartbeat(STANDARD[1]), b"w2": mdp.heartbeat(STANDARD[2])}


@pytest.mark.parametrize("service", ["mmi.service", "mmi.x", "other"])
def test_a_reserved_or_foreign_service_is_not_taken(service: str) -> None:
    bench = Bench(only="echo")
    bench.register(b"w", service)
    assert bench.sent() == [(b"w", mdp.disconnect())]
    assert not bench.switch.workers


@pytest.mark.parametrize("version", [1, 2])
def test_majordomo_clients_are_served_in_their_own_style(version: int) -> None:
    bench = Bench()
    bench.register(b"w", speaks=1)
    style = STANDARD[version]
    bench.switch.receive(IN, [b"c", *mdp.request("echo", [b"a", b"b"], style)], bench.now)
    ((worker, frames),) = bench.sent()
    message = mdp.read(frames)
    assert isinstance(message, FromWorker)
    assert (worker, message.style, message.body) == (b"w", STANDARD[1], (b"a", b"b"))
    bench.worker_says(b"w", mdp.carried(STANDARD[1], Command.FINAL, message.address, [b"r"]))
    assert bench.sent() == [(b"c", mdp.answer(style, Command.FINAL, "echo", [b"r"]))]
    bench.clean()


def test_the_management_interface() -> None:
    bench = Bench()
    bench.register(b"w")

    def ask(service: str, body: bytes) -> bytes:
        bench.switch.receive(IN, [b"c", *mdp.request(service, [body])], bench.now)
        ((_, frames),) = bench.sent()
        return frames[-1]

    assert ask("mmi.service", b"echo") == b"200"
    assert ask("mmi.service", b"nope") == b"404"
    assert ask("mmi.other", b"echo") == b"501"
    bench.worker_says(b"w", mdp.disconnect())
    assert ask("mmi.service", b"echo") == b"404"


def test_events_without_a_name_go_to_the_default() -> None:
    bench = Bench(default="echo")
    bench.register(b"w")
    payload = bench.event(b"c", {"message_id": b"1"})
    assert [body for _, _, body in bench.requests()] == [payload]
    bare = Bench()
    bare.event(b"c", {"message_id": b"1"})
    assert bare.error() == (b"c", "ServiceNotFound", True)


def test_a_hub_that_stops_takes_nothing_new() -> None:
    bench = Bench()
    bench.register(b"w")
    bench.switch.drain()
    bench.call(b"c", b"1")
    assert bench.error() == (b"c", "LostRemote", True)
    bench.register(b"w2")
    assert bench.sent() == [(b"w2", mdp.disconnect())]


def test_clients_behind_devices_have_long_envelopes() -> None:
    bench = Bench()
    bench.register(b"w")
    payload = wire.pack({"message_id": b"1", "v": 3, "service": "echo"}, "m", [])
    bench.switch.receive(IN, [b"device", b"client", b"", payload], bench.now)
    ((_, token, _),) = bench.requests()
    bench.answer(b"w", token, reply(b"1"))
    assert bench.switch.take_out() == [((IN, (b"device", b"client")), [b"", reply(b"1")])]


def test_the_hub_refuses_what_waits_before_its_client_gives_up() -> None:
    bench = Bench(heartbeat=60.0)
    bench.register(b"w", capacity=0)
    bench.call(b"c", b"1", deadline=1000)
    bench.call(b"c", b"2", deadline=10_000)
    bench.sent()
    bench.pass_time(0.94)
    assert bench.sent() == []
    bench.pass_time(0.02)
    assert bench.error() == (b"c", "TimeoutExpired", True)
    bench.pass_time(8.9)
    assert bench.sent() == []
    bench.pass_time(0.05)
    assert bench.error() == (b"c", "TimeoutExpired", True)


@pytest.mark.parametrize(("after", "refused"), [(0.5, 0), (1.0, 1)])
def test_a_call_that_its_client_gives_up_at_its_deadline_counts_as_refused(
    after: float, refused: int
) -> None:
    bench = Bench(heartbeat=60.0)
    bench.register(b"w", capacity=0)
    bench.call(b"c", b"1", deadline=1000)
    bench.now += after
    bench.event(b"c", {"message_id": b"x", "response_to": b"1", "cancel": True}, wire.BEAT, [0])
    assert bench.switch.refused["TimeoutExpired"] == refused
    assert bench.switch.services["echo"].stats.refused == refused
    bench.clean()


def refusal(bench: Bench) -> str:
    ((_, frames),) = bench.sent()
    text: str = wire.unpack(frames[-1])[2][1]
    return text


def test_a_refusal_says_what_there_is_to_do() -> None:
    bench = Bench(hub="one", queue_bytes=100, queue=2)
    bench.event(b"c", {"message_id": b"1"})
    assert refusal(bench) == "a call: it names no service, and hub 'one' has no 'default'"
    bench.event(b"c", {"message_id": b"1", "service": 5})
    assert refusal(bench) == "a call: its service is no text"
    bench.call(b"c", b"1")
    bench.pass_time(3.0)
    bench.sent()
    bench.call(b"c", b"1", service="nix")
    bench.pass_time(2.5)
    assert refusal(bench) == "nix: hub 'one' has no worker of 'nix': start one, or correct the name"
    bench.register(b"w", capacity=0)
    bench.sent()
    bench.event(b"c", {"message_id": b"2", "service": "echo"}, args=["x" * 90])
    bench.call(b"c", b"3")
    size = bench.switch.services["echo"].scheduler.waiting.size
    what = f"1 call waits already, {size} bytes of at most 100"
    assert refusal(bench) == f"echo: {what}: start more workers, or set a larger 'queue_bytes'"


@pytest.mark.parametrize("any_name", [True, False])
@pytest.mark.parametrize(
    ("out", "typed"),
    [
        ("tcp://b:2", "'mesh-register q TARGET --hub tcp://b:2'"),
        ("tcp://[::1]:2", "`mesh-register q TARGET --hub 'tcp://[::1]:2'`"),
        ("ipc:///my hub/$1's", """`mesh-register q TARGET --hub 'ipc:///my hub/$1'"'"'s'`"""),
    ],
)
def test_a_queue_hub_without_a_worker_says_how_to_start_one(any_name: bool, out: str, typed: str) -> None:
    bench = Bench(hub="one", only="q", any_name=any_name)
    bench.out_endpoint = out
    bench.event(b"c", {"message_id": b"1"})
    bench.pass_time(2.5)
    assert refusal(bench) == f"q: hub 'one' has no worker: start one with {typed}"


def test_a_call_that_is_pushed_out_is_told_of_the_bound_that_was_reached() -> None:
    bench = Bench(queue=2)
    for number in (b"1", b"2"):
        bench.call(b"flood", number)
    bench.call(b"c", b"1")
    assert refusal(bench) == (
        "echo: 2 calls wait already, of at most 2: start more workers, or set a larger 'queue'"
    )
    bench = Bench(queue_bytes=2_000)
    for number in (b"1", b"2"):
        bench.event(b"flood", {"message_id": number, "service": "echo"}, args=["x" * 900])
    size = bench.switch.services["echo"].scheduler.waiting.size
    bench.event(b"c", {"message_id": b"1", "service": "echo"}, args=["x" * 200])
    assert f"echo: 2 calls wait already, {size} bytes of at most 2000: start more" in refusal(bench)


def test_a_queue_hub_says_that_its_workers_have_two_names() -> None:
    bench = Bench(only="q", any_name=True)
    for worker, name in ((b"1", "users"), (b"2", "users"), (b"3", "orders"), (b"4", "orders")):
        bench.register(worker, name, host="vm", pid=1)
    texts = [text for _, text in bench.log_lines]
    assert texts.pop(3).startswith(
        "workers of orders get the same calls as those of users: a queue hub has one"
    )
    assert texts == [f"a worker (vm:1) of {name} has registered" for name in ["users"] * 2 + ["orders"] * 2]


# Wrong answers


LONG = b"0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("number", [b"1", LONG], ids=["short", "long"])
@pytest.mark.parametrize("command", [Command.PARTIAL, Command.FINAL])
@pytest.mark.parametrize(
    "wrong", [b"", b"no event", reply(b"2"), wire.pack({"message_id": b"1"}, wire.OK, [1])]
)
def test_a_wrong_answer_is_an_error_of_the_call_at_once(
    number: bytes, command: Command, wrong: bytes
) -> None:
    bench = Bench()
    bench.register(b"w", capacity=1, host="vm", pid=7)
    bench.call(b"c", number)
    ((_, token, _),) = bench.requests()
    bench.log_lines.clear()
    bench.answer(b"w", token, wrong, command)
    (client, frames), *cancel = bench.sent()
    header, name, args = wire.unpack(frames[-1])
    why = "its worker (vm:7) gave an answer that is none to this call, does not end it, or is no event at all"
    assert (client, header["response_to"], header["refused"], name) == (b"c", number, False, wire.ERR)
    assert args == ["WireError", f"echo: {why}", f"WireError: echo: {why}\n"]
    assert [text for _, text in bench.log_lines] == [f"a call of echo has failed: {why}"]
    assert [to for to, _ in cancel] == ([b"w"] if command is Command.PARTIAL else [])
    if command is Command.PARTIAL:
        bench.answer(b"w", token, reply(number))
        assert bench.sent() == []
    bench.clean()
    stats = bench.switch.services["echo"].stats
    assert (stats.calls, stats.errors) == (1, 1)


@pytest.mark.parametrize("name", [wire.BEAT, wire.MORE, wire.STREAM])
def test_a_call_ends_with_the_last_answer_of_its_worker_whatever_that_is(name: str) -> None:
    """Its client would wait for more, and nobody would send any."""
    bench = Bench()
    bench.register(b"w")
    bench.call(b"c", b"1")
    ((_, token, _),) = bench.requests()
    bench.answer(b"w", token, reply(b"1", "x", name))
    assert bench.error() == (b"c", "WireError", False)
    bench.clean()


def test_a_call_that_is_given_out_again_has_a_token_of_its_own() -> None:
    """It may come back to the same worker, where the handler of before has yet to say that it has ended."""
    bench = Bench()
    bench.register(b"w", capacity=1)
    bench.call(b"c", b"1", idempotent=True)
    ((_, before, _),) = bench.requests()
    bench.switch.unreachable((OUT, (b"w",)))
    bench.register(b"again", capacity=1)
    ((_, token, _),) = bench.requests()
    bench.answer(b"again", before, reply(b"1", "late", wire.ERR))
    assert bench.sent() == []
    bench.answer(b"again", token, reply(b"1"))
    assert bench.sent() == [(b"c", [b"", reply(b"1")])]
    bench.clean()


def test_a_worker_that_answers_wrongly_all_the_time_does_not_fill_the_log() -> None:
    bench = Bench(heartbeat=10.0)
    bench.register(b"w")
    bench.log_lines.clear()
    for number in range(100):
        bench.call(b"c", b"%d" % number)
        ((_, token, _),) = bench.requests()
        bench.answer(b"w", token, b"x")
        bench.sent()
    assert len(bench.log_lines) == 1


def test_a_worker_that_could_not_read_the_call_is_heard() -> None:
    bench = Bench()
    bench.register(b"w")
    bench.call(b"c", b"1")
    ((_, token, _),) = bench.requests()
    bench.worker_says(
        b"w", mdp.carried(STANDARD[2], Command.FINAL, token, [b"WireError", b"its arguments are no list"])
    )
    ((_, frames),) = bench.sent()
    assert wire.unpack(frames[-1])[2][1] == (
        "echo: its worker could not read the call: its arguments are no list"
    )


frame = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"", b"MDPW01", b"MDPW02", b"MDPC01", b"MDPC02", b"echo", b"\x01", b"\x02", b"\x03", b"\x04"]
    ),
    st.builds(
        lambda ids, name: wire.pack(ids, name, []),
        st.fixed_dictionaries(
            {},
            optional={
                "message_id": st.sampled_from([b"1", "1", 1, None]),
                "response_to": st.sampled_from([b"1", "1", []]),
                "service": st.sampled_from(["echo", 1]),
                "cancel": st.booleans(),
                "deadline": st.integers(-5, 5000),
            },
        ),
        st.sampled_from(["echo", "_zpc_hb", "_zpc_more"]),
    ),
)


@given(st.lists(st.tuples(st.sampled_from([IN, OUT]), st.lists(frame, min_size=1, max_size=7)), max_size=30))
def test_rubbish_raises_nothing_and_honest_calls_go_on(messages: list[tuple[int, list[bytes]]]) -> None:
    bench = Bench(default="echo")
    for side, frames in messages:
        bench.switch.receive(side, [b"evil", *frames], bench.now)
        bench.pass_time(0.1)
    bench.switch.unreachable((IN, (b"evil",)))
    bench.switch.unreachable((OUT, (b"evil",)))
    bench.register(b"honest", "honest")
    bench.sent()
    bench.call(b"c", b"9", service="honest")
    ((_, token, _),) = bench.requests()
    bench.answer(b"honest", token, reply(b"9"))
    assert (b"c", [b"", reply(b"9")]) in bench.sent()
    # When all have gone, nothing is left of them.
    for _ in range(30):
        bench.pass_time(2.5)
    bench.clean()
    switch = bench.switch
    assert not switch.workers and not len(switch.services) and not switch._workers._told_to_register
    assert switch.wake_at == float("inf")


def batches(bench: Bench) -> list[tuple[bytes, list[tuple[int, bytes, bytes]]]]:
    """(worker, what is in it) of the batches of one turn; nothing else goes to workers."""
    return [
        (envelope[0], list(mdp.read_batch(frames[0])))
        for (side, envelope), frames in bench.switch.take_out()
        if side == OUT and len(frames) == 1
    ]


def with_batches(*workers: bytes, **settings: Any) -> Bench:
    bench = Bench(**settings)
    for worker in workers:
        bench.register(worker, capacity=100, batch=mdp.MAX_BATCH)
    told = [mdp.read(frames) for _, frames in bench.sent()]
    assert [one.about["batch"] for one in told if isinstance(one, FromWorker) and one.about] == [
        mdp.MAX_BATCH
    ] * len(workers)
    return bench


def test_the_calls_of_one_turn_go_to_each_worker_in_one_frame() -> None:
    bench = with_batches(b"w1", b"w2")
    calls = [bench.call(b"c", b"%d" % number) for number in range(5)]
    shares = dict(batches(bench))
    assert sorted(len(share) for share in shares.values()) == [2, 3]
    assert {code for share in shares.values() for code, _, _ in share} == {mdp.REQUEST}
    assert sorted(event for share in shares.values() for _, _, event in share) == sorted(calls)
    assert batches(bench) == []


def test_the_answers_of_a_batch_go_each_to_its_client() -> None:
    bench = with_batches(b"w")
    for number in (b"1", b"2"):
        bench.call(b"c" + number, number)
    ((_, share),) = batches(bench)
    (_, one, _), (_, two, _) = share
    first, second, last = reply(b"1", "item"), reply(b"2"), reply(b"1", "end")
    bench.worker_says(
        b"w", [mdp.batch([mdp.PARTIAL, one, first, mdp.FINAL, two, second, mdp.FINAL, one, last])]
    )
    assert bench.sent() == [(b"c1", [b"", first]), (b"c2", [b"", second]), (b"c1", [b"", last])]
    bench.clean()


def test_what_is_large_goes_to_its_worker_alone_and_in_order() -> None:
    bench = with_batches(b"w")
    small = bench.call(b"c", b"1")
    large = bench.event(b"c", {"message_id": b"2", "service": "echo"}, args=[b"x" * mdp.LONE])
    more = bench.event(b"c", {"message_id": b"m", "response_to": b"2"}, "_zpc_more", [10])
    first, second, third = [frames for _, frames in bench.switch.take_out()]
    assert [event for _, _, event in mdp.read_batch(first[0])] == [small]
    assert second[-1] == large and len(second) == 5
    assert [event for _, _, event in mdp.read_batch(third[0])] == [more]


def test_a_batch_takes_no_more_than_its_worker_said() -> None:
    bench = Bench()
    bench.register(b"w", capacity=100, batch=300)
    bench.sent()
    for number in range(10):
        bench.call(b"c", b"%d" % number)
    sizes = [len(frames[0]) for _, frames in bench.switch.take_out()]
    assert len(sizes) > 1 and max(sizes) <= 300


def test_no_call_comes_after_the_word_that_there_come_no_more() -> None:
    bench = with_batches(b"w")
    bench.call(b"c", b"1")
    bench.worker_says(b"w", mdp.heartbeat(about={"capacity": 0}))
    bench.call(b"c", b"2")
    first, second = [frames for _, frames in bench.switch.take_out()]
    assert len(list(mdp.read_batch(first[0]))) == 1
    told = mdp.read(second)
    assert isinstance(told, FromWorker) and told.about is not None and told.about["capacity"] == 0


def test_a_worker_that_went_in_the_same_turn_gets_no_batch() -> None:
    bench = with_batches(b"w")
    bench.call(b"c", b"1", idempotent=True)
    bench.worker_says(b"w", mdp.disconnect())
    assert batches(bench) == []
    bench.register(b"w2", capacity=1, batch=mdp.MAX_BATCH)
    ((worker, share),) = batches(bench)
    assert worker == b"w2" and len(share) == 1


@pytest.mark.parametrize(
    "frame",
    [mdp.batch([mdp.REQUEST, b"t", b"e"]), mdp.batch([4, b"t"]), b"\x93", b"\xdd\xff\xff\xff\xff"],
    ids=["request", "torn", "short", "huge"],
)
def test_a_worker_whose_batch_breaks_the_protocol_is_one_no_more(frame: bytes) -> None:
    bench = with_batches(b"w")
    bench.call(b"c", b"1")
    batches(bench)
    bench.worker_says(b"w", [frame])
    assert not bench.switch.workers and bench.switch.dropped["malformed"] == 1
    bench.clean()


def test_the_batch_of_a_worker_that_was_given_up_is_late() -> None:
    bench = with_batches(b"w")
    for number in (b"1", b"2"):
        bench.call(b"c", number)
    ((_, share),) = batches(bench)
    bench.switch.unreachable((OUT, (b"w",)))
    bench.sent()
    answers = [part for _, token, _ in share for part in (mdp.FINAL, token, reply(b"1"))]
    for _ in range(3):
        bench.worker_says(b"w", [mdp.batch(answers)])
    assert bench.sent() == [(b"w", mdp.disconnect())]
    assert dict(bench.switch.dropped) == {"late": 6}


def test_the_torn_batch_of_a_stranger_is_malformed() -> None:
    bench = with_batches(b"w")
    bench.worker_says(b"stranger", [mdp.batch([4, b"t"])])
    assert dict(bench.switch.dropped) == {"malformed": 1} and bench.sent() == []
    assert list(bench.switch.workers) == [(OUT, (b"w",))]


@pytest.mark.parametrize("capacity", [None, 3], ids=["any", "mesh"])
@pytest.mark.parametrize(
    "frames",
    [[mdp.batch([4, b"t", b"e"])], [b"\x81\x01\x02"], [b""], [b"", b"junk"], [b"a", b"b", b"c"]],
    ids=["batch", "map", "empty", "junk", "three"],
)
def test_what_no_worker_says_is_answered_with_a_disconnect(capacity: int | None, frames: list[bytes]) -> None:
    bench = Bench()
    bench.register(b"w", capacity=capacity)
    bench.sent()
    bench.worker_says(b"w", frames)
    (told,) = [mdp.read(frames) for _, frames in bench.sent()]
    assert isinstance(told, FromWorker) and told.command is Command.DISCONNECT
    assert not bench.switch.workers
