"""Records are kept packed and come back as they were, whatever texts and ids they have, from many threads."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.core import record_rows
from mesh.core.record_rows import MAX_RECORDS, MAX_TEXT, MAX_TEXTS, KeptRecords
from mesh.core.trace_record import Kind, Record
from tests.tracing.batches import records_in

TRACE, SPAN, PARENT = "8f3a2c00" * 4, "ab" * 8, "0123456789abcdef"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def record(**other: Any) -> Record:
    record = Record(
        Kind.CLIENT, TRACE, SPAN, PARENT, "orders", "place", 1.0, 1.5, 3.0, "OK", "tcp://10.0.0.7:4242"
    )
    return record._replace(**other)


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize(
    "one",
    [
        record(),
        record(parent_id=""),
        record(kind=Kind.SERVER, detail={"message": "'tea'", "tags": {"user": 42}}),
        record(started=1.0, ended=1.0),
        record(started=3.0),
        record(trace_id="8F3A2C00" * 4),  # of another program: an id is passed on as it is
        record(span_id="AB" * 8),
        record(trace_id="8f3a2c 0" * 4),
        record(trace_id="7" * 32, span_id="1" * 16, parent_id=""),
        record(trace_id="<8F3A2C>", span_id="", parent_id=""),
        record(trace_id="8F3A2C", detail={"late": True}),
        record(parent_id="theirs"),
        record(span_id=""),
    ],
)
def test_one_comes_back_as_it_was(one: Record) -> None:
    kept = KeptRecords(Clock())
    for _ in range(2):  # the first time its texts are new
        kept.add(*one)
    assert records_in(kept) == [one, one]
    assert not len(kept) and not records_in(kept)


def test_what_nobody_could_ask_for_is_not_kept() -> None:
    kept = KeptRecords(Clock())
    for trace_id in ("", None, 5, b"\xff" * 200, "\x1b[2J", ["a"]):
        kept.add(*record(trace_id=trace_id))
    assert not len(kept) and not kept.dropped


def test_what_is_over_is_dropped_and_counted() -> None:
    kept = KeptRecords(Clock())
    for number in range(MAX_RECORDS + 7):
        kept.add(*record(began=number / 1e6))
    assert (len(kept), kept.take_dropped(), kept.take_dropped()) == (MAX_RECORDS, 7, 0)
    assert [one.began for one in records_in(kept)[:3]] == [0.0, 1e-6, 2e-6]


@pytest.mark.parametrize("texts", [MAX_TEXTS - 10, 3 * MAX_TEXTS])
def test_any_number_of_texts(texts: int) -> None:
    clock = Clock()
    kept = KeptRecords(clock)
    told = [record(method=f"m{number}", detail={"items": number}) for number in range(texts)]
    for one in told:
        kept.add(*one)
    assert records_in(kept) == told
    # The full table gives way to another, though a late thread may still add to it.
    late = kept._table if kept._former is None else kept._former
    kept.add(*record(method="new"))
    clock.now += 0.5
    late.rows.append(record_rows.ROW.pack(1, 0, 1, 2, 3, 0.0, 0.0, 0.0, bytes(24)))
    assert {one.method for _ in range(2) for one in records_in(kept)} == {"new", "m0"}
    clock.now += 1.0
    assert not records_in(kept)
    kept.add(*record(method="newer"))
    assert kept._former is None and [one.method for one in records_in(kept)] == ["newer"]


def test_texts_that_no_row_has_are_not_sent() -> None:
    kept = KeptRecords(Clock())
    for number in range(500):
        kept.add(*record(method=f"m{number}"))
    kept.take(498)
    rest = kept.take(10)
    assert [text for text in rest.texts if text.startswith("m")] == ["m498", "m499"]


def test_two_tables_have_room_for_no_more_than_one() -> None:
    kept = KeptRecords(Clock())
    for number in range(MAX_RECORDS + 10):
        kept.add(*record(method=str(number)))
    kept.take(10)  # the full table gives way to another
    for _ in range(MAX_RECORDS):
        kept.add(*record())
    assert len(kept) == MAX_RECORDS
    while len(kept):
        kept.take(1_000)
    kept.add(*record())
    assert len(kept) == 1
    kept.stop()
    kept.add(*record())
    kept.take(1)
    kept.add(*record())
    assert not len(kept)


def test_what_began_a_moment_before_it_came_began_when_it_came() -> None:
    kept = KeptRecords(Clock())
    kept.add(*record(began=1.0, started=1.0 - 1e-5, ended=3.0))
    [found] = records_in(kept)
    assert (found.began, found.started, found.ended) == (1.0, 1.0, 3.0)


def test_long_texts_are_cut() -> None:
    kept = KeptRecords(Clock())
    for number in range(2 * MAX_TEXTS):
        kept.add(*record(method=str(number)))
    long = record(service="s" * 1_000, method="m" * 1_000, outcome="o" * 1_000, peer="p" * 1_000)
    kept.add(*long)
    last = records_in(kept)[-1]
    assert [len(text) for text in (last.service, last.method, last.outcome, last.peer)] == [MAX_TEXT] * 4


def test_a_slice_in_two() -> None:
    kept = KeptRecords(Clock())
    told = [record(detail={"items": number}) if number % 2 else record() for number in range(7)]
    for one in told:
        kept.add(*one)
    found: list[Record] = []
    for half in kept.take(10).halves():
        beside = [list(one) for one in half.beside]
        found += record_rows.records(b"".join(half.rows), half.texts, beside, 0.0)
    assert found == told


def test_threads_that_add_at_the_same_time_lose_and_mix_up_nothing(often: None) -> None:
    """Texts of their own each, more than a table has room for, while one takes."""
    kept = KeptRecords(Clock())
    threads, each = 4, 2_000
    going = threading.Barrier(threads + 1)

    def add(which: int) -> None:
        going.wait()
        for number in range(each):
            name = f"{which}.{number // 4}"
            kept.add(*record(service=name, method=name, outcome=name, peer=name))

    running = [threading.Thread(target=add, args=(which,)) for which in range(threads)]
    for thread in running:
        thread.start()
    going.wait()
    found: Counter[str] = Counter()
    while any(thread.is_alive() for thread in running) or len(kept):
        for one in records_in(kept):
            assert one.service == one.method == one.outcome == one.peer
            found[one.service] += 1
    assert found == {f"{which}.{number}": 4 for which in range(threads) for number in range(each // 4)}
