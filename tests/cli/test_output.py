"""How values, tables and texts look, in a terminal and in a pipe."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.cli import output
from mesh.cli.output import Printer, columns_of, cut, fit, from_json, paragraphs, summary, to_json
from mesh.cli.reporting import one_line
from mesh.cli.screen import show


class Screen(io.TextIOWrapper):
    """Standard output in memory, that may claim to be a terminal."""

    def __init__(self, tty: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", newline="")
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty

    def shown(self) -> str:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that gives a Printer and the screen that it writes to."""

    def make(
        tty: bool, columns: int = 60, as_json: bool = False, colour: bool = False, term: str = "xterm"
    ) -> tuple[Printer, Screen]:
        shown = Screen(tty)
        monkeypatch.setattr(output.sys, "stdout", shown)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("NO_COLOR", "" if colour else "1")
        monkeypatch.setenv("TERM", term)
        return Printer(as_json), shown

    return make


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("ä", '"ä"'),
        ([1, 2.5, True], "[1, 2.5, true]"),
        (b"\x00\xff", '{"$bytes": "AP8="}'),
        (datetime(2024, 1, 2, tzinfo=UTC), '"2024-01-02T00:00:00+00:00"'),
        ([float("nan"), float("inf"), -float("inf")], "[null, null, null]"),
        ({1: "a", b"k": [b""]}, '{"1": "a", "k": [{"$bytes": ""}]}'),
    ],
)
def test_json_of_every_value_that_travels(value: Any, text: str) -> None:
    assert to_json(value) == text
    json.loads(text)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.parametrize("as_json", [False, True])
def test_as_deep_as_what_travels(screen: Any, tty: bool, as_json: bool) -> None:
    printer, shown = screen(tty=tty, as_json=as_json)
    printer.value(nested(1000))
    assert "".join(shown.shown().split()) == "[" * 1000 + "]" * 1000


def test_reading_as_deep_as_what_travels() -> None:
    assert to_json(from_json("[" * 1000 + "]" * 1000)) == "[" * 1000 + "]" * 1000
    with pytest.raises(ValueError, match="nested too deeply"):
        from_json("[" * 100_000)


def test_bytes_go_there_and_back_as_json() -> None:
    assert from_json(to_json({"data": b"\x00\xff"})) == {"data": b"\x00\xff"}


@pytest.mark.parametrize("text", ["", "abc", "{", '{"$bytes": "?"}', '{"$bytes": 3}'])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("two\nlines", "two\nlines\n"),
        (None, ""),
        (True, "True\n"),
        ({"a": [1]}, "{'a': [1]}\n"),
        (b"\x00raw", "\x00raw"),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00\n"),
        ("\x1b[31m", "\x1b[31m\n"),
    ],
)
def test_values_in_a_pipe(screen: Any, value: Any, text: str) -> None:
    printer, shown = screen(tty=False)
    printer.value(value)
    assert shown.shown() == text


def test_a_stream_shows_its_nones(screen: Any) -> None:
    printer, shown = screen(tty=False)
    printer.value(None, of_stream=True)
    assert shown.shown() == "None\n"


def test_a_structure_is_one_line_in_a_pipe_and_fits_a_terminal(screen: Any) -> None:
    value = [{"name": "x" * 20, "number": n} for n in range(5)]
    printer, shown = screen(tty=False)
    printer.value(value)
    assert shown.shown().count("\n") == 1
    printer, shown = screen(tty=True)
    printer.value(value)
    assert max(map(len, shown.shown().splitlines())) <= 60


def test_a_terminal_does_not_obey_what_a_server_sends(screen: Any) -> None:
    printer, shown = screen(tty=True)
    printer.value("\x1b[2Jgone\x07\n\tkept")
    printer.value(b"\x1b[2J")
    assert shown.shown() == "\\x1b[2Jgone\\x07\n\tkept\nb'\\x1b[2J'\n"


HEAD = ("NAME", "HEALTH", "SOURCE")
ROWS = [("users", "up", "/a/very/long/path/to/services.yml:3"), ("search", "down", "x")]


def test_a_table_in_a_pipe_is_whole_and_tab_separated(screen: Any) -> None:
    printer, _ = screen(tty=False, columns=20)
    assert printer.table(HEAD, ROWS, optional=("SOURCE",)) == [
        "NAME\tHEALTH\tSOURCE",
        "users\tup\t/a/very/long/path/to/services.yml:3",
        "search\tdown\tx",
    ]


def test_a_table_in_a_narrow_terminal_leaves_out_or_cuts(screen: Any) -> None:
    printer, _ = screen(tty=True, columns=30)
    assert printer.table(HEAD, ROWS, optional=("SOURCE",)) == ["NAME    HEALTH", "users   up", "search  down"]
    lines = printer.table(HEAD, ROWS)
    assert lines[1] == "users   up      /a/very/long/…"
    assert max(map(len, lines)) <= 30


WIDE = [("ユーザー", "up", "services.yml:3"), ("cafe\u0301", "down", "services.yml:4")]


def test_a_table_of_wide_characters_is_aligned_by_columns(screen: Any) -> None:
    printer, _ = screen(tty=True, columns=60)
    assert printer.table(HEAD, WIDE) == [
        "NAME      HEALTH  SOURCE",
        "ユーザー  up      services.yml:3",
        "cafe\u0301      down    services.yml:4",
    ]
    printer, _ = screen(tty=True, columns=18)
    assert printer.table(HEAD, WIDE, optional=("SOURCE",))[1] == "ユーザー  up"
    printer, _ = screen(tty=True, columns=20)
    lines = printer.table(HEAD, [("検索" * 20, "up", "検索" * 20)])
    assert max(map(columns_of, lines)) <= 20 and lines[1].count("…") == 2


def test_a_list_of_wide_characters_is_aligned_by_columns(screen: Any) -> None:
    printer, shown = screen(tty=True, columns=30)
    printer.columns("検索", 6, "探す" * 20)
    printer.columns("search", 6, "x" * 40)
    wide, plain = shown.shown().splitlines()
    assert wide == "  検索    " + "探す" * 4 + "探…" and plain == "  search  " + "x" * 19 + "…"


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("é", 1), ("e\u0301", 1), ("検索", 4), ("\uff21", 2), ("ｱ", 1), ("\u200d", 0)],
)
def test_the_columns_of_a_text(text: str, columns: int) -> None:
    assert columns_of(text) == columns


def test_colours_only_where_they_are_wanted(screen: Any) -> None:
    printer, _ = screen(tty=True, colour=True)
    assert "\x1b[31mdown" in printer.table(HEAD, ROWS, colours={"down": "red"})[2]
    for tty, colour, term in ((True, False, "xterm"), (False, True, "xterm"), (True, True, "dumb")):
        printer, _ = screen(tty=tty, colour=colour, term=term)
        assert "\x1b" not in "".join(printer.table(HEAD, ROWS, colours={"down": "red"}))


def test_what_is_shown_again_and_again_in_a_terminal_that_can_not_draw(screen: Any) -> None:
    for term, cleared in (("xterm", True), ("dumb", False)):
        printer, shown = screen(tty=True, term=term)
        show(printer, ["one", "two"], watch=True)
        assert shown.shown() == ("\x1b[H\x1b[2Jone\ntwo\n" if cleared else "one\ntwo\n\n")


def test_json_is_plain_in_a_terminal_too(screen: Any) -> None:
    printer, shown = screen(tty=True, as_json=True, colour=True)
    printer.value({"a": "\x1b"})
    assert shown.shown() == '{"a": "\\u001b"}\n'


def test_text_is_folded_by_paragraph(screen: Any) -> None:
    printer, shown = screen(tty=True, columns=30)
    printer.wrapped("Join a base and a relative one\nto form one.\n\n- first\n- second\n", indent="  ")
    assert shown.shown() == "  Join a base and a relative\n  one to form one.\n\n  - first\n  - second\n"


def test_paragraphs_end_at_indentation_and_items() -> None:
    assert paragraphs("a\nb\n  c\n\n- d\ne") == [["a", "b"], ["  c"], [""], ["- d", "e"]]


@pytest.mark.parametrize(
    ("doc", "said"),
    [
        ("", ""),
        ("\nGet a user.\n\nMore.", "Get a user."),
        ("Like quote(), but\ntakes bytes\n\nMore.", "Like quote(), but takes bytes"),
        ("Parse into 6 parts:\nscheme, …", "Parse into 6 parts:"),
    ],
)
def test_the_summary_of_a_docstring(doc: str, said: str) -> None:
    assert summary(doc) == said


def test_widths_never_sum_to_more_than_there_is() -> None:
    assert fit([10, 50, 8], 40) == [10, 18, 8]
    assert fit([10, 50, 8], 4) == [4, 4, 4]
    assert cut("abcdef", 4) == "abc…" and cut("abc", 4) == "abc"
    assert (cut("検索検", 6), cut("検索検", 5), cut("検索検", 4)) == ("検索検", "検索…", "検…")
    assert cut("e\u0301e\u0301e\u0301", 2) == "e\u0301…"


def test_an_error_is_one_line_whatever_the_server_sent() -> None:
    assert one_line("first\nsecond\t\x1b[31mred") == "first second  [31mred"
