"""The live screen of `mesh top`, with textual: a table that is filled anew each second.

Owns the keys and the collector's answers, which a thread waits for. What the rows are, live.py tells.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.coordinate import Coordinate
from textual.widgets import DataTable, Footer, Input, Static
from textual.worker import Worker, get_current_worker

from mesh.cli.output import columns_of, fitting_columns
from mesh.cli.reporting import one_line
from mesh.errors import MeshError
from mesh.tracing import live

if TYPE_CHECKING:
    from mesh import Client

EVERY: Final = 1.0
"""Seconds between two looks."""
LOOK: Final = 0.1
"""Seconds after which it is seen, at the latest, that the screen is closed."""
MOST: Final = 500
"""Rows that are shown."""
WIDEST: Final = 40
"""Columns of a name."""
GAP: Final = 2
_NUMBERS: Final = frozenset(live.HEAD) - {"CALLER", "CALL", "TRACE"}

Rates = list[dict[str, Any]]
Connect = Callable[[], AbstractContextManager["Client"]]


class Top(App[None]):
    """look: what is shown at first. rates: the collector's first answer. connect: gives a client of the
    collector, in the thread that asks. seconds: that the rates are of.
    """

    CSS = """
    #facts { height: 1; background: $panel; padding: 0 1; }
    #row { height: auto; max-height: 2; padding: 0 1; color: $text-muted; }
    #filter { height: 1; border: none; padding: 0 1; display: none; }
    #filter.shown { display: block; }
    DataTable { height: 1fr; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "interrupt", "Quit", show=False, priority=True),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", "Sort back", show=False),
        Binding("m", "by", "Edges/methods"),
        Binding("slash", "filter", "Filter"),
        Binding("escape", "end_filter", "All", show=False),
        Binding("space", "pause", "Hold"),
    ]
    ENABLE_COMMAND_PALETTE = False
    TITLE = "mesh top"

    def __init__(self, look: live.RateTable, rates: Rates, connect: Connect, seconds: float) -> None:
        super().__init__()
        self._look = look
        self._rates = rates
        self._connect = connect
        self._seconds = seconds
        self._rows: list[live.Row] = []
        self._columns: dict[int, int] = {}
        """The numbers of the columns that are shown, and their widths."""
        self._held = False
        self._trouble = ""
        self._heard = time.monotonic()

    def compose(self) -> ComposeResult:
        yield Static(id="facts", markup=False)
        yield DataTable(cursor_type="row", zebra_stripes=True, cell_padding=GAP // 2)
        yield Static(id="row", markup=False)
        yield Input(
            id="filter", placeholder="text in a name; Enter keeps it, Esc shows all", select_on_focus=False
        )
        yield Footer(compact=True)

    def on_mount(self) -> None:
        # Else the terminal would be left as the screen has it.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.end_by, number)
        self.query_one(DataTable).focus()
        self.show_rows()
        self.ask()

    # The collector

    @work(thread=True, exclusive=True)
    def ask(self) -> None:
        """Ask again and again, in a native thread, until the screen is closed."""
        import gevent

        worker = get_current_worker()
        while not worker.is_cancelled:
            try:
                with self._connect() as client:
                    while self._asked(client, worker):
                        _wait(gevent.sleep, worker)
            except MeshError as error:
                if not worker.is_cancelled:
                    self.call_from_thread(self.fail, str(error))
                _wait(gevent.sleep, worker)

    def _asked(self, client: Client, worker: Worker[None]) -> bool:
        """One answer of the collector's; False where the screen is closed before it is there."""
        import gevent

        def ask() -> Rates | MeshError:
            try:
                found: Rates = client.rates(self._seconds)
            except MeshError as error:  # gevent would print its traceback into the screen
                return error
            return found

        asked = gevent.spawn(ask)
        while not asked.ready():
            if worker.is_cancelled:
                asked.kill()
                return False
            asked.join(LOOK)
        rates = asked.get()
        if isinstance(rates, MeshError):
            raise rates
        if worker.is_cancelled:
            return False
        self.call_from_thread(self.take, rates)
        return True

    def take(self, rates: Rates) -> None:
        """Show what the collector has told."""
        self._heard, self._trouble = time.monotonic(), ""
        if not self._held:
            self._rates = rates
        self.show_rows()

    def fail(self, why: str) -> None:
        """Say that the collector can't be asked; it is tried again."""
        self._trouble = one_line(why)
        self.show_facts()

    # What is shown

    def show_rows(self) -> None:
        """Fill the table; the cursor stays with its row."""
        table = self.query_one(DataTable)
        marked = self._marked()
        every = self._look.rows(self._rates)
        self._rows, more = every[:MOST], max(len(every) - MOST, 0)
        lines = [[_short(cell) for cell in live.cells(row)] for row in self._rows]
        columns = self._fitted(lines)
        if columns != self._columns or len(lines) != table.row_count:
            self._columns = columns
            self._fill_anew(table, lines)
        else:
            self._fill_again(table, lines)
        if marked is not None:
            where = next(
                (i for i, row in enumerate(self._rows) if row.names == marked.names), table.cursor_row
            )
            table.move_cursor(row=min(where, max(len(lines) - 1, 0)), scroll=False)
        self.show_facts(more)

    def _fitted(self, lines: list[list[str]]) -> dict[int, int]:
        """The columns that are shown, and how wide each is. They do not shrink again as long as they fit, so
        that nothing jumps about.
        """
        kept = fitting_columns(live.HEAD, lines, live.OPTIONAL, self.size.width - GAP, GAP)
        wide = {column: max(columns_of(line[column]) for line in (live.HEAD, *lines)) for column in kept}
        before = self._columns
        if wide.keys() == before.keys():
            grown = {column: max(width, before[column]) for column, width in wide.items()}
            if sum(grown.values()) + GAP * len(grown) <= self.size.width:
                return grown
        return wide

    def _fill_anew(self, table: DataTable[Text], lines: list[list[str]]) -> None:
        table.clear(columns=True)
        for column, width in self._columns.items():
            name = live.HEAD[column]
            table.add_column(Text(name, justify="right" if name in _NUMBERS else "left"), width=width)
        for row, line in zip(self._rows, lines, strict=True):
            table.add_row(*(_cell(column, line[column], row) for column in self._columns))

    def _fill_again(self, table: DataTable[Text], lines: list[list[str]]) -> None:
        """As many rows as before: only what differs is drawn."""
        for number, (row, line) in enumerate(zip(self._rows, lines, strict=True)):
            for place, column in enumerate(self._columns):
                cell, where = _cell(column, line[column], row), Coordinate(number, place)
                if table.get_cell_at(where) != cell:
                    table.update_cell_at(where, cell)

    def show_facts(self, more: int = 0) -> None:
        """The first line and the one below the table."""
        look = self._look
        what = "edge" if look.by == live.EDGE else "method"
        facts = [
            f"{len(self._rows)} {what}{'' if len(self._rows) == 1 else 's'}"
            + (f", {more} more" if more else ""),
            f"by {look.sort}",
            f"of the last {self._seconds:g}s",
            *([f"with {look.text!r}"] if look.text else []),
            *(["held"] if self._held else []),
        ]
        if self._trouble:
            since = live.brief(time.monotonic() - self._heard)
            facts = [f"no answer for {since}, it is asked again: {self._trouble}"]
        line = Text(", ".join(facts))
        if self._trouble:
            line.stylize("bold red")
        self.query_one("#facts", Static).update(line)
        self._show_marked()

    def _marked(self) -> live.Row | None:
        """The row that the cursor is on."""
        number = self.query_one(DataTable).cursor_row
        return self._rows[number] if 0 <= number < len(self._rows) else None

    def _show_marked(self) -> None:
        row = self._marked()
        text = "nobody has told of such calls" if row is None else one_line(f"{row.caller} → {row.call}")
        if row is not None and row.trace_id:
            text += f": {live.brief(row.slowest)}, mesh trace {one_line(row.trace_id)}"
        self.query_one("#row", Static).update(Text(text))

    def on_data_table_row_highlighted(self) -> None:
        self._show_marked()

    def on_resize(self) -> None:
        self.show_rows()

    # Keys

    def end_by(self, number: int) -> None:
        """A signal asks for the end."""
        self.exit(return_code=128 + number)

    def action_interrupt(self) -> None:
        self.end_by(signal.SIGINT)

    def action_sort(self, step: int) -> None:
        names = list(live.SORTS)
        self._look.sort = names[(names.index(self._look.sort) + step) % len(names)]
        self.show_rows()

    def action_by(self) -> None:
        self._look.by = live.METHOD if self._look.by == live.EDGE else live.EDGE
        self.show_rows()

    def action_pause(self) -> None:
        self._held = not self._held
        self.show_facts()

    def action_filter(self) -> None:
        field = self.query_one(Input)
        field.add_class("shown")
        field.value = self._look.text
        field.focus()

    def action_end_filter(self) -> None:
        self._look.text = ""
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._look.text = event.value
        self.show_rows()

    def on_input_submitted(self) -> None:
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one(Input).remove_class("shown")
        self.query_one(DataTable).focus()
        self.show_rows()


def _wait(sleep: Callable[[float], object], worker: Worker[None]) -> None:
    """Until the next look, or until the screen is closed."""
    end = time.monotonic() + EVERY
    while not worker.is_cancelled and (left := end - time.monotonic()) > 0:
        sleep(min(left, LOOK))


def _short(text: str) -> str:
    """A name that other programs have given: nothing in it is obeyed, and it takes no more room than this."""
    text = one_line(text)
    return text if columns_of(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _cell(column: int, text: str, row: live.Row) -> Text:
    """A cell as it is, not as textual's markup."""
    name = live.HEAD[column]
    times: Mapping[str, float] = {"P50": row.p50, "P95": row.p95, "P99": row.p99, "SLOWEST": row.slowest}
    colour = "red" if name == "ERRORS" and row.errors else ""
    if times.get(name, 0.0) >= live.SLOW:
        colour = "yellow"
    return Text(text, style=colour, justify="right" if name in _NUMBERS else "left")
