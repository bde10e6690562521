"""One hub with many workers of many services and many clients, most of them plain sockets."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import usage
from tests.e2e.commands import environment
from tests.helpers.processes import Process, python
from tests.hubs.cluster import Hub, connected, until_served_by, worker

HERD = Path(__file__).with_name("herd.py")
PROCESSES = 2
"""That share the workers, and as many that share the clients."""
HERD_SECONDS = 20.0
MOST_MIB = 150


@pytest.mark.parametrize(
    ("number", "services"),
    [
        pytest.param(100, 10, id="100"),
        pytest.param(1000, 100, id="1000", marks=pytest.mark.soak),
    ],
)
def test_all_are_served_also_after_a_restart(number: int, services: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        hub = Hub(tmp_path, "one", "majordomo", stack, heartbeat=2.5)
        hub.process.kill()

        def herd(role: str, endpoint: str) -> list[Process]:
            arguments = [role, str(number // PROCESSES), str(services), endpoint]
            started = [python(HERD, *arguments, env=environment()) for _ in range(PROCESSES)]
            for one in started:
                stack.enter_context(one)
            all_say(started, "^ready$")
            return started

        workers, clients = herd("workers", hub.out), herd("clients", hub.in_)
        mine = {stack.enter_context(worker(hub, service="mine")).pid for _ in range(2)}
        client = stack.enter_context(connected(tmp_path, hub.in_, service="mine"))
        for start in (1, 2):
            rounds = max(one.stdout.count("round ") for one in clients)
            hub.start()
            started = time.monotonic()
            # Everybody comes at once.
            all_say(workers, rf"^registered {start}$")
            registered = time.monotonic() - started
            all_say(clients, rf"^round {rounds + 2} ")
            served = time.monotonic() - started
            until_served_by(client, mine)
            all_say(clients, rf"^round {rounds + 7} took \S+, 0 errors$")
            peak = usage.peak_rss(hub.process.pid) / usage.MIB
            print(f"start {start}: {number} workers registered after {registered:.2f} s,", end=" ")
            print(f"{number} clients served after {served:.2f} s, the hub had {peak:.0f} MiB")
            assert served < HERD_SECONDS
            assert peak < MOST_MIB
            hub.process.kill()


def all_say(processes: list[Process], what: str) -> None:
    for one in processes:
        one.wait_for(what)
