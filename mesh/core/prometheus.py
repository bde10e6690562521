"""Numbers as Prometheus reads them: its text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = {ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n"}

Number = int | float
Series = tuple[str, Number]
"""A sample: its labels, as `labels` writes them, and its value."""


def labels(**named: str) -> str:
    """As they stand behind a metric's name; nothing where there are none."""
    if not named:
        return ""
    return "{" + ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in named.items()) + "}"


def metric(name: str, kind: str, help_text: str, samples: Iterable[Series]) -> Iterator[str]:
    """The lines of one metric; none where it has no samples. kind: counter, gauge or the like."""
    for number, (where, value) in enumerate(samples):
        if not number:
            yield from _head(name, kind, help_text)
        yield f"{name}{where} {_written(value)}"


Distribution = tuple[dict[str, str], Sequence[int], float]
"""Labels, how many values each bucket has, at the end those above the last bound, and the values' sum."""


def histogram(
    name: str, help_text: str, bounds: Sequence[float], samples: Iterable[Distribution]
) -> Iterator[str]:
    """The lines of one histogram. bounds: the upper ones of its buckets, in ascending order."""
    named = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    for number, (where, counts, total) in enumerate(samples):
        if not number:
            yield from _head(name, "histogram", help_text)
        below = 0
        for bound, count in zip(named, counts, strict=True):
            below += count
            yield f"{name}_bucket{labels(**where, le=bound)} {below}"
        yield f"{name}_sum{labels(**where)} {_written(total)}"
        yield f"{name}_count{labels(**where)} {below}"


def page(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _head(name: str, kind: str, help_text: str) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"


def _written(value: Number) -> str:
    return repr(value) if type(value) is float else f"{value:d}"
