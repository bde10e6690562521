"""Calls through a queue for anonymous workers: old and new clients, old and new servers that only connect."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

import mesh
from tests.e2e.commands import SERVICE, start
from tests.helpers.peers import SCRIPTS, OldClient, nobody, require
from tests.helpers.processes import Process, eventually, python
from tests.hubs.commands import Shown, hub
from tests.hubs.commands import start as start_hub
from tests.hubs.wires import ANY, Wires

QUEUE = f"in: {ANY}\nout: {ANY}\nworkers: anonymous\nheartbeat: 0.5\n"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[tuple[Process, Shown]]:
    (tmp_path / "users.py").write_text(SERVICE)
    with hub(QUEUE, tmp_path) as started:
        yield started


@contextmanager
def worker(out: str, folder: Path) -> Iterator[Process]:
    """`mesh serve` as a worker."""
    with start("serve", "users:Users", "--connect", out, "--heartbeat", "1", cwd=folder) as process:
        process.wait_for(f"^serving Users through {out}$")
        yield process


@contextmanager
def old_worker(out: str) -> Iterator[Process]:
    require("python")
    with python(Path(__file__).parent / "old_worker.py", out, str(SCRIPTS)) as process:
        process.wait_for("^ready$")
        yield process


def test_calls_are_spread_over_the_workers(queue: tuple[Process, Shown], tmp_path: Path) -> None:
    _, (_, in_, out) = queue
    with worker(out, tmp_path) as one, worker(out, tmp_path) as two, mesh.connect(in_) as client:
        pids: set[int] = set()

        def both_seen() -> bool:
            pids.add(client.pid())
            return pids == {one.pid, two.pid}

        eventually(both_seen)
        assert client.echo(1, "ä", key=None) == {"args": [1, "ä"], "kwargs": {"key": None}}
        with pytest.raises(mesh.RemoteError, match="first line"):
            client.fail()
        with OldClient("python", in_) as old:
            seen = {old.call("pid").value for _ in range(10)}
            assert seen == pids
            error = old.call("fail").error
            assert error is not None and error.name == "RuntimeError"


def test_the_calls_of_many_clients_get_their_own_answers(
    queue: tuple[Process, Shown], tmp_path: Path
) -> None:
    _, (_, in_, out) = queue
    with worker(out, tmp_path), worker(out, tmp_path):
        clients = [mesh.connect(in_) for _ in range(10)]
        pending = [(number, clients[number % 10].add.future(number, 1)) for number in range(500)]
        assert all(one.result(timeout=20) == number + 1 for number, one in pending)
        for client in clients:
            client.close()


def test_streams_through_a_queue_with_one_worker(queue: tuple[Process, Shown], tmp_path: Path) -> None:
    _, (_, in_, out) = queue
    with worker(out, tmp_path) as process, mesh.connect(in_) as client:
        assert list(client.ticks(1000, 0)) == list(range(1000))
        for item in client.ticks(1_000_000, 0):
            if item == 500:
                break
        process.wait_for("(?s)ticks closed.*ticks closed")
        with OldClient("python", in_) as old:
            assert old.stream("ticks", 500, 0).items == list(range(500))


def test_old_servers_are_workers_of_old_and_new_clients(queue: tuple[Process, Shown]) -> None:
    _, (_, in_, out) = queue
    with old_worker(out), mesh.connect(in_) as client, OldClient("python", in_) as old:
        assert client.add(1, 2) == 3
        assert list(client.count(300)) == list(range(300))
        with pytest.raises(KeyError):
            client.fail("KeyError", "no such")
        assert old.call("add", 1, 2).value == 3
        assert old.stream("count", 300).items == list(range(300))


def test_calls_go_on_when_a_worker_dies(queue: tuple[Process, Shown], tmp_path: Path) -> None:
    _, (_, in_, out) = queue
    with worker(out, tmp_path) as one, worker(out, tmp_path) as two, mesh.connect(in_) as client:
        eventually(lambda: client.pid() == one.pid)
        eventually(lambda: client.pid() == two.pid)
        one.kill()

        def answers() -> list[int]:
            try:
                return [client.with_options(timeout=2).pid() for _ in range(4)]
            except mesh.TimeoutExpired:
                return []

        eventually(lambda: answers() == [two.pid] * 4)


def test_calls_wait_for_the_first_worker(queue: tuple[Process, Shown], tmp_path: Path) -> None:
    _, (_, in_, out) = queue
    with mesh.connect(in_) as client:
        pending = client.add.future(1, 2)
        with worker(out, tmp_path):
            assert pending.result(timeout=20) == 3


def test_sigterm_lets_open_calls_finish(queue: tuple[Process, Shown], tmp_path: Path) -> None:
    process, (_, in_, out) = queue
    with worker(out, tmp_path) as serving, mesh.connect(in_) as client, mesh.connect(in_) as other:
        assert other.add(1, 1) == 2
        pending = client.nap.future(1.5)
        serving.wait_for("^napping$")
        process.signal(signal.SIGTERM)
        process.wait_for("finishing what is under way")

        def refused() -> bool:
            try:
                other.add(1, 1)
            except mesh.LostRemote as error:
                return error.refused
            return False

        eventually(refused)
        assert pending.result(timeout=20) == "rested"
        assert process.wait() == 0


def test_an_answer_from_before_a_restart_is_nobody_s(tmp_path: Path, wires: Wires) -> None:
    in_, out = nobody(), nobody()
    (tmp_path / "hub.yml").write_text(f"in: {in_}\nout: {out}\nworkers: anonymous\n")
    worker = wires(zmq.DEALER, out)
    with start_hub("hub.yml", cwd=tmp_path) as process:
        client = wires(zmq.DEALER, in_)
        client.send_multipart([b"", b"old"])
        old = worker.recv_multipart()
        client.close()
        process.kill()
    with start_hub("hub.yml", cwd=tmp_path):
        client = wires(zmq.DEALER, in_)
        client.send_multipart([b"", b"new"])
        new = worker.recv_multipart()
        assert new[0] != old[0]
        worker.send_multipart(old)
        worker.send_multipart(new)
        assert client.recv_multipart() == [b"", b"new"]
