"""Which service is behind an endpoint.

A client that was given an endpoint knows no other name of what it calls, and so its calls would stand beside
those of clients that have the name. A span of which both sides tell says what that endpoint serves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from mesh.core.trace_record import Kind, Record

MOST: Final = 2_000
"""Endpoints, and spans of which one side has told, that are remembered."""
LOOKED_AT: Final = 50
"""Records of a batch that are looked at: an endpoint is called again and again."""


class ServiceNames:
    """What has been learned so far; what was not heard of for the longest is forgotten first."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, str] = OrderedDict()
        self._asked: OrderedDict[str, str] = OrderedDict()
        self._served: OrderedDict[str, str] = OrderedDict()

    def see(self, records: Iterable[Record]) -> None:
        """Learn from a batch."""
        for record in islice(records, LOOKED_AT):
            if record.kind == Kind.CLIENT and "://" in record.service:
                self._meet(self._asked, self._served, record)
            elif record.kind == Kind.SERVER and "://" not in record.service:
                self._meet(self._served, self._asked, record)

    def _meet(self, own: OrderedDict[str, str], other: OrderedDict[str, str], record: Record) -> None:
        """One side of a span has told; the other has, or may do so later."""
        found = other.pop(record.span_id, None)
        if found is None:
            _put(own, record.span_id, record.service)
        elif record.kind == Kind.SERVER:
            _put(self._names, found, record.service)
        else:
            _put(self._names, record.service, found)

    def known(self) -> Mapping[str, str]:
        """Endpoint -> service."""
        return dict(self._names)


def _put(known: OrderedDict[str, str], key: str, value: str) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MOST:
        known.popitem(last=False)
