"""ARGs and `--kw` of the commands that send them: what they may look like, and the values that they are."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from typing import Any

import click

from mesh.cli.output import BYTES_KEY, cut, from_json

MAX_TYPED = 100_000
"""Bytes of an advice that repeats what was typed; Linux takes 131,072 for one argument."""
_NEGATIVE = re.compile(r"-\.?\d")


class ArgsCommand(click.Command):
    """Lets negative numbers pass as ARGs, and still refuses an option that does not exist."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        after_dashes = len(args) - args.index("--") - 1 if "--" in args else 0
        rest = super().parse_args(ctx, list(args))
        given = [ctx.params.get("service"), ctx.params.get("method"), *(ctx.params.get("args") or ())]
        texts = [text for text in given if text is not None]
        for text in texts[: len(texts) - after_dashes]:
            if text.startswith("-") and text != "-" and not _NEGATIVE.match(text):
                raise self._no_such_option(ctx, text.partition("=")[0])
        return rest

    def _no_such_option(self, ctx: click.Context, name: str) -> click.UsageError:
        from difflib import get_close_matches

        options = [opt for param in self.params for opt in param.opts if opt.startswith("--")]
        near = get_close_matches(name, options, n=1)
        hint = f"did you mean {near[0]}?" if near else "an ARG that begins with - goes after --"
        return click.UsageError(f"no option {name}: {hint}", ctx)


def read_value(text: str, as_json: bool, what: str) -> Any:
    """The value of one ARG, which `what` names in an error."""
    if not as_json:
        return _utf8(text, what)
    try:
        return from_json(text)
    except json.JSONDecodeError as error:
        _utf8(text, what)
        raise click.UsageError(f"{what} is not JSON: {cut(text, 80)} ({error}); {_as_string(text)}") from None
    except ValueError as error:
        raise click.UsageError(f"{what} can't be read as JSON: {cut(text, 80)} ({error})") from None


def _as_string(text: str) -> str:
    """What to type for a text with -j."""
    typed = json_word(text)
    if typed is None:
        return "it is too long to be repeated as a JSON string; without -j it goes as it is"
    return f"a string needs quotes: {typed}, or leave out -j"


def json_word(value: Any) -> str | None:
    """A value as JSON and as one word for a shell, to be typed as the error line shows it; None if too long.

    JSON has an escape for every character: so the word has no apostrophe, which would end it, and nothing
    that the error line changes, which is blanks after blanks and what can't be shown.
    """
    shown = json.dumps(value, ensure_ascii=not _shows_all())
    shown = "".join(char if char.isprintable() and char != "'" else _escaped(char) for char in shown)
    word = f"'{shown.replace('  ', ' ' + _escaped(' '))}'"
    return word if len(word.encode()) <= MAX_TYPED else None


def _shows_all() -> bool:
    """Whether standard error has all characters, so that they need not be escaped."""
    return (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1] if not char.isascii() else f"\\u{ord(char):04x}"


def _utf8(text: str, what: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        in_base64 = base64.b64encode(os.fsencode(text)).decode()
        typed = json_word({BYTES_KEY: in_base64}) or json_word({BYTES_KEY: "BASE64"})
        raise click.UsageError(f"{what} is not UTF-8 text; bytes go as -j {typed}") from None
    return text


def read_values(args: tuple[str, ...], as_json: bool) -> list[Any]:
    """The values of all ARGs."""
    return [read_value(text, as_json, f"argument {n}") for n, text in enumerate(args, start=1)]


def read_keywords(given: tuple[str, ...], as_json: bool) -> dict[str, Any]:
    """The keyword arguments that `--kw` gave."""
    keywords: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--kw {text!r} is not of the form NAME=VALUE")
        if name in keywords:
            raise click.UsageError(f"--kw {name} is given twice")
        keywords[name] = read_value(value, as_json, f"--kw {name}")
    return keywords
