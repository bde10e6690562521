"""Holds for every test: one that hangs fails with a traceback instead of stopping the run.

And one that fails while the machine stood still is run again: helpers/stalls.py.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
from collections.abc import Generator, Iterator
from types import FrameType

import pytest
from gevent.util import print_run_info

from mesh.transport.recording import recording
from tests.helpers.stalls import Stalls

LIMIT = 120.0
GRACE = 20.0
_terminal = 2
# No test asks the machine's own name servers, and this process tells no collector of its calls, though one
# test has it ask a name server, where there might be one.
os.environ["MESH_DOMAIN"] = ""
recording.keep_out()


class Hang(SystemError):
    """A test ran over its limit. A SystemError, because gevent's hub hands those to the main greenlet."""


def pytest_configure(config: pytest.Config) -> None:
    global _terminal
    config.addinivalue_line(
        "markers", f"limit(seconds): fail the test when it runs longer; {LIMIT:g} without"
    )
    _terminal = os.dup(2)
    config.pluginmanager.register(Stalls())
    # A run in the background is begun without Ctrl-C, one by nohup without SIGHUP, and so would be all
    # programs that it starts.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without the garbage collector, and have it pass over them afterwards.

    It would walk through them again and again while they are made, and whenever a test calls it.
    """
    gc.disable()
    result = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return result


@pytest.fixture(autouse=True)
def _hang_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    marker = request.node.get_closest_marker("limit")
    limit = float(marker.args[0]) if marker else 1800.0 if request.node.get_closest_marker("soak") else LIMIT

    def hang(number: int, frame: FrameType | None) -> None:
        print_run_info()
        raise Hang(f"still running after {limit:g} s; standard error shows every greenlet and thread")

    previous = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, limit)
    # For a test that is stuck in C, where no Python signal handler runs: show where, and end the run.
    faulthandler.dump_traceback_later(limit + GRACE, exit=True, file=_terminal)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.fixture(autouse=True)
def _same_environment(_hang_guard: None) -> Iterator[None]:
    """What a test leaves in the environment all programs of the tests after it would get."""
    before = _environment()
    yield
    after = _environment()
    if after != before:
        os.environ.update(before)
        for name in after.keys() - before.keys():
            del os.environ[name]
    assert after == before


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
