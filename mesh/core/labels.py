"""The labels of a server, such as version=2: what tells it from others of its service.

Where DNS tells of them, each is a string of a TXT record, KEY=VALUE with a key in lower case (RFC 6763,
section 6); some keys say something else there, and are no labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from mesh.errors import ConfigError

MOST_LABELS: Final = 16
MOST_CHARS: Final = 200
"""Characters of a value; so it fits a string of a TXT record with its key."""
MOST_BYTES: Final = 1_000
"""Of all labels of a server: a hub reads 4,096 of what a worker says of itself."""
RESERVED: Final = ("at", "type", "hub", "key", "by", "txtvers")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,53}")

Labels = tuple[tuple[str, str], ...]
"""In order, each key once."""


def is_label_name(text: str) -> bool:
    """Whether a label may be called so."""
    return text not in RESERVED and _NAME.fullmatch(text) is not None


def label_problem(name: object, value: object) -> str:
    """What is wrong with a label, in words; "" where nothing is."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return (
            f"{name!r:.80} is no name of a label: it has 1 to 54 of a to z, 0 to 9, '.', '_' and '-', and "
            "begins with a letter or a digit"
        )
    if name in RESERVED:
        return f"no label can be called {name!r}, which says something else in DNS"
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value.encode()) <= MOST_CHARS:
        return f"the label {name!r} is {value!r:.80}: it has to be text of 1 to {MOST_CHARS} printable bytes"
    return ""


def check_labels(given: Mapping[str, str] | None) -> dict[str, str]:
    """The labels that a program gives its server. Raises ConfigError."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(f"labels must be a dict of text to text, not {given!r:.80}")
    for name, value in given.items():
        if problem := label_problem(name, value):
            raise ConfigError(problem)
    size = sum(len(name) + len(value.encode()) + 4 for name, value in given.items())
    if len(given) > MOST_LABELS or size > MOST_BYTES:
        too_many = f"{len(given)} labels of {size} bytes are too many"
        raise ConfigError(f"{too_many}: a server has {MOST_LABELS} of {MOST_BYTES} at most")
    return dict(sorted(given.items()))


def told_labels(told: object) -> Labels:
    """The labels in what a peer says of itself, which may be anything."""
    if type(told) is not dict:
        return ()
    good = [(name, value) for name, value in told.items() if not label_problem(name, value)]
    return tuple(sorted(good)[:MOST_LABELS])
