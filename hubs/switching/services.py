"""The services of one hub: what they are called, which exist, and when one is forgotten. Pure."""

from __future__ import annotations

from collections.abc import ItemsView, ValuesView
from dataclasses import dataclass, field
from typing import Final

from hubs.switching.call_stats import CallStats
from hubs.switching.scheduler import Scheduler
from hubs.switching.settings import Settings
from mesh.core.channel import NEVER

MAX_UNKNOWN: Final = 1_000
"""Services without a worker so far that calls may wait for."""
FORGET_AFTER: Final = 10.0
"""Heartbeats after its last worker and call until a service is as good as unknown."""


@dataclass(slots=True)
class HubService:
    """One service at one hub."""

    name: str
    scheduler: Scheduler
    stats: CallStats = field(default_factory=CallStats)
    had_worker: bool = False
    """It has a worker, or had one not too long ago."""
    empty_since: float = NEVER
    """When its last worker went; NEVER while it has some."""
    methods: frozenset[str] | None = None
    """Those of the worker that came last, where it tells them."""
    registered_name: str = ""
    """What its first worker called it, where the hub takes any name; "" before that."""

    @property
    def display_name(self) -> str:
        """What whoever looks at it reads."""
        return self.registered_name or self.name


class Services:
    """All services of a hub, by name. One that has a single service has it from the beginning."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.by_name: dict[str, HubService] = {}
        if settings.only is not None:
            self.open(settings.only)

    def __len__(self) -> int:
        return len(self.by_name)

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def __getitem__(self, name: str) -> HubService:
        return self.by_name[name]

    def values(self) -> ValuesView[HubService]:
        return self.by_name.values()

    def items(self) -> ItemsView[str, HubService]:
        return self.by_name.items()

    def configure(self, settings: Settings) -> None:
        self._settings = settings
        for service in self.by_name.values():
            service.scheduler.limit(settings.queue, settings.queue_bytes)

    def named(self, name: str) -> str:
        """What a service is known by here: a hub of one service may have it called anything."""
        only = self._settings.only
        return only if only is not None and self._settings.any_name else name

    def display_name(self, name: str) -> str:
        """The name of a service for those who read it."""
        service = self.by_name.get(name)
        return name if service is None else service.display_name

    def get(self, name: str) -> HubService | None:
        return self.by_name.get(name)

    def open(self, name: str) -> HubService:
        """The service of that name, which is made where there is none."""
        service = self.by_name.get(name)
        if service is None:
            settings = self._settings
            scheduler = settings.new_scheduler(settings.queue, settings.queue_bytes)
            service = self.by_name[name] = HubService(name, scheduler)
        return service

    def may_open_unknown(self, size: int) -> bool:
        """Whether a call of so many bytes may wait for a service that nobody serves.

        Names cost nothing to make up, so all the unknown ones together have the room of one.
        """
        unknown = [one.scheduler.waiting.size for one in self.by_name.values() if not one.had_worker]
        return len(unknown) < MAX_UNKNOWN and sum(unknown) + size <= self._settings.queue_bytes

    def forget_if_idle(self, service: HubService, now: float) -> float:
        """Forget a service that has had no worker and no call for long; when to look again, or NEVER."""
        if service.scheduler.waiting.count or len(service.scheduler.pool):
            return NEVER
        forget_at = service.empty_since + FORGET_AFTER * self._settings.heartbeat
        if service.had_worker and now < forget_at:
            return forget_at
        if service.name == self._settings.only:
            service.had_worker = False
        else:
            del self.by_name[service.name]
        return NEVER

    def clear(self) -> None:
        self.by_name.clear()
