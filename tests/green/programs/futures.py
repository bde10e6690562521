"""Answers asked for by concurrent.futures: `futures.py WAY ENDPOINT`; prints "fine" or what is not.

ENDPOINT is that of service.py. Whatever hangs here is ended by the alarm.
"""

from __future__ import annotations

import signal
import sys

WAY, ENDPOINT = sys.argv[1:]
signal.alarm(60)
if WAY == "patched":
    from gevent import monkey

    monkey.patch_all()

import threading  # noqa: E402
from collections.abc import Callable  # noqa: E402
from concurrent.futures import (  # noqa: E402
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from gevent import monkey  # noqa: E402

import mesh  # noqa: E402


def all_of_it(client: Any) -> None:
    """What a program does that knows concurrent.futures."""
    ten = [client.echo.future(number) for number in range(10)]
    done, left = wait(ten, timeout=30)
    assert (done, left) == (set(ten), set())
    assert sorted(one.result() for one in as_completed(ten)) == list(range(10)), "of those that have ended"
    ten = [client.echo.future(number) for number in range(10)]
    assert sorted(one.result() for one in as_completed(ten, timeout=30)) == list(range(10))
    slow, quick = client.slow.future(20), client.echo.future(1)
    done, left = wait([slow, quick], timeout=30, return_when=FIRST_COMPLETED)
    assert (done, left) == ({quick}, {slow})
    done, left = wait([slow], timeout=0.05)
    assert (done, left) == (set(), {slow}), "what takes longer than the timeout"
    failed = client.nothing.future()
    done, left = wait([slow, failed], timeout=30, return_when=FIRST_EXCEPTION)
    assert (done, left) == ({failed}, {slow})
    assert isinstance(failed.exception(), mesh.MethodNotFound)
    called: list[Any] = []
    slow.add_done_callback(called.append)
    assert slow.cancel() and slow.cancel() and slow.cancelled() and called == [slow]
    assert wait([slow], timeout=30).done == {slow}
    with ThreadPoolExecutor(1) as pool:
        # One of another kind among them, which a native thread ends.
        mixed = [pool.submit(lambda: 2), client.echo.future(1)]
        assert {one.result() for one in as_completed(mixed, timeout=30)} == {1, 2}


def others_run(client: Any) -> None:
    """In the thread of a loop everybody else in it goes on."""
    ticks: list[int] = []
    ticker = gevent.spawn(lambda: [ticks.append(number) or gevent.sleep(0.01) for number in range(1000)])
    wait([client.slow.future(0.3)], timeout=30)
    assert len(ticks) > 5, ticks
    ticker.kill()


def in_native_thread(function: Callable[[Any], None], client: Any) -> None:
    outcome: list[Any] = []

    def run() -> None:
        try:
            function(client)
            outcome.append(None)
        except BaseException as exc:  # noqa: BLE001 - raised again in the main thread
            outcome.append(exc)

    monkey.get_original("_thread", "start_new_thread")(run, ())
    pause = gevent.sleep if WAY != "plain" else monkey.get_original("time", "sleep")
    while not outcome:
        pause(0.01)
    if outcome[0] is not None:
        raise outcome[0]


def of_another_thread(client: Any) -> None:
    """Made in a native thread, waited for here."""
    made: list[Any] = []
    in_native_thread(lambda client: made.append(client.slow.future(0.2)), client)
    assert wait(made, timeout=30).done == set(made)


with mesh.connect(ENDPOINT, timeout=40) as shared:
    if WAY == "greenlets":
        gevent.joinall([gevent.spawn(all_of_it, shared) for _ in range(3)], raise_error=True)
    all_of_it(shared)
    others_run(shared)
    of_another_thread(shared)
    in_native_thread(all_of_it, shared)
    thread = threading.Thread(target=all_of_it, args=(shared,))
    thread.start()
    thread.join()
print("fine", flush=True)
