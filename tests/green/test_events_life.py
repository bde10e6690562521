"""How the ends of PUB/SUB and pipelines begin, stop, lose each other, and share a process with others."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import gevent
import pytest
import zmq
from gevent.event import Event as GeventEvent

import mesh
from tests.green.conftest import Program, _ends, program
from tests.green.events import ANY_PORT, PATIENCE, Ends, Heard, caught, ends, reaches
from tests.helpers.processes import eventually

__all__ = ["_ends", "ends", "program"]


# Beginning and stopping


@pytest.mark.parametrize("way", ["thread", "greenlet", "run"])
def test_it_receives_in_a_thread_or_a_greenlet_until_it_is_stopped(ends: Ends, way: str) -> None:
    publisher, endpoint = ends.bound(mesh.Publisher)
    heard, threads = Heard(), set[int]()

    def handler(*event: Any) -> None:
        threads.add(threading.get_ident())
        heard(*event)

    subscriber = mesh.Subscriber(endpoint, handler)
    if way == "thread":
        subscriber.start()
    elif way == "greenlet":
        gevent.spawn(subscriber.start).join(PATIENCE)
    else:
        running = gevent.spawn(subscriber.run)
    reaches(publisher, heard)
    assert threads == {threading.get_ident()} or way == "thread"
    subscriber.stop()
    if way == "run":
        running.get(timeout=PATIENCE)
    assert "make a new one" in caught(mesh.MeshError, subscriber.start)
    subscriber.stop()


def test_stopping_lets_the_running_handler_finish_and_begins_no_other(ends: Ends) -> None:
    pusher, endpoint = ends.bound(mesh.Pusher)
    began, ended = threading.Event(), list[int]()

    def job(number: int) -> None:
        began.set()
        gevent.sleep(0.2)
        ended.append(number)

    puller = ends.receiver(mesh.Puller, endpoint, {"job": job})
    for number in range(3):
        pusher.job(number)
    assert began.wait(PATIENCE)
    puller.stop()
    assert ended == [0]


def test_a_greenlet_of_its_own_may_stop_it(ends: Ends) -> None:
    puller = ends.receiver(mesh.Puller, ends.bound(mesh.Pusher)[1], {"job": print})
    gevent.spawn(puller.stop).get(timeout=PATIENCE)
    assert "stopped" in caught(mesh.MeshError, puller.start)


def test_a_handler_that_does_not_end_is_given_up(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    pusher, endpoint = ends.bound(mesh.Pusher)
    began = threading.Event()

    def job() -> None:
        began.set()
        gevent.sleep(60)

    puller = ends.receiver(mesh.Puller, endpoint, {"job": job}, pool_size=2)
    pusher.job()
    assert began.wait(PATIENCE)
    at = time.monotonic()
    puller.stop(0.1)
    assert time.monotonic() - at < 20
    assert "1 handlers still ran after 0.1 s" in caplog.text


@pytest.mark.parametrize("pool_size", [1, 3])
def test_a_handler_may_stop_its_own_receiver(ends: Ends, pool_size: int) -> None:
    pusher, endpoint = ends.bound(mesh.Pusher)
    puller = mesh.Puller(endpoint, {"job": lambda: puller.stop()}, pool_size=pool_size)
    running = gevent.spawn(puller.run)
    pusher.job()
    running.get(timeout=PATIENCE)


@pytest.mark.parametrize("pool_size", [1, 4])
def test_as_many_handlers_run_at_once_as_the_pool_is_large(ends: Ends, pool_size: int) -> None:
    pusher, endpoint = ends.bound(mesh.Pusher)
    running, most, done = 0, 0, list[int]()

    def job(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        gevent.sleep(0.01)
        running -= 1
        done.append(number)

    ends.receiver(mesh.Puller, endpoint, {"job": job}, pool_size=pool_size)
    for number in range(20):
        pusher.job(number)
    eventually(lambda: len(done) == 20, timeout=PATIENCE, what="all jobs")
    assert most == pool_size
    assert done == list(range(20)) or pool_size > 1


def test_a_flood_leaves_turns_to_others(ends: Ends) -> None:
    pusher, endpoint = ends.bound(mesh.Pusher, queue_size=1_000)
    done = list[float]()

    def job() -> None:
        time.sleep(0.001)  # computes
        done.append(time.monotonic())

    puller = mesh.Puller(endpoint, {"job": job}, queue_size=1_000)
    running = gevent.spawn(puller.run)
    pusher.job()
    eventually(lambda: done, timeout=PATIENCE, what="the connection")
    for _ in range(500):
        pusher.job()
    most, give_up = 0, time.monotonic() + PATIENCE
    while len(done) < 501 and time.monotonic() < give_up:
        before = len(done)
        gevent.sleep(0)
        most = max(most, len(done) - before)
    assert len(done) == 501 and 0 < most < 100, "in one turn of the loop"
    puller.stop()
    running.get(timeout=PATIENCE)


def test_what_comes_while_a_handler_waits_costs_nothing(ends: Ends) -> None:
    began, over = list[bool](), GeventEvent()

    def job() -> None:
        began.append(True)
        over.wait(PATIENCE)

    puller = mesh.Puller(None, {"job": job})
    endpoint = puller.bind(ANY_PORT)
    running = gevent.spawn(puller.run)
    ends.emitter(mesh.Pusher, endpoint).job()
    eventually(lambda: began, timeout=PATIENCE, what="the handler")
    puller._receiver.ends.socket.get(zmq.EVENTS)  # so that the descriptor tells of what comes next
    ends.emitter(mesh.Pusher, endpoint).job()
    before = time.thread_time()
    gevent.sleep(0.4)
    assert time.thread_time() - before < 0.2
    over.set()
    eventually(lambda: len(began) == 2, timeout=PATIENCE, what="the second job")
    puller.stop()
    running.get(timeout=PATIENCE)


def test_sigterm_drains_a_program(program: Program, ends: Ends) -> None:
    pusher, endpoint = ends.bound(mesh.Pusher)
    process = program("receives", "puller", "connect", endpoint, 0.3)
    pusher.job(1)
    process.wait_for("^began job$")
    process.signal(signal.SIGTERM)
    assert process.wait() == 0
    assert process.stdout.splitlines()[-2:] == ["heard job 1", "stopped"]


# What is sent leaves


def test_closing_lets_leave_what_was_sent(ends: Ends) -> None:
    puller, endpoint = ends.raw_bound(zmq.PULL)
    with mesh.Pusher(endpoint, queue_size=1_000) as pusher:
        for _ in range(1_000):
            pusher.job(b"x" * 1_000)
    got = 0
    while got < 1_000 and puller.poll(20_000):
        puller.recv()
        got += 1
    assert got == 1_000 and not puller.poll(50)


def test_closing_says_that_not_all_has_left(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    _, endpoint = ends.raw_bound(zmq.PULL, rcvhwm=1, rcvbuf=4_096)
    pusher = mesh.Pusher(endpoint, timeout=0.2)
    assert "took 'job'" in caught(mesh.Overloaded, lambda: [pusher.job(b"x" * 20_000) for _ in range(10_000)])
    pusher.close(0.1)
    assert "not all that was sent had left after 0.1 s" in caplog.text


def test_a_program_may_end_right_after_it_has_sent(program: Program, ends: Ends) -> None:
    puller, endpoint = ends.raw_bound(zmq.PULL, rcvhwm=1, rcvbuf=65_536)
    process = program("sends", "ends", endpoint)
    process.wait_for("^sent$")
    got = 0
    while got < 200 and puller.poll(20_000):
        puller.recv()
        got += 1
    assert got == 200 and not puller.poll(50)
    assert process.wait() == 0


def test_one_that_was_dropped_lets_go_of_its_sockets(ends: Ends) -> None:
    subscriber, endpoint = ends.raw_bound(zmq.SUB)
    subscriber.subscribe(b"")
    kept, _ = ends.bound(mesh.Publisher)

    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def connected() -> mesh.Publisher:
        publisher = mesh.Publisher(endpoint)
        eventually(lambda: publisher._sender.connections, timeout=PATIENCE, what="the connection")
        return publisher

    def drop_one() -> None:
        connected()

    first = connected()  # with which the process has what there is once for all that connect
    before = descriptors()
    for _ in range(20):
        drop_one()
    eventually(lambda: descriptors() <= before, timeout=PATIENCE, what="its descriptors to be closed")
    assert kept.dropped == first.dropped == {}
    first.close()


# Losing each other


def test_a_subscriber_comes_back_after_the_publisher_was_away(ends: Ends) -> None:
    first, endpoint = ends.bound(mesh.Publisher)
    heard = ends.heard(mesh.Subscriber, endpoint)
    reaches(first, heard)
    first.close()
    second = ends.emitter(mesh.Publisher, None)

    def bound() -> bool:
        try:
            return bool(second.bind(endpoint))
        except mesh.ConfigError:  # libzmq lets go of a port a moment later
            return False

    eventually(bound, timeout=PATIENCE, what="the port")
    second.wait_for_subscriber(PATIENCE)
    second.happened(1)
    heard.wait(["happened", 1])


@pytest.mark.parametrize("kind", ["subscriber", "puller"])
def test_a_receiver_that_is_killed_and_started_again(program: Program, ends: Ends, kind: str) -> None:
    process = program("receives", kind, "bind", ANY_PORT)
    endpoint = process.wait_for(r"^ready (\S+)$")[1]
    emitter: Any = mesh.Publisher if kind == "subscriber" else mesh.Pusher
    end = ends.emitter(emitter, endpoint)

    def send(word: str) -> None:
        if kind == "subscriber":
            end.wait_for_subscriber(PATIENCE)
        end.happened(word)

    send("one")
    process.wait_for("^heard happened one$")
    process.kill()
    eventually(lambda: end._sender.connections == 0, timeout=PATIENCE, what="the break")
    again = program("receives", kind, "bind", endpoint)
    again.wait_for("^ready")
    send("two")
    again.wait_for("^heard happened two$")
    assert "one" not in again.stdout


# Threads and forks


@pytest.mark.parametrize("way", ["threads", "patched"])
def test_many_threads_send_through_one_pusher(program: Program, ends: Ends, way: str) -> None:
    heard = Heard()
    puller = mesh.Puller(None, heard)
    endpoint = puller.bind(ANY_PORT)
    with puller:
        process = program("sends", way, endpoint)
        assert process.wait(timeout=100.0) == 0, process.describe()
        eventually(lambda: len(heard) == 8 * 500, what="all jobs")
    numbers = [number for _, number in heard]
    assert sorted(numbers) == list(range(8 * 500))
    for first in range(0, 8 * 500, 500):
        own = [number for number in numbers if first <= number < first + 500]
        assert own == sorted(own)


def test_threads_and_greenlets_publish_at_once(ends: Ends) -> None:
    publisher, endpoint = ends.bound(mesh.Publisher, queue_size=10_000)
    heard = ends.heard(mesh.Subscriber, endpoint, queue_size=10_000)
    reaches(publisher, heard)

    def send(source: int) -> None:
        for number in range(300):
            publisher.with_options(topic=f"t{source}").happened(source, number)
            if number % 50 == 0:
                gevent.sleep(0)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    gevent.joinall([gevent.spawn(send, n) for n in range(4, 8)], timeout=PATIENCE, raise_error=True)
    for thread in threads:
        thread.join(PATIENCE)
    eventually(lambda: len(heard) == 8 * 300, what="all events")
    for source in range(8):
        assert [n for _, s, n in heard if s == source] == list(range(300))


def test_both_sides_of_a_fork_go_on(program: Program, ends: Ends) -> None:
    heard = Heard()
    puller = mesh.Puller(None, heard)
    endpoint = puller.bind(ANY_PORT)
    with puller:
        process = program("sends", "forks", endpoint)
        process.wait_for("^fine$")
        assert process.wait() == 0, process.describe()
        eventually(lambda: len(heard) == 3, what="three jobs")
    assert heard[0] == ["job", "before"] and sorted(heard[1:]) == [["job", "child"], ["job", "parent"]]


@pytest.mark.parametrize("way", ["forks_bound"])
def test_what_is_the_parents_after_a_fork(program: Program, way: str) -> None:
    process = program("sends", way, "tcp://127.0.0.1:1")
    process.wait_for("^fine$")
    assert process.wait() == 0, process.describe()


def test_ctrl_c_ends_the_waiting(program: Program) -> None:
    process = program("sends", "interrupted", "tcp://127.0.0.1:1")
    process.wait_for("^waiting$")
    process.signal(signal.SIGINT)
    process.wait_for("^fine$")
    assert process.wait() == 0


def test_inside_one_process(ends: Ends, tmp_path: Path) -> None:
    for emitter, receiver in ((mesh.Publisher, mesh.Subscriber), (mesh.Pusher, mesh.Puller)):
        end: Any = ends.emitter(emitter, None)  # type: ignore[type-var]
        endpoint = end.bind(f"inproc://{tmp_path.name}-{emitter.__name__}")
        heard = ends.heard(receiver, endpoint)  # type: ignore[type-var]
        if emitter is mesh.Publisher:
            end.wait_for_subscriber(PATIENCE)
        end.happened(1)
        heard.wait(["happened", 1])
