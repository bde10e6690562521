"""ARGs that can't be read, and that what is said to type in their place does what was meant."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import click
import pytest

from mesh.cli.arguments import MAX_TYPED, read_keywords, read_value
from mesh.cli.reporting import one_line

TEXTS = [
    'he said "hi"',
    "it's",
    "'",
    "''\"'\"''",
    "a\\b",
    "ends with \\",
    "\\u0041\\n",
    "line\nfeed",
    "\r\n\t",
    "$HOME",
    "`id` $(id) ${HOME}",
    "!! !x",
    "é",
    "e\u0301",
    "漢字 🙂",
    "\U000e0001 \u200b\u2028\u00a0\u202e",
    "",
    " ",
    "  two  and   three    blanks ",
    "-x",
    "--",
    "--json",
    "-",
    "\x01\x1b[31m\x7f\x9b",
    "a=b",
    "*?[a]{b,c}~",
    "#; & | < > ()",
    "%s %n",
    "Infinite",
    "{'a': 1}",
    "[1, 2",
    "x" * 50_000,
    "'" * 5_000,
    "é" * 10_000,
]


def told(text: str) -> str:
    """What the error line says to type for a text."""
    with pytest.raises(click.UsageError) as caught:
        read_value(text, True, "argument 1")
    line = one_line(caught.value.format_message())
    found = re.search(r"; a string needs quotes: (.*), or leave out -j$", line)
    assert found, line
    return found[1]


def words(typed: str, shell: str) -> list[bytes]:
    """The arguments that a shell makes of what is typed."""
    done = subprocess.run(
        [shell, "-c", f"printf '%s\\0' {typed}"], capture_output=True, check=True, env={}, timeout=20
    )
    return done.stdout.split(b"\0")[:-1]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_what_it_says_to_type_arrives_as_the_text(shell: str) -> None:
    for text in TEXTS:
        (word,) = words(told(text), shell)
        assert read_value(word.decode(), True, "argument 1") == text


def test_where_standard_error_can_not_show_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), "ascii", "backslashreplace"))
    for text in TEXTS:
        typed = told(text)
        assert typed.isascii()
        (word,) = words(typed, "sh")
        assert read_value(word.decode(), True, "argument 1") == text


def test_what_needs_no_escape_has_none() -> None:
    assert told("é, as it is: $HOME") == "'\"é, as it is: $HOME\"'"


@pytest.mark.parametrize("raw", [b"\xff", b"caf\xe9 'x'", b"\xff" * 60_000])
@pytest.mark.parametrize("as_json", [True, False])
def test_bytes_too(raw: bytes, as_json: bool) -> None:
    with pytest.raises(click.UsageError, match="is not UTF-8 text; bytes go as -j ") as caught:
        read_value(os.fsdecode(raw), as_json, "argument 1")
    (word,) = words(one_line(caught.value.format_message()).partition(" -j ")[2], "sh")
    assert read_value(word.decode(), True, "argument 1") == raw


def test_one_that_would_be_too_long_for_a_command_line_is_not_repeated() -> None:
    for text in ("x" * (MAX_TYPED + 1), "\n" * (MAX_TYPED // 2), "é" * (MAX_TYPED // 2)):
        with pytest.raises(click.UsageError, match=r"without -j it goes as it is$") as caught:
            read_value(text, True, "argument 1")
        assert len(caught.value.format_message()) < 400


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"$bytes": "?"}', "$bytes is not base64"),
        ("9" * 5_000, "4300 digits"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_json_and_can_not_be_read_is_no_string_without_quotes(text: str, part: str) -> None:
    with pytest.raises(click.UsageError, match="argument 1 can't be read as JSON") as caught:
        read_value(text, True, "argument 1")
    assert part in caught.value.format_message() and "quotes" not in caught.value.format_message()


def test_the_value_of_a_keyword() -> None:
    with pytest.raises(click.UsageError, match="--kw name is not JSON: it's =") as caught:
        read_keywords(("name=it's =",), True)
    typed = re.search(r"quotes: (.*), or", caught.value.format_message())
    assert typed
    (word,) = words(f"name={typed[1]}", "sh")
    assert read_keywords((word.decode(),), True) == {"name": "it's ="}
