"""Whether this process tells a collector of its calls, and the thread that does so.

Looked at when the first client, server or sender is made. Where there is no collector, nothing is recorded,
and no thread begins. One that can't be found yet, as its name server is away, is looked for again and again.

The thread is a native one, which no loop waits for. Four times a second it takes what the recorder has kept,
in slices that are packed within a tenth of a millisecond each: what computes for longer would have the
program's threads wait for the interpreter. Once a second it counts what all calls took, and looks at those
that are open.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from random import SystemRandom, random
from time import monotonic, time
from typing import Any, Final, Protocol
from weakref import WeakSet

from mesh.core.open_calls import MOST_ROWS, Row
from mesh.core.record_rows import MAX_TEXT, KeptRecords, RowSlice
from mesh.core.recording import Recorder
from mesh.core.sampling import Sampler
from mesh.core.span import UNRECORDED, bound
from mesh.core.span_ids import SpanIds
from mesh.core.trace_batch import MAX_BYTES, About, Rate, pack
from mesh.core.trace_counting import Counting
from mesh.core.trace_record import COLLECTOR
from mesh.errors import ConfigError, MeshError
from mesh.transport import native, process
from mesh.transport.collector_link import CollectorLink
from mesh.transport.collector_names import ENV, CollectorNames, may_be_named
from mesh.transport.trace_log import tell_log

ENV_RATE: Final = "MESH_TRACE_RATE"
ENV_RELEASE: Final = "MESH_RELEASE"
RATE: Final = 0.01
"""The share of traces that are recorded besides the first of each method in a second."""
SLOW: Final = 1.0
"""Seconds after which a call is recorded for that alone."""
PERIOD: Final = 0.25
LEAVING: Final = 0.02
"""Seconds between two looks at what there is to send; and as the program ends."""
SECOND: Final = 1.0
SLICE: Final = 500
"""Records of one batch."""
LEAVE: Final = 0.5
"""Seconds that the end of the program waits for what is not acknowledged."""

LOCKED: Final = 0.1
"""Seconds that this thread waits for whoever has the lock of an end."""
SEARCH_AGAIN: Final = (0.02, 5.0)
"""Seconds from the first look for a collector that is not found to the second, and at the most from one to
the next.
"""

log = logging.getLogger("mesh.tracing")


class Session(Protocol):
    """What the calls of an end are kept in."""

    def tell_open(self, counting: Counting, now: float) -> None:
        """Have the open calls counted, and those that have been open for long recorded."""

    def open_rows(self, now: float, most: int, *, served: bool) -> list[Row]:
        """What is told of the open calls that nobody else tells of. served: also of those that it carries
        out, of which its server tells whoever connects to it.
        """


class HasCalls(Protocol):
    """An end whose session may be looked at from another thread, under its lock."""

    lock: Any

    @property
    def session(self) -> Session: ...


class Recording:
    """The one of a process."""

    def __init__(self) -> None:
        self._lock = native.allocate_lock()
        self._recorder: Recorder | None = None
        self._looked = False
        self._own_rate = RATE
        self._name = ""
        self._ends: WeakSet[HasCalls] = WeakSet()
        self._begin()
        process.remember(self)

    def _begin(self) -> None:
        self._identity = os.urandom(16)
        self._number = 0
        self._running = False
        self._ended = False
        self._leaving = False
        self._ending = native.allocate_lock()
        """Kept until the program ends, for whoever sleeps until then."""
        self._ending.acquire()
        self._until = 0.0
        """When the end of the program waits no more."""
        self._about: About | None = None
        self._count_at = monotonic() + SECOND

    def forked(self) -> None:
        """In the child of a fork: what was kept the parent sends. The thread begins with the next end."""
        self._lock = native.allocate_lock()
        self._ends = WeakSet()
        self._begin()
        if self._recorder is not None:
            self._recorder.forget()
        span_ids.renew()

    def recorder(self, service: str = "") -> Recorder | None:
        """What the calls of an end are recorded by; None where they are not. service: that is called."""
        if service == COLLECTOR or service == os.environ.get(ENV):
            return None  # the collector's own, and of those who ask it
        with self._lock:
            if not self._looked:
                self._looked = True
                if may_be_named():
                    self._own_rate = _rate()
                    self._recorder = Recorder(monotonic, Sampler(random, span_ids, self._own_rate), SLOW)
            if self._recorder is not None and not (self._running or self._ended):
                self._running = True
                atexit.register(self.flush)
                if (multiprocessing := sys.modules.get("multiprocessing.util")) is not None:
                    multiprocessing.Finalize(None, self.flush, exitpriority=0)  # its children know no atexit
                process.start_thread(self._run, (self._identity,), "mesh recorder")
            return self._recorder

    def keep_out(self) -> None:
        """This program looks at what others tell: nothing of its own is recorded. Before it has any ends."""
        with self._lock:
            self._looked = True

    def serve_as(self, name: str) -> None:
        """The process has a server of this name, by which it is called from now on."""
        self._name = self._name or name[:MAX_TEXT]

    def watch(self, end: HasCalls) -> None:
        """Look at the open calls of this end once a second, as long as it is there."""
        with self._lock:
            self._ends.add(end)

    @property
    def about(self) -> About:
        """What the process says of itself."""
        if self._about is None or (self._name and self._about.name != self._name):
            program = os.path.basename(sys.argv[0] if sys.argv else "").removesuffix(".py")
            name, host = self._name or program or "python", socket.gethostname()
            release = os.environ.get(ENV_RELEASE, "")
            self._about = About(name[:MAX_TEXT], host[:MAX_TEXT], os.getpid(), _boot(), release[:MAX_TEXT])
        return self._about

    # The thread

    def _run(self, identity: bytes) -> None:
        """Until the program ends, or there is no collector."""
        bound.set(UNRECORDED)  # what handlers of the log call
        recorder = self._recorder
        assert recorder is not None
        try:
            counting = Counting(recorder, self.about.name)
            link = self._found(CollectorNames(), identity, counting)
            if link is not None:
                self._turn(link, recorder, counting)
        except ConfigError as exc:
            log.warning("calls are not recorded: %s", exc)
        except Exception:
            log.exception("calls are not recorded any more")
        finally:
            self._ended = True
            recorder.stop()
            self._recorder = None

    def _found(self, names: CollectorNames, identity: bytes, counting: Counting) -> CollectorLink | None:
        """Look for the collector until it is found; None where there is none, or the program ends before.

        Raises ConfigError where no look could find it.
        """
        told = ""
        pause, longest = SEARCH_AGAIN
        self._wait(names.delay, counting)
        while names.promised or not self._leaving:
            try:
                with process.importing():
                    if not names.look_up():
                        return None
                    return CollectorLink(
                        names.look_up, identity, lambda: self.about, self._answer, self._obey
                    )
            except ConfigError as exc:
                raise ConfigError(f"{names.label}{exc}") from None
            except MeshError as exc:  # nobody knows the name yet, or there are no descriptors
                if names.promised and not names.awaited and str(exc) != told:
                    told = str(exc)
                    log.warning(
                        "calls are not recorded until their collector is found: %s%s", names.label, told
                    )
            if not self._leaving:
                self._wait(pause, counting)
            elif names.awaited and monotonic() < self._until:
                native.sleep(LEAVING)
            else:
                return None
            pause = min(2 * pause, longest)
        return None

    def _wait(self, seconds: float, counting: Counting) -> None:
        """Let time pass, and count what happens in it, unless the program ends."""
        until = monotonic() + seconds
        while not self._leaving and (now := monotonic()) < until:
            self._count_if_due(counting, now)
            if self._ending.acquire(True, min(until, self._count_at) - now):
                self._ending.release()

    def _turn(self, link: CollectorLink, recorder: Recorder, counting: Counting) -> None:
        rest_due = monotonic()
        while not self._leaving:
            now = monotonic()
            self._count_if_due(counting, now)
            # Each answer wakes this thread: without waiting it would send a few records at a time.
            all_of_them = now >= rest_due
            self._send(link, recorder, counting, least=1 if all_of_them else SLICE)
            if all_of_them:
                rest_due = now + PERIOD
            link.turn(now, max(rest_due - monotonic(), 0.001))
        self._count(counting, monotonic())
        while (now := monotonic()) < self._until:
            self._send(link, recorder, counting, least=1)
            if link.settled:
                break
            link.turn(now, LEAVING)
        link.close()

    def _count_if_due(self, counting: Counting, now: float) -> None:
        if now >= self._count_at:
            self._count(counting, now)
            self._count_at = now + SECOND

    def _count(self, counting: Counting, now: float) -> None:
        """A second is over."""
        for session in self._sessions():
            session.tell_open(counting, now)
        counting.name = self.about.name
        counting.second(now)

    def _sessions(self) -> Iterator[Session]:
        """Those of all ends, each under its lock; one whose lock somebody keeps is passed over."""
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            if end.lock.acquire(True, LOCKED):
                try:
                    yield end.session
                finally:
                    end.lock.release()

    def _send(self, link: CollectorLink, recorder: Recorder, counting: Counting, *, least: int) -> None:
        """Send what there is. least: of so many records; fewer wait for others."""
        kept = recorder.kept
        while link.has_room and (len(kept) >= least or counting.rates):
            self._give(link, kept, kept.take(SLICE), counting.take(SLICE))

    def _give(self, link: CollectorLink, kept: KeptRecords, some: RowSlice, rates: list[Rate]) -> None:
        """Send what may be too large for one batch, as errors and tags have texts."""
        self._number += 1
        dropped = kept.take_dropped()
        batch = pack(self._identity, self._number, *_clocks(), self.about, some, rates, dropped)
        if len(batch) <= MAX_BYTES:
            link.give(batch)
            tell_log(batch)
            return
        kept.dropped += dropped
        if rates and some.rows:
            self._give(link, kept, RowSlice([], [], []), rates)
            self._give(link, kept, some, [])
        elif len(rates) > 1:
            half = len(rates) // 2
            self._give(link, kept, some, rates[:half])
            self._give(link, kept, some, rates[half:])
        elif len(some.rows) > 1:
            for half_of_them in some.halves():
                self._give(link, kept, half_of_them, [])
        else:
            kept.dropped += len(some.rows)

    def flush(self) -> None:
        """The program ends: what is kept goes out, if that takes no time. Once; Python calls it by itself,
        and so does whoever ends a process without Python's knowing.
        """
        self._until = monotonic() + LEAVE
        self._leaving = True
        with suppress(RuntimeError):  # it was told before
            self._ending.release()
        with suppress(KeyboardInterrupt):  # whoever waits has had enough of it
            while self._running and not self._ended and monotonic() < self._until:
                native.sleep(0.005)

    def _answer(self, what: str, args: Sequence[Any]) -> Any:
        """What somebody asks this process through the collector."""
        if what != "open_calls":
            return {"error": f"it knows nothing of {what!r:.40}"}
        service, served = (*args, None, None)[:2]
        now, rows = monotonic(), []
        for session in self._sessions():
            rows += session.open_rows(now, MOST_ROWS, served=served is True)
        return [row for row in rows if service in (None, row["service"])][:MOST_ROWS]

    def _obey(self, rules: Any) -> None:
        """Go by what the collector says, and by the program's own where it says nothing."""
        recorder = self._recorder
        if type(rules) is not dict or recorder is None:
            return
        rate, slow = rules.get("rate"), rules.get("slow")
        rate, slow = self._own_rate if rate is None else rate, SLOW if slow is None else slow
        if isinstance(rate, (int, float)) and 0 <= rate <= 1 and rate != recorder.sampler.rate:
            recorder.sampler.set_rate(rate)
        if isinstance(slow, (int, float)) and slow > 0:
            recorder.slow = slow


def _clocks() -> tuple[float, float]:
    """The time of day and that of time.monotonic, of one moment as far as can be: of three looks at both the
    one that took the least time, as the thread may have to wait between the two.
    """
    looks = []
    for _ in range(3):
        before, wall, after = monotonic(), time(), monotonic()
        looks.append((after - before, wall, (before + after) / 2))
    _, wall, steady = min(looks)
    return wall, steady


def _rate() -> float:
    text = os.environ.get(ENV_RATE)
    if not text:
        return RATE
    with suppress(ValueError):
        rate = float(text)
        if 0 <= rate <= 1:
            return rate
    log.warning("%s is %.40r: it has to be a share from 0 to 1; %g counts", ENV_RATE, text, RATE)
    return RATE


def _boot() -> str:
    """Linux's id of this start of the machine; "" elsewhere."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    return ""


span_ids: Final = SpanIds(SystemRandom().getrandbits)
"""Those of the spans of this process. Not of `random`, which a program may seed: two of the same seed would
have the same ids.
"""
recording: Final = Recording()
