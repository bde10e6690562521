"""What TXT records say of the endpoints of a service: their type, whether they are hubs, key and labels.

Pure. A record is strings of the form KEY=VALUE, of which the first with a key counts, in any case (RFC 6763,
section 6). A record without `at` is about all endpoints of the name; one with "at=HOST:PORT" about that one,
and counts for more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from mesh.core.labels import MOST_LABELS, Labels, is_label_name

MOST_RECORDS: Final = 4_096
HUB: Final = ("0", "1")
"""What `hub` takes; the latter says that hubs are there."""


@dataclass(frozen=True, slots=True)
class Described:
    """As Endpoint has it. A type that mesh does not know stays as it is written: nobody can use it."""

    type: str = "router"
    hub: bool = False
    key: str | None = None
    labels: Labels = ()


def read_texts(records: Iterable[tuple[bytes, ...]]) -> Callable[[str, int], Described]:
    """From TXT records to a function of the host and port of an endpoint."""
    common: dict[str, str] = {}
    single: dict[str, dict[str, str]] = {}
    for number, record in enumerate(records):
        if number == MOST_RECORDS:
            break
        values = values_of(record)
        place = values.get("at", "").lower().replace(".:", ":")
        of_place = single.setdefault(place, {}) if "at" in values else common
        for key, value in values.items():
            of_place.setdefault(key, value)

    def described(host: str, port: int) -> Described:
        values = {**common, **single.get(f"{host}:{port}", {})}
        return Described(
            type=values.get("type", "router"),
            hub=values.get("hub") == HUB[1],
            key=values.get("key"),
            labels=_labels(values),
        )

    return described


def values_of(record: Iterable[bytes]) -> dict[str, str]:
    """The strings of a record, by key.

    Without those that are no text: other programs have records of that name, too.
    """
    values: dict[str, str] = {}
    for string in record:
        try:
            key, equals, value = string.decode().partition("=")
        except UnicodeDecodeError:
            continue
        if key:
            values.setdefault(key.strip().lower(), value if equals else "1")
    return values


def _labels(values: dict[str, str]) -> Labels:
    found = ((key, value) for key, value in values.items() if is_label_name(key))
    return tuple(sorted(found)[:MOST_LABELS])
