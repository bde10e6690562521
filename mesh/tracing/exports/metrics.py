"""What a collector knows of all calls, and of itself, as Prometheus text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mesh.core.prometheus import Series, histogram, labels, metric, page
from mesh.tracing.exports.totals import BOUNDS, Row, Totals

_OWN: Final = (
    ("uptime_seconds", "gauge", "Since the collector began.", "seconds"),
    ("records_total", "counter", "Records that were taken in.", "records"),
    ("dropped_total", "counter", "Records that programs had no room for.", "dropped"),
    ("lost_total", "counter", "Records that the store refused.", "lost"),
    ("cut_total", "counter", "Records of traces that had too many spans.", "cut"),
    ("repeated_batches_total", "counter", "Batches that came once more.", "twice"),
    ("refused_batches_total", "counter", "Batches that were refused, as the queue was full.", "refused"),
    ("rubbish_total", "counter", "Messages that were no batches.", "rubbish"),
    ("queued_bytes", "gauge", "Bytes that wait to be written.", "queued"),
    ("store_up", "gauge", "1 while the store can be written to, 0 while it can't.", "up"),
    ("store_rows", "gauge", "Pieces of traces in the store.", "rows"),
    ("store_bytes", "gauge", "Bytes of the store.", "bytes"),
    ("processes", "gauge", "Processes that were heard in the last minute.", "alive"),
)
_EXPORTS: Final = (
    ("sent_total", "counter", "Spans or errors that another system has taken.", "sent"),
    ("dropped_total", "counter", "Those that it did not get, as it was away or slow.", "dropped"),
    ("refused_total", "counter", "Those that it did not want.", "refused"),
    ("held_back_total", "counter", "Errors beyond so many a minute.", "held_back"),
    ("queued_bytes", "gauge", "Bytes that wait to be sent.", "queued"),
)


def exposition(
    totals: Totals, open_calls: Mapping[Row, int], own: Mapping[str, Any], exports: Mapping[str, Any]
) -> str:
    """The page. own: the collector's figures, by the names that its `status` has; one that is None or not
    there is left out. exports: what each Export tells of itself, by name.
    """
    return page([*_of_calls(totals, open_calls), *_of_collector(own), *_of_exports(exports)])


def _of_calls(totals: Totals, open_calls: Mapping[Row, int]) -> Iterator[str]:
    rows = [(row._asdict(), total) for row, total in totals.rows()]
    yield from metric(
        "mesh_calls_total",
        "counter",
        "Calls that have ended.",
        ((labels(**row), sum(total.buckets)) for row, total in rows),
    )
    yield from metric(
        "mesh_call_errors_total",
        "counter",
        "Those of them that came to an error.",
        ((labels(**row), total.errors) for row, total in rows),
    )
    yield from metric(
        "mesh_open_calls",
        "gauge",
        "Calls that are open now.",
        ((labels(**row._asdict()), number) for row, number in open_calls.items()),
    )
    yield from histogram(
        "mesh_call_duration_seconds",
        "How long calls took that have ended.",
        BOUNDS,
        ((row, total.buckets, total.seconds) for row, total in rows),
    )


def _of_collector(own: Mapping[str, Any]) -> Iterator[str]:
    for name, kind, help_text, key in _OWN:
        value = own.get(key)
        if value is not None:
            yield from metric(f"mesh_collector_{name}", kind, help_text, [("", value)])


def _of_exports(exports: Mapping[str, Any]) -> Iterator[str]:
    for name, kind, help_text, key in _EXPORTS:
        samples: list[Series] = [
            (labels(to=to), told[key]) for to, told in sorted(exports.items()) if key in told
        ]
        yield from metric(f"mesh_collector_export_{name}", kind, help_text, samples)
