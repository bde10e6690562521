"""What is told of a trace where one looks for it: a line for each, put together of what each batch knows.

A batch gives a partial summary of each of its traces. Those of one trace are merged in any order, so that
several collectors may each write what they have seen. They are packed in blocks, one of each time that a
store is written to; a search reads blocks from the newest on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self

import msgpack

from mesh.core.recording import CANCELLED
from mesh.core.trace_batch import RecordBatch
from mesh.core.trace_record import CALLED, CALLING, GOOD, OPEN, PENDING, TAGS, Kind, Record

MOST_NAMES: Final = 50
"""Methods, and tags, of one trace that can be looked for."""
MOST_CHARS: Final = 100
MOST_TOLD: Final = 5
"""Names of errors that are told of one trace."""
REMEMBERED: Final = 25_000
"""Traces that a search has in mind for other parts of them to come, at least; twice as many at the most. They
take some 20 MB.
"""
_NONE: Final[frozenset[str]] = frozenset()

Root = tuple[str, str, str, float, str]


@dataclass(slots=True)
class Summary:
    """began, ended: seconds of the time of day of those who tell. root: [service, method, outcome, took,
    process], with process "" where its caller has not told, and the topmost server stands for it; None where
    no server has told, either; took in seconds. asked, carried: records of those who
    called and of those who were called. calls: service and method of each,
    with a line feed between them. tags: "key=value" of each.
    """

    trace_id: str
    began: float
    ended: float
    root: Root | None = None
    asked: int = 0
    carried: int = 0
    errors: int = 0
    cut: int = 0
    open: int = 0
    calls: Set[str] = _NONE
    tags: Set[str] = _NONE
    failed: Set[str] = _NONE

    @property
    def spans(self) -> int:
        return max(self.asked, self.carried)

    @property
    def took(self) -> float:
        """Seconds: that of the root, where it has ended, else from the first to the last that is known."""
        return self.root[3] if self.root is not None else max(self.ended - self.began, 0.0)

    def merge(self, other: Self) -> None:
        """Take in what another one tells of the same trace."""
        self.began = min(self.began, other.began)
        self.ended = max(self.ended, other.ended)
        self.root = _root(self.root, other.root)
        self.asked += other.asked
        self.carried += other.carried
        self.errors += other.errors
        self.cut += other.cut
        self.open += other.open
        self.calls = _union(self.calls, other.calls)
        self.tags = _union(self.tags, other.tags)
        self.failed = _union(self.failed, other.failed)

    def told(self) -> dict[str, Any]:
        """As a value that travels: see `Collector.traces`."""
        service, method, outcome, _, process = self.root or ("", "", "", 0.0, "")
        if self.root and not process:
            process = "?"
        return {
            "id": self.trace_id,
            "began": self.began,
            "took": self.took,
            "service": service,
            "method": method,
            "outcome": outcome,
            "spans": self.spans,
            "errors": self.errors,
            "cut": self.cut,
            "process": process,
            "failed": sorted(self.failed)[:MOST_TOLD],
        }


def _union(some: Set[str], others: Set[str]) -> Set[str]:
    return some | others if others and len(some) < MOST_NAMES else some


def _root(one: Root | None, other: Root | None) -> Root | None:
    """Which of two is told. The side of who began the trace counts more than that of a server; of servers, to
    none of which the summary knows the caller, the topmost is the one that took longest, as the others have
    worked for it.
    """
    if one is None or other is None:
        return one or other
    if one[4] and other[4]:
        return other if one[2] == PENDING else one
    if one[4] or other[4]:
        return one if one[4] else other
    return other if other[3] > one[3] else one


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; None stands for anything. service, method: of any call in the trace. error: the
    name of one, or "" for any. slower: seconds. since: time of day. tag: "key=value", or "key".
    """

    service: str | None = None
    method: str | None = None
    error: str | None = None
    slower: float | None = None
    since: float | None = None
    tag: str | None = None

    def takes(self, one: Summary) -> bool:
        return (
            (self.since is None or one.began >= self.since)
            and (self.slower is None or one.took > self.slower)
            and (self.error is None or self._takes_failed(one))
            and (self.tag is None or any(map(self._takes_tag, one.tags)))
            and (self._any_call or any(map(self._takes_call, one.calls)))
        )

    def reduce(self, one: Summary) -> None:
        """Leave only those names in it that count here, or are told: the others take most of its memory."""
        one.calls = _NONE if self._any_call else _those(self._takes_call, one.calls)
        one.tags = _those(self._takes_tag, one.tags)
        if len(one.failed) > MOST_TOLD:
            one.failed = {*sorted(one.failed)[:MOST_TOLD], *({self.error or ""} & one.failed)}

    @property
    def _any_call(self) -> bool:
        return self.service is None and self.method is None

    def _takes_call(self, call: str) -> bool:
        service, _, method = call.partition("\n")
        return self.service in (None, service) and self.method in (None, method)

    def _takes_failed(self, one: Summary) -> bool:
        """A server that was told to stop has not failed; any other may be all that tells of a failure."""
        if self.error:
            return self.error in one.failed
        return bool(one.errors or one.failed - {CANCELLED})

    def _takes_tag(self, tag: str) -> bool:
        return self.tag is not None and (tag == self.tag or tag.startswith(self.tag + "="))


def _those(takes: Callable[[str], bool], names: Set[str]) -> Set[str]:
    return frozenset(filter(takes, names)) or _NONE


def of_records(trace_id: str, batch: RecordBatch, records: Iterable[Record], cut: int = 0) -> Summary:
    """What one batch knows of one trace."""
    shift = batch.wall - batch.monotonic
    found = Summary(trace_id, 1e12, -1e12, cut=cut)
    first, last, longest = 1e12, -1e12, -1.0
    calls: set[tuple[str, str]] = set()
    tags: set[str] = set()
    failed: set[str] = set()
    topmost: Root | None = None
    for kind, _, _, parent, service, method, began, _, ended, outcome, _, detail in records:
        first, last = min(began, first), max(ended, last)
        calls.add((service, method))
        if not parent and kind in CALLING and (found.root is None or found.root[2] == PENDING):
            who = f"{batch.about.name}@{batch.about.host}"
            found.root = (service, method, outcome, ended - began, who)
        elif kind in CALLED and ended - began > longest:
            longest = ended - began
            topmost = (service, method, outcome, longest, "")
        if detail is not None:
            _add_tags(tags, detail)
            if detail.get(OPEN):
                found.open += 1
                continue
        asked = kind in CALLING
        found.asked += asked
        found.carried += kind in CALLED
        if outcome != GOOD and kind != Kind.HUB:
            found.errors += asked or kind == Kind.RECEIVED  # of which its sender can't know
            failed.add(outcome[:MOST_CHARS])
    found.root = found.root or topmost
    found.began, found.ended = first + shift, last + shift
    some = islice(calls, MOST_NAMES)
    found.calls = {f"{service[:MOST_CHARS]}\n{method[:MOST_CHARS]}" for service, method in some}
    found.tags, found.failed = tags, failed
    return found


def _add_tags(found: set[str], detail: Mapping[str, Any]) -> None:
    tags = detail.get(TAGS)
    if tags and len(found) < MOST_NAMES:
        found.update(f"{key}={value}"[:MOST_CHARS] for key, value in tags.items())


def pack(summaries: Iterable[Summary]) -> bytes:
    """As one part of a block; parts follow each other without anything between them."""
    packer = msgpack.Packer(unicode_errors="replace")
    return b"".join(packer.pack(_as_row(one)) for one in summaries)


def _as_row(one: Summary) -> tuple[object, ...]:
    names = (list(one.calls), list(one.tags), list(one.failed))
    return (
        one.trace_id, one.began, one.ended, one.root, one.asked, one.carried, one.errors, one.cut, one.open,
        *names,
    )  # fmt: skip


def unpack(block: bytes) -> Iterator[Summary]:
    """The summaries of a block."""
    unpacker = msgpack.Unpacker(None, raw=False, use_list=False, max_buffer_size=2**31 - 1)
    unpacker.feed(block)
    for trace_id, began, ended, root, asked, carried, errors, cut, still, calls, tags, failed in unpacker:
        yield Summary(
            trace_id, began, ended, root, asked, carried, errors, cut, still,
            frozenset(calls), frozenset(tags), frozenset(failed),
        )  # fmt: skip


def search(blocks: Iterable[bytes], wanted: Wanted, limit: int, most: int) -> tuple[list[Summary], bool]:
    """The newest traces that are wanted, and whether all were looked at. blocks: from the newest on. most:
    summaries that are looked at before it gives up.

    A trace is judged by all that is known of it so far, as its parts are in several blocks. Where `limit` are
    found, one block more is read, which has what came just before. What was not found is forgotten after some
    time, and parts of it that come then are judged by themselves.
    """
    recent: dict[str, Summary] = {}
    earlier: dict[str, Summary] = {}
    found: dict[str, Summary] = {}
    looked, last = 0, False
    for block in blocks:
        if looked >= most:
            return _newest(found, limit), False
        for one in unpack(block):
            looked += 1
            trace_id = one.trace_id
            whole = recent.get(trace_id) or earlier.get(trace_id) or found.get(trace_id)
            if whole is None:
                whole = one
            else:
                whole.merge(one)
            if wanted.takes(whole):
                found[trace_id] = whole
            else:
                found.pop(trace_id, None)
            wanted.reduce(whole)
            recent[trace_id] = whole
            if len(recent) >= REMEMBERED:
                earlier, recent = recent, {}
        if last:
            break
        last = len(found) >= limit
    return _newest(found, limit), True


def _newest(found: Mapping[str, Summary], limit: int) -> list[Summary]:
    return sorted(found.values(), key=lambda one: one.began, reverse=True)[:limit]


def with_prefix(blocks: Iterable[bytes], prefix: str, limit: int, most: int) -> list[str]:
    """The ids that begin so, newest first, of as many summaries as are looked at."""
    found: dict[str, None] = {}
    looked = 0
    for block in blocks:
        for one in unpack(block):
            looked += 1
            if one.trace_id.startswith(prefix):
                found[one.trace_id] = None
        if looked >= most or len(found) >= limit:
            break
    return list(found)[:limit]
