"""What is told of one finished span, by each side that took part in it: the record.

A call gives one record at its client, one at each hub that it went through and one at its server, all with
the same span. Nobody waits for them: they are kept in the process that made them, and sent in batches
(core/trace_batch.py).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, NamedTuple

TAGS: Final = "tags"
ITEMS: Final = "items"
FIRST: Final = "first"
CREDIT: Final = "credit"
ATTEMPTS: Final = "attempts"
MESSAGE: Final = "message"
TRACEBACK: Final = "traceback"
FINGERPRINT: Final = "fingerprint"
LATE: Final = "late"
OPEN: Final = "open"
"""The keys of `Record.detail`; what each one means stands there."""

Detail = dict[str, Any]


class Kind(IntEnum):
    """Which side tells."""

    CLIENT = 1
    SERVER = 2
    HUB = 3
    SENT = 4
    """An event that was given to its publisher or pusher, which can't tell whether it comes to anybody."""
    RECEIVED = 5
    """The same at a subscriber or puller."""
    LOCAL = 6
    """A part of a handler's own work: `mesh.span`."""


class Record(NamedTuple):
    """One side of one span. The ends give these fields one by one, in this order: core/record_rows.py.

    trace_id: 32 hexadecimal digits, or what another program has. span_id: 16 of them. parent_id: that of the
    span which caused it; known to the client alone, "" at the root and at other sides.
    service: that was called. method: of it; of an event its name, of a local span the one given.
    began: when the call was made, or came in here. started: when it was sent on, or its handler began; equal
    to `began` where nobody waited, and to `ended` where it came to nothing. ended: when the last answer was
    there. All in seconds of a clock of the process, of time.monotonic.
    outcome: "OK", or the name of the error. peer: the endpoint that it went to, or where it came from; "".
    detail: None, or a dict with some of: "tags", a dict; "items", of a stream; "first", seconds from `began`
    to the first item; "credit", seconds that a stream waited for its reader; "attempts", how often it was
    sent; "message" and "traceback" of an error; "fingerprint" that stands for a traceback which was told
    before; "late", true where only the failure or slowness of the call made it be recorded, so that spans
    beside it are missing; "open", true where the span has not ended: `ended` is when that was seen.
    """

    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    method: str
    began: float
    started: float
    ended: float
    outcome: str
    peer: str
    detail: Detail | None = None


CALLING: Final = frozenset({Kind.CLIENT, Kind.SENT, Kind.LOCAL})
"""The sides that make a span."""
CALLED: Final = frozenset({Kind.SERVER, Kind.RECEIVED})
"""The sides that carry it out."""
COLLECTOR: Final = "collector"
"""The service that records are sent to."""
GOOD: Final = "OK"
PENDING: Final = "pending"
"""The outcome of a span that has not ended."""
