"""A batch of records is small, comes back as it was, and rubbish in its place is refused."""

from __future__ import annotations

from random import Random
from typing import Any

import msgpack
import pytest

from mesh.core import trace_batch
from mesh.core.record_rows import MAX_TEXT, ROW
from mesh.core.sketch import Sketch
from mesh.core.trace_batch import About, Rate
from mesh.core.trace_record import Kind, Record
from mesh.errors import WireError
from tests.tracing.batches import packed

PROCESS = bytes(range(16))
ABOUT = About("orders", "box-7", 77, "0b0d", "1.2")


def _record(random: Random, **other: Any) -> Record:
    began = random.uniform(990, 1000)
    record = Record(
        Kind.CLIENT,
        f"{random.getrandbits(128):032x}",
        f"{random.getrandbits(64):016x}",
        f"{random.getrandbits(64):016x}",
        random.choice(["orders", "payments"]),
        random.choice(["place", "charge", "refund"]),
        began,
        began + 0.001,
        began + random.expovariate(100) + 0.002,
        "OK",
        "tcp://10.0.0.7:4242",
    )
    return record._replace(**other)


def _batch(records: list[Record], rates: list[Rate] | None = None) -> bytes:
    return packed(PROCESS, 7, 1.7e9, 1000.0, ABOUT, records, rates or [], 3)


def _near(one: Record, other: Record) -> bool:
    times = zip(one[6:9], other[6:9], strict=True)
    return one[:6] == other[:6] and one[9:] == other[9:] and all(abs(a - b) < 3e-6 for a, b in times)


def test_it_comes_back_as_it_was() -> None:
    random = Random(1)
    records = [_record(random) for _ in range(50)]
    records.append(_record(random, parent_id=""))
    records.append(_record(random, trace_id="<8F3A2C>", parent_id=""))
    records.append(_record(random, trace_id="é" * 128, span_id="mine", parent_id="theirs"))
    records.append(_record(random, outcome="KeyError", detail={"message": "'tea'", "tags": {"user": 42}}))
    sketch = Sketch()
    sketch.add([0.1, 0.2])
    rates = [Rate(Kind.CLIENT, "web", "orders", "place", 1.0, 1, 2, sketch)]
    batch = trace_batch.unpack(_batch(records, rates))
    assert (batch.process, batch.number, batch.about, batch.dropped) == (PROCESS, 7, ABOUT, 3)
    assert (batch.wall, batch.monotonic) == (1.7e9, 1000.0)
    assert all(map(_near, records, batch.records))
    assert len(batch.records) == len(records)
    assert batch.rates[0][:7] == rates[0][:7]
    assert batch.rates[0].sketch.buckets == sketch.buckets


def test_a_record_takes_seventy_bytes_at_the_most() -> None:
    random = Random(2)
    records = [_record(random) for _ in range(200)]
    assert len(_batch(records)) / 200 <= 70


def test_names_that_are_too_long_are_cut() -> None:
    batch = trace_batch.unpack(_batch([_record(Random(3), method="m" * 1_000)]))
    assert batch.records[0].method == "m" * MAX_TEXT


def test_ids_that_peers_have_made_up_spoil_no_batch() -> None:
    random = Random(6)
    good = _record(random)
    odd: list[Any] = [5, None, b"\xff" * 32, "", "\x1b[2J", "x" * 200, "z" * 32, ["a"], {}]
    records = [good._replace(trace_id=one, parent_id="") for one in odd]
    records += [good._replace(span_id=one) for one in odd]
    batch = trace_batch.unpack(_batch([*records, good]))
    assert [one.trace_id for one in batch.records if one.trace_id != good.trace_id] == [
        "\ufffd" * 32,
        "z" * 32,
    ]
    assert len(batch.records) == len(odd) + 3
    assert batch.records[-1].span_id == good.span_id


def _damaged() -> list[bytes]:
    whole = msgpack.unpackb(
        _batch([_record(Random(4), detail={"items": 3})]), raw=False, strict_map_key=False
    )

    def with_field(at: int, value: Any) -> bytes:
        row = list(ROW.unpack(whole[6]))
        row[at] = value
        return with_part(6, ROW.pack(*row))

    def with_beside(at: int, value: Any) -> bytes:
        beside = list(whole[7][0])
        beside[at] = value
        return with_part(7, [beside])

    def with_part(at: int, value: Any) -> bytes:
        return bytes(msgpack.packb([*whole[:at], value, *whole[at + 1 :]]))

    return [
        b"",
        b"\xc1",
        b"\x91" * 2_000,
        msgpack.packb([1, 2]),
        with_part(0, 1),
        with_part(1, b"short"),
        with_part(2, "7"),
        with_part(3, [float("nan"), 1.0]),
        with_part(4, ["orders"]),
        with_part(5, [1, 2]),
        with_part(5, ["x" * 201]),
        with_part(6, whole[6] * 1_001),
        with_part(6, whole[6][:-1]),
        with_part(6, "rows"),
        with_part(7, [[1]]),
        with_part(7, whole[7] * 1_001),
        with_part(8, None),
        with_part(9, [[1]]),
        with_part(10, None),
        with_part(10, -1),
        with_part(10, 2**40),
        with_part(9, [[1, 0, 0, 0, 1.0, 2**41, 0, [0.1, 0.1, {}]]]),
        with_part(9, [[1, 0, 0, 0, 1.0, 0, 2**41, [0.1, 0.1, {}]]]),
        with_part(9, [[1.0, 0, 0, 0, 1.0, 0, 0, [0.1, 0.1, {}]]]),
        with_part(9, [[True, 0, 0, 0, 1.0, 0, 0, [0.1, 0.1, {}]]]),
        with_part(9, [[1, 0, 0, 0, 1.0, 0, 0, [float("nan"), 0.1, {}]]]),
        with_part(9, [[1, 0, 0, 0, 1.0, 0, 0, [-1.0, 0.1, {}]]]),
        with_field(0, 99),
        with_field(1, 1_000),
        with_field(5, float("nan")),
        with_field(5, float("inf")),
        with_field(5, 1e9),
        with_field(6, -1.0),
        with_field(7, 1e9),
        with_field(7, float("nan")),
        with_beside(0, 1),
        with_beside(0, -1),
        with_beside(0, "0"),
        with_beside(1, [1]),
        with_beside(1, {"tags": {"deep": {}}}),
        with_beside(1, {"message": "x" * 70_000}),
        with_beside(1, {str(number): 1 for number in range(30)}),
        with_beside(1, {"attempts": "two"}),
        with_beside(1, {"items": 1.5}),
        with_beside(1, {"first": "soon"}),
        with_beside(1, {"credit": None}),
        with_beside(1, {"credit": float("nan")}),
        with_beside(1, {"first": float("inf")}),
        with_beside(2, ["", "", ""]),
        with_beside(2, ["\x1b[2J", "", ""]),
        with_beside(2, 7),
        with_beside(3, ["a", "b", "c"]),
        with_beside(3, ["a", "b", "c", "x" * 201]),
        with_beside(3, ["a", "b", "c", 1]),
        b"\0" * (trace_batch.MAX_BYTES + 1),
    ]


@pytest.mark.parametrize("payload", _damaged())
def test_what_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        trace_batch.unpack(payload)


def test_whatever_comes_nothing_else_is_raised() -> None:
    random = Random(5)
    good = _batch([_record(random) for _ in range(3)])
    for _ in range(3_000):
        bad = bytearray(good)
        for _ in range(random.randint(1, 4)):
            bad[random.randrange(len(bad))] = random.randrange(256)
        try:
            trace_batch.unpack(bytes(bad))
        except WireError:
            pass
