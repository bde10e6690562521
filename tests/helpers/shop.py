"""A shop of eight services, as its programs would tell a collector of it: calls, errors, what is still open.

The pictures of the documentation and the tests of the dashboard show it. Nothing of it is measured.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import count

from mesh.core.sketch import Sketch
from mesh.core.trace_batch import MAX_RECORDS, About, Rate
from mesh.core.trace_record import PENDING, Kind, Record
from tests.tracing.batches import packed

PLACES = {
    "edge": ("edge-1", 2211), "web": ("api-1", 311), "users": ("box-3", 402), "orders": ("box-7", 77),
    "stock": ("box-7", 81), "payments": ("pay-2", 1904), "mail": ("box-4", 655), "search": ("box-1", 13),
}  # fmt: skip
AHEAD = {"pay-2": 0.0042, "box-4": -1.35}
"""Seconds that the clock of a host is ahead of the others."""
TRACEBACK = """Traceback (most recent call last):
  File "/srv/payments/charges.py", line 88, in charge
    receipt = self.bank.withdraw(card, amount)
  File "/srv/payments/bank.py", line 41, in withdraw
    raise CardDeclined(f"{card.issuer} declined {amount}")
payments.bank.CardDeclined: Hanse Bank declined 49.90
"""
Tell = Callable[[bytes], object]


class Program:
    """One process that tells. records: what it has not told yet, with times of day."""

    _numbers = count(1)

    def __init__(self, name: str) -> None:
        host, pid = PLACES[name]
        self.name = name
        self.identity = next(self._numbers).to_bytes(16, "big")
        self.about = About(name, host, pid, f"boot of {host}", "2024.5")
        self.ahead = AHEAD.get(host, 0.0)
        self.records: list[Record] = []
        self._batches = count(1)

    def tell(self, tell: Tell, rates: list[Rate]) -> None:
        """Send all that there is."""
        while True:
            some, self.records = self.records[:MAX_RECORDS], self.records[MAX_RECORDS:]
            told, rates = rates[:MAX_RECORDS], rates[MAX_RECORDS:]
            wall = time.time() + self.ahead
            tell(packed(self.identity, next(self._batches), wall, wall, self.about, some, told, 0))
            if not self.records and not rates:
                return


class Shop:
    """tell: hands a batch to the collector. seed: the same shop for the same number."""

    def __init__(self, tell: Tell, seed: int = 7) -> None:
        self._tell = tell
        self._random = random.Random(seed)
        self.programs = {name: Program(name) for name in PLACES}
        self._took: dict[tuple[Kind, str, str, str], list[float]] = defaultdict(list)
        self._errors: dict[tuple[Kind, str, str, str], int] = defaultdict(int)
        self._open: dict[tuple[Kind, str, str, str], int] = defaultdict(int)

    def second(self, checkouts: int = 24, traced: int = 2) -> None:
        """What goes on in a second, told as it ends. traced: how many of the checkouts are sampled."""
        now = time.time() - 1.0
        for number in range(checkouts):
            self.checkout(now + self._random.random() * 0.5, self.digits(32) if number < traced else "")
        for _ in range(checkouts * 2):
            trace = self.digits(32) if self._random.random() < 0.02 else ""
            self.call(trace, "", "web", "search", "find", now, self.about(0.012))
        self.flush(1.0)

    def flush(self, seconds: float) -> None:
        """Have all programs tell what they have, over so many seconds."""
        for program in self.programs.values():
            program.tell(self._tell, self._rates(program.name, seconds))
        self._took.clear()
        self._errors.clear()

    def _rates(self, name: str, seconds: float) -> list[Rate]:
        rows = []
        for key in {*self._took, *self._open}:
            side, caller, service, method = key
            if name != (caller if side is Kind.CLIENT else service):
                continue
            sketch = Sketch()
            sketch.add(self._took.get(key, ()))
            counts = (seconds, self._errors[key], self._open[key])
            rows.append(Rate(side, caller, service, method, *counts, sketch))
        return rows

    # What happens

    def checkout(self, at: float, trace: str, declined: bool | None = None) -> str:
        """A customer buys; gives the trace. declined: whether the card is; None leaves it to chance."""
        bad = self._random.random() < 0.03 if declined is None else declined

        def place(span: str, start: float) -> float:
            end = start + 0.0015
            for _ in range(self._random.randint(2, 5)):
                end = self.call(trace, span, "orders", "stock", "take", end + 0.0002, self.about(0.003))
            took = self.about(0.045)
            end = self.call(trace, span, "orders", "payments", "charge", end, took, error=bad, hub=True)
            if not bad:
                self.call(trace, span, "orders", "mail", "send", end, self.about(0.008))
                end = self.call(trace, span, "orders", "users", "reward", end, self.about(0.004))
            return end + 0.001

        def buy(span: str, start: float) -> float:
            end = self.call(trace, span, "web", "users", "get", start + 0.001, self.about(0.002))
            return self.call(trace, span, "web", "orders", "place", end, place, error=bad) + 0.002

        self.call(trace, "", "edge", "web", "checkout", at, buy, error=bad)
        return trace

    def checkout_now(self, declined: bool) -> str:
        """One that is recorded; gives its trace."""
        return self.checkout(time.time() - 1.0, self.digits(32), declined)

    def call(
        self,
        trace: str,
        parent: str,
        caller: str,
        service: str,
        method: str,
        at: float,
        work: float | Callable[[str, float], float],
        *,
        error: bool = False,
        hub: bool = False,
    ) -> float:
        """One call; gives when its answer is there. work: seconds, or what the handler does from when on."""
        span = self.digits(16)
        sent = at + self.about(0.00006)
        lag, back = self.about(0.0003), self.about(0.00025)
        waited = self.about(0.004) if hub else 0.0
        came = sent + waited + lag
        started = came + (self.about(0.0002) if self._random.random() < 0.9 else self.about(0.01))
        ended = work(span, started) if callable(work) else started + work
        answered = ended + back
        outcome = "CardDeclined" if error else "OK"
        for side, who, took in ((Kind.CLIENT, caller, answered - at), (Kind.SERVER, "", ended - came)):
            key = (side, who, service, method)
            self._took[key].append(took)
            self._errors[key] += error
        if trace:
            detail = {"message": "Hanse Bank declined 49.90", "traceback": TRACEBACK} if error else None
            tags = {"tags": {"customer": self._random.randint(1000, 9999)}} if not parent else None
            times, call = (at, sent, answered), (service, method)
            self.add(caller, Kind.CLIENT, trace, span, parent, *call, times, outcome, tags)
            self.add(service, Kind.SERVER, trace, span, "", *call, (came, started, ended), outcome, detail)
            if hub:
                times = (sent, sent + waited, answered)
                self.add(caller, Kind.HUB, trace, span, "", *call, times, outcome)
        return answered

    def report(self, charges: int) -> str:
        """A report that asks for each charge by a call of its own; gives its trace."""
        trace, at = self.digits(32), time.time() - 8.0

        def build(span: str, start: float) -> float:
            end = start
            for method in ("open", "sizes", "prices", "close"):
                end = self.call(trace, span, "web", "stock", method, end + 0.01, self.about(0.4))
            last = end
            for number in range(charges):
                asked = end + number * 0.0008
                last = self.call(trace, span, "web", "payments", "look_up", asked, self.about(0.02))
            return self.call(trace, span, "web", "mail", "send", last, self.about(0.3)) + 0.2

        self.call(trace, "", "edge", "web", "report", at, build)
        # It is of before: the rates have nothing of it.
        self._took.clear()
        return trace

    def stuck(self, ages: tuple[float, ...] = (41.2, 12.7, 3.4)) -> str:
        """Checkouts that wait for the bank since so many seconds; gives the trace of the oldest."""
        now = time.time()
        traces = []
        for age in ages:
            trace, spans = self.digits(32), [self.digits(16) for _ in range(3)]
            traces.append(trace)
            way = (("edge", "web", "checkout"), ("web", "orders", "place"), ("orders", "payments", "charge"))
            for number, (caller, service, method) in enumerate(way):
                parent = spans[number - 1] if number else ""
                times = (now - age + number * 0.004, now - age + number * 0.004 + 0.001, now)
                told = (trace, spans[number], parent, service, method, times, PENDING, {"open": True})
                self.add(caller, Kind.CLIENT, *told)
                self._open[Kind.CLIENT, caller, service, method] += 1
                if service != "payments":  # nobody has told that it was received there
                    self.add(service, Kind.SERVER, *told[:2], "", *told[3:])
                    self._open[Kind.SERVER, "", service, method] += 1
        return traces[0]

    def add(
        self,
        program: str,
        kind: Kind,
        trace: str,
        span: str,
        parent: str,
        service: str,
        method: str,
        times: tuple[float, float, float],
        outcome: str,
        detail: dict[str, object] | None = None,
    ) -> None:
        """Have a program tell of one side of a span. times: began, started, ended, of the day."""
        own = self.programs[program]
        began, started, ended = (one + own.ahead for one in times)
        peer = "" if kind == Kind.SERVER else f"tcp://{PLACES.get(service, ('', 0))[0]}:4242"
        ids = (trace, span, parent)
        own.records.append(Record(kind, *ids, service, method, began, started, ended, outcome, peer, detail))

    def about(self, seconds: float) -> float:
        """Some time around that, now and then much more."""
        return self._random.lognormvariate(0.0, 0.45) * seconds * (6 if self._random.random() < 0.01 else 1)

    def digits(self, number: int) -> str:
        return f"{self._random.getrandbits(number * 4):0{number}x}"
