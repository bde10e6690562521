"""A client under load, while servers of its service die and freeze."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import gevent

from tests.green.conftest import Connect
from tests.helpers.clients import until_connected
from tests.helpers.processes import Process

CALLS = 900
EVERY = 0.003
"""Seconds between two calls."""


def test_calls_that_may_be_repeated_outlive_servers(
    service: Callable[..., tuple[str, Process]], connect: Connect
) -> None:
    """One of three is killed, and later one of the other two is frozen."""
    running = [service() for _ in range(3)]
    client = connect([endpoint for endpoint, _ in running], timeout=1.0).with_options(idempotent=True)
    until_connected(client, 3)
    failed: list[tuple[int, Exception]] = []
    # A second is for the server that is frozen; a busy machine may leave one alone for as long that is well.
    patient, frozen = client.with_options(timeout=10.0), 2 * CALLS // 3

    def call(number: int) -> None:
        try:
            assert (patient if number < frozen - 50 else client).echo(number) == number
        except Exception as exc:  # noqa: BLE001 - it is looked at below
            failed.append((number, exc))

    begun = time.monotonic()
    calls = []
    for number in range(CALLS):
        gevent.sleep(max(begun + number * EVERY - time.monotonic(), 0.0))
        if number == CALLS // 3:
            running[0][1].signal(signal.SIGKILL)
        if number == frozen:
            running[1][1].signal(signal.SIGSTOP)
        calls.append(gevent.spawn(call, number))
    gevent.joinall(calls, timeout=20)
    assert [one for one in failed if one[0] < frozen - 50] == [], "none fails for one that is killed"
    assert len(failed) <= CALLS // 20, failed
