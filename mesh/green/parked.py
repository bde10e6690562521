"""The greenlets in which handlers wait, for whoever asks what they wait for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Final
from weakref import WeakSet

import greenlet

from mesh.transport.handler_places import frames_from

TRIES: Final = 3


class ParkedGreenlets:
    """The greenlets of one server's workers, as long as there are any: this keeps none of them."""

    def __init__(self) -> None:
        self._all: WeakSet[greenlet.greenlet] = WeakSet()

    def add(self, one: greenlet.greenlet) -> None:
        """It is to carry out calls."""
        self._all.add(one)

    def stacks(self) -> Iterator[Iterable[FrameType]]:
        """The frames of each that does not run now, the innermost first. From any thread."""
        for one in self._listed():
            frame = one.gr_frame
            if frame is not None:
                yield frames_from(frame)

    def _listed(self) -> list[greenlet.greenlet]:
        for _ in range(TRIES):
            try:
                return list(self._all)
            except RuntimeError:  # the loop's thread has added one meanwhile
                continue
        return []
