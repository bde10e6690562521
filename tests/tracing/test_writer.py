"""What waits to be written, and what becomes of it where a store is away or full."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from mesh.tracing.store import Bounds, StoreError
from mesh.tracing.stores.memory import MemoryStore
from mesh.tracing.writer import Writer
from tests.helpers.processes import eventually


class Moody(MemoryStore):
    """A store that may have something against being written to."""

    def __init__(self) -> None:
        super().__init__(Bounds())
        self.error: Exception | None = None
        self.writes = 0

    def write(self, pieces: Mapping[str, bytes], block: bytes, now: float) -> None:
        if self.error is not None:
            raise self.error
        self.writes += 1
        super().write(pieces, block, now)


@contextmanager
def writing(most: int = 10_000) -> Iterator[tuple[Writer, Moody]]:
    store = Moody()
    writer = Writer(store, lambda: 0.0, most)
    writer.start()
    try:
        yield writer, store
    finally:
        writer.close(5.0)


def _is(probe: Callable[[], object]) -> None:
    eventually(lambda: bool(probe()))


def test_what_comes_together_is_written_together() -> None:
    with writing() as (writer, store):
        for n in range(10):
            writer.put(({"t": b"%d" % n, f"t{n}": b"x"}, b"", 2))
        assert writer.wait_written(5.0)
        assert b"".join(store.pieces("t")) == b"0123456789"
        assert writer.written == 20
        assert store.writes <= 3


def test_a_store_that_is_away_for_a_while_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with writing(1_000) as (writer, store), caplog.at_level(logging.INFO, "mesh.collect"):
        store.error = StoreError("it is away")
        number = 0
        while writer.has_room():
            writer.put(({f"t{number}": b"x" * 100}, b"", 1))
            number += 1
        assert number == 4
        _is(lambda: writer.trouble)
        store.error = None
        assert writer.wait_written(10.0)
        assert (writer.written, writer.lost, writer.trouble, writer.has_room()) == (4, 0, "", True)
    assert sorted(one.levelname for one in caplog.records) == ["ERROR", "WARNING", "WARNING"]
    assert "it is away" in caplog.text


def test_a_full_disk_is_told_counted_and_gone_on_from(caplog: pytest.LogCaptureFixture) -> None:
    with writing() as (writer, store), caplog.at_level(logging.INFO, "mesh.collect"):
        store.error = StoreError("the disk is full", lasting=True)
        writer.put(({"a": b"x"}, b"", 3))
        _is(lambda: writer.lost == 3 and not writer.queued)
        store.error = None
        writer.put(({"b": b"x"}, b"", 2))
        assert writer.wait_written(5.0)
        assert (writer.written, writer.lost, list(store.pieces("b"))) == (2, 3, [b"x"])
    assert "the disk is full" in caplog.text
    assert "3 records are lost in all" in caplog.text


def test_a_fault_of_the_store_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    with writing() as (writer, store):
        store.error = TypeError("a fault")
        writer.put(({"a": b"x"}, b"", 3))
        _is(lambda: writer.lost == 3)
        store.error = None
        writer.put(({"b": b"x"}, b"", 2))
        assert writer.wait_written(5.0)
        assert writer.written == 2
    assert "TypeError: a fault" in caplog.text


def test_the_end_writes_what_waits_and_does_not_wait_for_ever() -> None:
    with writing() as (writer, store):
        writer.put(({"a": b"x"}, b"", 1))
    assert list(store.pieces("a")) == [b"x"]
    with writing() as (writer, store):
        store.error = StoreError("it is away")
        writer.put(({"a": b"x"}, b"", 1))
        writer.close(0.3)
    assert writer.lost == 1


def test_what_is_tried_again_is_the_same_whatever_came_meanwhile() -> None:
    """By that a store knows what it has already, though its word for it was lost."""
    tried: list[tuple[dict[str, bytes], bytes]] = []

    class Slow(MemoryStore):
        def write(self, pieces: Mapping[str, bytes], block: bytes, now: float) -> None:
            tried.append((dict(pieces), block))
            if len(tried) < 3:
                writer.put(({"later": b"x"}, b"later", 1))
                raise StoreError("no answer")

    writer = Writer(Slow(Bounds()), lambda: 0.0)
    writer.put(({"t": b"1"}, b"first", 1))
    writer.start()
    eventually(lambda: len(tried) == 4)
    writer.close(5.0)
    assert tried[0] == tried[1] == tried[2] == ({"t": b"1"}, b"first")
    assert tried[3] == ({"later": b"xx"}, b"laterlater")


def test_trouble_with_what_is_old_is_told_once_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(MemoryStore):
        error: StoreError | None = StoreError("a page is malformed")

        def write(self, pieces: Mapping[str, bytes], block: bytes, now: float) -> None:
            """What is old has nothing to do with it."""

        def expire(self, now: float) -> None:
            if self.error is not None:
                raise self.error

    store = Stuck(Bounds())
    writer = Writer(store, lambda: 0.0)
    writer.start()
    for _ in range(3):
        writer.put(({"t": b"x"}, b"", 1))
        assert writer.wait_written(5.0)
        eventually(lambda: writer.trouble == "a page is malformed")
    store.error = None
    eventually(lambda: writer.trouble == "")
    writer.close(5.0)
    assert [one.getMessage() for one in caplog.records] == [
        "what is too old can't be thrown away: a page is malformed"
    ]
