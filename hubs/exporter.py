"""The HTTP ports where the numbers of hubs are read, in threads of their own.

Knows of hubs only what it is told. One port may be several hubs'.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from hubs.metrics import CONTENT_TYPE
from hubs.spec import HubSpec
from mesh.errors import ConfigError

METRICS: Final = "/metrics"
READY: Final = "/ready"
QUESTIONS: Final = "hub=NAME, service=NAME (which may be repeated) and draining=404"
"""What READY may be asked."""
MOST: Final = 16
"""Connections at once; for one beyond that the oldest is closed that has asked for nothing."""
PATIENCE: Final = 10.0
"""Seconds that one connection may take in all."""
_LOOK_EVERY: Final = 0.25

log = logging.getLogger("hubs")

Page = Callable[[str], str]
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

    def __init__(self, page: Page, unready: Unready) -> None:
        self._page = page
        self._unready = unready
        self._open: dict[str, _Server] = {}

    def open(self, specs: Iterable[HubSpec]) -> None:
        """Open what is not open yet. Raises ConfigError, and has then opened none."""
        opened: list[str] = []
        for spec in specs:
            endpoint = spec.prometheus
            if endpoint is None or endpoint in self._open:
                continue
            try:
                self._open[endpoint] = _Server(endpoint, self._page, self._unready)
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


class _Server(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 4 * MOST
    # Two programs at one port would each be asked now and then.
    allow_reuse_port = False

    def __init__(self, endpoint: str, page: Page, unready: Unready) -> None:
        self.endpoint, self.page, self.unready = endpoint, page, unready
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        host = host.strip("[]")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._connections: dict[Any, float] = {}
        self._lock = threading.Lock()
        address = ("" if host == "*" else host, 0 if port == "*" else int(port))
        super().__init__(address, _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=[_LOOK_EVERY], name=f"metrics {endpoint}", daemon=True
        )
        self._thread.start()

    @property
    def where(self) -> str:
        """The real address."""
        host, port = self.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def end(self) -> None:
        self.shutdown()
        self.server_close()

    def server_bind(self) -> None:
        # HTTPServer would ask DNS for the machine's name, which may take long.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._connections) >= MOST:
                oldest = next(iter(self._connections))
                del self._connections[oldest]
                _hang_up(oldest)
            self._connections[request] = time.monotonic() + PATIENCE
        super().process_request(request, client_address)

    def has_asked(self, request: Any) -> None:
        """This one is in use: others give way before it."""
        with self._lock:
            until = self._connections.pop(request, None)
            if until is not None:
                self._connections[request] = until

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called all the time: end what takes too long, as one that sends a byte now and then."""
        now = time.monotonic()
        with self._lock:
            for request in [one for one, until in self._connections.items() if until <= now]:
                _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("metrics: a request of %s failed", client_address, exc_info=True)


def _hang_up(request: Any) -> None:
    """Its thread then ends by itself."""
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "mesh-hub"
    sys_version = ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        self.server.has_asked(self.request)
        path, _, query = self.path.partition("?")
        if path == METRICS:
            self._answer(200, self.server.page(self.server.endpoint), CONTENT_TYPE)
        elif path == READY:
            self._answer_ready(parse_qs(query, keep_blank_values=True))
        else:
            self._answer(404, f"see {METRICS} or {READY}\n")

    def _answer_ready(self, asked: dict[str, list[str]]) -> None:
        if wrong := _wrong(asked):
            # A typo would else be answered as if it had not been asked, and a load balancer send calls on.
            self._answer(400, f"{wrong}: {READY} takes {QUESTIONS}\n")
            return
        hub, services = asked.get("hub", [""])[0] or None, asked.get("service", [])
        problem, drains = self.server.unready(self.server.endpoint, hub, services)
        # HAProxy takes 404 for one that keeps the connections it has, and gets no new ones.
        unready = 404 if drains and "draining" in asked else 503
        self._answer(unready if problem else 200, f"{problem or 'ready'}\n")

    def _answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """A page that is read every few seconds is not worth a line each time."""


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
