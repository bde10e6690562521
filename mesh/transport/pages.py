"""An HTTP port where a few pages are read, as metrics are, in threads of its own.

It serves programs that ask every few seconds: connections are few, and none lasts. Knows nothing of what is
on the pages.
"""

from __future__ import annotations

import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final, NamedTuple

MOST: Final = 16
"""Connections at once; for one beyond that the oldest is closed that has asked for nothing."""
PATIENCE: Final = 10.0
"""Seconds that one connection may take in all."""
PLAIN: Final = "text/plain; charset=utf-8"
_LOOK_EVERY: Final = 0.25

log = logging.getLogger("mesh.pages")


class Page(NamedTuple):
    """What is answered. kind: its Content-Type."""

    text: str
    status: int = 200
    kind: str = PLAIN


class PageServer(socketserver.ThreadingMixIn, HTTPServer):
    """Answers from when it is made until `end`.

    endpoint: tcp://HOST:PORT; `*` stands for all addresses, or any port. page: gives what is answered, for a
    path and a query as they came; called in one of several threads. name: as the answers' `Server` has it.
    Raises OSError where it can't listen there.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 4 * MOST
    # Two programs at one port would each be asked now and then.
    allow_reuse_port = False

    def __init__(self, endpoint: str, page: Callable[[str, str], Page], name: str) -> None:
        self.page, self.name = page, name
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
        log.debug("a request of %s failed", client_address, exc_info=True)


def _hang_up(request: Any) -> None:
    """Its thread then ends by itself."""
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    sys_version = ""
    timeout = PATIENCE

    def version_string(self) -> str:
        return self.server.name

    def do_GET(self) -> None:
        self.server.has_asked(self.request)
        path, _, query = self.path.partition("?")
        page = self.server.page(path, query)
        body = page.text.encode()
        self.send_response(page.status)
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """A page that is read every few seconds is not worth a line each time."""
