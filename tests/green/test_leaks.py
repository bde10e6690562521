"""Nothing is left of clients, calls and streams that have ended."""

from __future__ import annotations

import gc
import os
import threading
from collections import Counter
from collections.abc import Callable

import gevent
import pytest

import mesh
from tests.green.conftest import Serve
from tests.green.programs.service import Service
from tests.helpers.clients import endpoint_of
from tests.helpers.processes import Process, eventually

Start = Callable[..., tuple[str, Process]]

OURS = ("mesh.green", "mesh.core", "mesh.transport", "gevent", "greenlet", "zmq.sugar", "_weakref", "weakref")


def census() -> Counter[str]:
    """How many there are of each kind of object that a client could leave."""
    gc.collect()
    kinds = Counter(
        f"{vars(type(one)).get('__module__')}.{type(one).__qualname__}" for one in gc.get_objects()
    )
    kept = Counter({kind: number for kind, number in kinds.items() if kind.startswith(OURS)})
    kept["descriptors"] = len(os.listdir("/proc/self/fd"))
    kept["threads"] = threading.active_count()
    return kept


def settles(before: Counter[str], spare: int = 0) -> None:
    """Everything is back to what it was, apart from `spare` of a kind."""
    grown: Counter[str] = Counter()

    def look() -> bool:
        nonlocal grown
        grown = Counter({kind: more for kind, more in (census() - before).items() if more > spare})
        return not grown

    eventually(look, what=lambda: f"the end of {grown}")


def use(client: mesh.Client) -> None:
    assert client.echo(1) == 1
    assert client.echo(value=2) == 2
    assert list(client.count(5)) == list(range(5))
    for item in client.count(1_000):
        if item == 2:
            break
    with pytest.raises(NameError):
        client.nothing()
    with pytest.raises(mesh.TimeoutExpired):
        client.with_options(timeout=0.001).slow(3.0)  # an answer that has come would count
    client.echo.future(3).result(timeout=20)
    client.slow.future(0.05).cancel()


def closed(endpoint: str) -> None:
    with mesh.connect(endpoint, timeout=10) as client:
        use(client)


def dropped(endpoint: str) -> None:
    use(mesh.connect(endpoint, timeout=10))


def in_a_thread(endpoint: str) -> None:
    thread = threading.Thread(target=closed, args=(endpoint,))
    thread.start()
    eventually(lambda: not thread.is_alive())


def never_connected(_: str) -> None:
    with mesh.connect(["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"], timeout=0.01) as client:
        client.echo.future(1)
        with pytest.raises(mesh.TimeoutExpired):
            client.echo(1)


@pytest.mark.parametrize("way", [closed, dropped, in_a_thread, never_connected])
def test_clients_come_and_go(service: Start, way: Callable[[str], None]) -> None:
    endpoint, _ = service()
    for _ in range(5):
        way(endpoint)
    gevent.sleep(0.1)
    before = census()
    for _ in range(75):
        way(endpoint)
    settles(before, spare=3)


def test_clients_in_greenlets_at_once(service: Start) -> None:
    endpoint, _ = service()

    def many() -> None:
        jobs = [gevent.spawn(closed, endpoint) for _ in range(30)]
        gevent.joinall(jobs, timeout=20)
        assert all(job.successful() for job in jobs)

    many()
    gevent.sleep(0.1)
    before = census()
    many()
    many()
    settles(before, spare=3)


def test_calls_leave_nothing_at_either_end(service: Start) -> None:
    endpoint, process = service()
    with mesh.connect(endpoint, timeout=20) as client:

        def calls(number: int) -> None:
            for _ in range(number // 50):
                jobs = [gevent.spawn(client.echo, n) for n in range(45)]
                for job in jobs:
                    job.get(timeout=10)
                assert list(client.count(20))[-1] == 19
                for _ in client.count(1_000):
                    break
                with pytest.raises(NameError):
                    client.nothing()

        calls(3_000)
        before, resident = census(), _resident(process.pid)
        calls(10_000)
        settles(before, spare=3)
        session = endpoint_of(client).session
        eventually(lambda: not session.calls)
        assert not session.unsent
        assert not session.woken
        assert _resident(process.pid) - resident < 3 * 1024 * 1024


def test_a_server_keeps_nothing_of_clients_that_went() -> None:
    server = mesh.Server(Service())
    endpoint = server.bind("tcp://127.0.0.1:*")
    server.start()
    for _ in range(5):
        closed(endpoint)
    gevent.sleep(0.3)
    ours, before = server._endpoint, census()
    for _ in range(40):
        closed(endpoint)
    settles(before, spare=3)
    assert not ours.session.calls
    assert not ours.session.ready
    assert ours.router is not None and not ours.router.owes
    eventually(lambda: ours._probing.wake_at == float("inf"))
    assert len(ours._watchers) == 2
    server.stop(timeout=0.2)


def test_a_server_keeps_no_call_that_has_ended(serve: Serve) -> None:
    """Not even the last one of each greenlet that waits for the next."""
    with mesh.connect(serve(Service()), timeout=20) as client:
        before = census()
        calls = [client.slow.future(0.1) for _ in range(30)]
        assert len([call.result() for call in calls]) == 30
        del calls
        settles(before, spare=3)


def test_a_closed_client_leaves_no_watcher_in_the_loop() -> None:
    def watchers() -> int:
        return int(gevent.get_hub().loop.activecnt)

    server = mesh.Server(Service())
    endpoint = server.bind("tcp://127.0.0.1:*")
    server.start()
    before = watchers()
    client = mesh.connect(endpoint, timeout=10)
    use(client)
    assert watchers() > before
    client.close()
    gevent.sleep(0)
    eventually(lambda: watchers() <= before, what="the end of the watchers")
    server.stop(timeout=0.2)


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
