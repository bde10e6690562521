"""The collector's service: what processes call to tell of their spans, and people to ask for them.

Its methods are those that `mesh.Server` exposes. All run in one gevent loop; what has to do with the store
is done by native threads. Each batch is looked at here once, and made into pieces that the store keeps as
they are.
"""

from __future__ import annotations

import logging
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic, time
from typing import Any, Final, TypeVar

import gevent
from gevent.lock import BoundedSemaphore

from mesh.core.methods import idempotent, stream
from mesh.core.record_rows import MAX_TEXT
from mesh.core.trace_batch import About, RecordBatch, unpack
from mesh.core.trace_record import CALLING, Kind, Record
from mesh.errors import MeshError, Overloaded, WireError
from mesh.tracing import pieces, reasons, summaries
from mesh.tracing.clock_offsets import ClockOffsets
from mesh.tracing.counters import WINDOW, CallCounters, Counts, RateKey, merged, together
from mesh.tracing.exports.export import Export
from mesh.tracing.exports.metrics import exposition
from mesh.tracing.exports.totals import Totals
from mesh.tracing.open_spans import OpenSpans
from mesh.tracing.processes import MOST, POLL, REACHABLE, Processes
from mesh.tracing.service_names import ServiceNames
from mesh.tracing.shared_windows import SharedWindows
from mesh.tracing.store import Store, StoreError
from mesh.tracing.summaries import Wanted
from mesh.tracing.taps import Taps
from mesh.tracing.writer import Writer

EXPECTED: Final = (Overloaded, WireError, ValueError)
"""What its methods raise in the ordinary course of things."""
MOST_SPANS: Final = 100_000
"""Spans of one trace that are kept; the others are counted."""
MOST_COUNTED: Final = 50_000
"""Traces whose spans are counted for that; those that nobody has told of for the longest go first."""
MOST_SENT: Final = 100 * 1024**2
"""Bytes of one trace that `trace` gives."""
MOST_FOUND: Final = 1_000
MOST_LOOKED_AT: Final = 500_000
"""Summaries that a search looks at."""
MOST_SEARCHES: Final = 2
"""Searches at once, each of which takes memory; others wait for them."""
MOST_EXPLAINED: Final = 500
"""Traces that `why` looks at."""
MOST_SPANS_EXPLAINED: Final = 2_000
"""Spans of a trace that `why` looks at: a larger one takes as long as hundreds of others."""
MOST_SPANS_IN_ALL: Final = 50_000
"""The same of all traces together, which take some seconds."""
ANSWER: Final = 0.6
"""Seconds that processes have to answer a question: less than the second that `mesh ps` waits for the answers
of all, so that one which is silent costs nothing of what the others say."""
SILENT: Final = 20.0
"""Seconds after which what a process told of as open is no longer taken for open."""

T = TypeVar("T")
log = logging.getLogger("mesh.collect")


class Collector:
    """store: where traces are kept. clock: the time of day; steady: a monotonic clock; both in seconds.
    exports: what passes records on to other systems. rate, slow: what all processes are told to go by, as
    `records` says.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float] = time,
        steady: Callable[[], float] = monotonic,
        exports: Sequence[Export] = (),
        rate: float | None = None,
        slow: float | None = None,
    ) -> None:
        self._store = store
        self._rules = {"rate": rate, "slow": slow}
        self._exports = exports
        self._clock = clock
        self._steady = steady
        self._others_windows: deque[bytes] = deque()
        self._writer = Writer(store, clock, read_windows=self._others_windows.append)
        self._shared = SharedWindows(clock())
        self._processes = Processes()
        self._counters = CallCounters(steady())
        self._names = ServiceNames()
        self._open = OpenSpans()
        self._clocks = ClockOffsets()
        self._taps = Taps()
        self._searching = BoundedSemaphore(MOST_SEARCHES)
        self._spans: OrderedDict[str, list[int]] = OrderedDict()
        self._began = steady()
        self._taken = self._cut = self._twice = self._refused = self._rubbish = 0
        self._writer.start()
        self._sharing = gevent.spawn(self._share_on)

    # What processes call

    @idempotent
    def records(self, batch: bytes) -> dict[str, Any]:
        """Take in one batch, as trace_batch.pack makes it. The answer is the acknowledgement, with rules for
        the process: {"rate": share of root calls to sample or None, "slow": seconds or None}; None leaves
        it to the process. A batch that was taken in before is acknowledged and passed over.

        Raises WireError for what is no batch, and Overloaded where the store doesn't keep up or is away: it
        is to be sent again later. Callers get both as a RemoteError of that name.
        """
        if not self._writer.has_room():
            self._refused += 1
            raise Overloaded(f"the collector's queue is full{self._why_full()}: send it again later")
        try:
            if type(batch) is not bytes:
                raise WireError("a batch of records is bytes")
            found = unpack(batch)
        except WireError:
            self._rubbish += 1
            raise
        if self._take(found):
            for export in self._exports:
                export.take(found, batch)
        return self._rules

    def _why_full(self) -> str:
        return f", as {self._writer.trouble}" if self._writer.trouble else ""

    def _take(self, batch: RecordBatch) -> bool:
        """False where it was taken in before."""
        now = self._steady()
        process = self._processes.of(batch.process, batch.about)
        process.heard = now
        if batch.number in process.numbers:
            self._twice += 1
            return False
        process.numbers.append(batch.number)
        process.taken += len(batch.records)
        process.count_dropped(batch)
        self._processes.dropped += max(batch.dropped, 0)
        self._taken += len(batch.records)
        self._processes.count_open(process, batch.rates)
        self._counters.add(batch.rates, now)
        self._counters.see(batch.records, batch.about.name, now)
        self._names.see(batch.records)
        self._open.take(batch, self._clock())
        self._clocks.take(batch, now)
        self._taps.show(batch)
        if batch.records:
            self._keep(batch)
        return True

    def _share(self, now: float) -> None:
        """Leave what was counted in a window to other collectors."""
        while self._counters.just_over:
            began, rows = self._counters.just_over.popleft()
            wall = self._clock()
            named = together(rows, self._names.known())
            still, alive = self._own_open(now), self._own_alive(now)
            self._writer.put_window(self._shared.pack(began + wall - now, wall, named, still, alive))

    def _take_in(self) -> None:
        """Take in what other collectors have left, and let others do something in between."""
        while self._others_windows:
            wall, now = self._clock(), self._steady()
            found = self._shared.take(self._others_windows.popleft(), wall)
            if found is not None:
                self._counters.join(found.began - wall + now, found.rows, now)
            gevent.sleep(0)

    def _share_on(self) -> None:
        """Once in a window, also where no program tells anything."""
        while True:
            gevent.sleep(WINDOW)
            self._counters.turn(self._steady())
            self._share(self._steady())
            self._take_in()

    def _keep(self, batch: RecordBatch) -> None:
        found: dict[str, bytes] = {}
        told = []
        for trace_id, records in pieces.by_trace(batch).items():
            kept, cut = self._within_bounds(trace_id, records)
            found[trace_id] = pieces.pack(batch, kept, cut)
            told.append(summaries.of_records(trace_id, batch, kept, cut))
        self._writer.put((found, summaries.pack(told), len(batch.records)))

    def _within_bounds(self, trace_id: str, records: list[Record]) -> tuple[list[Record], int]:
        """The records of a trace that are kept, and how many are not, as it has too many spans."""
        counts = self._spans.get(trace_id)
        if counts is None:
            counts = self._spans[trace_id] = [0, 0]
            if len(self._spans) > MOST_COUNTED:
                self._spans.popitem(last=False)
        elif counts[0] + counts[1] >= MOST_SPANS // 2:
            self._spans.move_to_end(trace_id)
        asked = sum(record[0] in CALLING for record in records)
        others = len(records) - asked
        if counts[0] + asked <= MOST_SPANS and counts[1] + others <= 2 * MOST_SPANS:
            counts[0] += asked
            counts[1] += others
            return records, 0
        kept = []
        for record in records:
            place = record[0] not in CALLING
            if counts[place] < MOST_SPANS * (1 + place):
                counts[place] += 1
                kept.append(record)
        self._cut += len(records) - len(kept)
        return kept, len(records) - len(kept)

    def question(self, process: bytes, about: list[Any]) -> list[Any] | None:
        """Wait for a question to this process: [id, what, arguments], to be answered by `answered`; None
        where there is none within 4 seconds. about: the fields of trace_batch.About.
        """
        known = self._processes.of(_identity(process), _about(about))
        known.polled = self._steady()
        try:
            return self._processes.next_question(known, POLL)
        finally:
            known.polled = self._steady()

    def answered(self, process: bytes, id: int, value: Any) -> bool:
        """Answer a question. False where nobody waits for it any more."""
        return type(id) is int and self._processes.answer(_identity(process), id, value)

    # What people ask

    def find(self, prefix: str) -> list[str]:
        """The ids of traces that begin so, at most 20."""
        _text("prefix", prefix)
        self._written()
        return self._read(lambda: self._store.find(prefix, 20))

    def trace(self, id: str) -> dict[str, Any]:
        """All that is kept of one trace: {"id", "pieces": [bytes], "cut": records left out here}. Its pieces
        are read by mesh.tracing.pieces.read, which gives sides of spans with the times of day of their
        processes; [] where the trace isn't there.
        """
        _text("id", id)
        self._written()

        def read() -> dict[str, Any]:
            found, size, left = [], 0, 0
            for piece in self._store.pieces(id):
                size += len(piece)
                if size > MOST_SENT:
                    left += 1
                else:
                    found.append(piece)
            return {"id": id, "pieces": found, "cut": left}

        return self._read(read)

    def dropped(self, processes: list[bytes], began: float, ended: float) -> list[int]:
        """How many records each of these processes, told by their 16 bytes, has thrown away in that time for
        lack of room, so that a trace of that time may not be whole. began, ended: seconds since 1970, by the
        process's clock. Known is what this collector was told since it began.
        """
        if type(processes) is not list or len(processes) > MOST:
            raise ValueError(f"processes must be a list of at most {MOST}, not {processes!r:.60}")
        first, last = _number("began", began) or 0.0, _number("ended", ended) or 0.0
        found = (self._processes.known(_identity(one)) for one in processes)
        return [0 if process is None else process.dropped_within(first, last) for process in found]

    def clocks(self, times: dict[str, list[float]]) -> list[list[float]]:
        """How far these clocks were apart, as the calls of all traces tell: [number of the first clock, of
        the second, when by the first one, low, high], in seconds; the numbers are their places in `times`.
        times: of each clock since when and until when, by itself, in seconds since 1970. A clock is called by
        the boot id of its host, or where a process has told none by the process's 16 bytes in hexadecimal
        digits. Known is what this collector was told since it began, in the last hour.
        """
        if type(times) is not dict or len(times) > MOST or not all(map(_is_time, times.items())):
            raise ValueError(f"times must be of at most {MOST} clocks, [from, to] each, not {times!r:.60}")
        return self._clocks.between(times)

    def traces(
        self,
        service: str | None = None,
        method: str | None = None,
        error: str | None = None,
        slower: float | None = None,
        since: float | None = None,
        tag: str | None = None,
        limit: int = 50,
    ) -> dict[str, Any]:
        """The newest traces of these properties: {"traces": [summary], "all": whether it looked at all,
        "dropped": how many records programs had no room for since the oldest of these began, so that some may
        not be whole}.

        service, method: of any call in it. error: the name of one, "" for any. slower: seconds. since:
        seconds since 1970. tag: "key=value" or "key". A summary is {"id", "began": seconds since 1970,
        "took": seconds, "service", "method", "outcome" and "process" of the root, "spans", "errors", "cut",
        "failed": names of errors}. Where the caller of the root has not told, they are those of the topmost
        server, with process "?"; "" where no server has told, either.
        """
        for name, value in (("service", service), ("method", method), ("error", error), ("tag", tag)):
            _text(name, value, none=True)
        wanted = Wanted(service, method, error, _number("slower", slower), _number("since", since), tag)
        limit = _limit(limit)
        self._written()
        found, whole = self._search(wanted, limit)
        began = min((one.began for one in found), default=self._clock())
        dropped = sum(one.dropped_within(began, math.inf) for one in self._processes)
        return {"traces": [one.told() for one in found], "all": whole, "dropped": dropped}

    def _search(self, wanted: Wanted, limit: int) -> tuple[list[summaries.Summary], bool]:
        def search() -> tuple[list[summaries.Summary], bool]:
            blocks = self._store.blocks(wanted.since or 0.0)
            return summaries.search(blocks, wanted, limit, MOST_LOOKED_AT)

        with self._searching:
            return self._read(search)

    def rates(self, seconds: float = 60.0) -> list[dict[str, Any]]:
        """How often, how long, with how many errors each method was called in the last seconds (5 to 3,600).

        Of all calls, also those that were not sampled. A row is {"side": "client" or "server", "caller":
        service that calls ("" at a server), "service", "method", "rate": calls/s, "errors": failing calls/s,
        "p50", "p95", "p99", "longest": seconds, "open": calls that are open now, "slowest": seconds,
        "slowest_id": trace id of the slowest recorded call, ""}. After 2,000 rows the others are one, with
        the method "(other)".
        """
        span, rows = self._counted(min(max(_number("seconds", seconds) or 60.0, 5.0), 3_600.0))
        still = self._open_by_row()
        return [_rate(key, counts, span, still[key]) for key, counts in rows.items()]

    def _counted(self, seconds: float) -> tuple[float, dict[RateKey, Counts]]:
        """What was counted in about so many seconds, and how many these are. Many rows of an hour take
        seconds: batches are taken in meanwhile.
        """
        self._take_in()
        span, windows = self._counters.windows(seconds, self._steady())
        rows: dict[RateKey, Counts] = gevent.get_hub().threadpool.apply(
            merged, (windows, self._names.known())
        )
        return span, rows

    def _open_by_row(self) -> Counter[RateKey]:
        found = self._own_open(self._steady())
        for window in self._shared.fresh(self._clock()):
            found.update(window.open)
        return found

    def _own_alive(self, now: float) -> Counter[str]:
        """Services with processes that have told this collector something in the last minute: how many."""
        return Counter(one.about.name for one in self._processes if now - one.heard < 60.0)

    def _own_open(self, now: float) -> Counter[RateKey]:
        found: Counter[RateKey] = Counter()
        names = self._names.known()
        for process in self._processes:
            if now - process.heard < 60.0:
                for (side, service, method), number in process.open.items():
                    caller = process.about.name if side == Kind.CLIENT else ""
                    found[RateKey(side, caller, names.get(service, service), method)] += number
        return found

    def graph(self, minutes: float = 5.0) -> dict[str, Any]:
        """Who calls whom, of the last minutes (up to 60): {"edges": [{"caller", "service", "rate": calls/s,
        "p99": seconds, "error_share": 0 to 1}], "nodes": [{"service", "rate", "p99", "error_share",
        "processes": how many were heard in the last minute}]}. A node's figures are those of its servers, a
        service that nobody has told of but its callers has those of them.
        """
        seconds = min(max((_number("minutes", minutes) or 5.0) * 60.0, 5.0), 3_600.0)
        span, rows = self._counted(seconds)
        edges: dict[tuple[str, str], Counts] = {}
        served: dict[str, Counts] = {}
        called: dict[str, Counts] = {}
        for key, counts in rows.items():
            if key.side == Kind.CLIENT:
                edges.setdefault((key.caller, key.service), Counts()).merge(counts)
                called.setdefault(key.service, Counts()).merge(counts)
                called.setdefault(key.caller, Counts())
            elif key.side == Kind.SERVER:
                served.setdefault(key.service, Counts()).merge(counts)
        alive = self._own_alive(self._steady())
        for window in self._shared.fresh(self._clock()):
            alive.update(window.alive)
        nodes = {**called, **served}
        return {
            "edges": [
                {"caller": caller, "service": service, **_share(counts, span)}
                for (caller, service), counts in sorted(edges.items())
            ],
            "nodes": [
                {"service": service, **_share(counts, span), "processes": alive[service]}
                for service, counts in sorted(nodes.items())
            ],
        }

    def open_calls(self, service: str | None = None, served: bool = False) -> dict[str, Any]:
        """The calls that are open now: {"calls": [row], "silent": [process], "swept": [row], "more": calls
        that are left out}. Every process that can be is asked, and has 0.6 s to answer; its answer is a
        list of rows. A row has what the process gives, and "process", its 32 digits, "name", "host", "pid".
        Of those that can't be asked there are the spans that they told of as open, with "told": true: {"id"
        of the span, "parent_id", "trace_id", "service", "method", "side", "age": seconds, "peer"}. silent:
        processes that did not answer, and those that had open calls and were not heard for 20 seconds, with
        "heard", seconds ago. swept: what processes that did answer had told of by themselves before. A
        process that is asked leaves out what its handlers call, and unless `served` also what they carry out,
        of which a row has "waits_for", as the server itself tells it.
        """
        _text("service", service, none=True)
        now = self._steady()
        some = list(self._processes)
        able = [one for one in some if now - one.polled < REACHABLE]
        answers = self._processes.ask(able, "open_calls", [service, served is True], ANSWER)
        calls = []
        for process in some:
            about = process.about
            who = {
                "process": process.identity.hex(),
                "name": about.name,
                "host": about.host,
                "pid": about.pid,
            }
            rows = answers.get(process.identity)
            if type(rows) is list:
                calls += [{**row, **who} for row in rows if type(row) is dict]
        left = {one.identity: one for one in some if one.identity not in answers}
        gone = set()
        for row in self._open.rows(left, service, self._clock()):
            process = left[bytes.fromhex(row["process"])]
            about = process.about
            if now - max(process.heard, process.polled) > SILENT:
                gone.add(process.identity)
            else:
                calls.append({**row, "told": True, "name": about.name, "host": about.host, "pid": about.pid})
        asked = {one.identity: one for one in some if one.identity in answers}
        swept = []
        for row in self._open.rows(asked, service, self._clock()):
            about = asked[bytes.fromhex(row["process"])].about
            swept.append({**row, "told": True, "name": about.name, "host": about.host, "pid": about.pid})
        silent = [one.told(now) for one in left.values() if one in able or one.identity in gone]
        more = max(len(calls) - 10_000, 0)
        return {"calls": calls[:10_000], "silent": silent, "more": more, "swept": swept}

    @stream
    def tap(
        self, service: str | None = None, method: str | None = None, seconds: float = 60.0
    ) -> Iterator[dict[str, Any]]:
        """Records of recorded calls as they come in, for so many seconds, 3,600 at the most: {"trace_id",
        "span_id", "parent_id", "side": "client", "server", "hub", "sent", "received" or "local", "service",
        "method", "began": seconds since 1970, "took": seconds, "outcome", "process": name@host, "pid",
        "detail", "lost": how many were too fast for who looks on}. A hub does not know the method, which is
        "" there, and its records come whatever method is asked for.
        """
        _text("service", service, none=True)
        _text("method", method, none=True)
        return self._taps.watch(service, method, min(_number("seconds", seconds) or 60.0, 3_600.0))

    def why(
        self, service: str, method: str, minutes: float = 60.0, slower: float | None = None
    ) -> dict[str, Any]:
        """What slow and failing calls of a method have in common, in the newest 500 traces of the last
        minutes, but for those of more than 2,000 spans, and of 50,000 spans in all: {"calls", "slower":
        seconds, "failing": group, "slow": group}; a group is {"calls", "outcomes": {name: number},
        "examples": [trace id], "common": [{"what": "worker", "hub", "caller", "host",
        "caller's host", "release", "endpoint", "attempts" or
        "tag NAME", "value", "share": of the group, "others": share of the others, "number": of the group,
        "of_all": of all calls}]}. What chance would bring about as well isn't told. slower: seconds from
        which a call is slow, None for the slowest tenth.
        """
        _text("service", service)
        _text("method", method)
        since = self._clock() - (_number("minutes", minutes) or 60.0) * 60.0
        limit = _number("slower", slower)
        self._written()
        found, _ = self._search(Wanted(service, method, since=since), MOST_EXPLAINED)

        def explain() -> dict[str, Any]:
            small = _within(found, MOST_SPANS_EXPLAINED, MOST_SPANS_IN_ALL)
            reads = (pieces.read(trace_id, self._store.pieces(trace_id)) for trace_id in small)
            calls = (call for read in reads for call in reasons.calls_in(read, service, method))
            return reasons.common(calls, limit)

        with self._searching:
            return self._read(explain)

    def status(self) -> dict[str, Any]:
        """What the collector has done: {"seconds": since it began, "records": taken in, "dropped": by the
        processes, "lost": that the store refused, "cut": of traces with too many spans, "twice", "refused",
        "rubbish": batches, "queued": bytes that wait to be written, "trouble": of the store, "", "rows" and
        "bytes" of the store, "processes": [{"process", "name", "host", "pid", "release", "heard": seconds
        ago, "records", "dropped"}], the 1,000 that were heard last, "taps": how many look at calls as they
        pass, "exports": {what each tells of itself}}.
        """
        now = self._steady()
        try:
            size = self._read(self._store.size)
            rows, used = size.rows, size.bytes
        except MeshError:
            rows = used = None
        return {
            **self._figures(),
            "rows": rows,
            "bytes": used,
            "processes": [one.told(now) for one in list(self._processes)[-1_000:]],
            "taps": len(self._taps),
            "exports": {one.name: one.told() for one in self._exports},
        }

    def _figures(self) -> dict[str, Any]:
        """What can be told at once. Safe in any thread."""
        writer = self._writer
        return {
            "seconds": self._steady() - self._began,
            "records": self._taken,
            "dropped": self._processes.dropped,
            "lost": writer.lost,
            "cut": self._cut,
            "twice": self._twice,
            "refused": self._refused,
            "rubbish": self._rubbish,
            "queued": writer.queued,
            "trouble": writer.trouble,
        }

    def _metrics(self, totals: Totals) -> str:
        """All numbers as Prometheus text. Safe in any thread; it reads the size of the store itself."""
        own = self._figures()
        own["up"] = not own["trouble"]
        try:
            own["rows"], own["bytes"] = self._store.size()
        except StoreError:
            pass  # that the store is in trouble is among the numbers
        now = self._steady()
        alive = [one for one in self._processes if now - one.heard < 60.0]
        own["alive"] = len(alive)
        still = ((*key, number) for one in alive for key, number in list(one.open.items()))
        exports = {one.name: one.told() for one in self._exports}
        return exposition(totals, totals.open_calls(still), own, exports)

    def _written(self) -> None:
        """Wait until what was taken in before now can be read, for half a second at the most."""
        if self._writer.queued:
            gevent.get_hub().threadpool.apply(self._writer.wait_written, (0.5,))

    def _read(self, work: Callable[[], T]) -> T:
        """Do this in a native thread. Raises Overloaded where the store can't be read."""

        def carry_out() -> T | StoreError:
            try:
                return work()
            except StoreError as error:
                return error

        done: T | StoreError = gevent.get_hub().threadpool.apply(carry_out)
        if isinstance(done, StoreError):
            raise Overloaded(f"the store can't be read: {done}")
        return done

    def _end_soon(self) -> None:
        """Let go of all who wait for something to happen, within half a second. Safe in a signal handler."""
        self._processes.ending = self._taps.ending = True

    def _close(self, patience: float = 5.0) -> None:
        """Write and send what waits, for so many seconds at the most."""
        end = monotonic() + patience
        self._sharing.kill(block=False)
        try:
            self._counters.end_window(self._steady())
            self._share(self._steady())
        finally:
            self._writer.close(patience)
            for export in self._exports:
                export.close(max(end - monotonic(), 0.5))
            self._store.close()


def _within(found: Iterable[summaries.Summary], most: int, in_all: int) -> Iterator[str]:
    """The ids of traces of at most so many spans, as long as together they have no more than `in_all`."""
    total = 0
    for one in found:
        if one.spans <= most and total + one.spans <= in_all:
            total += one.spans
            yield one.trace_id


def _rate(key: RateKey, counts: Counts, span: float, still: int) -> dict[str, Any]:
    sketch = counts.sketch
    return {
        "side": "client" if key.side == Kind.CLIENT else "server" if key.side == Kind.SERVER else "other",
        "caller": key.caller,
        "service": key.service,
        "method": key.method,
        "rate": sketch.count / span,
        "errors": counts.errors / span,
        "p50": sketch.quantile(0.5),
        "p95": sketch.quantile(0.95),
        "p99": sketch.quantile(0.99),
        "longest": sketch.longest,
        "open": still,
        "slowest": counts.slowest,
        "slowest_id": counts.trace_id,
    }


def _share(counts: Counts, span: float) -> dict[str, float]:
    number = counts.sketch.count
    return {
        "rate": number / span,
        "p99": counts.sketch.quantile(0.99),
        "error_share": counts.errors / number if number else 0.0,
    }


def _identity(process: Any) -> bytes:
    if type(process) is not bytes or len(process) != 16:
        raise WireError("a process is told by 16 bytes")
    return process


def _about(values: Any) -> About:
    match values:
        case [str() as name, str() as host, int() as pid, str() as boot, str() as release] if all(
            len(text) <= MAX_TEXT for text in (name, host, boot, release)
        ):
            return About(name, host, pid, boot, release)
    raise WireError("what a process says of itself is [name, host, pid, boot, release]")


def _text(name: str, value: Any, none: bool = False) -> None:
    if not (value is None and none) and (type(value) is not str or len(value) > MAX_TEXT):
        raise ValueError(f"{name} must be text of at most {MAX_TEXT} characters, not {value!r:.60}")


def _is_time(item: tuple[object, object]) -> bool:
    """Whether it is a clock's name with a time of it."""
    name, time = item
    if type(name) is not str or type(time) is not list or len(time) != 2:
        return False
    return all(type(one) in (int, float) for one in time)


def _number(name: str, value: Any) -> float | None:
    if value is not None and (type(value) not in (int, float) or not 0 <= value < 1e11):
        raise ValueError(f"{name} must be a number, 0 or more, not {value!r:.60}")
    return None if value is None else float(value)


def _limit(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MOST_FOUND:
        raise ValueError(f"limit must be a whole number from 1 to {MOST_FOUND}, not {value!r:.60}")
    return int(value)
