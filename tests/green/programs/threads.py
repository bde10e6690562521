"""One client in native threads: `threads.py WAY ENDPOINT`; prints what went wrong, or "fine"."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable
from typing import Any

WAY, ENDPOINT = sys.argv[1:]
if WAY.startswith("patched"):
    from gevent import monkey

    monkey.patch_all()

import threading  # noqa: E402

import gevent  # noqa: E402
from gevent import monkey  # noqa: E402

import mesh  # noqa: E402

wrong: list[Any] = []
start_native: Callable[..., Any] = monkey.get_original("_thread", "start_new_thread")
native_sleep: Callable[[float], None] = monkey.get_original("time", "sleep")


def check(found: Any, expected: Any) -> None:
    if found != expected:
        wrong.append((found, expected))


def use(client: mesh.Client, number: int) -> None:
    """Everything that a thread does with a client."""
    try:
        for repeat in range(20):
            check(client.echo([number, repeat]), [number, repeat])
        check(list(client.count(150)), list(range(150)))
        check(client.echo(value=number), number)
        check(client.echo.future(number).result(timeout=20), number)
        try:
            client.nothing()
            wrong.append("no error")
        except NameError:
            pass
        for item in client.ticks(0.001):
            if item == 3:
                break
    except BaseException as exc:  # noqa: BLE001 - reported at the end
        wrong.append(exc)


def native(function: Callable[..., None], *arguments: Any) -> Any:
    """Start it in a native thread, also where threads are patched; gives a test of whether it has ended."""
    ended = [False]

    def run() -> None:
        try:
            function(*arguments)
        except BaseException as exc:  # noqa: BLE001 - reported at the end
            wrong.append(exc)
        finally:
            ended[0] = True

    start_native(run, ())
    return lambda: ended[0]


def wait_for(all_ended: list[Callable[[], bool]], sleep: Callable[[float], Any]) -> None:
    deadline = time.monotonic() + 40
    while not all(ended() for ended in all_ended):
        if time.monotonic() > deadline:
            wrong.append("threads still run")
            return
        sleep(0.01)


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def fifty(client: mesh.Client, sleep: Callable[[float], Any]) -> None:
    wait_for([native(use, client, number) for number in range(50)], sleep)


def plain(client: mesh.Client) -> None:
    """50 threads while the main thread is blocked, then calls itself."""
    fifty(client, native_sleep)
    use(client, -1)


def plain_threading(client: mesh.Client) -> None:
    """As a plain program does it, from its first call on."""
    threads = [threading.Thread(target=use, args=(client, n)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
        check(thread.is_alive(), False)


def in_gevent(client: mesh.Client) -> None:
    """Greenlets and native threads of one program."""

    def body() -> None:
        greenlets = [gevent.spawn(use, client, n) for n in range(20)]
        fifty(client, gevent.sleep)
        gevent.joinall(greenlets, timeout=30)
        check(all(one.dead for one in greenlets), True)

    gevent.spawn(body).get()


def threadpool(client: mesh.Client) -> None:
    pool = gevent.get_hub().threadpool
    for one in [pool.spawn(use, client, n) for n in range(10)]:
        one.get(timeout=40)


def come_and_go(client: mesh.Client) -> None:
    """Threads that end leave nothing, nor do those that had a loop of their own."""

    def with_a_loop(destroy: bool) -> None:
        gevent.sleep(0)
        use(client, 0)
        if destroy:
            gevent.get_hub().destroy(destroy_loop=True)

    use(client, 0)
    wait_for([native(use, client, 0)], native_sleep)
    before = descriptors()
    for number in range(60):
        wait_for([native(use, client, number)], native_sleep)
    check(descriptors(), before)
    for _ in range(20):
        wait_for([native(with_a_loop, True)], native_sleep)
    for _ in range(3):  # whoever comes next clears up what others have left
        wait_for([native(with_a_loop, True)], native_sleep)
    check(descriptors() <= before + 12, True)


def first_thing(client: mesh.Client) -> None:
    """The main greenlet of a patched program is served by its own loop, and others run meanwhile."""
    ticks = []
    ticker = gevent.spawn(lambda: [ticks.append(gevent.sleep(0.01)) for _ in range(1000)])
    client.slow(0.3)
    check(len(ticks) > 5, True)
    ticker.kill()
    use(client, 1)
    wait_for([native(use, client, 2)], gevent.sleep)


def stream_moves(client: mesh.Client) -> None:
    """A stream of a thread with a loop, read in another, is refused in words, also where its items are there.
    One of threads without a loop may be read in any of them, as servers with a pool of threads do it."""
    taken: list[Any] = []

    def read(stream: Any, number: int) -> None:
        try:
            taken.extend(next(stream) for _ in range(number))
        except RuntimeError as exc:
            taken.append(str(exc))

    stream = client.count(150)
    check(next(stream), 0)
    wait_for([native(read, stream, 1)], native_sleep)
    check("'count' belongs to another event loop or thread than the one" in str(taken.pop()), True)
    check(list(stream), list(range(1, 150)))
    stream = client.ticks(0.05)
    wait_for([native(stream.close)], native_sleep)
    streams: list[Any] = []
    wait_for([native(lambda: streams.append(client.count(600)))], native_sleep)
    wait_for([native(read, streams[0], 200)], native_sleep)
    check(taken, list(range(200)))
    wait_for([native(read, streams[0], 200) for _ in range(2)], native_sleep)
    check(sorted(taken), list(range(600)))
    use(client, 1)


WAYS = {
    "plain": plain,
    "plain-threading": plain_threading,
    "gevent": in_gevent,
    "gevent-threadpool": threadpool,
    "patched-threads": in_gevent,
    "patched-threading": plain_threading,
    "patched-first": first_thing,
    "plain-come-and-go": come_and_go,
    "plain-stream-moves": stream_moves,
}
with mesh.connect(ENDPOINT, timeout=30) as shared:
    WAYS[WAY](shared)
print(wrong[:5] or "fine", flush=True)
