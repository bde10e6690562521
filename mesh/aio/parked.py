"""The frames of tasks in which handlers wait, for whoever asks what they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Final

from mesh.aio.items import AsyncItems
from mesh.transport.handler_places import DEEPEST

_KINDS: Final = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))
"""A coroutine, an asynchronous generator, a generator: where each keeps its frame, and what it waits for."""


def stacks(tasks: Iterable[asyncio.Task[None]]) -> Iterator[Iterable[FrameType]]:
    """The frames of each task, the innermost first. From any thread."""
    for task in tasks:
        yield reversed(frames_of(task.get_coro()))


def frames_of(awaited: Any) -> list[FrameType]:
    """The frames of a coroutine and of what it waits for, as far as these tell, the innermost last."""
    found: list[FrameType] = []
    while awaited is not None and len(found) < DEEPEST:
        names = next((names for names in _KINDS if hasattr(awaited, names[0])), None)
        if names is None:
            # The next item of an asynchronous generator does not tell of which.
            items = found[-1].f_locals.get("self") if found else None
            if not isinstance(items, AsyncItems) or awaited is items.source:
                break
            awaited = items.source
            continue
        frame = getattr(awaited, names[0])
        if frame is None:
            break
        found.append(frame)
        awaited = getattr(awaited, names[1])
    return found
