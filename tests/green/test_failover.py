"""A client under load, while servers of its service die and freeze."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import gevent

import mesh
from tests.green.conftest import Connect
from tests.helpers.clients import until_connected
from tests.helpers.processes import Process

CALLS = 450
EVERY = 0.003
"""Seconds between two calls."""


def test_calls_that_may_be_repeated_outlive_servers(
    service: Callable[..., tuple[str, Process]], connect: Connect
) -> None:
    """One of three is killed, and later one of the other two is frozen."""
    running = [service() for _ in range(3)]
    client = connect([endpoint for endpoint, _ in running], timeout=1.0).with_options(idempotent=True)
    until_connected(client, 3)
    # A second is for the server that is frozen; a busy machine may leave one alone for as long that is well.
    patient = client.with_options(timeout=10.0)
    assert failures_under_load(patient, lambda: running[0][1].signal(signal.SIGKILL)) == []
    # All calls before have an answer by now: the one that is frozen holds none that waits for ten seconds. It
    # gets calls for as long as the other is hardly quicker, which on a busy machine is a while.
    assert len(failures_under_load(client, lambda: running[1][1].signal(signal.SIGSTOP))) <= CALLS // 4


def failures_under_load(client: mesh.Client, harm: Callable[[], None]) -> list[tuple[int, Exception]]:
    """Make calls, one every few milliseconds, and do harm when a third of them has been made."""
    failed: list[tuple[int, Exception]] = []

    def call(number: int) -> None:
        try:
            assert client.echo(number) == number
        except Exception as exc:  # noqa: BLE001 - the test looks at it
            failed.append((number, exc))

    begun = time.monotonic()
    calls = []
    for number in range(CALLS):
        gevent.sleep(max(begun + number * EVERY - time.monotonic(), 0.0))
        if number == CALLS // 3:
            harm()
        calls.append(gevent.spawn(call, number))
    assert len(gevent.joinall(calls, timeout=20)) == CALLS
    return failed
