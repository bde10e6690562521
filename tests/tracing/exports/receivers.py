"""Other systems, as far as a collector sees them: they take OTLP, or envelopes of Sentry, over HTTP."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver(ThreadingHTTPServer):
    """requests: path, headers and body of each, in order. answers: (status, headers, body) of the next ones;
    then each is 200.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        threading.Thread(target=self.serve_forever, args=[0.05], daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def dsn(self) -> str:
        return f"http://public@127.0.0.1:{self.server_address[1]}/42"

    # OTLP

    def spans(self) -> list[tuple[dict[str, Any], Span]]:
        """All that came, each with the attributes of its resource."""
        found = []
        for path, headers, body in list(self.requests):
            assert (path, headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = values(group.resource.attributes)
                for scope in group.scope_spans:
                    assert scope.scope.name == "zeromesh"
                    found += [(resource, span) for span in scope.spans]
        return found

    def reject(self, number: int, why: str) -> None:
        """Say that of the next request so many spans are refused."""
        answer = ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = number
        answer.partial_success.error_message = why
        self.answers.append((200, {}, answer.SerializeToString()))

    # Sentry

    def events(self) -> list[dict[str, Any]]:
        """All events that came in envelopes."""
        found = []
        for path, headers, body in list(self.requests):
            assert path == "/api/42/envelope/"
            assert "sentry_key=public" in headers["x-sentry-auth"]
            found += [item for kind, item in _items(headers, body) if kind == "event"]
        return found


def _items(headers: dict[str, str], body: bytes) -> Iterator[tuple[str, Any]]:
    """Each item of an envelope: its type and what is in it."""
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    _, _, rest = body.partition(b"\n")
    while rest.strip():
        head, _, rest = rest.partition(b"\n")
        told = json.loads(head)
        size = told.get("length", rest.find(b"\n"))
        yield told["type"], json.loads(rest[:size])
        rest = rest[size:].removeprefix(b"\n")


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))
        status, more, content = self.server.answers.pop(0) if self.server.answers else (200, {}, b"")
        self.send_response(status)
        for name, value in {**more, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read what came, not lines."""


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    made = Receiver(port)
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict; none of them is there twice."""
    keys = [one.key for one in attributes]
    assert len(keys) == len(set(keys)), keys
    return {one.key: _plain(one.value) for one in attributes}


def _plain(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")
