"""What the settings that a program gives may be: one check and one wording for all of them.

A bool is no number here, although Python counts it among them: who writes heartbeat=True has
mistaken it for a switch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from mesh.errors import ConfigError

Classes = type[BaseException] | Iterable[type[BaseException]]
"""An exception class, or several in anything that can be iterated over."""
LONGEST: Final = 1e9
"""Seconds; more is no time that a clock could hold together with the present."""
MANY: Final = 2**31 - 1
"""As many as libzmq can count."""
MOST_BYTES: Final = 2**48
_SIZE: Final = re.compile(r"([1-9][0-9]{0,11}) ?(|KiB|MiB|GiB)")
_UNITS: Final = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def count(name: str, value: Any, least: int = 1, *, most: int = MANY, none: bool = False) -> None:
    """Raise ConfigError unless `value` is a whole number within the bounds. none: None will do, too."""
    if value is None and none:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _wrong(name, f"a whole number from {least} to {most}", value, none)


def size(name: str, value: Any) -> None:
    """As count, for bytes."""
    count(name, value, most=MOST_BYTES)


def size_of(text: str) -> int:
    """The bytes that are written as 65536, 64KiB or 64 MiB; 0 for what is no size."""
    match = _SIZE.fullmatch(text)
    return int(match[1]) * _UNITS[match[2]] if match else 0


def seconds(
    name: str,
    value: Any,
    least: float = 0.0,
    most: float = LONGEST,
    *,
    more: bool = False,
    none: bool = False,
) -> None:
    """As count, for seconds. more: `least` itself is too little."""
    if value is None and none:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most or (more and value == least):
        begin = f"more than {least:g} and at most" if more else f"from {least:g} to"
        raise _wrong(name, f"{begin} {most:.10g} seconds", value, none)


def function(name: str, value: Any) -> None:
    """Raise ConfigError unless `value` can be called, or is None."""
    if value is not None and not callable(value):
        raise _wrong(name, "a function", value, True)


def flag(name: str, value: Any) -> None:
    """Raise ConfigError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise _wrong(name, "True or False", value, False)


def text(name: str, value: Any, *, none: bool = False) -> None:
    """Raise ConfigError unless `value` is text that is not empty. none: None will do, too."""
    if not (isinstance(value, str) and value) and not (value is None and none):
        raise _wrong(name, "text that is not empty", value, none)


def choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise ConfigError unless `value` is one of a few words."""
    words = list(choices)
    if not (isinstance(value, str) and value in words):
        raise _wrong(name, f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}", value, False)


def exceptions(name: str, value: Any) -> tuple[type[BaseException], ...]:
    """The classes that `value`, which should be of Classes, gives. Raises ConfigError, with what is none."""
    several = isinstance(value, Iterable) and not isinstance(value, (type, str, bytes))
    classes = tuple(value) if several else (value,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise _wrong(name, "an exception class, or several in a list or tuple", cls, False)
    return classes


def _wrong(name: str, wanted: str, value: Any, none: bool) -> ConfigError:
    try:
        shown = f"{value!r:.80}"
    except ValueError:  # an integer with thousands of digits
        shown = f"so large an {type(value).__name__}"
    return ConfigError(f"{name} must be {wanted}{', or None' if none else ''}; not {shown}")
