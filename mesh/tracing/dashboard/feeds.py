"""What pages are told once a second: each topic is asked for once, however many pages look at it.

A topic that nobody looks at is not asked for, but for the history of rates, which is there for whoever opens
a page. A page that reads slowly misses what it had no time for, and gets the newest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic, time
from typing import Any, Final

import gevent
from gevent.event import Event

from mesh.errors import MeshError, Overloaded
from mesh.tracing.dashboard.source import to_json

MOST_PAGES: Final = 32
INTERVAL: Final = 1.0
"""Seconds between two questions on one topic; more where the collector is slow to answer."""
SHARE: Final = 0.2
"""Of the time that a topic's questions may take up at the collector."""
LONGEST: Final = 10.0
LEAST: Final = 0.05
"""Seconds between an answer and the next question, at the most and at the least."""
ALIVE: Final = 10.0
"""Seconds after which a page is told that nothing is new, so that who has gone is found out."""
HISTORY: Final = "history"
POINTS: Final = 600
"""Of the history: as many seconds, where the collector is quick."""
ROWS: Final = 40
"""Of each point: those that are called most."""

Ask = Callable[[], Any]


class Feed:
    """One topic. value: the bytes of the newest event. number: counts them."""

    def __init__(self, name: str, ask: Ask) -> None:
        self.name = name
        self.value = b""
        self.number = 0
        self.watchers: set[Event] = set()
        self._ask = ask
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def watch(self, changed: Event) -> None:
        """Have this event set whenever something is new."""
        self.watchers.add(changed)
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._run)

    def unwatch(self, changed: Event) -> None:
        self.watchers.discard(changed)

    def close(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def _run(self) -> None:
        try:
            while self.watchers:
                began = monotonic()
                answer = self._answer()
                self._tell(answer)
                took = monotonic() - began
                # One that is away is no busier for being asked.
                rest = 0.0 if "error" in answer else min(took * (1 / SHARE - 1), LONGEST)
                gevent.sleep(max(INTERVAL - took, rest, LEAST))
        finally:
            self._greenlet = None
            # What is old by the time when somebody looks again is not shown.
            self.value = b""

    def _answer(self) -> dict[str, Any]:
        try:
            return {"at": time(), "value": self._ask()}
        except MeshError as error:
            return {"at": time(), "error": str(error) or type(error).__name__}
        except (LookupError, TypeError, ValueError) as error:
            return {"at": time(), "error": f"the collector answers what makes no sense: {error!r:.100}"}

    def _tell(self, answer: dict[str, Any]) -> None:
        self.value = b"event: %s\ndata: %s\n\n" % (self.name.encode(), to_json(answer))
        self.number += 1
        for changed in self.watchers:
            changed.set()


class History:
    """The rates of the last minutes, a point for each time that they were asked for.

    A point is [seconds since 1970, {row: [calls/s, failing calls/s, p50, p95, p99]}], a row's name
    "side|caller|service|method".
    """

    def __init__(self) -> None:
        self._points: deque[tuple[float, dict[str, list[float]]]] = deque(maxlen=POINTS)

    def add(self, at: float, rows: list[dict[str, Any]]) -> Any:
        """Take in what `Collector.rates` gave; gives the new point."""
        busiest = sorted(rows, key=lambda row: -float(row["rate"]))[:ROWS]
        point = (at, {name_of(row): _figures(row) for row in busiest})
        self._points.append(point)
        return point

    def all(self) -> list[Any]:
        return list(self._points)


def name_of(row: dict[str, Any]) -> str:
    """What a row of rates is called in the history."""
    return "|".join(str(row[key]) for key in ("side", "caller", "service", "method"))


def _figures(row: dict[str, Any]) -> list[float]:
    # Five digits are more than anybody sees, and half as many bytes.
    return [float(f"{row[key]:.5g}") for key in ("rate", "errors", "p50", "p95", "p99")]


class BrowserPage:
    """The events of one page, one after another. closed: called with it once it is over."""

    def __init__(self, feeds: list[Feed], first: bytes, closed: Callable[[BrowserPage], None]) -> None:
        self._changed = Event()
        self._closed = closed
        self._waiting = deque([first or b": hello\n\n"])
        self._seen = dict.fromkeys(feeds, -1)
        for feed in feeds:
            feed.watch(self._changed)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while not self._waiting:
            self._changed.clear()
            for feed, number in self._seen.items():
                if feed.value and feed.number != number:
                    self._seen[feed] = feed.number
                    self._waiting.append(feed.value)
            if not self._waiting and not self._changed.wait(ALIVE):
                return b": nothing is new\n\n"
        return self._waiting.popleft()

    def close(self) -> None:
        """Let go of the topics."""
        self._closed(self)
        for feed in self._seen:
            feed.unwatch(self._changed)


class Feeds:
    """All topics. topics: what each one asks."""

    def __init__(self, topics: dict[str, Ask]) -> None:
        self._feeds = {name: Feed(name, ask) for name, ask in topics.items()}
        self._pages: set[BrowserPage] = set()
        self._always = Event()

    def __contains__(self, name: str) -> bool:
        return name in self._feeds

    def keep(self, name: str) -> None:
        """Ask for this topic also where nobody looks."""
        self._feeds[name].watch(self._always)

    def page(self, names: list[str], first: bytes = b"") -> BrowserPage:
        """What a page is sent, without an end. first: sent before all. Raises Overloaded where too many pages
        are open.
        """
        if len(self._pages) >= MOST_PAGES:
            raise Overloaded(f"{MOST_PAGES} pages are open already: close some")
        page = BrowserPage([self._feeds[name] for name in dict.fromkeys(names)], first, self._pages.discard)
        self._pages.add(page)
        return page

    def close(self) -> None:
        for feed in self._feeds.values():
            feed.close()
