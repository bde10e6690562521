"""What hubs tell of themselves, as Prometheus text (exposition format 0.0.4). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from hubs.switching.status import Values
from mesh.core import prometheus
from mesh.core.prometheus import Series, labels


class Sample(NamedTuple):
    """One hub at one moment. values: what it told; None where it did not. draining: it is about to end, and
    another of its name may run already.
    """

    name: str
    type: str
    values: Values | None
    draining: bool = False

    @property
    def labels(self) -> dict[str, str]:
        return {"hub": self.name, "draining": "true"} if self.draining else {"hub": self.name}


class _Metric(NamedTuple):
    name: str
    kind: str
    help: str
    key: str


_OF_SERVICE: Final = (
    _Metric("workers", "gauge", "Workers that have registered.", "workers"),
    _Metric("capacity", "gauge", "Calls that the workers take at once.", "capacity"),
    _Metric("busy", "gauge", "Calls that workers have now.", "busy"),
    _Metric("waiting", "gauge", "Calls that wait for a worker.", "waiting"),
    _Metric("waiting_bytes", "gauge", "Bytes of the calls that wait.", "waiting_bytes"),
    _Metric("oldest_waiting_seconds", "gauge", "How long the oldest call waits.", "oldest_waiting"),
    _Metric("calls_total", "counter", "Calls that workers have ended, or were lost with.", "calls"),
    _Metric("errors_total", "counter", "Those of the calls that came to an error.", "errors"),
    _Metric("refused_total", "counter", "Calls that were refused before a worker saw them.", "refused"),
)
_OF_HUB: Final = (
    _Metric("uptime_seconds", "gauge", "Since the hub began.", "uptime"),
    _Metric("clients", "gauge", "Clients with open calls.", "clients"),
    _Metric("open_calls", "gauge", "Calls that wait or are carried out.", "open"),
)
_BY_KIND: Final = (
    ("error", _Metric("refusals_total", "counter", "Calls that were refused, by error.", "refused")),
    ("kind", _Metric("dropped_total", "counter", "Messages that were dropped, by reason.", "dropped")),
    (
        "side",
        _Metric("frames_total", "counter", "Frames that came in at a side and were passed on.", "frames"),
    ),
    ("side", _Metric("bytes_total", "counter", "Bytes that came in at a side and were passed on.", "bytes")),
)


def exposition(samples: Sequence[Sample]) -> str:
    """The page of those hubs. A metric that none of them has is left out."""
    up = _Metric("up", "gauge", "1 for a hub that runs and answers, 0 for one that does not.", "")
    lines = [*_block(up, ((labels(**one.labels, type=one.type), one.values is not None) for one in samples))]
    told = [(one.labels, one.values) for one in samples if one.values is not None]
    for metric in _OF_HUB:
        lines += _block(
            metric, ((labels(**hub), values[metric.key]) for hub, values in told if metric.key in values)
        )
    for metric in _OF_SERVICE:
        lines += _block(
            metric,
            (
                (labels(**hub, service=service["name"]), service[metric.key])
                for hub, values in told
                for service in values.get("services", ())
                # Names that only clients know may be made up.
                if service["known"]
            ),
        )
    for label, metric in _BY_KIND:
        lines += _block(
            metric,
            (
                (labels(**hub, **{label: kind}), number)
                for hub, values in told
                for kind, number in values.get(metric.key, {}).items()
            ),
        )
    return prometheus.page(lines)


def _block(metric: _Metric, samples: Iterable[Series]) -> Iterator[str]:
    return prometheus.metric(f"mesh_hub_{metric.name}", metric.kind, metric.help, samples)
