"""How events are sent: what a publisher and a pusher may be told, for all their events or for some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mesh.core import settings
from mesh.core.events import Topic, topic_bytes

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that a pusher waits for a puller."""
EVENTS_QUEUED: Final = 1_000
JOBS_QUEUED: Final = 100


@dataclass(frozen=True, slots=True)
class PublisherOptions:
    """topic: goes before each event, for subscribers to choose by its beginning; None for none.
    keywords: all receivers are mesh, so that keyword arguments may travel.
    """

    topic: Topic | None = None
    keywords: bool = False

    def __post_init__(self) -> None:
        if self.topic is not None:
            topic_bytes(self.topic)
        settings.flag("keywords", self.keywords)

    @property
    def topic_bytes(self) -> bytes:
        """The topic as it travels, b"" for none."""
        return topic_bytes(self.topic) if self.topic is not None else b""


@dataclass(frozen=True, slots=True)
class PusherOptions:
    """timeout: seconds to wait for a puller that takes the job, 0 for not at all, None for no
    limit. keywords: all receivers are mesh, so that keyword arguments may travel.
    """

    timeout: float | None = DEFAULT_TIMEOUT
    keywords: bool = False

    def __post_init__(self) -> None:
        settings.seconds("timeout", self.timeout, none=True)
        settings.flag("keywords", self.keywords)


def check_event(event: Any, kwargs: Mapping[str, Any], keywords: bool) -> None:
    """Raise TypeError where an event can't be sent as it is given."""
    if not isinstance(event, str):
        raise TypeError(f"the name of an event must be str, not {type(event).__name__}")
    if kwargs and not keywords:
        raise TypeError(
            f"{event!r:.80} can't take keyword arguments: an old zerorpc receiver would drop them, and "
            "nobody could tell; give them by position, or say keywords=True where all receivers are mesh"
        )


def check_name(name: str) -> None:
    """Raise AttributeError for an attribute that is never an event."""
    if name.startswith("_"):
        raise AttributeError(f"names that begin with _ are never events: {name!r}")
