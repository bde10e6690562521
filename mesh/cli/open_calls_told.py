"""What a server or a hub has told of its open calls, which may be anything. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from mesh.errors import MeshError

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What one server or hub has told; or why it has not.

    place: where it is: its endpoint, or as "users@box:77 at hub pay". service: by which name it is known, ""
    for none. hub, number: of a worker, where its hub is, and by which number that knows it. heard: seconds
    since that hub has heard of it. silent: no answer came in time.
    """

    place: str
    service: str = ""
    values: Values | None = None
    error: MeshError | None = None
    hub: str = ""
    number: int = 0
    heard: float | None = None
    silent: bool = False

    @property
    def is_hub(self) -> bool:
        return self.values is not None and "workers" in self.values


def rows_of(values: Values, key: str) -> Sequence[Values]:
    """The maps in a list."""
    found = values.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def map_of(values: Values, key: str) -> Values:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def text(values: Values, key: str) -> str:
    found = values.get(key)
    return found if isinstance(found, str) else ""


def count(values: Values, key: str) -> int:
    found = values.get(key)
    return found if type(found) is int else 0


def seconds(values: Values, key: str) -> float:
    found = values.get(key)
    return max(float(found), 0.0) if isinstance(found, (int, float)) and isfinite(found) else 0.0
