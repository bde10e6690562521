"""How the ends of events on asyncio begin, stop, lose each other, and share a process with others."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

import mesh
from mesh.aio.events import Publisher, Pusher
from mesh.aio.loop_thread import loop_thread
from mesh.aio.receivers import Puller, Subscriber
from tests.aio.events import ANY_PORT, PAIRS, Ends, Heard, caught, in_each_loop, reaches, ready, run, until
from tests.helpers.peers import ROOT
from tests.helpers.processes import PATIENCE, Process
from tests.hubs.test_devices import running
from tests.hubs.wires import spec

PROGRAMS = Path(__file__).parent / "programs"
Program = Callable[..., Process]


@pytest.fixture
def program() -> Iterator[Program]:
    with ExitStack() as stack:

        def start(name: str, *arguments: object) -> Process:
            command = [sys.executable, PROGRAMS / f"{name}.py", *map(str, arguments)]
            return stack.enter_context(Process(command, env={"PYTHONPATH": str(ROOT)}))

        yield start


# Beginning and stopping


@pytest.mark.parametrize("way", ["with", "start", "serve"])
@in_each_loop
async def test_it_receives_until_it_is_stopped(ends: Ends, way: str) -> None:
    publisher, endpoint = ends.bound(Publisher)
    heard = Heard()
    subscriber = Subscriber(endpoint, heard)
    serving = None
    if way == "with":
        await subscriber.__aenter__()
    elif way == "start":
        subscriber.start()
    else:
        serving = asyncio.create_task(subscriber.serve())
    await reaches(publisher, heard)
    if way == "with":
        await subscriber.__aexit__(None, None, None)
    else:
        await subscriber.stop()
    if serving is not None:
        await serving
    with pytest.raises(mesh.MeshError, match="make a new one"):
        subscriber.start()
    await subscriber.stop()


@in_each_loop
async def test_it_may_be_served_after_it_was_started(ends: Ends) -> None:
    pusher, endpoint = ends.bound(Pusher)
    heard = Heard()
    async with Puller(endpoint, heard) as puller:
        serving = asyncio.create_task(puller.serve())
        await pusher.job(1)
        await heard.wait(["job", 1])
        puller.stop()
        await serving


@in_each_loop
async def test_stopping_lets_the_running_handler_finish_and_begins_no_other(ends: Ends) -> None:
    pusher, endpoint = ends.bound(Pusher)
    began, ended = asyncio.Event(), list[int]()

    async def job(number: int) -> None:
        began.set()
        await asyncio.sleep(0.2)
        ended.append(number)

    puller = ends.receiver(Puller, endpoint, {"job": job})
    for number in range(3):
        await pusher.job(number)
    await began.wait()
    await puller.stop()
    assert (ended, puller.cut_off) == ([0], 0)


@in_each_loop
async def test_a_handler_that_does_not_end_is_cancelled(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    pusher, endpoint = ends.bound(Pusher)
    began, outcome = asyncio.Event(), list[str]()

    async def job() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            outcome.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0.01)
            outcome.append("cleaned up")

    puller = ends.receiver(Puller, endpoint, {"job": job}, pool_size=2)
    await pusher.job()
    await began.wait()
    assert puller.unfinished().startswith("1 calls: 'job' for ")
    at = time.monotonic()
    await puller.stop(0.1)
    assert time.monotonic() - at < 20
    assert outcome == ["cancelled", "cleaned up"] and puller.cut_off == 1
    assert "1 handlers still ran after 0.1 s" in caplog.text and "raised" not in caplog.text
    assert puller.unfinished() == ""


@in_each_loop
async def test_a_handler_that_ignores_its_end_is_told_of(
    ends: Ends, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.aio.runnable.CANCELLED", 0.05)
    pusher, endpoint = ends.bound(Pusher)
    began, over = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        began.set()
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                pass

    puller = ends.receiver(Puller, endpoint, {"job": job})
    await pusher.job()
    await began.wait()
    await puller.stop(0.0)
    assert "these handlers were cancelled and go on: 'job' for" in caplog.text
    over.set()


@pytest.mark.parametrize("pool_size", [1, 3])
@pytest.mark.parametrize("waits", [False, True])
@in_each_loop
async def test_a_handler_may_stop_its_own_receiver(ends: Ends, pool_size: int, waits: bool) -> None:
    pusher, endpoint = ends.bound(Pusher)

    async def stops() -> None:
        if waits:
            await asyncio.sleep(0.01)
        await puller.stop()

    puller = Puller(endpoint, {"job": stops, "plain": lambda: puller.stop() and None}, pool_size=pool_size)
    serving = asyncio.create_task(puller.serve())
    await pusher("job" if waits or pool_size == 1 else "plain")
    await asyncio.wait_for(serving, PATIENCE)


@in_each_loop
async def test_cancelling_what_serves_ends_it_at_once(ends: Ends) -> None:
    pusher, endpoint = ends.bound(Pusher)
    outcome: list[str] = []

    async def job() -> None:
        outcome.append("began")
        try:
            await asyncio.sleep(60)
        finally:
            outcome.append("ended")

    puller = Puller(endpoint, {"job": job})
    serving = asyncio.create_task(puller.serve())
    await pusher.job()
    await until(lambda: outcome, "the handler")
    serving.cancel()
    await caught(asyncio.CancelledError, serving)
    assert outcome == ["began", "ended"] and puller._receiver.ends.socket.closed


@pytest.mark.parametrize("pool_size", [1, 4])
@in_each_loop
async def test_as_many_handlers_run_at_once_as_the_pool_is_large(ends: Ends, pool_size: int) -> None:
    pusher, endpoint = ends.bound(Pusher)
    running_now, most, done = 0, 0, list[int]()

    async def job(number: int) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0.01)
        running_now -= 1
        done.append(number)

    ends.receiver(Puller, endpoint, {"job": job}, pool_size=pool_size)
    for number in range(20):
        await pusher.job(number)
    await until(lambda: len(done) == 20, "all jobs")
    assert most == pool_size
    assert done == list(range(20)) or pool_size > 1


@pytest.mark.parametrize("plain", [True, False])
@in_each_loop
async def test_a_flood_leaves_turns_to_others(ends: Ends, plain: bool) -> None:
    pusher, endpoint = ends.bound(Pusher, queue_size=1_000)
    done = list[float]()

    def job() -> None:
        time.sleep(0.001)  # computes
        done.append(time.monotonic())

    async def job_in_task() -> None:
        job()

    ends.receiver(Puller, endpoint, {"job": job if plain else job_in_task}, queue_size=1_000)
    await pusher.job()
    await until(lambda: done, "the connection")
    for _ in range(500):
        await pusher.job()
    most, give_up = 0, time.monotonic() + PATIENCE
    while len(done) < 501 and time.monotonic() < give_up:
        before = len(done)
        await asyncio.sleep(0)
        most = max(most, len(done) - before)
    assert len(done) == 501 and 0 < most < 100, "in one turn of the loop"


@in_each_loop
async def test_what_comes_while_a_handler_waits_costs_nothing(ends: Ends) -> None:
    began, over = list[bool](), asyncio.Event()

    async def job() -> None:
        began.append(True)
        await over.wait()

    puller = ends.receiver(Puller, None, {"job": job})
    endpoint = puller.bind(ANY_PORT)
    await ends.sender(Pusher, endpoint).job()
    await until(lambda: began, "the handler")
    puller._receiver.ends.socket.get(zmq.EVENTS)  # so that the descriptor tells of what comes next
    await ends.sender(Pusher, endpoint).job()
    before = time.thread_time()
    await asyncio.sleep(0.4)
    assert time.thread_time() - before < 0.2
    over.set()
    await until(lambda: len(began) == 2, "the second job")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_a_program(program: Program, number: int) -> None:
    async def main() -> None:
        async with Pusher() as pusher:
            process = program("events_received", "puller", "connect", pusher.bind(ANY_PORT), 0.3)
            await pusher.job(1)
            await asyncio.to_thread(process.wait_for, "^began job$")
            process.signal(number)
            assert await asyncio.to_thread(process.wait) == 0
            assert process.stdout.splitlines()[-2:] == ["heard job 1", "stopped"]
            assert not process.stderr

    run(main())


def test_a_receiver_whose_loop_was_closed_lets_go_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    outcome: list[str] = []

    async def job() -> None:
        outcome.append("began")
        try:
            await asyncio.sleep(60)
        finally:
            outcome.append("ended")

    async def main() -> Puller:
        puller = Puller(None, {"job": job})
        endpoint = puller.bind(ANY_PORT)
        puller.start()
        async with Pusher(endpoint) as pusher:
            await pusher.job()
            await until(lambda: outcome, "the handler")
        return puller

    puller = run(main())
    assert outcome == ["began", "ended"]
    puller.stop()
    assert puller._receiver.ends.socket.closed
    gc.collect()
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR], caplog.text


def test_a_receiver_whose_loop_was_closed_without_a_word_is_closed_by_the_next() -> None:
    async def begin() -> Puller:
        puller = Puller(None, print)
        puller.bind(ANY_PORT)
        puller.start()
        return puller

    loop = asyncio.new_event_loop()
    puller = loop.run_until_complete(begin())
    loop.close()
    assert not puller._receiver.ends.socket.closed

    async def main() -> None:
        async with Puller(None, print):
            assert puller._receiver.ends.socket.closed

    run(main())
    assert puller.unfinished() == ""


# What is sent leaves


@in_each_loop
async def test_closing_lets_leave_what_was_sent(ends: Ends) -> None:
    puller, endpoint = ends.raw_bound(zmq.PULL)
    async with Pusher(endpoint, queue_size=1_000) as pusher:
        for _ in range(1_000):
            await pusher.job(b"x" * 1_000)
    got = 0
    while got < 1_000 and puller.poll(20_000):
        puller.recv()
        got += 1
    assert got == 1_000 and not puller.poll(50)


@in_each_loop
async def test_closing_says_that_not_all_has_left(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    _full, endpoint = ends.raw_bound(zmq.PULL, rcvhwm=1, rcvbuf=4_096)
    pusher = Pusher(endpoint, timeout=0.2)
    await pusher.with_options(timeout=PATIENCE).job(b"x" * 20_000)
    with pytest.raises(mesh.Overloaded, match="took 'job'"):
        for _ in range(10_000):
            await pusher.job(b"x" * 20_000)
    await pusher.close(0.1)
    assert "not all that was sent had left after 0.1 s" in caplog.text


def test_a_program_may_end_right_after_it_has_sent(program: Program) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as puller:
        puller.rcvhwm, puller.rcvbuf, puller.linger = 1, 65_536, 0
        puller.bind(ANY_PORT)
        process = program("events_sent", "ends", puller.getsockopt_string(zmq.LAST_ENDPOINT))
        process.wait_for("^sent$")
        got = 0
        while got < 200 and puller.poll(20_000):
            puller.recv()
            got += 1
        assert got == 200 and not puller.poll(50)
        assert process.wait() == 0
        assert not process.stderr


@in_each_loop
async def test_one_that_was_dropped_lets_go_of_its_sockets(ends: Ends) -> None:
    subscriber, endpoint = ends.raw_bound(zmq.SUB)
    subscriber.subscribe(b"")
    kept, _ = ends.bound(Publisher)

    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    async def drop_one() -> None:
        publisher = Publisher(endpoint)
        await until(lambda: publisher._sender.connections, "the connection")

    before = descriptors()
    for _ in range(20):
        await drop_one()
    await until(lambda: descriptors() <= before, "its descriptors to be closed")
    assert kept.dropped == {}


def test_without_descriptors_for_a_loop_it_says_so_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(Publisher().close())  # what there is once in a process is made

    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    async def main() -> None:
        before = descriptors()
        with monkeypatch.context() as patched:
            patched.setattr(loop_thread, "_loop", None)
            patched.setattr("mesh.transport.descriptors.LOOP", 10**9)
            for _ in range(20):
                with pytest.raises(mesh.MeshError, match="ulimit -n"):
                    Pusher("tcp://127.0.0.1:9")
        await until(lambda: descriptors() <= before, "its descriptors to be closed")
        async with Pusher("tcp://127.0.0.1:9", timeout=0) as pusher:
            await caught(mesh.TimeoutExpired, pusher.job())

    run(main())


# Losing each other


@in_each_loop
async def test_a_subscriber_comes_back_after_the_publisher_was_away(ends: Ends) -> None:
    first, endpoint = ends.bound(Publisher)
    heard = ends.heard(Subscriber, endpoint)
    await reaches(first, heard)
    await first.close()
    second = ends.sender(Publisher, None)

    def bound() -> bool:
        try:
            return bool(second.bind(endpoint))
        except mesh.ConfigError:  # libzmq lets go of a port a moment later
            return False

    await until(bound, "the port")
    await second.wait_for_subscriber(PATIENCE)
    await second.happened(1)
    await heard.wait(["happened", 1])


@pytest.mark.parametrize("kind", ["subscriber", "puller"])
def test_a_receiver_that_is_killed_and_started_again(program: Program, kind: str) -> None:
    async def main() -> None:
        process = program("events_received", kind, "bind", ANY_PORT)
        endpoint = (await asyncio.to_thread(process.wait_for, r"^ready (\S+)$"))[1]
        sender: Any = Publisher if kind == "subscriber" else Pusher
        async with sender(endpoint) as end:
            await ready(end)
            await end.happened("one")
            await asyncio.to_thread(process.wait_for, "^heard happened one$")
            process.kill()
            await until(lambda: end._sender.connections == 0, "the break")
            again = program("events_received", kind, "bind", endpoint)
            await asyncio.to_thread(again.wait_for, "^ready")
            await ready(end)
            await end.happened("two")
            await asyncio.to_thread(again.wait_for, "^heard happened two$")
            assert "one" not in again.stdout

    run(main())


# Through hubs, with gevent's, and with old peers


@pytest.mark.parametrize(("sender", "receiver", "kind"), [(*PAIRS[0], "forwarder"), (*PAIRS[1], "streamer")])
@in_each_loop
async def test_through_a_hub(ends: Ends, sender: Any, receiver: Any, kind: Any) -> None:
    with running(spec(kind)) as (_, endpoints):
        heard = ends.heard(receiver, endpoints.out[0])
        end = ends.sender(sender, endpoints.in_[0])
        await ready(end)
        for number in range(100):
            await end.happened(number)
        await heard.wait(*(["happened", number] for number in range(100)))


@pytest.mark.parametrize(("green_sender", "receiver"), [(mesh.Publisher, Subscriber), (mesh.Pusher, Puller)])
@in_each_loop
async def test_from_gevent(ends: Ends, green_sender: Any, receiver: Any) -> None:
    with green_sender() as end:
        heard = ends.heard(receiver, end.bind(ANY_PORT))

        def send() -> None:
            if green_sender is mesh.Publisher:
                end.wait_for_subscriber(PATIENCE)
            end.happened(1)

        await asyncio.to_thread(send)
        await heard.wait(["happened", 1])


@pytest.mark.parametrize(("sender", "green_receiver"), [(Publisher, mesh.Subscriber), (Pusher, mesh.Puller)])
@in_each_loop
async def test_to_gevent(ends: Ends, sender: Any, green_receiver: Any) -> None:
    heard = Heard()
    end, endpoint = ends.bound(sender)
    with green_receiver(endpoint, heard):
        await ready(end)
        await end.happened(1)
        await heard.wait(["happened", 1])


@in_each_loop
async def test_a_name_is_followed_when_its_registry_changes(ends: Ends, tmp_path: Path) -> None:
    all_heard = [Heard(), Heard()]
    endpoints = [ends.receiver(Puller, None, heard).bind(ANY_PORT) for heard in all_heard]
    registry = tmp_path / "services.yml"
    registry.write_text(f"jobs: {{address: {endpoints[0]}, type: pull, timeout: 7}}\n")
    end = ends.sender(Pusher, "jobs", services=str(registry))
    assert end._options.timeout == 7
    await end.job(1)
    await all_heard[0].wait(["job", 1])
    registry.write_text(f"jobs: {{address: {endpoints[1]}, type: pull}}\n")
    while not all_heard[1]:
        await end.job(2)
        await asyncio.sleep(0.01)
    before = len(all_heard[0])
    await end.job(3)
    await until(lambda: all_heard[1][-1] == ["job", 3], "the last event")
    assert len(all_heard[0]) == before


# Loops, threads and forks


def test_a_sender_goes_from_loop_to_loop() -> None:
    heard = Heard()
    with zmq.Context() as context, context.socket(zmq.PULL) as far:
        far.linger = 0
        far.bind(ANY_PORT)
        pusher = Pusher(far.getsockopt_string(zmq.LAST_ENDPOINT))

        async def send(number: int) -> None:
            await pusher.job(number)

        for number, kind in enumerate(("asyncio", "uvloop", "asyncio")):
            run(send(number), kind)
        for _ in range(3):
            assert far.poll(20_000)
            far.recv()
        run(pusher.close())
    assert not heard


def test_many_threads_send_through_one_pusher(program: Program) -> None:
    async def main() -> None:
        heard = Heard()
        puller = Puller(None, heard)
        endpoint = puller.bind(ANY_PORT)
        async with puller:
            process = program("events_sent", "threads", endpoint)
            assert await asyncio.to_thread(process.wait, timeout=100.0) == 0, process.describe()
            await until(lambda: len(heard) == 8 * 500, "all jobs")
        numbers = [number for _, number in heard]
        assert sorted(numbers) == list(range(8 * 500))
        for first in range(0, 8 * 500, 500):
            own = [number for number in numbers if first <= number < first + 500]
            assert own == sorted(own)

    run(main())


@pytest.mark.parametrize("way", ["forks", "forks_within"])
def test_both_sides_of_a_fork_go_on(program: Program, way: str) -> None:
    async def main() -> None:
        heard = Heard()
        puller = Puller(None, heard)
        endpoint = puller.bind(ANY_PORT)
        async with puller:
            process = program("events_sent", way, endpoint)
            await asyncio.to_thread(process.wait_for, "^fine$")
            assert await asyncio.to_thread(process.wait) == 0, process.describe()
            expected = [["job", "child"], ["job", "parent"], *([["job", "after"]] if "in" in way else [])]
            await until(lambda: len(heard) == 1 + len(expected), "all jobs")
        assert heard[0] == ["job", "before"] and sorted(heard[1:]) == sorted(expected)

    run(main())


def test_what_is_the_parents_after_a_fork(program: Program) -> None:
    process = program("events_sent", "forks_bound", "tcp://127.0.0.1:1")
    process.wait_for("^fine$")
    assert process.wait() == 0, process.describe()


def test_a_child_that_a_handler_forks_ends_with_it(program: Program) -> None:
    async def main() -> None:
        async with Pusher() as pusher:
            process = program("events_received", "puller", "connect", pusher.bind(ANY_PORT))
            for how, code in (("returns", 0), ("raises", 5)):
                await pusher.fork(how)
                text = f"^forked, and the child ended with {code}$"
                await asyncio.to_thread(process.wait_for, text)
            await pusher.job("on it goes")
            await asyncio.to_thread(process.wait_for, "^heard job on it goes$")
            process.signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait) == 0, process.describe()

    run(main())


def test_ctrl_c_ends_the_waiting(program: Program) -> None:
    process = program("events_sent", "interrupted", "tcp://127.0.0.1:1")
    process.wait_for("^waiting$")
    process.signal(signal.SIGINT)
    process.wait_for("^fine$")
    assert process.wait() == 0


@in_each_loop
async def test_what_blocks_its_loop_keeps_no_subscription_waiting(ends: Ends) -> None:
    """The socket of a sender is looked after by a thread of its own."""
    publisher, endpoint = ends.bound(Publisher)
    far = ends.raw(zmq.SUB)
    far.subscribe(b"")
    far.connect(endpoint)
    deadline = time.monotonic() + PATIENCE
    while not publisher._sender._subscribed.match(b"x"):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # no turn of this loop


@in_each_loop
async def test_inside_one_process(ends: Ends, tmp_path: Path) -> None:
    for sender, receiver in PAIRS:
        end: Any = ends.sender(sender, None)  # type: ignore[type-var]
        endpoint = end.bind(f"inproc://{tmp_path.name}-{sender.__name__}")
        heard = ends.heard(receiver, endpoint)  # type: ignore[type-var]
        await ready(end)
        await end.happened(1)
        await heard.wait(["happened", 1])


def test_threads_that_send_while_it_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """Each send has one outcome, whatever the others do."""
    outcomes: list[str] = []

    async def send(pusher: Pusher) -> None:
        try:
            while True:
                await pusher.job()
        except mesh.MeshError as error:
            outcomes.append(str(error))

    async def main() -> None:
        heard = Heard()
        async with Puller(None, heard) as puller:
            pusher = Pusher(puller.bind(ANY_PORT), timeout=None)
            threads = [threading.Thread(target=lambda: asyncio.run(send(pusher))) for _ in range(4)]
            for thread in threads:
                thread.start()
            await until(lambda: len(heard) > 100, "jobs")
            await pusher.close()
            await until(lambda: not any(thread.is_alive() for thread in threads), "the end of all")
        assert len(outcomes) == 4 and all("closed" in text for text in outcomes)

    run(main())
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR], caplog.text
