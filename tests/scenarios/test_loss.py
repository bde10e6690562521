"""What becomes of calls whose other end goes, whichever driver the ends have."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

import mesh
from tests.helpers.processes import PATIENCE, ROOT, Process, eventually, python
from tests.scenarios.conftest import Pair
from tests.scenarios.drivers import Driver

Serve = Callable[..., tuple[Process, str]]


@pytest.fixture
def process_of(ends: ExitStack) -> Serve:
    """`mesh serve` of the shop of a driver, in a process of its own."""

    def start(driver: Driver, at: str = "tcp://127.0.0.1:*") -> tuple[Process, str]:
        target = f"tests.scenarios.targets:{driver.shop.__name__}"
        command = [
            sys.executable,
            "-m",
            "mesh.cli.main",
            "serve",
            target,
            "--bind",
            at,
            "--loop",
            driver.loop_name,
        ]
        process = ends.enter_context(Process(command, cwd=ROOT))
        return process, process.wait_for(r"(tcp://127\.0\.0\.1:\d+)")[1]

    return start


@pytest.fixture
def far(pair: Pair, process_of: Serve) -> tuple[Process, str]:
    return process_of(pair.far)


def test_a_server_that_dies_is_told_at_once(pair: Pair, far: tuple[Process, str]) -> None:
    process, endpoint = far
    client = pair.near.connect(endpoint, heartbeat=30.0)
    begun = client.begin("nap", 60.0)
    assert client.call("echo", 1) == 1
    began = time.monotonic()
    process.kill()
    with pytest.raises(mesh.LostRemote, match="nap") as caught:
        begun.result(PATIENCE)
    assert time.monotonic() - began < 10.0
    assert not caught.value.refused, "a handler may have seen it"


def test_a_stream_of_a_server_that_dies_ends_in_an_error(pair: Pair, far: tuple[Process, str]) -> None:
    process, endpoint = far
    items = pair.near.connect(endpoint).stream("ticks", 0.01)
    assert next(items) == 0
    process.kill()
    with pytest.raises(mesh.LostRemote):
        for _ in items:
            pass


def test_a_server_that_is_frozen_is_lost_by_its_silence(pair: Pair, far: tuple[Process, str]) -> None:
    import signal

    process, endpoint = far
    client = pair.near.connect(endpoint, heartbeat=0.3)
    assert client.call("echo", 1) == 1
    process.signal(signal.SIGSTOP)
    try:
        with pytest.raises(mesh.LostRemote):
            client.call("echo", 2)
    finally:
        process.signal(signal.SIGCONT)


def test_one_that_comes_back_is_found_again(pair: Pair, process_of: Serve) -> None:
    process, endpoint = process_of(pair.far)
    client = pair.near.connect(endpoint)
    assert client.call("echo", 1) == 1
    process.kill()
    process_of(pair.far, endpoint)
    assert client.call("echo", 2) == 2


def test_an_idempotent_call_goes_elsewhere(pair: Pair, process_of: Serve) -> None:
    (first, one), (_, other) = process_of(pair.far), process_of(pair.far)
    client = pair.near.connect([one, other]).with_options(idempotent=True, retries=3)
    begun = [client.begin("nap", 1.0) for _ in range(8)]
    eventually(lambda: client.call("echo", 1) == 1)
    first.kill()
    assert [one.result(PATIENCE) for one in begun] == [1.0] * 8


def test_what_runs_at_a_stop_is_finished(pair: Pair, far: tuple[Process, str]) -> None:
    import signal

    process, endpoint = far
    client = pair.near.connect(endpoint)
    begun = client.begin("nap", 1.0)
    assert client.call("echo", 1) == 1
    process.signal(signal.SIGTERM)
    assert begun.result(PATIENCE) == 1.0
    assert process.wait() == 0, process.describe()


@pytest.fixture
def killed_caller(ends: ExitStack, tmp_path: Path) -> Callable[[str], Process]:
    program = tmp_path / "caller.py"
    program.write_text(
        "import mesh, sys\n"
        "with mesh.connect(sys.argv[1]) as client:\n"
        "    for item in client.ticks(0.01):\n"
        "        print(item, flush=True)\n"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    return lambda endpoint: ends.enter_context(python(program, endpoint, env=environment))


def test_a_caller_that_dies_closes_its_streams(pair: Pair, killed_caller: Callable[[str], Process]) -> None:
    shop = pair.far.shop()
    endpoint = pair.far.serve(shop)
    caller = killed_caller(endpoint)
    caller.wait_for(r"^3$")
    caller.kill()
    eventually(lambda: shop.notes, what="the generator to be closed")
    assert pair.near.connect(endpoint).call("echo", 1) == 1


def test_an_answer_that_is_too_large_ends_no_client(pair: Pair) -> None:
    endpoint = pair.far.serve({"large": lambda size: b"x" * size, "echo": lambda value: value})
    client = pair.near.connect(endpoint, max_message=500_000)
    assert client.call("echo", 1) == 1
    with pytest.raises(mesh.LostRemote):
        client.call("large", 700_000)
    assert client.call("echo", 2) == 2
