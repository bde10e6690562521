"""What all stores do alike, and what each does by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import ConfigError
from mesh.tracing.store import Bounds, Store, StoreError
from mesh.tracing.stores.memory import MemoryStore
from mesh.tracing.stores.opening import open_store
from mesh.tracing.stores.sqlite import AT_ONCE, SHORTEST_LOG, SqliteStore
from tests.helpers import redis_server

Make = Callable[..., Store]


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with redis_server.running(tmp_path_factory.mktemp("redis")) as (_, port):
        yield port


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """A function that opens the same store again and again."""
    opened: list[Store] = []

    def open_it(**bounds: Any) -> Store:
        if request.param == "memory":
            store: Store = MemoryStore(Bounds(**bounds))
        elif request.param == "sqlite":
            store = SqliteStore(str(tmp_path / "traces.db"), Bounds(**bounds))
        else:
            store = open_store(
                f"redis://127.0.0.1:{request.getfixturevalue('redis_port')}/0", Bounds(**bounds)
            )
        opened.append(store)
        return store

    yield open_it
    for store in opened:
        if hasattr(store, "_redis"):
            store._redis.flushdb()
        store.close()


def now_of(store: Store) -> float:
    """A time of day at which to write: Redis has its own."""
    return float(store._redis.time()[0]) if hasattr(store, "_redis") else 1_000.0


def test_what_was_written_is_read(make: Make) -> None:
    store = make()
    now = now_of(store)
    store.write({"a1": b"one", "a2": b"x", "b1": b"y"}, b"block 1", now)
    store.write({"a1": b"two"}, b"block 2", now + 1)
    assert b"".join(store.pieces("a1")) == b"onetwo"
    assert list(store.pieces("nobody")) == []
    assert list(store.blocks(0.0)) == [b"block 2", b"block 1"]
    assert store.size().bytes > 0


def test_ids_by_their_beginning(make: Make) -> None:
    from tests.tracing.batches import Program, record
    from tests.tracing.test_summaries import Kind, block

    store = make()
    ids = ["8f3a2c", "8f3b", "<8F3A2C>", "zz"]
    told = block(*(Program("web").batch(record(Kind.CLIENT, "a", trace=one)) for one in ids))
    store.write(dict.fromkeys(ids, b"x"), told, now_of(store))
    assert sorted(store.find("8f3", 10)) == ["8f3a2c", "8f3b"]
    assert len(store.find("8f3", 1)) == 1
    assert store.find("<8F", 10) == ["<8F3A2C>"]
    assert store.find("zz", 10) == ["zz"]
    assert store.find("y", 10) == []


@pytest.mark.parametrize("make", ["memory", "sqlite"], indirect=True)
def test_what_is_old_goes(make: Make) -> None:
    store = make(ttl=100.0)
    for at in range(0, 300, 10):
        store.write({f"t{at}": b"x"}, b"%d" % at, float(at))
        store.expire(float(at))
    assert store.find("t", 100) == sorted((f"t{at}" for at in range(190, 300, 10)), key=str)
    assert list(store.blocks(0.0)) == [b"%d" % at for at in range(290, 180, -10)]


@pytest.mark.parametrize("make", ["memory", "sqlite"], indirect=True)
@pytest.mark.parametrize("bounds", [{"rows": 20_000}, {"bytes": 8_000_000}])
def test_the_oldest_go_where_there_are_too_many(make: Make, bounds: dict[str, int]) -> None:
    store = make(**bounds)
    for at in range(10):
        store.write({f"{at}-{n}": b"x" * 300 for n in range(AT_ONCE)}, b"", float(at))
        store.expire(float(at))
    size = store.size()
    assert size.rows is not None
    assert size.rows <= bounds.get("rows", 30_000) + AT_ONCE
    assert size.bytes <= bounds.get("bytes", 20_000_000) + 3_000_000
    assert list(store.pieces("0-0")) == []
    assert list(store.pieces("9-4999")) == [b"x" * 300]


@pytest.mark.parametrize("make", ["memory", "sqlite"], indirect=True)
@pytest.mark.parametrize(("size", "number"), [(12_000, 100), (150, 8_000)])
def test_a_full_store_stays_full(make: Make, size: int, number: int) -> None:
    """Whatever the size of its pieces: no more goes than has to."""
    most = 6_000_000
    store = make(bytes=most)
    sizes = []
    for at in range(12):
        store.write({f"{at}-{n:026x}": b"x" * size for n in range(number)}, b"b" * 1_000, float(at))
        store.expire(float(at))
        sizes.append(store.size().bytes)
    assert max(sizes) <= most
    assert min(sizes[7:]) > 0.9 * most


def test_a_file_is_there_again(tmp_path: Path) -> None:
    path = str(tmp_path / "traces.db")
    first = SqliteStore(path, Bounds())
    first.write({"a": b"one"}, b"block", 1.0)
    second = SqliteStore(path, Bounds())  # the first was killed: nothing was closed
    second.write({"a": b"two"}, b"", 2.0)
    assert list(second.pieces("a")) == [b"one", b"two"]
    second.close()
    first.close()


def test_the_log_beside_the_file_stays_short_also_while_somebody_searches(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "traces.db"), Bounds(bytes=6_000_000))
    log = tmp_path / "traces.db-wal"
    sizes, searching = [], None
    for at in range(40):
        store.write({f"{at}-{n}": b"x" * 12_000 for n in range(100)}, b"block", float(at))
        store.expire(float(at))
        sizes.append(log.stat().st_size)
        if at == 5:
            searching = store.blocks(0.0)
            next(searching)
    assert searching is not None
    assert list(searching)
    assert max(sizes) <= SHORTEST_LOG + 2 * 1_300_000
    store.close()


def test_a_full_disk(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "traces.db"), Bounds())
    store.write({"a": b"one"}, b"", 1.0)
    store._writer.execute("PRAGMA max_page_count = 20")
    with pytest.raises(StoreError, match=r"traces\.db: the disk is full: free some of it") as caught:
        store.write({"b": b"x" * 1_000_000}, b"", 2.0)
    assert caught.value.lasting
    store._writer.execute("PRAGMA max_page_count = 1000000")
    store.write({"c": b"two"}, b"", 3.0)
    assert [list(store.pieces(one)) for one in "abc"] == [[b"one"], [], [b"two"]]
    store.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_removed_is_begun_anew_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, replaced: bool
) -> None:
    path = tmp_path / "traces?#.db"
    store = SqliteStore(str(path), Bounds())
    store.write({"old": b"x"}, b"block", 1.0)
    for file in tmp_path.iterdir():
        file.unlink()
    if replaced:
        SqliteStore(str(path), Bounds()).close()
    else:
        with pytest.raises(StoreError, match="there is no such file"):
            list(store.pieces("old"))
        assert not list(tmp_path.iterdir()), "who reads makes none"
    store.expire(1.0)
    store.write({"new": b"y"}, b"block", 2.0)
    assert (list(store.pieces("old")), list(store.pieces("new"))) == ([], [b"y"])
    assert [one.getMessage() for one in caplog.records] == [
        f"{path} was removed, or replaced: what was in it is lost, and it is begun anew"
    ]
    store.close()


def test_of_a_file_that_is_removed_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"
    store = SqliteStore(str(path), Bounds())
    store.write({"old": b"x"}, b"block", 1.0)
    path.unlink()
    store.write({"new": b"y"}, b"block", 2.0)
    assert (list(store.pieces("old")), list(store.pieces("new"))) == ([], [b"y"])
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="can't be opened"):
        store.write({"new": b"y"}, b"block", 3.0)
    path.rmdir()
    store.write({"new": b"z"}, b"block", 4.0)
    assert list(store.pieces("new")) == [b"z"]
    store.close()


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_a_file_without_a_name_is_none(path: str) -> None:
    with pytest.raises(ConfigError, match="or `memory`"):
        SqliteStore(path, Bounds())


def test_files_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is a letter.\n" * 100)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE people (name)")
    for name, why in {
        "text": "not a database",
        "other.db": "not one of mesh's collector",
        "missing/traces.db": "there is no folder",
        "http://x": "there are redis://",
        "redis:127.0.0.1:6399": "there are redis://",
        "Memory": "there are redis://",
    }.items():
        text = name if "there are" in why else str(tmp_path / name)
        with pytest.raises(ConfigError, match=why):
            open_store(text, Bounds())


def test_every_key_of_redis_has_a_ttl(redis_port: int, tmp_path: Path) -> None:
    store: Any = open_store(f"redis://127.0.0.1:{redis_port}/3", Bounds(ttl=100.0))
    other: Any = open_store(f"redis://127.0.0.1:{redis_port}/3", Bounds(ttl=100.0))
    now = now_of(store)
    for one in (store, other):
        one.write({f"t{n}": b"x" for n in range(1_000)}, b"block", now)
    keys = store._redis.keys("mesh:[tm]*")
    assert len(keys) == 1_001
    assert all(100 <= store._redis.ttl(key) <= 161 for key in keys)
    others = set(store._redis.keys("*")) - set(keys)
    assert len(others) == 8 and all(500 <= store._redis.ttl(key) <= 600 for key in others)
    assert list(store.pieces("t999")) == [b"x", b"x"]
    assert list(store.blocks(now - 10)) == [b"block", b"block"]
    store.close()
    other.close()


def test_a_redis_that_is_full_or_away_is_told(tmp_path: Path) -> None:
    full = ("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    with redis_server.running(tmp_path, None, *full) as (process, port):
        store = open_store(f"redis://127.0.0.1:{port}/0", Bounds())
        with pytest.raises(StoreError, match="is full: raise its maxmemory") as caught:
            for n in range(20):
                store.write({f"t{n}": b"x" * 1_000_000}, b"", 1.0)
        assert caught.value.lasting
        process.kill()
        with pytest.raises(StoreError, match=f"Redis at 127.0.0.1:{port}: ") as caught:
            store.write({"t": b"x"}, b"", 1.0)
        assert not caught.value.lasting
        with pytest.raises(StoreError):
            list(store.blocks(0.0))


def test_what_redis_has_though_nobody_heard_of_it_is_there_once(redis_port: int) -> None:
    store = open_store(f"redis://127.0.0.1:{redis_port}/2", Bounds())
    now = now_of(store)
    pieces = {f"t{number}": b"x" for number in range(700)}
    for _ in range(2):
        store.write(pieces, b"block", now)
    assert list(store.pieces("t1")) == list(store.pieces("t699")) == [b"x"]
    assert list(store.blocks(now - 10)) == [b"block"]
    store.write({"t1": b"y"}, b"block", now)
    assert list(store.pieces("t1")) == [b"x", b"y"]
    store._redis.flushdb()  # type: ignore[attr-defined]
    store.close()


def test_a_key_that_holds_something_else_spoils_itself_alone(
    redis_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(f"redis://127.0.0.1:{redis_port}/2", Bounds())
    now = now_of(store)
    store._redis.set("mesh:trace:odd", "text")  # type: ignore[attr-defined]
    for number in range(2):
        store.write({"a": b"%d" % number, "odd": b"x", "z": b"%d" % number}, b"block %d" % number, now)
    assert list(store.pieces("a")) == list(store.pieces("z")) == [b"0", b"1"]
    [told] = caplog.records
    assert "hold what is no list" in told.getMessage()
    store._redis.flushdb()  # type: ignore[attr-defined]
    store.close()


def test_windows_of_rates_come_once_to_each_who_asks(make: Make) -> None:
    store = make()
    now = now_of(store)
    assert list(store.windows(now)) == []
    for window in (b"one", b"two", b"three"):
        store.put_window(window, now)
    kept = [] if isinstance(store, MemoryStore) else [b"one", b"two", b"three"]
    assert list(islice(store.windows(now), 2)) == kept[:2]
    assert list(store.windows(now)) == kept[2:]
    assert list(store.windows(now)) == []
    other = make()
    assert list(other.windows(now)) == kept
    if not hasattr(store, "_redis"):  # which has its own clock
        store.put_window(b"late", now + 4_000.0)
        assert list(make().windows(now + 4_000.0)) == ([] if isinstance(store, MemoryStore) else [b"late"])


def test_windows_of_rates_leave_room_for_traces(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "traces.db"), Bounds(bytes=8 * 1024**2))
    for number in range(300):
        store.put_window(b"x" * 40_000, 1_000.0 + number)
    assert 20 <= len(list(store.windows(1_300.0))) <= 26
    store.close()


def test_redis_gives_windows_of_all_minutes_after_it_was_away(
    redis_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (open_store(f"redis://127.0.0.1:{redis_port}/1", Bounds()) for _ in range(2))
    now = now_of(one)
    assert list(other.windows(now)) == []
    for minute in range(5):
        at = (int(now) + 60 * minute, 0)
        monkeypatch.setattr(one._redis, "time", lambda at=at: at)  # type: ignore[attr-defined]
        one.put_window(b"%d" % minute, now)
    monkeypatch.setattr(other._redis, "time", lambda: (int(now) + 240, 0))  # type: ignore[attr-defined]
    assert list(other.windows(now)) == [b"0", b"1", b"2", b"3", b"4"]
    one._redis.flushdb()  # type: ignore[attr-defined]
    one.close()
    other.close()
