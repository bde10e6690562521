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


CROWD = Path(__file__).with_name("crowd.py")
RATE = 2_000
"""Calls a second of all clients together."""
PACED_SECONDS = 30
MOST_PACED_MIB = 120
MOST_MS = 10.0


@pytest.mark.soak
def test_two_thousand_calls_a_second_of_a_thousand_clients(tmp_path: Path) -> None:
    """To a thousand workers. A machine that does something else beside it is slower than this asks."""
    each, services = str(1_000 // PROCESSES), "100"
    with ExitStack() as stack:
        hub = Hub(tmp_path, "one", "majordomo", stack, heartbeat=2.5)

        def crowd(*arguments: str) -> list[Process]:
            started = [python(CROWD, *arguments, env=environment()) for _ in range(PROCESSES)]
            for one in started:
                stack.enter_context(one)
            return started

        all_say(crowd("workers", each, services, hub.out), "^registered$")
        callers = crowd("clients", each, services, hub.in_, str(RATE / PROCESSES), str(PACED_SECONDS))
        told = [
            one.wait_for(r"^made (\d+), errors (\d+), .*99 % below (\S+) ms.*$", timeout=PACED_SECONDS + 60)
            for one in callers
        ]
        peak = usage.peak_rss(hub.process.pid) / usage.MIB
        print(*(line[0] for line in told), f"the hub had {peak:.0f} MiB", sep="\n")
        for line in told:
            assert int(line[1]) > 0.99 * RATE / PROCESSES * PACED_SECONDS
            assert int(line[2]) == 0
            assert float(line[3]) < MOST_MS
        assert peak < MOST_PACED_MIB


def all_say(processes: list[Process], what: str) -> None:
    for one in processes:
        one.wait_for(what)
