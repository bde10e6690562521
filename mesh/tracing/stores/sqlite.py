"""Traces in a file, by SQLite: one thread writes, others read at the same time.

A piece is a row, and so is a block of summaries. Rows are numbered as they come, so that the oldest are
those of the lowest numbers. Random places of the file are touched by the index of trace ids alone.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from mesh.errors import ConfigError
from mesh.tracing.store import WINDOWS_TTL, Bounds, Size, StoreError

APPLICATION: Final = 0x6D657368
"""What SQLite keeps in a file of ours to tell it from others: "mesh" in ASCII."""
VERSION: Final = 2
PATIENCE: Final = 5.0
"""Seconds that a lock of another process is waited for."""
AT_ONCE: Final = 5_000
"""Pieces that are thrown away in one transaction, at the most, so that the log stays short."""
STEPS: Final = 10
"""Transactions of that kind between two writes. It is more than one write brings, so that a flood of small
pieces does not outgrow its bounds.
"""
OVERHEAD: Final = 100
"""Bytes that a piece takes in the file beside its data: its number, time and trace, and its place in the
index.
"""
ROWS: Final = 250
"""Pieces of one statement. Python's lock is let go of and waited for once in each, which takes some
milliseconds while the loop's thread is busy: with a row each nothing would get done.
"""
SHORTEST_LOG, LONGEST_LOG = 1024**2, 16 * 1024**2
"""Bytes of the write-ahead log: the longer it is, the fewer pages are written to the file again and again."""
LAST: Final = 2**63 - 1
"""More than any number of a row."""
WINDOWS_SHARE: Final = 8
"""Of all bytes windows of rates may have one in so many: the traces are what the file is for."""
BLOCKS: Final = 8
"""Blocks that are read at once. Whoever searches looks at them after that, as the log can't be begun anew
while somebody reads.
"""
_TABLES: Final = """
CREATE TABLE pieces
    (number INTEGER PRIMARY KEY, stamp REAL NOT NULL, trace TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX pieces_by_trace ON pieces (trace);
CREATE TABLE blocks (number INTEGER PRIMARY KEY, stamp REAL NOT NULL, data BLOB NOT NULL);
CREATE TABLE windows (number INTEGER PRIMARY KEY, stamp REAL NOT NULL, data BLOB NOT NULL);
"""

log = logging.getLogger("mesh.collect")


class SqliteStore:
    """path: of the file, made where there is none. Raises ConfigError for one that can't be used."""

    def __init__(self, path: str, bounds: Bounds) -> None:
        self._path = path
        self._bounds = bounds
        # Bytes of the write-ahead log from which on it is written back to the file, and begun anew. It is
        # longer by one write, as that is written back as a whole.
        self._log = min(max(bounds.bytes // 8, SHORTEST_LOG), LONGEST_LOG)
        self._last_window = 0
        """The number of the last window of rates that was read."""
        if not path or path.startswith(":"):
            raise ConfigError(f"--store {path!r}: give the path of a file, or `memory`")
        try:
            self._begin()
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"--store {path}: {_why(error, path)}") from None

    def _begin(self) -> None:
        """Open the file, or make it."""
        self._writer = self._connect("rwc")
        self._prepare()
        self._file = self._identity()
        """What tells the file that is written to from another one of its name."""

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{Path(self._path).absolute().as_uri()}?mode={mode}"
        return sqlite3.connect(uri, PATIENCE, isolation_level=None, check_same_thread=False, uri=True)

    def _identity(self) -> tuple[int, int] | None:
        """That of the file that is there now; None for none."""
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _follow(self) -> None:
        """Begin a new file where this one was removed, or another has taken its place: what is written to
        one without a name nobody reads.
        """
        if self._identity() == self._file:
            return
        log.warning("%s was removed, or replaced: what was in it is lost, and it is begun anew", self._path)
        self._writer.close()
        try:
            if self._identity() is None:
                # Those of the one that is gone SQLite would take for the next one's.
                for end in ("-wal", "-shm"):
                    Path(self._path + end).unlink(missing_ok=True)
            self._begin()
        except (OSError, ConfigError) as error:
            raise sqlite3.OperationalError(str(error)) from None

    def _prepare(self) -> None:
        ask = self._writer.execute
        (tables,) = ask("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = ask("PRAGMA application_id").fetchone()
        (version,) = ask("PRAGMA user_version").fetchone()
        if tables and (application, version) != (APPLICATION, VERSION):
            raise ConfigError(
                f"--store {self._path}: this database is not one of mesh's collector of this version: "
                "give another file"
            )
        ask("PRAGMA journal_mode = WAL")
        ask("PRAGMA synchronous = NORMAL")
        (page,) = ask("PRAGMA page_size").fetchone()
        ask(f"PRAGMA wal_autocheckpoint = {self._log // page}")
        ask(f"PRAGMA journal_size_limit = {self._log}")
        ask("PRAGMA cache_size = -32768")
        if not tables:
            self._writer.executescript(
                f"BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
                f"{_TABLES} COMMIT;"
            )

    def write(self, pieces: Mapping[str, bytes], block: bytes, now: float) -> None:
        values = [value for trace_id, piece in pieces.items() for value in (now, trace_id, piece)]
        with self._transaction() as connection:
            for at in range(0, len(values), 3 * ROWS):
                some = values[at : at + 3 * ROWS]
                rows = ", ".join(["(?, ?, ?)"] * (len(some) // 3))
                connection.execute(f"INSERT INTO pieces (stamp, trace, data) VALUES {rows}", some)
            connection.execute("INSERT INTO blocks (stamp, data) VALUES (?, ?)", (now, block))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._follow()
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {_why(error, self._path)}") from None
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # what is wrong is told below
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (
                sqlite3.SQLITE_BUSY,
                sqlite3.SQLITE_LOCKED,
            )
            raise StoreError(f"{self._path}: {_why(error, self._path)}", lasting=not busy) from None

    def expire(self, now: float) -> None:
        for _ in range(STEPS):
            if not self._expire_some(now):
                return

    def _expire_some(self, now: float) -> bool:
        """Whether there may be more to throw away."""
        with self._transaction() as connection:
            ask = connection.execute
            (first, last) = ask(
                "SELECT coalesce(min(number), 0), coalesce(max(number), -1) FROM pieces"
            ).fetchone()
            until = max(self._too_old(first, now), self._too_many(first, last), self._too_large(first))
            until = min(until, last + 1)
            if until > first:
                ask("DELETE FROM pieces WHERE number < ?", (until,))
            ask(
                "DELETE FROM blocks WHERE stamp < (SELECT coalesce(min(stamp), ?) FROM "
                "(SELECT stamp FROM pieces ORDER BY number LIMIT 1)) AND number <= "
                "(SELECT min(number) FROM blocks) + 1000",
                (now,),
            )
        return bool(until > first)

    # Each of these gives the number of the first piece that stays, of the oldest AT_ONCE.

    def _too_old(self, first: int, now: float) -> int:
        (until,) = self._writer.execute(
            "SELECT coalesce(min(number), ?1) FROM pieces WHERE number < ?1 AND stamp >= ?2",
            (first + AT_ONCE, now - self._bounds.ttl),
        ).fetchone()
        return int(until)

    def _too_many(self, first: int, last: int) -> int:
        return min(last + 1 - self._bounds.rows, first + AT_ONCE)

    def _too_large(self, first: int) -> int:
        """Pieces differ by a factor of ten thousand, so that it is their bytes that count."""
        excess = self._size().bytes - self._bounds.bytes
        if excess <= 0:
            return first
        # One statement, for the reason that ROWS has.
        (until,) = self._writer.execute(
            "SELECT coalesce(max(number) + 1, ?1) FROM (SELECT number, size, sum(size) OVER (ORDER BY number)"
            " AS total FROM (SELECT number, length(data) + ?2 AS size FROM pieces WHERE number < ?3))"
            " WHERE total - size < ?4",
            (first, OVERHEAD, first + AT_ONCE, excess),
        ).fetchone()
        return int(until)

    def pieces(self, trace_id: str) -> Iterator[bytes]:
        with self._reading() as connection:
            for (data,) in connection.execute(
                "SELECT data FROM pieces WHERE trace = ? ORDER BY number", (trace_id,)
            ):
                yield data

    def find(self, prefix: str, limit: int) -> list[str]:
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT trace FROM pieces WHERE trace >= ? AND trace < ? LIMIT ?",
                (prefix, prefix + "\U0010ffff", limit),
            )
            return [trace_id for (trace_id,) in rows]

    def blocks(self, since: float) -> Iterator[bytes]:
        with self._reading() as connection:
            number = LAST
            while True:
                rows = connection.execute(
                    "SELECT number, stamp, data FROM blocks WHERE number < ? ORDER BY number DESC LIMIT ?",
                    (number, BLOCKS),
                ).fetchall()
                for _, stamp, data in rows:
                    if stamp < since:
                        return
                    yield data
                if len(rows) < BLOCKS:
                    return
                number = rows[-1][0]

    def put_window(self, window: bytes, now: float) -> None:
        with self._transaction() as connection:
            connection.execute("INSERT INTO windows (stamp, data) VALUES (?, ?)", (now, window))
            connection.execute("DELETE FROM windows WHERE stamp < ?", (now - WINDOWS_TTL,))
            connection.execute(
                "DELETE FROM windows WHERE number <= (SELECT coalesce(max(number), 0) FROM (SELECT number, "
                "sum(length(data)) OVER (ORDER BY number DESC) AS total FROM windows) WHERE total > ?)",
                (self._bounds.bytes // WINDOWS_SHARE,),
            )

    def windows(self, now: float) -> Iterator[bytes]:
        with self._reading() as connection:
            for number, data in connection.execute(
                "SELECT number, data FROM windows WHERE number > ? AND stamp >= ? ORDER BY number",
                (self._last_window, now - WINDOWS_TTL),
            ):
                self._last_window = number
                yield data

    def size(self) -> Size:
        with self._reading() as connection:
            first, last = connection.execute("SELECT min(number), max(number) FROM pieces").fetchone()
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (page,) = connection.execute("PRAGMA page_size").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            return Size(0 if last is None else last - first + 1, (pages - free) * page)

    def _size(self) -> Size:
        ask = self._writer.execute
        (pages,), (page,), (free,) = (
            ask(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size", "freelist_count")
        )
        return Size(None, (pages - free) * page)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(self._connect("rw")) as connection:
                yield connection
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {_why(error, self._path)}") from None

    def close(self) -> None:
        self._writer.close()


def _why(error: Exception, path: str) -> str:
    text = str(error)
    if "unable to open" in text:
        folder = Path(path).absolute().parent
        if not folder.is_dir():
            what = f"there is no folder {folder}"
        elif os.access(folder, os.W_OK) and not os.path.exists(path):
            what = "there is no such file"
        else:
            what = "it or its folder is not writable"
        return f"it can't be opened: {what}"
    if "not a database" in text:
        return "this file is not a database: give another one"
    if "full" in text:
        return "the disk is full: free some of it, or give the collector less by --ttl or --most"
    return text
