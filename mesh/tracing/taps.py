"""Records as they pass, for who looks on: each looks for a while, and what is too fast for one is counted."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Any, Final

from gevent.queue import Empty, Full, Queue

from mesh.core.trace_batch import RecordBatch
from mesh.core.trace_record import Kind
from mesh.errors import Overloaded

MOST: Final = 20
"""Who may look on at once."""
MOST_QUEUED: Final = 1_000
LOOK: Final = 0.5
"""Seconds between two looks at whether the collector ends."""


class Tap:
    """What one sees. service, method: None for any. A hub doesn't know the methods: what it tells is shown
    to all who look at the service.
    """

    def __init__(self, service: str | None, method: str | None) -> None:
        self.service = service
        self.method = method
        self.queue: Queue[dict[str, Any]] = Queue(MOST_QUEUED)
        self.lost = 0

    def show(self, batch: RecordBatch) -> None:
        shift = batch.wall - batch.monotonic
        for record in batch.records:
            if self.service not in (None, record.service):
                continue
            if self.method not in (None, record.method) and record.kind != Kind.HUB:
                continue
            told = {
                "trace_id": record.trace_id,
                "span_id": record.span_id,
                "parent_id": record.parent_id,
                "side": Kind(record.kind).name.lower(),
                "service": record.service,
                "method": record.method,
                "began": record.began + shift,
                "took": record.ended - record.began,
                "outcome": record.outcome,
                "process": f"{batch.about.name}@{batch.about.host}",
                "pid": batch.about.pid,
                "detail": record.detail,
                "lost": self.lost,
            }
            try:
                self.queue.put_nowait(told)
            except Full:
                self.lost += 1


class Taps:
    """All who look on. ending: set where the collector stops: nobody looks on any longer."""

    def __init__(self) -> None:
        self._open: list[Tap] = []
        self.ending = False

    def __len__(self) -> int:
        return len(self._open)

    def show(self, batch: RecordBatch) -> None:
        for tap in self._open:
            tap.show(batch)

    def watch(self, service: str | None, method: str | None, seconds: float) -> Iterator[dict[str, Any]]:
        """Records as they come, for so many seconds. Raises Overloaded where too many look on already."""
        if len(self._open) >= MOST:
            raise Overloaded(f"{MOST} look on already")
        tap = Tap(service, method)
        self._open.append(tap)
        try:
            end = monotonic() + seconds
            while (left := end - monotonic()) > 0:
                try:
                    told = tap.queue.get(timeout=min(left, LOOK))
                except Empty:
                    if self.ending:
                        return
                    continue
                yield told
        finally:
            self._open.remove(tap)
