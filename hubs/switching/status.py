"""What a hub tells of itself: services, workers and what waits, as plain values.

Reads the state of a switch, and changes nothing in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hubs.switching.model import Announced, Direct, Worker
from hubs.switching.services import HubService
from hubs.switching.switch import Switch
from mesh.core.labels import told_labels

MAX_LISTED: Final = 10_000
"""Workers that are listed one by one."""
_MAX_TEXT: Final = 255

Values = dict[str, Any]
"""What is told; times are seconds."""


def services(switch: Switch, now: float) -> list[Values]:
    """One map a service; times are seconds."""
    only = switch.settings.only
    return [_service(service, only, now) for service in switch.services.values()]


def workers(switch: Switch, now: float) -> list[Values]:
    """One map a worker, at most MAX_LISTED."""
    listed = list(switch.workers.values())[:MAX_LISTED]
    return [_worker(one, switch.services[one.service], now) for one in listed]


def summary(switch: Switch, now: float) -> Values:
    """All but the single workers. clients: those that have a call open."""
    return {
        "services": services(switch, now),
        "clients": len(switch.clients),
        "open": len(switch.calls),
        "draining": switch.draining,
        "refused": dict(switch.refused),
        "dropped": dict(switch.dropped),
    }


def full(switch: Switch, now: float) -> Values:
    """The summary and the workers."""
    unlisted = max(0, len(switch.workers) - MAX_LISTED)
    return {**summary(switch, now), "workers": workers(switch, now), "unlisted": unlisted}


def unserved(switch: Switch, names: Sequence[str]) -> dict[str, str]:
    """Which of these services have no worker that takes calls, each with the reason."""
    problems: dict[str, str] = {}
    for name in names:
        service = switch.services.get(switch.services.named(name))
        if service is None or not len(service.scheduler.pool):
            problems[name] = f"hub {switch.settings.hub} has no worker of {name!r:.80}"
        elif not any(map(service.scheduler.pool.capacity, service.scheduler.pool)):
            problems[name] = f"no worker of {name!r:.80} at hub {switch.settings.hub} takes calls now"
    return problems


def announced(switch: Switch) -> dict[str, Announced]:
    """The services that are known, each with where its workers are reached.

    A hub of one service of any name has no name to tell before its first worker has come.
    """
    direct: dict[str, list[Direct]] = {}
    indirect: Counter[str] = Counter()
    for worker in switch.workers.values():
        about = worker.about or {}
        address = _text(about.get("address"))
        if address is None:
            indirect[worker.service] += 1
        else:
            host, labels = _text(about.get("host")) or "", told_labels(about.get("labels"))
            direct.setdefault(worker.service, []).append(Direct(address, host, labels))
    settings = switch.settings
    return {
        service.display_name: Announced(tuple(direct.get(name, ())), indirect[name])
        for name, service in switch.services.items()
        if service.had_worker or (name == settings.only and not settings.any_name)
    }


def _service(service: HubService, only: str | None, now: float) -> Values:
    """known: it has workers, or had some of late, or is the hub's one; only clients know others."""
    pool, waiting, stats = service.scheduler.pool, service.scheduler.waiting, service.stats
    oldest = min((call.opened for call in waiting.first_of_each()), default=now)
    return {
        "name": service.display_name,
        "known": service.had_worker or service.name == only,
        "workers": len(pool),
        "capacity": sum(map(pool.capacity, pool)),
        "busy": sum(map(pool.busy, pool)),
        "waiting": waiting.count,
        "waiting_bytes": waiting.size,
        "oldest_waiting": _age(oldest, now),
        "calls": stats.calls,
        "errors": stats.errors,
        "refused": stats.refused,
        "rate": round(stats.rate(now), 2),
    }


def _worker(worker: Worker, service: HubService, now: float) -> Values:
    about = worker.about or {}
    oldest = _first(call.given for call in worker.calls.values())
    return {
        "service": worker.registered_as,
        "address": _text(about.get("address")),
        "protocol": f"0.{worker.style.version}",
        "mesh": worker.about is not None,
        "version": _text(about.get("version")),
        "host": _text(about.get("host")),
        "pid": _number(about.get("pid")),
        "kind": _text(about.get("kind")),
        "labels": dict(told_labels(about.get("labels"))),
        "since": _age(worker.since, now),
        "capacity": service.scheduler.pool.capacity(worker),
        "busy": service.scheduler.pool.busy(worker),
        "calls": worker.ended,
        "errors": worker.errors,
        "oldest_call": _age(now if oldest is None else oldest, now),
        "last_heard": _age(worker.last_heard, now),
    }


def _first(times: Iterable[float]) -> float | None:
    return next(iter(times), None)


def _age(since: float, now: float) -> float:
    return round(max(0.0, now - since), 3)


def _text(value: Any) -> str | None:
    """What a worker says of itself, as far as it may be passed on."""
    return value[:_MAX_TEXT] if type(value) is str and value else None


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None
