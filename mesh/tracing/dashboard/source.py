"""What the dashboard asks the collector, as the bytes of JSON that go to a page."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import gevent

from mesh.tracing.trace_lookup import completed, look_up, whole
from mesh.tracing.tree import Tree

if TYPE_CHECKING:
    from mesh import Client

STATUS_SECONDS: Final = 2.0
TAP_SECONDS: Final = 600.0
"""After which a page that looks at calls as they pass has to ask again."""

T = TypeVar("T")


class Source:
    """The collector, as a client sees it. client: that one; what it raises is passed on."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ask(self, method: str, *args: Any) -> Any:
        """What the collector's method gives."""
        return self._client(method, *args)

    def status(self) -> Any:
        """The same of `status`, which tells sooner than others that the collector is away."""
        return self._client.with_options(timeout=STATUS_SECONDS)("status")

    def tap(self, service: str | None, method: str | None) -> Any:
        """The stream of calls as they pass; given once the first one does."""
        patient = self._client.with_options(timeout=TAP_SECONDS + 10.0)
        return patient("tap", service, method, TAP_SECONDS)

    def tree(self, trace_id: str) -> Tree:
        """A trace, by its id or the beginning of it. Raises ServiceNotFound where there is none, and
        ConfigError where several begin so.
        """
        answer = look_up(self.ask, trace_id)
        found = completed(self.ask, in_thread(lambda: whole(answer)))
        return in_thread(lambda: Tree(found))


_at_work = 0
"""How many use `in_thread` now."""


def in_thread(work: Callable[[], T]) -> T:
    """Do what computes for long in a native thread: pages go on being told what is new.

    It makes hundreds of thousands of objects, through which the garbage collector would look again and again,
    for four fifths of the time. So that rests meanwhile.
    """
    global _at_work
    _at_work += 1
    gc.disable()
    try:
        done: T = gevent.get_hub().threadpool.apply(work)
        return done
    finally:
        _at_work -= 1
        if not _at_work:
            gc.enable()


def to_json(value: Any) -> bytes:
    """As JSON in ASCII. What JSON has no form for is told as text: numbers that are not finite, bytes."""
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError):
        text = json.dumps(_plain(value), allow_nan=False, separators=(",", ":"), default=repr)
    return text.encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
