"""ARGs and `--kw` of the commands that send them: what they may look like, and the values that they are."""

from __future__ import annotations

import re
from typing import Any

import click

from mesh.cli.output import cut, from_json

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
    except ValueError as error:
        shown = cut(text, 80)
        raise click.UsageError(
            f"{what} is not JSON: {shown} ({error}); a string needs quotes: '\"{shown}\"', or leave out -j"
        ) from None


def _utf8(text: str, what: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise click.UsageError(
            f'{what} is not UTF-8 text; bytes go as -j \'{{"$bytes": "BASE64"}}\''
        ) from None
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
