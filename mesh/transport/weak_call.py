"""Calls a method as long as its object is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from weakref import WeakMethod


def weak_call(method: Callable[[], object]) -> Callable[[], None]:
    """For whoever waits for a name server, which is to keep no socket alive, and none until a collection."""
    return partial(_call, WeakMethod(method))


def _call(method: WeakMethod[Callable[[], object]]) -> None:
    if (bound := method()) is not None:
        bound()
