"""What writes to a store: a native thread, so that neither a slow disk nor a lost Redis holds up the answers.

What is to be written waits in a queue that is bounded in bytes. A store that is away for a while is tried
again, and the queue grows; where it is full, whoever has sent is told so and keeps its own. What a store
refuses for good, as a full disk does, is lost, counted and told, and the next is tried.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from mesh.tracing.counters import WINDOW
from mesh.tracing.store import Store, StoreError

MOST_QUEUED: Final = 48 * 1024**2
"""Bytes that wait to be written."""
GATHERED: Final = 4 * 1024**2
"""Bytes that are written at once, at the most."""
INTERVAL: Final = 0.2
"""Seconds between two writes: a trace that goes on meanwhile is one piece."""
SHORTEST, LONGEST = 0.2, 5.0
"""Seconds before a store that is away is tried again."""
REMIND: Final = 60.0
"""Seconds after which it is told once more of what goes on."""
MOST_READ: Final = 16 * 1024**2
"""Bytes of others' windows that are read at once; the rest comes the next time."""
MOST_WINDOWS: Final = 16 * 1024**2
"""Bytes of own windows that wait for a store that is away; of more the oldest are lost."""
_OVERHEAD: Final = 150
"""Bytes that Python needs for a piece beside what is in it."""

Part = tuple[dict[str, bytes], bytes, int]
"""Pieces by trace, summaries, and how many records these are."""

log = logging.getLogger("mesh.collect")


class Writer:
    """clock: the time of day. read_windows: takes each window of rates that others, or this one, have left in
    the store; in the thread. written, lost: records. trouble: what the store says while it can't be written
    to, "" else.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        most: int = MOST_QUEUED,
        read_windows: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._most = most
        self._condition = threading.Condition()
        self._queue: list[tuple[Part, int]] = []
        self._queued = 0
        self._closing: float | None = None
        self._told = self._told_full = self._told_expiring = -REMIND
        self._windows: deque[bytes] = deque()
        """Those that are not in the store yet. Under the condition's lock, as the queue."""
        self._read_windows = read_windows
        self._windows_due = 0.0
        self._again = 0
        """Parts of the write that is to be tried again."""
        self.written = 0
        self.lost = 0
        self._trouble = self._trouble_expiring = ""
        self._thread = threading.Thread(target=self._run, name="mesh-collect-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def trouble(self) -> str:
        return self._trouble or self._trouble_expiring

    @property
    def queued(self) -> int:
        """Bytes that wait."""
        return self._queued

    def has_room(self) -> bool:
        """Whether more may be put; the log has where not, once a minute."""
        if self._queued < self._most:
            return True
        if monotonic() - self._told_full >= REMIND:
            self._told_full = monotonic()
            why = self.trouble or "more comes in than can be written"
            log.warning("the queue is full, and programs have to wait with their records: %s", why)
        return False

    def put(self, part: Part) -> None:
        """Have it written. Whoever calls has asked whether there is room."""
        size = sum(map(len, part[0].values())) + len(part[0]) * _OVERHEAD + len(part[1])
        with self._condition:
            self._queue.append((part, size))
            self._queued += size
            if self._queued > GATHERED:
                self._condition.notify()

    def put_window(self, window: bytes) -> None:
        """Have a window of rates kept. Where the store is away for long the oldest are lost."""
        with self._condition:
            self._windows.append(window)
            while sum(map(len, self._windows)) > MOST_WINDOWS and len(self._windows) > 1:
                self._windows.popleft()

    def close(self, patience: float) -> None:
        """Write what is left, for so many seconds at the most, and end."""
        with self._condition:
            self._closing = monotonic() + patience
            self._condition.notify()
        self._thread.join(patience + 1.0)

    def wait_written(self, patience: float) -> bool:
        """Whether all that was put so far is written within so many seconds."""
        end = monotonic() + patience
        with self._condition:
            while self._queued and (left := end - monotonic()) > 0:
                self._condition.notify()
                self._condition.wait(min(left, 0.05))
            return not self._queued

    # In the thread

    def _run(self) -> None:
        pause = SHORTEST
        while True:
            with self._condition:
                if self._closing is None and self._queued <= GATHERED:
                    self._condition.wait(INTERVAL)
                taken, size = self._take()
            self._again = 0
            if taken and not self._write(taken):
                self._again = len(taken)
                if self._closing is not None and monotonic() + pause >= self._closing:
                    self._give_up(sum(number for _, _, number in taken))
                    return
                with self._condition:
                    self._condition.wait(pause)
                pause = min(pause * 2, LONGEST)
                continue
            pause = SHORTEST
            with self._condition:
                self._queue = self._queue[len(taken) :]
                self._queued -= size
                over = self._closing is not None and not self._queue
            if over or monotonic() >= self._windows_due:
                self._share_windows()
            if over:
                return
            self._expire()

    def _take(self) -> tuple[list[Part], int]:
        """As much of the queue as is written at once; it stays there until that is done. What could not be
        written is tried again as it was: a store may know by that what it has already.
        """
        taken, total = [], 0
        for part, size in self._queue[: self._again or None]:
            taken.append(part)
            total += size
            if total >= GATHERED and not self._again:
                break
        return taken, total

    def _write(self, parts: list[Part]) -> bool:
        """False where it is to be tried again."""
        number = sum(count for _, _, count in parts)
        pieces, block = gathered(parts)
        try:
            self._store.write(pieces, block, self._clock())
        except StoreError as error:
            self._tell(str(error))
            if error.lasting:
                self.lost += number
            return error.lasting
        except Exception as error:  # the thread has to go on, whatever a store raises
            log.exception("traces can't be written")
            self._tell(f"{type(error).__name__}: {error}")
            self.lost += number
            return True
        self.written += number
        if self._trouble:
            log.warning("traces are written again; %d records are lost in all", self.lost)
            self._trouble = ""
        return True

    def _share_windows(self) -> None:
        """Leave the windows of rates in the store, and look for others'. That a store is away is told where
        records can't be written.
        """
        self._windows_due = monotonic() + WINDOW
        for share in (self._put_windows, self._get_windows):
            try:
                share()
            except StoreError as error:
                log.debug("rates are not shared with other collectors: %s", error)
            except Exception:  # as in _write
                log.exception("rates are not shared with other collectors")

    def _put_windows(self) -> None:
        while (window := self._next_window()) is not None:
            try:
                self._store.put_window(window, self._clock())
            except StoreError:
                with self._condition:
                    self._windows.appendleft(window)
                raise

    def _next_window(self) -> bytes | None:
        with self._condition:
            return self._windows.popleft() if self._windows else None

    def _get_windows(self) -> None:
        if self._closing is not None:
            return
        size = 0
        for window in self._store.windows(self._clock()):
            self._read_windows(window)
            size += len(window)
            if size > MOST_READ:
                break

    def _expire(self) -> None:
        try:
            self._store.expire(self._clock())
            self._trouble_expiring = ""
        except StoreError as error:
            now = monotonic()
            if now - self._told_expiring >= REMIND:
                self._told_expiring = now
                log.error("what is too old can't be thrown away: %s", error)
            self._trouble_expiring = str(error)
        except Exception:  # as in _write
            log.exception("what is too old can't be thrown away")

    def _give_up(self, number: int) -> None:
        self.lost += number
        log.error("the collector ends, and %d records are not written: %s", number, self.trouble)

    def _tell(self, text: str) -> None:
        now = monotonic()
        if text != self._trouble or now - self._told >= REMIND:
            log.error("traces can't be written: %s (%d records are lost so far)", text, self.lost)
            self._told = now
        self._trouble = text


def gathered(parts: list[Part]) -> tuple[dict[str, bytes], bytes]:
    """As one write: what belongs to one trace is one piece."""
    if len(parts) == 1:
        return parts[0][0], parts[0][1]
    lists: dict[str, list[bytes]] = {}
    for pieces, _, _ in parts:
        for trace_id, piece in pieces.items():
            if trace_id in lists:
                lists[trace_id].append(piece)
            else:
                lists[trace_id] = [piece]
    joined = {trace_id: b"".join(some) for trace_id, some in lists.items()}
    return joined, b"".join(block for _, block, _ in parts)
