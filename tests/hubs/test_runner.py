"""Start, reload, failures and the end, with hubs in memory."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from hubs.endpoint_conflicts import clash
from hubs.exporter import Exporters, Readiness
from hubs.hub import Endpoints, Hub
from hubs.runner import Runner
from hubs.sockets import AddressInUse
from hubs.spec import HubSpec, Side
from hubs.switching.status import Values
from mesh.core.channel import NEVER
from mesh.errors import ConfigError
from tests.helpers.processes import eventually


def spec(name: str, port: int, **more: Any) -> HubSpec:
    return HubSpec(name, "streamer", Side((f"tcp://*:{port}",)), Side((f"tcp://*:{port + 1}",)), **more)


class Machine:
    """Hubs that do nothing but bind, and a log of what was done to them."""

    def __init__(self, *specs: HubSpec) -> None:
        self.file: list[HubSpec] | ConfigError = list(specs)
        self.bound: dict[str, object] = {}
        self.done: list[str] = []
        self.announced: list[str] = []
        self.hubs: dict[str, FakeHub] = {}
        self.runner = Runner(self.load, self.make, lambda one, _: self.announced.append(one.name))

    def load(self) -> list[HubSpec]:
        if isinstance(self.file, ConfigError):
            raise self.file
        return self.file

    def make(self, one: HubSpec) -> Hub:
        return FakeHub(self, one)

    def refused(self, endpoint: str) -> ConfigError:
        return ConfigError(f"{endpoint} is in use")

    def reload(self, *specs: HubSpec) -> list[str]:
        """What was done to get there."""
        self.done.clear()
        self.announced.clear()
        self.file = list(specs)
        self.runner.reload()
        self.until_settled()
        return self.done

    def until_settled(self) -> None:
        def settled() -> bool:
            self.runner.tend()
            return not self.runner.reloading

        eventually(settled)


class FakeHub:
    def __init__(self, machine: Machine, one: HubSpec) -> None:
        self.machine = machine
        self.spec = one
        self.alive = False
        self.prodded = 0
        self.is_stuck = False

    def start(self) -> Endpoints:
        self._bind(self.spec)
        self.alive = True
        self.machine.hubs[self.spec.name] = self
        self.machine.done.append(f"start {self.spec.name}")
        return Endpoints(self.spec.in_.bind, self.spec.out.bind)

    def reconfigure(self, one: HubSpec) -> Endpoints | None:
        if one.type != self.spec.type:
            return None
        self._bind(one)
        self.spec = one
        self.machine.done.append(f"change {one.name}")
        return Endpoints(one.in_.bind, one.out.bind)

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(self.spec.in_.bind, self.spec.out.bind)

    def vacate(self, one: HubSpec) -> None:
        stay = set(self.spec.in_.bind) & set(one.in_.bind) | set(self.spec.out.bind) & set(one.out.bind)
        self._free()
        self.machine.bound.update(dict.fromkeys(stay, self))

    def status(self, patience: float) -> Values | None:
        return {"uptime": 1.5, "frames": {"in": 7}} if self.spec.name != "busy" else None

    def unserved(self, services: Sequence[str], patience: float) -> Mapping[str, str] | None:
        if self.spec.name == "busy":
            return None
        return {one: f"{self.spec.name} lacks {one}" for one in services if one != self.spec.service}

    def tend(self, now: float) -> float:
        return NEVER

    def prod(self, now: float) -> None:
        self.prodded += 1

    def stuck(self, now: float) -> bool:
        return self.is_stuck

    def stop(self, drain: float) -> None:
        self.alive = False
        self._free()
        self.machine.done.append(f"stop {self.spec.name} in {drain:g}")

    def _bind(self, one: HubSpec) -> None:
        others = [endpoint for endpoint, owner in self.machine.bound.items() if owner is not self]
        for endpoint in (*one.in_.bind, *one.out.bind):
            if any(clash(endpoint, other) for other in others):
                raise self.machine.refused(endpoint)
        self._free()
        self.machine.bound.update(dict.fromkeys((*one.in_.bind, *one.out.bind), self))

    def _free(self) -> None:
        self.machine.bound = {
            endpoint: owner for endpoint, owner in self.machine.bound.items() if owner is not self
        }


def started(*specs: HubSpec) -> Machine:
    machine = Machine(*specs)
    machine.runner.start()
    return machine


def test_all_are_started_in_order_and_then_announced() -> None:
    machine = started(spec("a", 1), spec("b", 3))
    assert machine.done == ["start a", "start b"]
    assert machine.announced == ["a", "b"]


def test_when_one_cannot_start_none_runs() -> None:
    machine = Machine(spec("a", 1), spec("b", 3), spec("c", 4))
    with pytest.raises(ConfigError, match="tcp://\\*:4 is in use"):
        machine.runner.start()
    assert sorted(machine.done[2:]) == ["stop a in 0", "stop b in 0"]
    assert machine.announced == [] and machine.bound == {}


def test_a_reload_touches_only_what_has_changed(caplog: pytest.LogCaptureFixture) -> None:
    machine = started(spec("a", 1), spec("b", 3), spec("c", 5, drain=7))
    caplog.set_level(logging.INFO)
    done = machine.reload(spec("a", 1), spec("b", 3, timeout=1), spec("d", 7))
    assert done == ["stop c in 7", "change b", "start d"]
    assert machine.announced == ["b", "d"]
    assert caplog.messages == [
        "reloading: hub c drains, at most 7 s",
        "reloaded: started d; changed b; stopped c; unchanged a",
    ]
    assert machine.reload(spec("a", 1), spec("b", 3, timeout=1), spec("d", 7)) == []


def test_another_order_or_place_in_the_file_changes_nothing() -> None:
    machine = started(spec("a", 1, source="a.yml:1"), spec("b", 3))
    assert machine.reload(spec("b", 3), spec("a", 1, source="a.yml:9")) == []


def test_a_file_that_is_wrong_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    machine = started(spec("a", 1))
    machine.file = ConfigError("hub.yml:3: typ: unknown key")
    machine.runner.reload()
    assert machine.done == ["start a"] and machine.hubs["a"].alive
    assert caplog.messages == ["not reloaded, all goes on as before: hub.yml:3: typ: unknown key"]


def test_hubs_may_take_each_others_endpoints_in_turn() -> None:
    machine = started(spec("a", 1), spec("b", 3))
    assert machine.reload(spec("a", 3), spec("b", 5)) == ["change b", "change a"]
    assert machine.reload(spec("c", 3), spec("b", 5)) == ["stop a in 30", "start c"]


def test_hubs_may_change_places(caplog: pytest.LogCaptureFixture) -> None:
    machine = started(spec("a", 1), spec("b", 3), spec("c", 5), spec("d", 7))
    caplog.set_level(logging.INFO)
    done = machine.reload(spec("a", 3), spec("b", 5), spec("c", 1), spec("d", 7), spec("e", 9))
    assert done == ["start e", "change a", "change b", "change c"]
    assert machine.announced == ["e", "a", "b", "c"]
    assert [machine.hubs[name].spec for name in "abc"] == [spec("a", 3), spec("b", 5), spec("c", 1)]
    assert caplog.messages == ["reloaded: started e; changed a, b, c; unchanged d"]


def test_hubs_that_can_t_change_places_all_go_back(caplog: pytest.LogCaptureFixture) -> None:
    before = [spec("a", 1), spec("b", 3), spec("c", 5)]
    machine = started(*before)
    machine.bound["tcp://*:9"] = "somebody else"
    taken = replace(spec("b", 1), out=Side(("tcp://*:9",)))
    machine.reload(spec("a", 3), taken, spec("c", 8))
    assert [machine.hubs[name].spec for name in "abc"] == before
    assert len(machine.bound) == 7
    assert "hub b is as before: tcp://*:9 is in use" in caplog.messages
    assert "hub c is as before: tcp://*:9 is in use" in caplog.messages
    # Only those whose places others want have left them at all.
    assert "change c" not in machine.done and machine.done.count("change a") == 2


def test_a_hub_that_can_t_even_go_back_is_tried_until_it_can(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = started(spec("a", 1), spec("b", 3))
    vacate = FakeHub.vacate

    def vacate_for_others(hub: FakeHub, one: HubSpec) -> None:
        vacate(hub, one)
        machine.bound.setdefault("tcp://*:1", "somebody else")

    monkeypatch.setattr(FakeHub, "vacate", vacate_for_others)
    machine.reload(spec("a", 3), spec("b", 1))
    assert not machine.hubs["a"].alive and machine.hubs["b"].spec == spec("b", 3)
    del machine.bound["tcp://*:1"]
    machine.runner.tend()
    assert machine.hubs["a"].alive and machine.hubs["a"].spec == spec("a", 1)


def test_the_hub_of_this_process_that_has_an_address_is_named(
    held: threading.Event, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "refused", lambda self, endpoint: AddressInUse("hub.yml:1: in", endpoint))
    caplog.set_level(logging.INFO)
    machine = started(spec("a", 1), replace(spec("b", 3), in_=Side((), ("tcp://127.0.0.1:9",))))
    machine.bound["tcp://*:9"] = "somebody else"
    machine.file = [spec("new", 1), machine.hubs["b"].spec, spec("other", 4), spec("c", 9)]
    machine.runner.reload()
    by = "hub.yml:1: in: can't bind to 'tcp://*:{}': the address is in use {}take another port"
    wanted = {
        "new": by.format(1, "by hub 'a', which drains; "),
        "other": by.format(4, "by hub 'b'; "),
        "c": by.format(9, "already; stop the other program or "),
    }
    waits = [f"hub {name} waits until what drains has ended: {text}" for name, text in wanted.items()]
    assert caplog.messages[1:] == waits


def test_an_endpoint_in_use_leaves_that_hub_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    machine = started(spec("a", 1), spec("b", 3))
    machine.bound["tcp://*:9"] = "somebody else"
    done = machine.reload(spec("a", 9), spec("b", 3, timeout=1), spec("c", 8))
    assert done == ["change b"]
    assert machine.hubs["a"].spec == spec("a", 1)
    assert caplog.messages[:2] == [
        "hub a is as before: tcp://*:9 is in use",
        "hub c is not started: tcp://*:9 is in use",
    ]
    del machine.bound["tcp://*:9"]
    assert machine.reload(spec("a", 9), spec("b", 3, timeout=1)) == ["change a"]


def test_another_type_takes_a_new_hub() -> None:
    machine = started(spec("a", 1, drain=3))
    other = replace(spec("a", 1), type="forwarder")
    assert machine.reload(other) == ["stop a in 3", "start a"]
    assert machine.hubs["a"].spec == other


def test_when_the_new_hub_cannot_start_the_old_one_is_back(caplog: pytest.LogCaptureFixture) -> None:
    machine = started(spec("a", 1))
    machine.bound["tcp://*:9"] = "somebody else"
    assert machine.reload(replace(spec("a", 9), type="forwarder")) == ["stop a in 30", "start a"]
    assert machine.hubs["a"].alive and machine.hubs["a"].spec == spec("a", 1)
    assert "hub a is as before: tcp://*:9 is in use" in caplog.messages


def test_a_hub_that_has_failed_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    machine = started(spec("a", 1), spec("b", 3))
    machine.hubs["a"].alive = False
    machine.runner.revive()
    assert machine.done[2:] == ["stop a in 0", "start a"]
    assert caplog.messages == ["hub a has failed: starting it again"]
    machine.runner.revive()
    assert len(machine.done) == 4


def test_one_that_cannot_be_started_again_is_tried_until_it_can(caplog: pytest.LogCaptureFixture) -> None:
    machine = started(spec("a", 1))
    machine.hubs["a"].stop(0)
    machine.bound["tcp://*:1"] = "somebody else"
    for _ in range(3):
        machine.runner.revive()
    assert caplog.messages[1:] == ["hub a can't be started again, trying on: tcp://*:1 is in use"]
    del machine.bound["tcp://*:1"]
    machine.runner.revive()
    assert machine.hubs["a"].alive
    machine.runner.stop()
    assert not machine.hubs["a"].alive


def test_a_hub_that_is_down_takes_a_new_spec() -> None:
    machine = started(spec("a", 1))
    machine.hubs["a"].alive = False
    assert machine.reload(spec("a", 5)) == ["stop a in 0", "start a"]
    assert machine.hubs["a"].alive and machine.hubs["a"].spec == spec("a", 5)


def test_the_end_drains_all_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = started(spec("a", 1, drain=1), spec("b", 3, drain=2))
    waiting: list[float] = []

    def stop(hub: FakeHub, drain: float) -> None:
        waiting.append(drain)
        eventually(lambda: len(waiting) == 2)

    monkeypatch.setattr(FakeHub, "stop", stop)
    begun = time.monotonic()
    machine.runner.stop()
    assert sorted(waiting) == [1, 2]
    assert time.monotonic() - begun < 10


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Hubs drain until it is set."""
    event, at_once = threading.Event(), FakeHub.stop

    def stop(hub: FakeHub, drain: float) -> None:
        assert event.wait(20)
        at_once(hub, drain)

    monkeypatch.setattr(FakeHub, "stop", stop)
    yield event
    event.set()


def test_others_change_while_a_hub_drains_and_its_place_is_taken_when_it_has(
    held: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    machine = started(spec("a", 1), spec("b", 3))
    machine.file = [spec("new", 1), spec("b", 5), spec("c", 7)]
    machine.runner.reload()
    assert machine.done[2:] == ["change b", "start c"]
    assert machine.runner.reloading
    assert caplog.messages == [
        "reloading: hub a drains, at most 30 s",
        "hub new waits until what drains has ended: tcp://*:1 is in use",
    ]
    held.set()
    machine.until_settled()
    assert machine.done[4:] == ["stop a in 30", "start new"]
    assert caplog.messages[2:] == ["reloaded: started c, new; changed b; stopped a"]


def test_a_second_reload_need_not_wait_for_the_first(held: threading.Event) -> None:
    machine = started(spec("a", 1))
    other = replace(spec("a", 1), type="forwarder")
    for file in ([other], [], [spec("b", 3)], [spec("a", 1), spec("b", 3)]):
        machine.file = file
        machine.runner.reload()
    assert machine.done[1:] == ["start b"]
    held.set()
    machine.until_settled()
    assert machine.done[2:] == ["stop a in 30", "start a"]
    assert sorted(machine.hubs) == ["a", "b"]
    assert machine.hubs["a"].spec == spec("a", 1) and machine.hubs["a"].alive


PORT = "tcp://127.0.0.1:9"


def problems_of(runner: Runner) -> Callable[[str, str | None], str]:
    return lambda endpoint, name: runner._unready(endpoint, name).problem


def seen(machine: Machine) -> list[str]:
    page = machine.runner._page(PORT)
    return sorted(line for line in page.splitlines() if line.startswith("mesh_hub_up{"))


def test_a_hub_that_begins_to_drain_is_there_at_each_moment(
    held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that hears once that there is no hub cuts off all that are connected to it."""
    monkeypatch.setattr(Exporters, "open", lambda self, specs: None)
    machine = started(spec("a", 1, prometheus=PORT))
    told: list[Readiness] = []
    start = threading.Thread.start

    def ask_around(thread: threading.Thread) -> None:
        told.append(machine.runner._unready(PORT, None))
        start(thread)
        told.append(machine.runner._unready(PORT, None))

    end = threading.Thread(target=machine.runner.stop)
    monkeypatch.setattr(threading.Thread, "start", ask_around)
    start(end)
    eventually(lambda: len(told) == 2)
    held.set()
    end.join(10)
    assert all(one.drains or not one.problem for one in told), told


def test_hubs_that_drain_are_seen_until_they_end(
    held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Exporters, "open", lambda self, specs: None)
    machine = started(spec("a", 1, prometheus=PORT), spec("b", 3, prometheus=PORT))
    unready = problems_of(machine.runner)
    assert [unready(PORT, name) for name in (None, "a", "c")] == ["", "", "no hub c runs"]
    machine.file = [replace(spec("a", 5, prometheus=PORT), type="forwarder")]
    machine.runner.reload()
    assert seen(machine) == [
        'mesh_hub_up{hub="a",draining="true",type="streamer"} 1',
        'mesh_hub_up{hub="a",type="forwarder"} 1',
        'mesh_hub_up{hub="b",draining="true",type="streamer"} 1',
    ]
    # The others go on to be ready while one ends that the files no longer have.
    assert [unready(PORT, name) for name in (None, "a", "b")] == ["", "", "hub b drains"]
    end = threading.Thread(target=machine.runner.stop)
    end.start()
    eventually(lambda: unready(PORT, None) == "hub a drains; hub b drains")
    assert machine.runner._unready(PORT, None).drains
    assert machine.runner._unready(PORT, "a").drains
    held.set()
    end.join(10)
    assert seen(machine) == []
    assert not machine.runner._unready(PORT, None).drains
    assert unready(PORT, None) == "no hub runs"


@pytest.mark.parametrize(
    ("hub", "services", "problem"),
    [
        (None, ["users"], ""),
        (None, ["orders"], ""),
        (None, ["users", "orders"], ""),
        (None, ["users", "jobs", "users"], "a lacks jobs; b lacks jobs"),
        ("a", ["users"], ""),
        ("a", ["orders"], "a lacks orders"),
        ("c", ["users"], "no hub c runs"),
        ("busy", ["users"], "no hub busy runs"),
    ],
)
def test_one_of_the_hubs_is_to_have_each_service(
    hub: str | None, services: list[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Exporters, "open", lambda self, specs: None)
    machine = started(
        spec("a", 1, prometheus=PORT, service="users"),
        spec("b", 3, prometheus=PORT, service="orders"),
        spec("busy", 5, prometheus="tcp://127.0.0.1:8"),
    )
    assert machine.runner._unready(PORT, hub, services) == Readiness(problem)


def test_a_hub_that_can_not_tell_of_a_service_is_not_ready_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exporters, "open", lambda self, specs: None)
    machine = started(spec("busy", 1, prometheus=PORT))
    assert machine.runner._unready(PORT, None) == Readiness("")
    assert machine.runner._unready(PORT, None, ["users"]) == Readiness("hub busy does not answer")


def test_a_hub_that_waits_for_its_place_is_not_ready(
    held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Exporters, "open", lambda self, specs: None)
    machine = started(spec("a", 1, prometheus=PORT), spec("b", 3, prometheus=PORT))
    unready = problems_of(machine.runner)
    other = replace(spec("a", 1, prometheus=PORT), type="forwarder")
    machine.file = [other, spec("b", 3, prometheus=PORT)]
    machine.runner.reload()
    waits = "hub a waits until what drains has ended"
    assert [unready(PORT, name) for name in (None, "a", "b")] == [waits, waits, ""]
    held.set()

    def tended() -> bool:
        machine.runner.tend()
        return unready(PORT, None) == ""

    eventually(tended)


def test_a_hub_that_has_failed_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exporters, "open", lambda self, specs: None)
    machine = started(spec("a", 1, prometheus=PORT), spec("b", 3, prometheus=PORT))
    machine.hubs["a"].alive = False
    unready = problems_of(machine.runner)
    assert [unready(PORT, name) for name in (None, "a", "b")] == ["hub a has failed", "hub a has failed", ""]


def test_a_hub_that_does_not_answer_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exporters, "open", lambda self, specs: None)
    machine = started(spec("a", 1, prometheus=PORT), spec("b", 3, prometheus=PORT), spec("c", 5))
    machine.runner.tend()
    assert [machine.hubs[name].prodded for name in "abc"] == [1, 1, 0]
    machine.hubs["b"].is_stuck = True
    unready, silent = problems_of(machine.runner), "hub b does not answer"
    assert [unready(PORT, name) for name in (None, "a", "b")] == [silent, "", silent]


def test_the_end_cuts_a_reload_short(held: threading.Event) -> None:
    machine = started(spec("a", 1), spec("b", 3))
    machine.file = [replace(spec("a", 1), type="forwarder"), spec("b", 3)]
    machine.runner.reload()
    end = threading.Thread(target=machine.runner.stop)
    end.start()
    held.set()
    end.join(10)
    assert sorted(machine.done[2:]) == ["stop a in 30", "stop b in 30"]
    assert machine.bound == {}


def test_the_end_sees_a_signal_that_woke_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that comes in the moment before the wait for the hubs begins."""
    machine, came = Machine(spec("a", 1)), threading.Event()
    seen: list[bool] = []

    def stop(self: FakeHub, drain: float) -> None:
        time.sleep(0.05)  # until the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        seen.append(came.wait(5))

    monkeypatch.setattr(FakeHub, "stop", stop)
    before = signal.signal(signal.SIGUSR1, lambda *_: came.set())
    try:
        machine.runner.start()
        machine.runner.stop()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [True]
