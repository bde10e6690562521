"""When a loop is kept awake for an answer, and that this has an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.transport import spin
from mesh.transport.spin import SPIN, WAKING, Spin


class Kept:
    """A loop with one idle watcher, and the time."""

    def __init__(self) -> None:
        self.now = 1.0
        self.awake = False
        self.look: Callable[[], object] = bool

    def idle(self, function: Callable[[], object]) -> Kept:
        self.look = function
        return self

    def resume(self) -> None:
        self.awake = True

    def pause(self) -> None:
        self.awake = False

    close = pause


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Kept:
    kept: Any = Kept()
    monkeypatch.setattr(spin, "monotonic", lambda: kept.now)
    one: Kept = kept
    return one


def answered_after(loop: Kept, one: Spin, seconds: float) -> bool:
    """Whether the loop was awake when an answer came that took so long."""
    one.begin()
    end = loop.now + seconds
    while loop.now < end:
        loop.now = min(loop.now + SPIN / 10, end)
        if loop.awake:
            loop.look()
    awake = loop.awake
    one.came()
    assert not loop.awake
    return awake


def test_it_ends_where_no_answer_comes(loop: Kept) -> None:
    one = Spin(loop)  # type: ignore[arg-type]  # of a loop this alone is wanted
    one.begin()
    assert loop.awake
    loop.now += SPIN * 0.9
    loop.look()
    assert loop.awake
    loop.now += SPIN * 0.2
    loop.look()
    assert not loop.awake


def test_it_goes_on_as_long_as_answers_come_soon(loop: Kept) -> None:
    one = Spin(loop)  # type: ignore[arg-type]  # as above
    assert [answered_after(loop, one, SPIN / 2) for _ in range(3)] == [True] * 3
    assert not answered_after(loop, one, SPIN * 3)
    # Where the loop sleeps, answers come that much later; those that take longer still wake nothing.
    assert not answered_after(loop, one, SPIN + WAKING * 1.1)
    assert not answered_after(loop, one, SPIN + WAKING * 0.9)
    assert answered_after(loop, one, SPIN / 2)
