"""Keeping a log readable: while the same thing happens thousands of times, and when it has much to say."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Hashable, Mapping
from types import CodeType, TracebackType
from typing import Any, Final

from mesh.core.exposure import LeftOut
from mesh.core.wire import clip
from mesh.errors import name_of, text_of

EVERY: Final = 1.0
"""Seconds between two lines about the same thing."""
MAX_KINDS: Final = 256
MAX_STACK: Final = 4_000
MAX_TEXT: Final = 1_000
"""Characters of a traceback's frames, and of the exception's own text."""
MAX_LEFT_OUT: Final = 10
"""Attributes that one line names."""
# Not asked of the exception, whose class may have an attribute of this name.
_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"]


class Limiter:
    """Lets one line a second through for each kind of thing, and counts the others."""

    def __init__(self) -> None:
        self._next: dict[Hashable, float] = {}
        self._held: dict[Hashable, int] = {}

    def passes(self, kind: Hashable, now: float) -> str | None:
        """What to add to a line that is to be written, or None where it is not."""
        if now < self._next.get(kind, 0.0):
            self._held[kind] = self._held.get(kind, 0) + 1
            return None
        if kind not in self._next and not self._room(now):
            return None
        self._next[kind] = now + EVERY
        held = self._held.pop(kind, 0)
        return f" (and {held} more like it since the last)" if held else ""

    def _room(self, now: float) -> bool:
        if len(self._next) >= MAX_KINDS:
            for kind in [kind for kind, at in self._next.items() if at <= now]:
                del self._next[kind]
                self._held.pop(kind, None)
        return len(self._next) < MAX_KINDS


def tell_left_out(log: logging.Logger, subject: str, left_out: Mapping[str, LeftOut]) -> None:
    """Say once what is not exposed of a target that whoever wrote it may take for a method."""
    told = [f"{name!r} {one.why}" for name, one in left_out.items() if not one.usual]
    if told:
        more = f"; and {len(told) - MAX_LEFT_OUT} more" if len(told) > MAX_LEFT_OUT else ""
        log.info("%s: %s%s", subject, "; ".join(told[:MAX_LEFT_OUT]), more)


def raising_code(exc: BaseException) -> CodeType | None:
    """That of the innermost frame of its traceback; None where it has none."""
    last: TracebackType | None = _TRACEBACK.__get__(exc)
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return None if last is None else last.tb_frame.f_code


def trace_of(exc: BaseException, *files: str) -> str:
    """The traceback of what a handler raised, without the first frames, of `files`, which have called it."""
    inner: TracebackType | None = _TRACEBACK.__get__(exc)
    while inner is not None and inner.tb_frame.f_code.co_filename in files:
        inner = inner.tb_next
    try:
        return "".join(traceback.format_exception(type(exc), exc, inner))
    except KeyboardInterrupt:
        raise
    except BaseException as why:  # noqa: BLE001 - it asks the exception, and loaders for their source
        return _plain_trace(exc, inner, why)


def _plain_trace(exc: BaseException, inner: TracebackType | None, why: BaseException) -> str:
    """The frames without their source, and the text: of an exception that Python can't format."""
    frames = [
        f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}\n'
        for frame, line in traceback.walk_tb(inner)
    ]
    head = f"Traceback (in short, Python can't format it: {name_of(why)}: {text_of(why)}):\n"
    return f"{clip(head, MAX_TEXT)}{''.join(frames)}{name_of(exc)}: {text_of(exc)}\n"


def in_short(trace: str, exc: BaseException) -> str:
    """A traceback for the log, cut in the middle of its frames and of its text where they are long."""
    if len(trace) > MAX_TEXT:
        try:
            text = "".join(traceback.format_exception_only(exc))
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - as in trace_of
            text = f"{name_of(exc)}: {text_of(exc)}\n"
        if trace.endswith(text):
            return (clip(trace.removesuffix(text), MAX_STACK) + clip(text, MAX_TEXT)).rstrip()
    return clip(trace, MAX_STACK).rstrip()
