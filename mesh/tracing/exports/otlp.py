"""Spans for any endpoint that takes OTLP over HTTP, as a collector of OpenTelemetry does.

A native thread unpacks batches, packs them anew and sends them. What waits for it is kept as it came, so it
takes as little room as on the wire, and is bounded in bytes: beyond that what is new is dropped, counted and
told. An endpoint that is away, or says that it is busy, is tried again and again, ever more slowly.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from http.client import HTTPException
from random import uniform
from time import monotonic, sleep
from typing import Any, Final

from mesh.core.trace_batch import RecordBatch, unpack
from mesh.tracing.exports.otlp_http import Busy, Refused, Target
from mesh.tracing.exports.otlp_spans import request_of
from mesh.tracing.exports.tracebacks import Tracebacks

MOST_QUEUED: Final = 32 * 1024**2
"""Bytes that wait to be sent, as they came."""
GATHERED: Final = 192 * 1024
"""Bytes, as they came, that are sent at once: some 3,000 spans."""
INTERVAL: Final = 1.0
"""Seconds that a few spans wait for more."""
SHORTEST, LONGEST = 0.5, 30.0
"""Seconds before an endpoint is tried again."""
REST: Final = 0.001
"""Seconds after each slice of spans. With them the thread takes half of the time at the most."""
REMIND: Final = 60.0
"""Seconds after which it is told once more of what goes on."""

log = logging.getLogger("mesh.collect")


class Otlp:
    """An Export. sent, refused: spans. dropped: records. trouble: why the endpoint takes none, "" else."""

    name = "otlp"

    def __init__(self, target: Target, most: int = MOST_QUEUED, shortest: float = SHORTEST) -> None:
        self._target = target
        self._most = most
        self._shortest = shortest
        self._tracebacks = Tracebacks()
        self._condition = threading.Condition()
        self._queue: deque[tuple[bytes, int]] = deque()
        self._queued = 0
        self._closing: float | None = None
        self._told = -REMIND
        self.sent = self.dropped = self.refused = 0
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="mesh-collect-otlp", daemon=True)
        self._thread.start()

    def take(self, batch: RecordBatch, payload: bytes) -> None:
        if not batch.records:
            return
        with self._condition:
            if self._queued + len(payload) > self._most:
                self.dropped += len(batch.records)
                full = True
            else:
                full = False
                self._queue.append((payload, len(batch.records)))
                self._queued += len(payload)
                if self._queued > GATHERED:
                    self._condition.notify()
        if full:
            self._tell(self.trouble or "more comes in than can be sent")

    def told(self) -> dict[str, Any]:
        return {
            "to": self._target.url,
            "sent": self.sent,
            "dropped": self.dropped,
            "refused": self.refused,
            "queued": self._queued,
            "trouble": self.trouble,
        }

    def close(self, patience: float) -> None:
        with self._condition:
            self._closing = monotonic() + patience
            self._condition.notify()
        self._thread.join(patience + 0.5)
        left = sum(number for _, number in list(self._queue))
        if left:
            log.error("the collector ends, and %d records are not sent to %s", left, self._target.url)

    # In the thread

    def _run(self) -> None:
        pause = self._shortest
        while True:
            with self._condition:
                if self._closing is None and self._queued <= GATHERED:
                    self._condition.wait(INTERVAL)
                taken, size = self._take()
            wait = self._send([payload for payload, _ in taken], pause) if taken else 0.0
            if wait:
                if self._waits_in_vain(wait):
                    return
                pause = min(pause * 2, LONGEST)
                continue
            pause = self._shortest
            with self._condition:
                for _ in taken:
                    self._queue.popleft()
                self._queued -= size
                if self._closing is not None and (not self._queue or monotonic() > self._closing):
                    return

    def _take(self) -> tuple[list[tuple[bytes, int]], int]:
        """As much of the queue as is sent at once; it stays there until that is done."""
        taken, total = [], 0
        for one in self._queue:
            taken.append(one)
            total += len(one[0])
            if total >= GATHERED:
                break
        return taken, total

    def _waits_in_vain(self, seconds: float) -> bool:
        """Wait so long, or until the collector ends. True where it does before then."""
        end = monotonic() + seconds
        with self._condition:
            while (left := end - monotonic()) > 0:
                if self._closing is not None and end > self._closing:
                    return True
                self._condition.wait(left)
        return False

    def _send(self, payloads: list[bytes], pause: float) -> float:
        """Seconds after which to send these again; 0.0 where they are done with."""
        number = 0
        try:
            body, number = request_of(map(unpack, payloads), self._tracebacks, _rest)
            if not number:
                return 0.0
            rejected, why = self._target.post(body, self._patience())
        except Busy as error:
            self._tell(str(error))
            return max(pause, min(error.pause, LONGEST))
        except (OSError, HTTPException) as error:
            self._tell(str(error) or type(error).__name__)
            return pause * uniform(0.8, 1.2)
        except Refused as error:
            self.refused += number
            self._tell(str(error))
            return 0.0
        except Exception as error:  # the thread has to go on, whatever comes
            log.exception("spans can't be sent")
            self.refused += number
            self._tell(f"{type(error).__name__}: {error}")
            return 0.0
        rejected = min(rejected, number)
        self.refused += rejected
        self.sent += number - rejected
        self._tell_good(f"it has refused spans: {why}" if rejected else "")
        return 0.0

    def _patience(self) -> float | None:
        return None if self._closing is None else max(self._closing - monotonic(), 0.2)

    def _tell_good(self, remark: str) -> None:
        if remark:
            self._tell(remark)
        elif self.trouble:
            log.warning("spans are sent again; %d were dropped, %d refused", self.dropped, self.refused)
            self.trouble = ""

    def _tell(self, text: str) -> None:
        now = monotonic()
        if now - self._told >= REMIND or not self.trouble:
            self._told = now
            log.error(
                "spans can't be sent to %s: %s (%d dropped, %d refused so far)",
                *(self._target.url, text, self.dropped, self.refused),
            )
        self.trouble = text


def _rest() -> None:
    """Let the collector's loop go on, which waits for this thread as long as it computes."""
    sleep(REST)
