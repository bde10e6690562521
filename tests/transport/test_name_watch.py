"""The looks at registry files, whose clock and whose pauses are the test's."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from mesh.names.catalog import CHECK_EVERY
from mesh.transport import process
from mesh.transport.name_watch import PERIOD, NameWatch


class Name:
    """A name whose version the test sets."""

    def __init__(self) -> None:
        self.version = 1
        self.changes = 0
        self.problem: Exception | None = None
        self.on_change: Callable[[], None] = self._changed

    def refresh(self, now: float) -> int:
        if self.problem:
            raise self.problem
        return self.version

    def _changed(self) -> None:
        self.changes += 1


def watched(monkeypatch: pytest.MonkeyPatch, *turns: Callable[[], Any]) -> NameWatch:
    """Its thread begins when the first of its pauses does; after the last turn nobody is watched."""
    threads: list[Callable[[], Any]] = []
    monkeypatch.setattr(process, "start_thread", lambda run, args, name: threads.append(run))
    left = list(turns)
    watch = NameWatch(lambda: 0.0, lambda seconds: left.pop(0)())
    watch.threads = threads  # type: ignore[attr-defined] # for the tests alone
    return watch


def run(watch: NameWatch) -> None:
    threads: list[Callable[[], Any]] = watch.threads  # type: ignore[attr-defined] # see above
    thread = threads.pop()
    assert not threads, "one thread is enough"
    thread()


def test_a_change_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    name = Name()
    seen: list[int] = []

    def change() -> None:
        seen.append(name.changes)
        name.version = 2

    def note() -> None:
        seen.append(name.changes)

    def end() -> None:
        note()
        watch.forget(name)

    watch = watched(monkeypatch, change, note, end)
    watch.watch(name, 1)
    watch.watch(name, 1)
    run(watch)
    assert seen == [0, 1, 1]


def test_one_that_fails_keeps_no_other_from_its_turn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Name(), Name()
    bad.problem = OSError("odd")

    def end() -> None:
        watch.forget(bad)
        watch.forget(good)

    watch = watched(monkeypatch, end)
    watch.watch(bad, 1)
    watch.watch(good, 0)
    run(watch)
    assert good.changes == 1 and "could not look" in caplog.text


def test_the_thread_ends_with_the_last_and_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [Name()]
    names[0].on_change = gc.collect  # type: ignore[assignment] # no cycle that keeps it
    watch = watched(monkeypatch, names.clear, lambda: None)
    watch.watch(names[0], 1)
    gc.collect()
    run(watch)
    name = Name()
    watch.watch(name, 1)
    watch.forget(name)
    run(watch)


def test_a_child_of_a_fork_has_no_thread_before_it_uses_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = Name()
    watch = watched(monkeypatch, lambda: watch.forget(name))
    watch.watch(name, 1)
    watch.threads.clear()  # type: ignore[attr-defined] # the parent's
    watch.forked()
    watch.watch(name, 0)
    run(watch)
    assert name.changes == 1


def test_two_looks_are_within_a_second() -> None:
    assert CHECK_EVERY < PERIOD and 2 * PERIOD < 1.0
