"""What slow or failing calls have in common, in plain sentences, of the answer of `Collector.why`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from mesh.tracing.live import brief
from mesh.tracing.reasons import FEWEST

GROUPS: Final = ("failing", "slow")
_SAID: Final = {
    "worker": "went to {}",
    "endpoint": "went to {}",
    "hub": "went through the hub {}",
    "caller": "came from {}",
    "host": "ran on the host {}",
    "caller's host": "came from the host {}",
    "release": "ran in release {}",
    "attempts": "took {} attempts",
}
_ORDER: Final = (
    "worker", "caller", "hub", "tag", "attempts", "release", "endpoint", "host", "caller's host"
)  # fmt: skip
"""What is told first where several are true of the same calls."""


class Reason(NamedTuple):
    """What a group of calls has more often than all calls. what: as "worker" or "tag user". number: of the
    `calls` in the group; of_all: of `every` call. also: what is true of just as many calls, as (what, value),
    and hence most likely of the same ones.
    """

    group: str
    what: str
    value: str
    number: int
    calls: int
    of_all: int
    every: int
    also: tuple[tuple[str, str], ...] = ()

    @property
    def sentence(self) -> str:
        """As "9 of 10 slow calls went to stock@box-3:402; 40 of 120 of all did"."""
        if self.what.startswith("tag "):
            said = f"had the tag {self.what[4:]}={self.value}"
        else:
            said = _SAID.get(self.what, f"had {self.what} {{}}").format(self.value)
        if self.what == "attempts" and self.value == "1":
            said = "took 1 attempt"
        also = ", ".join(f"{what} {value}" for what, value in self.also)
        return (
            f"{self.number:,} of {self.calls:,} {self.group} calls {said}"
            + (f" ({also})" if also else "")
            + f"; {self.of_all:,} of {self.every:,} of all did"
        )


def reasons(answer: Mapping[str, Any], group: str) -> list[Reason]:
    """What one of the GROUPS has in common, the most telling first; what is true of as many calls is one."""
    told = answer[group]
    together: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for row in told["common"]:
        together.setdefault((row["number"], row["of_all"]), []).append((row["what"], row["value"]))
    found = []
    for (number, of_all), features in together.items():
        (what, value), *also = sorted(features, key=_place)
        counts = (number, told["calls"], of_all, answer["calls"])
        found.append(Reason(group, what, value, *counts, tuple(also)))
    return found


def _place(feature: tuple[str, str]) -> tuple[int, str, str]:
    what = "tag" if feature[0].startswith("tag ") else feature[0]
    return (_ORDER.index(what) if what in _ORDER else len(_ORDER)), *feature


def summary(answer: Mapping[str, Any], service: str, method: str, minutes: float) -> str:
    """What there is to judge by, in a line."""
    recorded = _number(answer["calls"], "recorded call")
    return (
        f"{service}.{method}: {recorded} in the last {minutes:g} min, {answer['failing']['calls']:,} failed, "
        f"{answer['slow']['calls']:,} slow ({brief(answer['slower'])} or more)"
    )


def too_little(answer: Mapping[str, Any], group: str) -> str:
    """Why nothing is told of a group, in words; "" where something is."""
    told = answer[group]
    calls, every = told["calls"], answer["calls"]
    if told["common"]:
        return ""
    if not calls:
        return "none failed" if group == "failing" else "none is slow"
    if calls < FEWEST:
        return f"{_number(calls, f'{group} call')}: too few to tell what they have in common"
    if calls == every:
        return f"all {every:,} calls are {group}: there are no others to compare them with"
    return f"nothing sets the {calls:,} {group} calls apart from all others, as far as {every:,} calls tell"


def outcomes(answer: Mapping[str, Any], group: str) -> str:
    """How its calls ended, each name with how often; "" where all was good."""
    found: Sequence[tuple[str, int]] = [
        (name, number) for name, number in answer[group]["outcomes"].items() if name != "OK"
    ]
    return ", ".join(name if number == 1 else f"{name} ×{number:,}" for name, number in found)  # noqa: RUF001


def says(answer: Mapping[str, Any]) -> Iterator[str]:
    """All sentences, of both groups."""
    for group in GROUPS:
        yield from (reason.sentence for reason in reasons(answer, group))


def _number(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
