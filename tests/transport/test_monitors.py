"""Many sockets' monitors, read by one socket."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import gevent
import pytest
import zmq

from mesh.transport.context import Context, new_context
from mesh.transport.monitors import Monitor, Monitors
from tests.helpers.processes import eventually

KINDS = zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED


@pytest.fixture
def context() -> Iterator[Context]:
    context = new_context()
    yield context
    context.destroy(0)


@pytest.fixture
def monitors(context: Context) -> Iterator[Monitors]:
    monitors = Monitors(context, threading.Lock)
    yield monitors
    monitors.close()


def test_each_is_told_what_is_its_own(context: Context, monitors: Monitors) -> None:
    server = context.socket(zmq.ROUTER)
    endpoint = f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}"
    told = []
    for _ in range(3):
        socket = context.socket(zmq.DEALER)
        told.append((socket, monitors.monitor(socket, KINDS)))
    for socket, monitor in told[1:]:
        socket.connect(endpoint)
        (event,) = eventually(monitor.take)
        assert event.kind == zmq.EVENT_CONNECTED and event.address == endpoint
        os.fstat(event.value)  # the descriptor of the connection
    assert told[0][1].take() == []
    server.close(0)
    for _, monitor in told[1:]:
        assert eventually(monitor.take)[0].kind == zmq.EVENT_DISCONNECTED


def test_whoever_reads_notifies_the_others(context: Context, monitors: Monitors) -> None:
    server = context.socket(zmq.ROUTER)
    endpoint = f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}"
    notified: list[int] = []
    both: list[Monitor] = []
    for number in range(2):
        socket = context.socket(zmq.DEALER)
        monitor = monitors.monitor(socket, KINDS)
        monitor.notify = lambda number=number: notified.append(number)
        both.append(monitor)
        socket.connect(endpoint)

    def first_has_read() -> bool:
        both[0].take()
        return bool(notified)

    eventually(first_has_read)
    assert set(notified) == {1}, "who reads looks by itself"
    assert [event.kind for event in both[1].take()] == [zmq.EVENT_CONNECTED]


def test_the_end_of_a_monitor_is_told_and_its_place_is_free(context: Context, monitors: Monitors) -> None:
    gevent.sleep(0)  # its loop has descriptors of its own
    before = len(os.listdir("/proc/self/fd"))
    sockets = []
    for _ in range(50):
        socket = context.socket(zmq.DEALER)
        sockets.append((socket, monitors.monitor(socket, KINDS)))
    assert len(os.listdir("/proc/self/fd")) - before == 2 * len(sockets), "a socket and its monitor"
    for socket, monitor in sockets:
        monitor.stop()
        assert eventually(monitor.take)[-1].kind == zmq.EVENT_MONITOR_STOPPED
        monitor.close()
        socket.close(0)

    def free() -> bool:
        monitors.read()
        return len(os.listdir("/proc/self/fd")) == before

    eventually(free, what="the end of all of them")


def test_a_fork_beside_a_thread_that_is_at_them_holds_up_nobody_in_the_child(
    context: Context, monitors: Monitors
) -> None:
    socket = context.socket(zmq.DEALER)
    monitor = monitors.monitor(socket, KINDS)
    monitors._lock.acquire()  # by that thread
    monitors.forked()
    monitor.close()
    assert not monitors._monitors
    socket.close(0)
