"""One client, or a server, on both sides of a fork: `forks.py WAY ENDPOINT`; prints "fine" or what is not."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from os import waitpid
from typing import Any

WAY, ENDPOINT = sys.argv[1:]
faulthandler.register(signal.SIGUSR1)
if WAY.startswith("patched"):
    from gevent import monkey

    monkey.patch_all()

import threading  # noqa: E402

import gevent  # noqa: E402

if WAY.startswith("patched"):
    # gevent does so after its first fork: of a child that has ended by then nobody ever hears.
    gevent.get_hub().loop.install_sigchld()

import mesh  # noqa: E402
from mesh.green.sidecar import Sidecar  # noqa: E402

client = mesh.connect(ENDPOINT, timeout=10, heartbeat=1.0)


def use(target: mesh.Client = client) -> None:
    assert [target.echo(n) for n in range(20)] == list(range(20))
    assert target.echo(value=1) == 1
    assert list(target.count(200)) == list(range(200))
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(target.echo("thread")))
    thread.start()
    thread.join(10)
    assert outcome == ["thread"]


def in_child(body: Callable[[], Any]) -> int:
    """Fork; the exit code of the child in which `body` runs."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException as exc:  # noqa: BLE001 - told by the exit code
            sys.stderr.write(f"in the child: {type(exc).__name__}: {exc}\n")
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        use() if WAY.endswith("both") else time.sleep(0.01)
    os.kill(pid, signal.SIGUSR1)  # it shows where
    time.sleep(1.0)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the child hangs")


def simple() -> None:
    """Before and after the first call, child and parent, and a child of the child."""
    assert in_child(use) == 0
    use()
    assert in_child(lambda: (use(), in_child(use) == 0 or os._exit(3), use())) == 0
    use()


def at_once() -> None:
    """Parent and child call at the same time."""
    use()
    for _ in range(3):
        assert in_child(use) == 0
    use()


def from_a_greenlet() -> None:
    def body() -> None:
        others = [gevent.spawn(client.slow, 0.3) for _ in range(5)]
        simple()
        assert all(isinstance(other.get(timeout=10), int) for other in others)

    gevent.spawn(body).get()


def from_a_thread() -> None:
    use()
    outcome: list[int] = []
    thread = threading.Thread(target=lambda: outcome.append(in_child(use)))
    thread.start()
    thread.join(30)
    assert outcome == [0], outcome
    use()


def open_stream() -> None:
    """The parent's streams are the parent's; the child is told at once, whatever has arrived of them, and may
    open its own."""
    stream = client.ticks(0.01)
    assert next(stream) == 0
    there = client.count(90)
    assert next(there) == 0
    of_thread: list[Any] = []

    def begin() -> None:
        of_thread.append(client.count(90))
        assert next(of_thread[0]) == 0

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join(20)

    def child() -> None:
        for one in (stream, there, *of_thread):
            try:
                next(one)
            except mesh.LostRemote as exc:
                assert "before a fork" in str(exc), exc
            else:
                raise AssertionError("the child read the parent's stream")
            one.close()
        own = client.ticks(0.01)
        assert [next(own) for _ in range(3)] == [0, 1, 2]

    assert in_child(child) == 0
    assert [next(stream) for _ in range(20)] == list(range(1, 21))
    assert list(there) == list(range(1, 90))
    stream.close()
    use()


def child_exits_normally() -> None:
    """A child that runs Python's own clean-up disturbs nothing."""
    use()
    stream = client.ticks(0.01)
    next(stream)
    pid = os.fork()
    if pid == 0:
        use()
        sys.exit(0)
    while not os.waitpid(pid, os.WNOHANG)[0]:
        next(stream)
    stream.close()
    use()


def mp_child() -> None:
    use()
    with mesh.connect(ENDPOINT, timeout=10) as own:
        assert own.echo(1) == 1


def with_multiprocessing() -> None:
    use()
    children = [multiprocessing.get_context("fork").Process(target=mp_child) for _ in range(3)]
    for child in children:
        child.start()
    use()
    for child in children:
        child.join(20)
        assert child.exitcode == 0, child.exitcode
    use()


class Forking:
    def fork(self) -> int:
        """A child that exits as Python does, and one that is cut off."""
        for leave in (os._exit, sys.exit):
            pid = os.fork()
            if pid == 0:
                leave(0)
            # The real one: gevent's now and then waits for ever for a child that has ended.
            with suppress(ChildProcessError):
                waitpid(pid, 0)
        return os.getpid()

    def echo(self, value: Any) -> Any:
        return value

    def ticks(self) -> Any:
        for number in range(10**9):
            yield number
            gevent.sleep(0.01)


def server_forks() -> None:
    """Children of a handler, of the main thread, and of a pool leave the server as it was."""
    server = mesh.Server(Forking(), heartbeat=1.0)
    endpoint = server.bind("tcp://127.0.0.1:*")
    server.start()
    with mesh.connect(endpoint, timeout=10, heartbeat=1.0) as own:
        stream = own.ticks()
        assert next(stream) == 0

        def child() -> None:
            try:
                server.run()
            except mesh.MeshError as exc:
                assert "made before a fork" in str(exc), exc
            else:
                raise AssertionError("the parent's server runs in the child")
            server.stop()
            again = mesh.Server(Forking())
            here = again.bind("tcp://127.0.0.1:*")
            again.start()
            with mesh.connect(here, timeout=10) as inner:
                assert inner.echo(5) == 5
            again.stop()

        assert in_child(child) == 0
        other = multiprocessing.get_context("fork").Process(target=use)
        other.start()
        other.join(20)
        assert other.exitcode == 0
        assert own.echo(1) == 1
        assert [next(stream) for _ in range(10)] == list(range(1, 11))
        stream.close()
    server.stop()


def handler_forks() -> None:
    server = mesh.Server(Forking(), heartbeat=1.0)
    endpoint = server.bind("tcp://127.0.0.1:*")

    def call() -> None:
        with mesh.connect(endpoint, timeout=10, heartbeat=1.0) as own:
            assert own.fork() == os.getpid()
            assert own.echo(1) == 1
        server.stop()

    thread = threading.Thread(target=call)
    thread.start()
    server.run()
    thread.join(10)


NOWHERE = "tcp://127.0.0.1:1"


def lives() -> list[Any]:
    """One of each that is made, run and stopped."""
    server = mesh.Server({"one": lambda: 1}, threads=1)
    server.bind("tcp://127.0.0.1:*")
    server.register("one", NOWHERE)
    puller = mesh.Puller(None, {"job": print})
    puller.bind("tcp://127.0.0.1:*")
    return [server, puller, Sidecar("one", ENDPOINT, NOWHERE)]


def clients_of_destroyed_loops() -> list[mesh.Client]:
    """A client that was used in a loop which its thread has destroyed, and one whose thread lives on, too."""
    kept: list[mesh.Client] = []
    lives_on = threading.Event()

    def body(stay: bool) -> None:
        gevent.get_hub()
        kept.append(mesh.connect(ENDPOINT, timeout=10))
        assert kept[-1].echo(1) == 1
        gevent.get_hub().destroy(destroy_loop=True)
        ended.release()
        if stay:
            lives_on.wait(60)

    ended = threading.Semaphore(0)
    for stay in (False, True):
        threading.Thread(target=body, args=(stay,), daemon=True).start()
        assert ended.acquire(timeout=20)
    return kept


def after_stops() -> None:
    """Whatever was stopped, or never started, and is still referenced does not disturb a fork."""
    never, stopped, running = lives(), lives(), lives()
    for one in (*stopped, *running):
        one.start()
    for one in stopped:
        one.stop(0.0)
    pusher = mesh.Pusher()
    pusher.close()
    closed = mesh.connect(ENDPOINT, timeout=10)
    assert closed.echo(1) == 1
    closed.close()
    kept = [] if WAY.startswith("patched") else clients_of_destroyed_loops()

    def child() -> None:
        use()
        with mesh.Server({"two": lambda: 2}) as again, mesh.connect(again.bind("tcp://127.0.0.1:*")) as own:
            assert own.two() == 2
        for one in (*never, *stopped, *running, *kept):
            one.close() if isinstance(one, mesh.Client) else one.stop()

    assert in_child(lambda: (child(), in_child(use) == 0 or os._exit(3))) == 0
    assert gevent.spawn(in_child, child).get() == 0
    outcome: list[int] = []
    thread = threading.Thread(target=lambda: outcome.append(in_child(child)))
    thread.start()
    thread.join(30)
    assert outcome == [0], outcome
    subprocess.run([sys.executable, "-c", ""], check=True, preexec_fn=lambda: None)
    use()
    for one in (*never, *running):
        one.stop(0.0)
    for one in kept:
        one.close()


WAYS = {
    "plain-simple": simple,
    "plain-both": at_once,
    "plain-thread": from_a_thread,
    "plain-stream": open_stream,
    "plain-exit": child_exits_normally,
    "plain-multiprocessing": with_multiprocessing,
    "plain-server": server_forks,
    "plain-handler": handler_forks,
    "plain-stopped": after_stops,
    "gevent-simple": from_a_greenlet,
    "gevent-stopped": lambda: gevent.spawn(after_stops).get(),
    "gevent-both": lambda: gevent.spawn(at_once).get(),
    "patched-simple": simple,
    "patched-both": at_once,
    "patched-greenlet": from_a_greenlet,
    "patched-multiprocessing": with_multiprocessing,
    "patched-server": server_forks,
    "patched-handler": handler_forks,
    "patched-stopped": after_stops,
}
if __name__ == "__main__":
    began = os.getpid()
    WAYS[WAY]()
    if os.getpid() == began:
        print("fine", flush=True)
    client.close()
