"""What real programs tell their collector, and that nothing which it suffers is felt by a call."""

from __future__ import annotations

import atexit
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

import mesh
from mesh.core.record_rows import KeptRecords
from mesh.core.trace_batch import About, RecordBatch, unpack
from mesh.core.trace_record import Kind, Record
from mesh.errors import ConfigError, Overloaded
from mesh.names.model import Endpoint
from mesh.transport import collector_link, process, recording
from mesh.transport.collector_link import CollectorLink
from mesh.transport.recording import Recording
from tests.e2e.commands import environment, start
from tests.helpers.dns_fixtures import dns
from tests.helpers.lying_dns import LyingServer
from tests.helpers.peers import free_port, nobody
from tests.helpers.processes import PATIENCE, Process, eventually, python
from tests.hubs.commands import hub
from tests.tracing.batches import TRACE, as_span, packed, rate

__all__ = ["dns"]
SHOP = Path(__file__).parent / "programs" / "shop.py"
CLIENT, SERVER, LOCAL = Kind.CLIENT, Kind.SERVER, Kind.LOCAL


class Collector:
    """Keeps what it is told. refusals: batches that it has no room for, of those that come next. rules: what
    programs are told to go by. connected: the processes that wait for a question.
    """

    def __init__(self) -> None:
        self.batches: list[RecordBatch] = []
        self.refusals = 0
        self.rules: object = {"rate": None, "slow": None}
        self.connected: set[bytes] = set()

    def records(self, batch: bytes) -> object:
        if self.refusals:
            self.refusals -= 1
            raise Overloaded("full")
        self.batches.append(unpack(batch))
        return self.rules

    def question(self, process: bytes, about: list[object]) -> None:
        self.connected.add(process)
        gevent.sleep(1.0)

    def of(self, trace_id: str) -> list[Record]:
        return [one for batch in self.batches for one in batch.records if one.trace_id == trace_id]

    def whole(self, trace_id: str, number: int) -> list[Record]:
        return eventually(lambda: found if len(found := self.of(trace_id)) >= number else [])


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    taker = Collector()
    with mesh.Server(taker, name="collector") as server:
        yield taker, server.bind("tcp://127.0.0.1:*")


def run(endpoint: str, *arguments: str, **more: str) -> Process:
    return python(SHOP, *arguments, env={**environment(), "MESH_TRACE": endpoint, **more})


def said(process: Process, number: int = 1) -> list[str]:
    """The ids that it has printed."""
    found = re.compile(r"^(?:\w+ )?([0-9a-f]{32})$", re.M)
    return eventually(lambda: ids if len(ids := found.findall(process.stdout)) >= number else [])


def test_a_trace_is_told_by_all_who_took_part_before_the_program_ends(
    collector: tuple[Collector, str],
) -> None:
    taker, endpoint = collector
    with run(endpoint, "calls") as process:
        assert process.wait() == 0
        good, bad = said(process, 2)
    place, take = "place", "take"
    assert sorted((one.kind, one.method) for one in taker.of(good)) == [
        (CLIENT, place),
        (CLIENT, take),
        (SERVER, place),
        (SERVER, take),
        (LOCAL, "pack"),
        (LOCAL, "trace"),
    ]
    by_span = {one.span_id: one for one in taker.of(good) if one.kind != SERVER}
    [taken] = [one for one in by_span.values() if one.method == take]
    way = [taken.method]
    while taken.parent_id:
        taken = by_span[taken.parent_id]
        way.append(taken.method)
    assert way == [take, "pack", place, "trace"]
    assert taken.detail == {"tags": {"user": 42}}
    # Nobody has begun a trace for the one that failed.
    failed = taker.of(bad)
    assert sorted((one.kind, one.outcome) for one in failed if one.kind != LOCAL) == [
        (CLIENT, "KeyError"),
        (CLIENT, "KeyError"),
        (SERVER, "KeyError"),
        (SERVER, "KeyError"),
    ]
    counted: Counter[tuple[int, str]] = Counter()
    for batch in taker.batches:
        counted.update({(one.side, one.method): one.sketch.count for one in batch.rates})
    assert counted == {(side, method): 2 for side in (CLIENT, SERVER) for method in (place, take)}
    assert sum(one.errors for batch in taker.batches for one in batch.rates) == 4
    assert taker.batches[0].about.name == "stock"


def test_a_collector_says_what_is_recorded(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector

    def recorded() -> list[Record]:
        return [one for batch in taker.batches for one in batch.records]

    with run(endpoint, "goes_on", MESH_TRACE_RATE="0"):
        for rubbish in (["rate"], {"rate": 7, "slow": "x"}):
            taker.rules, before = rubbish, len(taker.batches)
            eventually(lambda before=before: len(taker.batches) > before + 2)  # type: ignore[misc]
        assert not any(one.detail and one.detail.get("late") for one in recorded())
        taker.rules = {"rate": None, "slow": 1e-6}
        eventually(lambda: any(one.detail and one.detail.get("late") for one in recorded()))
        taker.rules = {"rate": 1.0}
        eventually(lambda: len(recorded()) > 500)  # where it were a few in a second
        taker.rules = {"rate": None, "slow": None}  # its own again, which is none but the first of a second

        def few() -> bool:
            before = len(recorded())
            gevent.sleep(1.0)
            return len(recorded()) - before < 50

        eventually(few)


def test_a_child_of_a_fork_tells_of_its_own_calls(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "forks") as process:
        assert process.wait() == 0, process.describe()
        child, parent = said(process, 2)
    assert len(taker.of(child)) == len(taker.of(parent)) == 6
    assert len({batch.process for batch in taker.batches}) == 2
    assert len({(batch.process, batch.number) for batch in taker.batches}) == len(taker.batches)
    ids = [(one.kind, one.trace_id, one.span_id) for batch in taker.batches for one in batch.records]
    assert len(set(ids)) == len(ids), "nothing is told twice"


def test_sigterm_loses_nothing(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "waits") as process:
        [trace_id] = said(process)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert len(taker.of(trace_id)) == 6


def test_without_a_collector_calls_go_on_and_the_program_ends_at_once() -> None:
    with run(f"tcp://127.0.0.1:{free_port()}", "calls", LEAVE=str(recording.LEAVE)) as process:
        said(process, 2)
        began = time.monotonic()
        assert process.wait() == 0, process.describe()
        assert time.monotonic() - began < 10.0
        assert "no records" not in process.stderr


def bound(server: mesh.Server, endpoint: str) -> bool:
    """Whether it listens there now: whoever did before may take a moment to let go of the port."""
    with suppress(ConfigError):
        return bool(server.bind(endpoint))
    return False


def test_a_collector_that_comes_late_is_full_and_dies_gets_all() -> None:
    endpoint, taker = f"tcp://127.0.0.1:{free_port()}", Collector()
    with run(endpoint, "waits") as process:
        [trace_id] = said(process)
        taker.refusals = 1_000_000
        with mesh.Server(taker, name="collector") as server:
            server.bind(endpoint)
            eventually(lambda: taker.refusals < 1_000_000)
        taker.refusals = 0
        with mesh.Server(taker, name="collector") as server:
            eventually(lambda: bound(server, endpoint))
            assert len(taker.whole(trace_id, 6)) == 6


def test_a_handler_of_the_log_that_raises_is_felt_by_nobody(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "handlers") as process:
        assert process.wait() == 0
        [good, _] = said(process, 2)
        assert "a handler of the logger mesh.trace has failed" in process.stderr
        assert re.search(rf"^\[.+\] {good} stock@\S+ client \S+\.place OK \(\d+ms\)$", process.stdout, re.M)
    assert len(taker.of(good)) == 6


def test_coroutines(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "coroutines") as process:
        assert process.wait() == 0, process.describe()
        [trace_id] = said(process)
    assert sorted(one.kind for one in taker.of(trace_id)) == [CLIENT, SERVER, LOCAL]


def test_all_of_many_traces_come(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "many", "500") as process:
        assert process.wait() == 0
    records = [one for batch in taker.batches for one in batch.records]
    assert len(records) == 500 * 6
    assert sum(batch.dropped for batch in taker.batches) == 0


def test_a_wrong_rate_is_told_and_harms_nobody(collector: tuple[Collector, str]) -> None:
    with run(collector[1], "calls", MESH_TRACE_RATE="often") as process:
        assert process.wait() == 0
        assert "MESH_TRACE_RATE is 'often'" in process.stderr


def test_a_name_that_nobody_knows_is_told_and_harms_nobody() -> None:
    with run("nobody-at-all", "calls") as process:
        assert process.wait() == 0
        until_found = "calls are not recorded until their collector is found: "
        assert f"{until_found}MESH_TRACE is 'nobody-at-all': no service " in process.stderr


def test_a_name_that_is_no_name_is_told_and_harms_nobody() -> None:
    with run("no name", "calls") as process:
        assert process.wait() == 0
        assert "calls are not recorded: MESH_TRACE is 'no name': " in process.stderr


def test_a_collector_that_is_named_only_later_is_found(
    collector: tuple[Collector, str], tmp_path: Path
) -> None:
    """Of what was before the most part is told, too, and rates are those of all calls."""
    taker, endpoint = collector
    (tmp_path / "services.yml").write_text("users: tcp://127.0.0.1:9\n")
    env = {**environment(), "MESH_TRACE": "later"}
    with python(SHOP, "waits", cwd=tmp_path, env=env) as process:
        [trace_id] = said(process)
        eventually(lambda: "until their collector is found" in process.stderr)
        assert process.stderr.count("until their collector is found") == 1
        (tmp_path / "services.yml").write_text(f"later: {endpoint}\n")
        taker.whole(trace_id, 6)


def test_a_collector_is_found_in_dns(dns: LyingServer, collector: tuple[Collector, str]) -> None:
    """Without a word of it in services.yml or MESH_TRACE, where MESH_DOMAIN says whose DNS to ask."""
    taker, endpoint = collector
    dns.put("a.mesh.test", "A", "127.0.0.1")
    dns.service("_collector._tcp.mesh.test", f"a.mesh.test:{endpoint.rpartition(':')[2]}")
    with python(SHOP, "waits", env=environment()) as process:
        [trace_id] = said(process)
        taker.whole(trace_id, 6)


def test_one_that_dns_does_not_have_is_no_trouble(dns: LyingServer) -> None:
    with python(SHOP, "waits", env=environment()) as process:
        said(process)
        eventually(lambda: dns.times_asked("_collector._tcp.mesh.test"))
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert process.stderr == ""


def test_a_name_server_that_is_silent_has_nobody_wait_at_the_end(dns: LyingServer) -> None:
    dns.silent = True
    began = time.monotonic()
    with python(SHOP, "calls", env={**environment(), "LEAVE": str(PATIENCE)}) as process:
        assert process.wait() == 0
        assert "not recorded" not in process.stderr
    assert time.monotonic() - began < PATIENCE / 2


def test_a_program_is_left_out_by_off(tmp_path: Path, collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    (tmp_path / "services.yml").write_text(f"collector: {endpoint}\n")
    for off in ("OFF", "0"):
        env = {**environment(), "MESH_TRACE": off}
        with python(SHOP, "calls", cwd=tmp_path, env=env) as process:
            assert process.wait() == 0
            assert "calls are not recorded" not in process.stderr
    assert not taker.batches


def test_a_handler_of_the_log_that_blocks_holds_up_nobody(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "blocks") as process:
        assert process.wait() == 0, process.describe()
        [trace_id] = said(process)
    assert len(taker.of(trace_id)) == 6


def test_rates_and_records_whose_names_fill_a_batch_are_all_sent() -> None:
    """Of characters that take four bytes, in names of 200."""
    given: list[bytes] = []
    link = SimpleNamespace(give=given.append)
    kept = KeptRecords(time.monotonic)
    now = time.monotonic()
    for number in range(900):
        name = f"{number:03d}".ljust(200, "\U0001f375")
        kept.add(CLIENT, TRACE, as_span("a"), "", name, name[::-1], now, now, now, "OK", "")
    told = [
        rate(CLIENT, "web", f"{number:03d}".ljust(200, "\U0001f375") + ".m", [0.1]) for number in range(900)
    ]
    Recording()._give(link, kept, kept.take(900), told)  # type: ignore[arg-type]
    batches = [unpack(one) for one in given]
    records = [one for batch in batches for one in batch.records]
    assert len(records) == len({one.service for one in records}) == 900
    assert sum(len(one.rates) for one in batches) == 900 and not kept.dropped


def test_large_records_are_sent_in_batches_that_the_collector_takes(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "large") as process:
        assert process.wait() == 0
        [trace_id] = said(process)
    assert sum(len(batch.records) for batch in taker.batches) == 100
    [record] = taker.of(trace_id)
    assert record.detail is not None and len(record.detail["tags"]) == 64


def test_events(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "events") as process:
        assert process.wait() == 0, process.describe()
        [trace_id] = said(process)
    sent, received = (
        next(one for one in taker.of(trace_id) if one.kind == kind) for kind in (Kind.SENT, Kind.RECEIVED)
    )
    assert sent.method == received.method == "job"
    assert (sent.span_id, sent.outcome) == (received.span_id, received.outcome)


def test_events_whose_handlers_raise(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "failing_events") as process:
        assert process.wait() == 0, process.describe()
        [trace_id] = said(process)
    received = [one for one in taker.of(trace_id) if one.kind == Kind.RECEIVED]
    assert [one.outcome for one in received] == ["KeyError"] * 3
    messages = set()
    for one in received:
        assert one.detail is not None
        messages.add(one.detail["message"])
        traceback = one.detail["traceback"]
        assert traceback.startswith("Traceback") and "in job" in traceback and "receivers.py" not in traceback
    assert messages == {"'job 1'", "'job 2'", "'job 3'"}


def test_a_call_through_a_hub(collector: tuple[Collector, str], tmp_path: Path) -> None:
    """All are told of the collector by a line of the registry."""
    taker, endpoint = collector
    (tmp_path / "services.yml").write_text(f"collector: {endpoint}\n")
    yml = "in: tcp://127.0.0.1:*\nout: tcp://127.0.0.1:*\ntype: queue\nservice: stock\n"
    with (
        hub(yml, tmp_path) as (_, shown),
        python(SHOP, "registered", shown.out, cwd=tmp_path, env=environment()) as worker,
    ):
        worker.wait_for("registered")
        with python(SHOP, "calls_of", shown.in_, cwd=tmp_path, env=environment()) as process:
            assert process.wait() == 0, process.describe()
            [trace_id] = said(process)
        by_kind = {one.kind: one for one in taker.whole(trace_id, 4) if one.kind != LOCAL}
    assert set(by_kind) == {CLIENT, SERVER, Kind.HUB}
    through = by_kind[Kind.HUB]
    assert (through.service, through.outcome) == ("stock", "OK")
    assert through.peer.endswith(f":{worker.pid}")
    assert through.began <= through.started <= through.ended


def test_processes_of_one_command_tell_all_as_they_end(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    bind = f"tcp://127.0.0.1:{free_port()}"
    serve = ("serve", "operator", "--processes", "2", "--bind", bind)
    with start(*serve, cwd=SHOP.parent, MESH_TRACE=endpoint) as process:
        # What is told at the end has half a second: a busy machine may take that long to connect.
        eventually(lambda: len(taker.connected) == 2)
        with mesh.trace() as span, mesh.connect(bind) as client:
            client.add(1, 2)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert [(one.kind, one.method) for one in taker.of(span.trace_id)] == [(SERVER, "add")]


def test_children_of_multiprocessing_tell_all_as_they_end(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "children") as process:
        assert process.wait() == 0, process.describe()
        assert [len(taker.of(trace_id)) for trace_id in said(process, 2)] == [6, 6]


def settle(link: CollectorLink) -> None:
    """Turn it until all is acknowledged, and close it."""
    until = time.monotonic() + PATIENCE
    while not link.settled and time.monotonic() < until:
        link.turn(time.monotonic(), 0.0)
        gevent.sleep(0.01)
    link.close()


def test_a_program_that_ends_before_its_thread_has_begun_tells_all(
    collector: tuple[Collector, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a busy machine, which gives the new thread no time at first."""
    taker, endpoint = collector
    monkeypatch.setenv("MESH_TRACE", endpoint)
    monkeypatch.setattr(recording, "LEAVE", PATIENCE)
    monkeypatch.setattr(atexit, "register", lambda function: None)
    threads: list[threading.Thread] = []

    def start_thread(function: Any, args: tuple[Any, ...], name: str) -> None:
        threads.append(threading.Thread(target=function, args=args))

    monkeypatch.setattr(process, "start_thread", start_thread)
    one = Recording()
    recorder = one.recorder()
    assert recorder is not None
    now = time.monotonic()
    recorder.kept.add(LOCAL, TRACE, "1" * 16, "", "shop", "pack", now, now, now, "OK", "", None)
    threads.append(threading.Thread(target=one.flush))
    threads[1].start()
    eventually(lambda: one._leaving)
    threads[0].start()
    eventually(lambda: not any(thread.is_alive() for thread in threads))
    assert [record.method for record in taker.of(TRACE)] == ["pack"]


def test_of_several_collectors_one_that_is_there_is_enough(
    collector: tuple[Collector, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever the process begins with."""
    taker, endpoint = collector
    monkeypatch.setattr(collector_link, "AWAY", 0.2)
    link = CollectorLink(
        lambda: [Endpoint(nobody()), Endpoint(endpoint)], bytes(16), About, lambda *_: None, lambda _: None
    )
    link.give(packed(bytes(16), 1, 1.0, 1.0, About(), [], [], 5))
    settle(link)
    assert [batch.dropped for batch in taker.batches] == [5]


def test_one_that_is_not_named_for_a_moment_is_found_again(
    collector: tuple[Collector, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taker, endpoint = collector
    monkeypatch.setattr(collector_link, "AWAY", 0.05)
    named = [[Endpoint(nobody())], [], [], [Endpoint(endpoint)]]

    def look_up() -> list[Endpoint]:
        return named.pop(0) if len(named) > 1 else named[0]

    link = CollectorLink(look_up, bytes(16), About, lambda *_: None, lambda _: None)
    link.give(packed(bytes(16), 1, 1.0, 1.0, About(), [], [], 5))
    settle(link)
    assert [batch.dropped for batch in taker.batches] == [5]


def test_tags_of_any_kind_harm_neither_the_program_nor_other_records(
    collector: tuple[Collector, str],
) -> None:
    taker, endpoint = collector
    with run(endpoint, "odd_tags") as process:
        assert process.wait() == 0, process.describe()
        [trace_id] = said(process)
    records = {one.method: one for one in taker.of(trace_id)}
    assert set(records) == {"trace", "odd", "many"}
    odd, many = (records[name].detail["tags"] for name in ("odd", "many"))  # type: ignore[index]
    assert odd["raises"] == "(its text can't be had: RuntimeError)"
    assert len(many) == 64 and many["…"] == "37 more"
    assert records["trace"].outcome == "KeyError"


def test_a_handler_of_the_log_that_calls_makes_no_records(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "calls_in_handler") as process:
        assert process.wait() == 0, process.describe()
        said(process)
    assert sum(len(batch.records) for batch in taker.batches) == 6


def test_a_child_that_leaves_a_trace_does_not_end_it_for_its_parent(collector: tuple[Collector, str]) -> None:
    taker, endpoint = collector
    with run(endpoint, "child_leaves") as process:
        assert process.wait() == 0, process.describe()
        [trace_id] = said(process)
    assert [one.outcome for one in taker.of(trace_id) if one.method == "trace"] == ["OK"]
