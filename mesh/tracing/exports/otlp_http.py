"""One request of OTLP over HTTP, with what its answer means."""

from __future__ import annotations

import http.client
import re
import ssl
from http.client import HTTPMessage
from typing import Final
from urllib.parse import unquote, urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from mesh.errors import ConfigError

PATH: Final = "/v1/traces"
PATIENCE: Final = 10.0
"""Seconds that an endpoint may be silent."""
MOST_ANSWER: Final = 64 * 1024
_BUSY: Final = frozenset({429, 502, 503, 504})
"""Statuses after which the same is to be sent again."""
_SECONDS: Final = re.compile(r"\d{1,6}", re.ASCII)
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)


class Busy(Exception):
    """The same is to be sent again. pause: seconds that the endpoint wants, 0.0 where it says nothing."""

    def __init__(self, text: str, pause: float) -> None:
        super().__init__(text)
        self.pause = pause


class Refused(Exception):
    """The endpoint won't have that, also not later."""


class Target:
    """An endpoint. url: as http://HOST:4318; spans go to /v1/traces below it. headers: of each request; the
    form of OTEL_EXPORTER_OTLP_HEADERS, `name=value,name=value`. Raises ConfigError.
    """

    def __init__(self, url: str, headers: str = "") -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.username:
            raise ConfigError(f"{url!r:.200} is no endpoint of OTLP: it takes http://HOST:4318, or https://…")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        base = parts.path.rstrip("/")
        self._path = base if base.endswith(PATH) else base + PATH
        self.url = f"{parts.scheme}://{parts.netloc}{self._path}"
        self._headers = {**_headers(headers), "Content-Type": "application/x-protobuf"}

    def post(self, body: bytes, patience: float | None = None) -> tuple[int, str]:
        """Send an ExportTraceServiceRequest: how many of its spans were refused, and why. patience: seconds,
        where it is to be less than PATIENCE.

        Raises Busy, Refused, OSError or HTTPException; after the latter two nobody knows whether it arrived.
        """
        seconds = min(PATIENCE, patience or PATIENCE)
        connection = (
            http.client.HTTPSConnection(
                self._host, self._port, timeout=seconds, context=ssl.create_default_context()
            )
            if self._secure
            else http.client.HTTPConnection(self._host, self._port, timeout=seconds)
        )
        try:
            connection.request("POST", self._path, body, self._headers)
            answer = connection.getresponse()
            content = answer.read(MOST_ANSWER)
            return _meaning(answer.status, answer.reason, answer.headers, content)
        except http.client.RemoteDisconnected:
            raise
        except http.client.BadStatusLine:
            raise OSError("it answers no HTTP: gRPC has port 4317, HTTP mostly 4318") from None
        finally:
            connection.close()


def _meaning(status: int, reason: str, headers: HTTPMessage, content: bytes) -> tuple[int, str]:
    if status in _BUSY:
        after = headers.get("Retry-After", "")
        pause = float(after) if _SECONDS.fullmatch(after) else 0.0
        raise Busy(f"it answers {status} {reason:.100}", pause)
    if not 200 <= status < 300:
        raise Refused(f"it answers {status} {reason:.100}{_hint(status)}")
    try:
        partial = ExportTraceServiceResponse.FromString(content).partial_success
    except DecodeError:
        return 0, ""  # it has taken them, whatever else it says
    return max(partial.rejected_spans, 0), partial.error_message[:200]


def _hint(status: int) -> str:
    if status in (401, 403):
        return ": OTEL_EXPORTER_OTLP_HEADERS has what it wants to see, as authorization=Bearer%20…"
    return f": spans go to {PATH} below the endpoint" if status == 404 else ""


def _headers(text: str) -> dict[str, str]:
    found = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, equals, value = part.partition("=")
        name, value = unquote(name.strip()), unquote(value.strip())
        if not equals or not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise ConfigError("OTEL_EXPORTER_OTLP_HEADERS must be name=value,name=value, in URL encoding")
        found[name] = value
    return found
