"""Which systems a collector tells, as its options and environment say."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from mesh.errors import ConfigError
from mesh.tracing.exports.export import Export
from mesh.tracing.exports.totals import Totals

SENTRY: Final = "SENTRY_DSN"
OTLP: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
OTLP_HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS"

log = logging.getLogger("mesh.collect")


def open_exports(
    sentry: str | None, otlp: str | None, environment: Mapping[str, str], *, metrics: bool
) -> tuple[list[Export], Totals | None]:
    """sentry: a DSN; otlp: an endpoint; where one is not given the environment is asked. The totals, which
    are among the exports, are there where `metrics` is true. Raises ConfigError, where an extra is missing,
    too.
    """
    sentry = sentry or environment.get(SENTRY)
    otlp = otlp or environment.get(OTLP)
    totals = Totals() if metrics else None
    exports: list[Export] = [] if totals is None else [totals]
    if otlp:
        exports.append(_open_otlp(otlp, environment.get(OTLP_HEADERS, "")))
    if sentry:
        exports.append(_open_sentry(sentry))
    return exports, totals


def _open_otlp(url: str, headers: str) -> Export:
    try:
        from mesh.tracing.exports.otlp import Otlp
        from mesh.tracing.exports.otlp_http import Target
    except ImportError:
        raise ConfigError(
            f"--otlp, or {OTLP}, needs opentelemetry-proto, which is an extra: pip install 'zeromesh[otel]'"
        ) from None
    target = Target(url, headers)
    log.info("spans go to %s", target.url)
    return Otlp(target)


def _open_sentry(dsn: str) -> Export:
    try:
        from mesh.tracing.exports.sentry import Sentry
    except ImportError:
        raise ConfigError(
            f"--sentry, or {SENTRY}, needs sentry-sdk, which is an extra: pip install 'zeromesh[sentry]'"
        ) from None
    made = Sentry(dsn)
    log.info("errors of handlers go to Sentry at %s", made.where)
    return made
