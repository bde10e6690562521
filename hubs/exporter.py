"""The HTTP ports where the numbers of hubs are read, in threads of their own.

Knows of hubs only what it is told. One port may be several hubs'.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from hubs.spec import HubSpec
from mesh.core.prometheus import CONTENT_TYPE
from mesh.errors import ConfigError
from mesh.transport.pages import Page, PageServer

METRICS: Final = "/metrics"
READY: Final = "/ready"
QUESTIONS: Final = "hub=NAME, service=NAME (which may be repeated) and draining=404"
"""What READY may be asked."""

log = logging.getLogger("hubs")

Metrics = Callable[[str], str]
"""Gives the text for the hubs that name that endpoint."""


class Readiness(NamedTuple):
    """Why hubs take no calls, "" where they do; drains: because they finish those that they have."""

    problem: str
    drains: bool = False


Unready = Callable[[str, str | None, Sequence[str]], Readiness]
"""The state of those hubs, or of the one of that name among them, and whether they have workers of those
services."""


class Exporters:
    """The ports that are open, by the endpoints that the files name."""

    def __init__(self, metrics: Metrics, unready: Unready) -> None:
        self._metrics = metrics
        self._unready = unready
        self._open: dict[str, PageServer] = {}

    def open(self, specs: Iterable[HubSpec]) -> None:
        """Open what is not open yet. Raises ConfigError, and has then opened none."""
        opened: list[str] = []
        for spec in specs:
            endpoint = spec.prometheus
            if endpoint is None or endpoint in self._open:
                continue
            try:
                self._open[endpoint] = PageServer(endpoint, partial(self._page, endpoint), "mesh-hub")
            except OSError as error:
                for one in opened:
                    self._open.pop(one).end()
                reason = error.strerror or str(error)
                raise ConfigError(
                    f"{spec.prometheus_at or 'prometheus'}: can't listen at {endpoint!r}: {reason}; "
                    "take another port"
                ) from None
            opened.append(endpoint)
        for one in opened:
            log.info("metrics at http://%s%s", self._open[one].where, METRICS)

    def close_others(self, specs: Iterable[HubSpec]) -> None:
        """Close what none of these hubs names."""
        for endpoint in set(self._open) - {spec.prometheus for spec in specs}:
            self._open.pop(endpoint).end()

    def _page(self, endpoint: str, path: str, query: str) -> Page:
        if path == METRICS:
            return Page(self._metrics(endpoint), kind=CONTENT_TYPE)
        if path == READY:
            return self._ready(endpoint, parse_qs(query, keep_blank_values=True))
        return Page(f"see {METRICS} or {READY}\n", 404)

    def _ready(self, endpoint: str, asked: dict[str, list[str]]) -> Page:
        if wrong := _wrong(asked):
            # A typo would else be answered as if it had not been asked, and a load balancer send calls on.
            return Page(f"{wrong}: {READY} takes {QUESTIONS}\n", 400)
        hub, services = asked.get("hub", [""])[0] or None, asked.get("service", [])
        problem, drains = self._unready(endpoint, hub, services)
        # HAProxy takes 404 for one that keeps the connections it has, and gets no new ones.
        unready = 404 if drains and "draining" in asked else 503
        return Page(f"{problem or 'ready'}\n", unready if problem else 200)


def _wrong(asked: dict[str, list[str]]) -> str:
    """What of the questions can't be answered, "" where all can."""
    for key, values in asked.items():
        if key not in ("hub", "service", "draining"):
            return f"no {key!r:.80} here"
        if key != "service" and len(values) > 1:
            return f"{key} is given twice"
        if key == "draining" and values != ["404"]:
            return f"draining can't be {values[0]!r:.80}"
    return ""
