"""The live screen of `mesh top`, by textual's own pilot, over a collector in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from mesh.core.trace_record import Kind
from mesh.errors import TimeoutExpired
from mesh.tracing import live
from mesh.tracing.collector import Collector
from mesh.tracing.store import Bounds
from mesh.tracing.stores.memory import MemoryStore
from tests.helpers.processes import PATIENCE
from tests.helpers.requirements import require_textual
from tests.tracing.batches import TRACE, Program, rate, record

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from mesh.cli.top_screen import Top

EVIL = "[red]\x1b[2Jstock"


class Answers:
    """A collector that is away as long as the test says."""

    def __init__(self) -> None:
        self.collector = Collector(MemoryStore(Bounds()))
        self.away = False

    @contextmanager
    def connect(self) -> Iterator[Any]:
        yield self

    def rates(self, seconds: float) -> list[dict[str, Any]]:
        if self.away:
            raise TimeoutExpired("'rates' was not answered")
        return self.collector.rates(seconds)


@pytest.fixture
def answers() -> Iterator[Answers]:
    require_textual()
    found = Answers()
    web, cron = Program("web"), Program("cron")
    placed = rate(Kind.CLIENT, "web", "orders.place", [0.1] * 9 + [2.0], errors=1, still=4)
    found.collector.records(web.batch(record(Kind.CLIENT, "a", ended=2.0), rates=[placed]))
    taken = rate(Kind.CLIENT, "cron", f"{EVIL}.take", [0.01] * 5)
    found.collector.records(cron.batch(rates=[taken]))
    yield found
    found.collector._close()


def look_at(answers: Answers, size: tuple[int, int], act: Callable[[Pilot[None]], Awaitable[None]]) -> Top:
    """Show the screen, act there, and give what is left of it."""
    from mesh.cli.top_screen import Top

    app = Top(live.RateTable(live.EDGE, "rate", "", ()), answers.rates(10), answers.connect, 10)

    async def show() -> None:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await act(pilot)

    asyncio.run(asyncio.wait_for(show(), PATIENCE))
    return app


def shown(pilot: Pilot[None]) -> str:
    """The screen as text."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def until(pilot: Pilot[None], what: Callable[[], bool]) -> None:
    while not what():
        await pilot.pause(0.02)


def test_keys(answers: Answers) -> None:
    async def act(pilot: Pilot[None]) -> None:
        text = shown(pilot)
        assert "2 edges, by rate" in text
        head, first, second = text.splitlines()[1:4]
        assert head.split() == ["CALLER", "CALL", "RATE", "ERRORS", "P50", "P95", "P99", "OPEN", "SLOWEST"]
        assert first.split()[:2] == ["web", "orders.place"]
        assert first.split()[-4:] == ["2.0s", "2.0s", "4", "2.0s"]
        assert "[red] [2Jstock.take" in second and "\x1b" not in text
        assert f"web → orders.place: 2.0s, mesh trace {TRACE}" in text
        await pilot.press("S")
        assert "by name" in shown(pilot)
        assert f"mesh trace {TRACE}" in shown(pilot)  # the cursor has stayed with its row
        await pilot.press("slash", "c", "r", "o", "n")
        assert "1 edge, by name, of the last 10s, with 'cron'" in shown(pilot)
        assert "orders.place" not in shown(pilot)
        await pilot.press("enter", "m")
        assert "1 method, by name" in shown(pilot)
        await pilot.press("escape")
        assert "orders.place" in shown(pilot)
        await pilot.press("q")

    app = look_at(answers, (110, 14), act)
    assert app.return_code == 0


def test_it_is_filled_anew_and_says_where_the_collector_is_away(answers: Answers) -> None:
    async def act(pilot: Pilot[None]) -> None:
        more = rate(Kind.CLIENT, "web", "users.get", [0.02] * 50)
        answers.collector.records(Program("web").batch(rates=[more]))
        await until(pilot, lambda: "users.get" in shown(pilot))
        answers.away = True
        await until(pilot, lambda: "no answer for" in shown(pilot))
        assert "'rates' was not answered" in shown(pilot)
        assert "users.get" in shown(pilot)
        answers.away = False
        await until(pilot, lambda: "3 edges" in shown(pilot))
        await pilot.press("space")
        assert "held" in shown(pilot)
        began = time.monotonic()
        await pilot.press("ctrl+c")
        assert time.monotonic() - began < 5.0

    app = look_at(answers, (110, 14), act)
    assert app.return_code == 130


def test_sixty_columns(answers: Answers) -> None:
    async def act(pilot: Pilot[None]) -> None:
        lines = shown(pilot).splitlines()
        assert max(map(len, lines)) <= 60
        assert lines[1].split() == ["CALLER", "CALL", "RATE", "ERRORS", "P99", "OPEN"]
        await pilot.resize_terminal(110, 14)
        await until(pilot, lambda: "SLOWEST" in shown(pilot))

    look_at(answers, (60, 14), act)
