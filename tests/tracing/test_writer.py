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
