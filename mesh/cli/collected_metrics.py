"""The port of `mesh collect` where Prometheus reads what it knows of all calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from mesh.core.prometheus import CONTENT_TYPE
from mesh.errors import ConfigError
from mesh.names.endpoints import check_endpoint
from mesh.transport.pages import Page, PageServer

PATH: Final = "/metrics"

log = logging.getLogger("mesh.collect")


def metrics_endpoint(text: str) -> str:
    """What `--metrics` means: HOST:PORT, or a port of 127.0.0.1. Raises ConfigError."""
    where = f"127.0.0.1:{text}" if text.isdecimal() else text
    endpoint = f"tcp://{where}"
    try:
        check_endpoint(endpoint, bind=True)
    except ConfigError:
        raise ConfigError(f"--metrics {text!r:.100}: it takes HOST:PORT, as 127.0.0.1:9101") from None
    return endpoint


def serve_metrics(endpoint: str, text: Callable[[], str]) -> PageServer:
    """Serve `text()` there, in threads. Raises ConfigError where the port can't be had."""

    def page(path: str, query: str) -> Page:
        return Page(text(), kind=CONTENT_TYPE) if path == PATH else Page(f"see {PATH}\n", 404)

    try:
        server = PageServer(endpoint, page, "mesh-collect")
    except OSError as error:
        where = endpoint.removeprefix("tcp://")
        raise ConfigError(
            f"--metrics: can't listen at {where}: {error.strerror or error}; take another port"
        ) from None
    log.info("metrics at http://%s%s", server.where, PATH)
    return server
