"""Errors that handlers have raised, for Sentry.

Few of each class and method are sent in a minute, and the others counted: `take` says which. A native thread
makes events of them, and hands them to the SDK one after another, so that what becomes of each is known.
Nothing of the SDK is set up for this process: it is a client by itself, without integrations.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, NamedTuple

from sentry_sdk import Client
from sentry_sdk.transport import HttpTransport
from sentry_sdk.utils import BadDsn, Dsn

from mesh.core.recording import CANCELLED
from mesh.core.trace_batch import About, RecordBatch
from mesh.core.trace_record import GOOD, MESSAGE, PENDING, Kind, Record
from mesh.errors import ConfigError
from mesh.tracing.exports.meter import Meter
from mesh.tracing.exports.sentry_events import event_of
from mesh.tracing.exports.tracebacks import Tracebacks

MOST_QUEUED: Final = 100
PATIENCE: Final = 40.0
"""Seconds for one event; the SDK gives up after 30."""
REMIND: Final = 60.0
"""Seconds after which it is told once more that events can't be sent."""
_NO_ERROR: Final = frozenset({GOOD, PENDING, CANCELLED})
_HANDLERS: Final = frozenset({Kind.SERVER, Kind.RECEIVED})

log = logging.getLogger("mesh.collect")


class _Waiting(NamedTuple):
    record: Record
    about: About
    shift: float
    traceback: str
    held_back: int


class Sentry:
    """An Export. dsn: of a project of Sentry; raises ConfigError for what is none. clock: a monotonic one.

    sent: events. dropped: those that there was no room for; lost: that Sentry did not take. trouble: why the
    last one was lost, "" where it was taken.
    """

    name = "sentry"

    def __init__(self, dsn: str, clock: Callable[[], float] = monotonic) -> None:
        try:
            parsed = Dsn(dsn)
        except BadDsn as error:
            raise ConfigError(f"--sentry, or SENTRY_DSN, is no DSN: {error}") from None
        self.where = f"{parsed.scheme}://{parsed.netloc}/{parsed.project_id}"
        self._clock = clock
        self._meter = Meter()
        self._tracebacks = Tracebacks()
        self._client = self._make_client(dsn)
        self._condition = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._closing = False
        self._told = -REMIND
        self.sent = self.dropped = self.lost = 0
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="mesh-collect-sentry", daemon=True)
        self._thread.start()

    def _make_client(self, dsn: str) -> Any:
        lost = self._lose
        # It would put what Sentry answers into the log, for each event; `_lose` tells of it once a minute.
        logging.getLogger("sentry_sdk.errors").setLevel(logging.CRITICAL + 1)

        class Transport(HttpTransport):
            """Tells when an event was given up."""

            def on_dropped_event(self, reason: str) -> None:
                lost(reason)

        return Client(
            dsn,
            transport=Transport,
            default_integrations=False,
            auto_enabling_integrations=False,
            enable_backpressure_handling=False,
            send_client_reports=False,
            max_breadcrumbs=0,
            before_send=_without_empty_release,
            release="",  # what the SDK would find out is of the collector, not of the program that failed
            environment=os.environ.get("SENTRY_ENVIRONMENT", "production"),
        )

    def take(self, batch: RecordBatch, payload: bytes) -> None:
        for record in batch.records:
            if record[9] in _NO_ERROR or record[0] not in _HANDLERS:
                continue
            detail = record.detail or {}
            if record[0] == Kind.SERVER and MESSAGE not in detail:
                continue  # refused before any handler began
            traceback = self._tracebacks.of(detail)
            held_back = self._meter.passes((record.outcome, record.service, record.method), self._clock())
            if held_back is not None:
                shift = batch.wall - batch.monotonic
                self._put(_Waiting(record, batch.about, shift, traceback, held_back))

    def _put(self, one: _Waiting) -> None:
        with self._condition:
            if len(self._queue) >= MOST_QUEUED:
                self.dropped += 1
                return
            self._queue.append(one)
            self._condition.notify()

    def told(self) -> dict[str, Any]:
        return {
            "to": self.where,
            "sent": self.sent,
            "dropped": self.dropped + self.lost,
            "held_back": self._meter.held_back,
            "trouble": self.trouble,
        }

    def close(self, patience: float) -> None:
        end = monotonic() + patience
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(patience)
        self._client.close(timeout=max(end - monotonic(), 0.1))

    # In the threads

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._queue:
                    if self._closing:
                        return
                    self._condition.wait()
                one = self._queue.popleft()
            try:
                self._send(event_of(*one))
            except Exception:  # the thread has to go on, whatever the SDK makes of an event
                log.exception("an error can't be sent to Sentry")
                self.dropped += 1

    def _send(self, event: dict[str, Any]) -> None:
        lost = self.lost
        if self._client.capture_event(event) is None:
            self.dropped += 1
            return
        self._client.flush(timeout=PATIENCE)
        if self.lost == lost:
            self.sent += 1
            if self.trouble:
                log.warning("errors are sent to Sentry again; %d are lost in all", self.lost)
                self.trouble = ""

    def _lose(self, reason: str) -> None:
        """The SDK has given up an event."""
        self.lost += 1
        now = monotonic()
        if now - self._told >= REMIND:
            self._told = now
            log.error("errors can't be sent to Sentry: %s (%d are lost so far)", reason, self.lost)
        self.trouble = reason


def _without_empty_release(event: Any, hint: Any) -> Any:
    if not event.get("release"):
        event.pop("release", None)
    return event
