"""Streams, whichever driver reads them and whichever sends them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

import mesh
from tests.helpers.processes import eventually
from tests.helpers.raw import RawClient
from tests.scenarios.conftest import Served

Start = Callable[..., Served]


@pytest.mark.parametrize("number", [0, 1, 99, 100, 101, 3_000])
def test_all_items_come_in_order(served: Start, number: int) -> None:
    assert list(served().client.stream("count", number)) == list(range(number))


def test_iterators_and_lists_are_streams_too(served: Start) -> None:
    client, *_ = served()
    assert list(client.stream("rows")) == [{"id": 1}, {"id": 2}]
    assert list(client.stream("listed")) == [1, 2, 3]


def test_one_that_is_left_is_closed_at_its_server(served: Start) -> None:
    client, shop, _ = served()
    items = client.stream("ticks", 0.0)
    assert list(itertools.islice(items, 5)) == [0, 1, 2, 3, 4]
    items.close()  # type: ignore[attr-defined]
    eventually(lambda: shop.notes, what="the generator to be closed")
    assert shop.notes[0][0] == "closed"
    assert client.call("echo", 1) == 1


def test_a_reader_that_waits_holds_the_sender_back(served: Start) -> None:
    client, shop, _ = served()
    items = client.stream("ticks", 0.0)
    assert next(items) == 0
    assert client.call("nap", 0.3) == 0.3
    items.close()  # type: ignore[attr-defined]
    eventually(lambda: shop.notes, what="the generator to be closed")
    assert shop.notes[0][1] <= 2_000, "it ran on while nobody read"


def test_what_breaks_in_the_midst_raises_there(served: Start) -> None:
    client, *_ = served()
    items = client.stream("breaks", 150)
    assert list(itertools.islice(items, 150)) == list(range(150))
    with pytest.raises(KeyError, match="broken"):
        next(items)


def test_a_stream_has_one_end_though_its_close_raises(
    served: Start, caplog: pytest.LogCaptureFixture
) -> None:
    client, _, endpoint = served()
    assert list(client.stream("badly_closed")) == [1, 2]
    with RawClient(endpoint) as raw:
        raw.send({"message_id": b"1", "v": 3}, "badly_closed", [])
        names = [raw.answer()[1]]
        raw.send({"message_id": b"3", "v": 3, "response_to": b"1"}, "_zpc_more", [100])
        while names[-1] not in ("STREAM_DONE", "ERR"):
            names.append(raw.answer()[1])
        raw.send({"message_id": b"2", "v": 3}, "echo", ["next"])
        header, name, args = raw.answer()
    assert names == ["STREAM", "STREAM", "STREAM_DONE"]
    assert (header["response_to"], name, args) == (b"2", "OK", ["next"])
    assert "it can't be closed" in caplog.text


def test_several_at_once(served: Start) -> None:
    client, *_ = served()
    streams = [client.stream("count", 300) for _ in range(10)]
    assert [list(items) for items in zip(*streams, strict=True)] == [[n] * 10 for n in range(300)]


def test_calls_go_on_beside_a_stream(served: Start) -> None:
    client, *_ = served()
    total = 0
    for item in client.stream("count", 50):
        total += client.call("echo", item)
    assert total == sum(range(50))


def test_the_timeout_bounds_the_wait_for_each_item(served: Start) -> None:
    client, *_ = served()
    assert len(list(itertools.islice(client.with_options(timeout=5).stream("ticks", 0.05), 20))) == 20
    with pytest.raises(mesh.TimeoutExpired):
        list(itertools.islice(client.with_options(timeout=0.2).stream("ticks", 60.0), 2))


def test_a_client_that_goes_closes_its_streams(served: Start) -> None:
    client, shop, _ = served()
    items = client.stream("ticks", 0.01)
    assert next(items) == 0
    client.close()
    eventually(lambda: shop.notes, what="the generator to be closed")
    with pytest.raises(mesh.MeshError):
        list(items)
