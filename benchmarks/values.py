"""`python -m benchmarks.values`: what the table of values, and the count of them, cost those that MessagePack
knows by itself.

An event of such values is packed and unpacked as a session does it, and by msgpack alone with the same
settings, in turns. Only the ratio counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgpack

from benchmarks.usage import MIB
from mesh.core import wire
from mesh.errors import WireError

AT_MOST: Final = 1.2
"""Times as long as msgpack alone takes; on a busy machine a large copy differs by a seventh."""
MANY_AT_MOST: Final = 3.0
"""The same of what holds very many values, which are counted first; more than decoding only where those are
numbers of ever another size."""
ROUNDS: Final = 15
SECONDS: Final = 0.05
"""Seconds of each measurement, about."""

HEADER: Final = {"message_id": b"1" * 32, "v": 3, "deadline": 30_000}
ROW: Final = {"name": "Ann", "id": 7, "admin": False, "score": 1.5, "at": datetime(2026, 1, 2, tzinfo=UTC)}
EVENTS: Final[dict[str, list[Any]]] = {
    "a row": [HEADER, "save", [ROW]],
    "1,000 rows": [HEADER, "save", [[ROW] * 1_000]],
    "1 MiB of bytes": [HEADER, "save", [b"x" * MIB]],
}
MANY: Final[dict[str, Callable[[], list[Any]]]] = {
    "940,000 values in rows": lambda: [[index, f"row {index}", index / 3] for index in range(235_000)],
    "990,000 numbers of all sizes": lambda: [
        (index * 7919) % (1 << 8 * (index % 4) + 7) for index in range(990_000)
    ],
}
"""Of more than 1 MB, as others hold fewer values than are allowed in any case. Made when they are measured,
which takes a third of a second."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one event by msgpack alone and by mesh, of each round. at_most: the ratio's limit."""

    what: str
    alone: Sequence[float]
    ours: Sequence[float]
    at_most: float = AT_MOST

    @property
    def ratio(self) -> float:
        return statistics.median(ours / alone for alone, ours in zip(self.alone, self.ours, strict=True))

    @property
    def within(self) -> bool:
        return self.ratio <= self.at_most


def measure(rounds: int) -> list[Cost]:
    pack_alone = msgpack.Packer(use_bin_type=True, datetime=True, strict_types=True, default=list).pack
    pack_ours, _ = wire.packer()
    costs = []
    for name, event in EVENTS.items():
        payload = pack_alone(event)
        costs.append(_compare(f"{name}, packed", pack_alone, pack_ours, event, rounds))
        costs.append(_compare(f"{name}, unpacked", _unpack_alone, wire.unpack, payload, rounds))
    for name, values in MANY.items():
        payload = pack_alone([HEADER, "save", [values()]])
        costs.append(_compare(f"{name}, unpacked", _unpack_alone, wire.unpack, payload, rounds, MANY_AT_MOST))
    return costs


def _unpack_alone(payload: bytes) -> tuple[Any, Any, Any]:
    """As wire.unpack, but for what it checks of the bounds."""
    try:
        event = msgpack.unpackb(payload, raw=False, strict_map_key=False, timestamp=3)
    except ValueError:
        raise WireError("no MessagePack") from None
    if type(event) is not list or len(event) != 3:
        raise WireError("no event")
    header, name, args = event
    if type(name) is not str or type(header) is not dict:
        raise WireError("no event")
    return header, name, args


def _compare(
    what: str,
    alone: Callable[[Any], Any],
    ours: Callable[[Any], Any],
    value: Any,
    rounds: int,
    at_most: float = AT_MOST,
) -> Cost:
    number = max(1, int(SECONDS / max(_seconds(alone, value, 3), 1e-9)))
    times = [(_seconds(alone, value, number), _seconds(ours, value, number)) for _ in range(rounds)]
    return Cost(what, [one for one, _ in times], [other for _, other in times], at_most)


def _seconds(function: Callable[[Any], Any], value: Any, number: int) -> float:
    """Seconds of the processor that one call takes."""
    began = time.process_time()
    for _ in range(number):
        function(value)
    return (time.process_time() - began) / number


def as_text(cost: Cost) -> str:
    within = "within" if cost.within else "OVER"
    return f"{cost.what}: {cost.ratio:.2f} times as long as msgpack alone, {cost.at_most:g} at most: {within}"


def as_markdown(costs: Sequence[Cost]) -> str:
    """The section for the documentation."""
    lines = "\n".join(f"- {as_text(cost)}" for cost in costs)
    return f"## Values that MessagePack knows\n\n{lines}"


def main(argv: Sequence[str] | None = None) -> int:
    """0: within the limit. 1: over it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.values", description="what do the other values cost those that are known?"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="keep it for `python -m benchmarks --sections`"
    )
    options = parser.parse_args(argv)
    costs = measure(options.rounds)
    print(*map(as_text, costs), sep="\n")
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(as_markdown(costs) + "\n")
    return 0 if all(cost.within for cost in costs) else 1


if __name__ == "__main__":
    sys.exit(main())
