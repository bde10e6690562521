"""The dashboard's answers over HTTP: its own files, JSON, and server-sent events. A WSGI application."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from time import time
from typing import TYPE_CHECKING, Final

from mesh.errors import ConfigError, MeshError, Overloaded, ServiceNotFound
from mesh.tracing.dashboard import questions
from mesh.tracing.dashboard.feeds import HISTORY, Feeds, History
from mesh.tracing.dashboard.guard import HEADERS, Hosts, from_elsewhere
from mesh.tracing.dashboard.questions import BadQuestion, Query
from mesh.tracing.dashboard.source import Source, to_json
from mesh.tracing.dashboard.tapped import Tapped

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from mesh import Client

TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_JSON: Final = "application/json"
MOST_TAPS: Final = 8
"""Pages that look at calls as they pass; each has a stream of its own from the collector."""


class Answer(Exception):
    """An answer that is no page: its status, and what to say."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class Application:
    """client: of the collector. collector: what to call it on the page. hosts: who may be asked for."""

    def __init__(self, client: Client, collector: str, hosts: Hosts) -> None:
        self._source = Source(client)
        self._collector = collector
        self._hosts = hosts
        self._history = History()
        self._taps: set[Tapped] = set()
        self.feeds = Feeds(questions.topics(self._source, self._history, time))
        self.feeds.keep(HISTORY)
        self._files = dict(_static_files())
        self._json: dict[str, Callable[[Query], bytes]] = {
            "about": lambda query: to_json({"collector": collector, "windows": questions.WINDOWS}),
            "traces": lambda query: questions.traces(self._source, query),
            "trace": lambda query: questions.trace(self._source, query),
            "why": lambda query: questions.why(self._source, query),
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ, start_response)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else answer

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._respond(environ, start_response)
        except Answer as answer:
            return _refuse(start_response, answer.status, str(answer))
        except BadQuestion as error:
            return _refuse(start_response, "400 Bad Request", str(error))
        except ServiceNotFound as error:
            return _refuse(start_response, "404 Not Found", str(error))
        except ConfigError as error:
            return _refuse(start_response, "409 Conflict", str(error))
        except MeshError as error:
            return _refuse(start_response, "503 Service Unavailable", str(error) or type(error).__name__)

    def _respond(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not self._hosts.allows(environ.get("HTTP_HOST", "")):
            raise Answer(
                "421 Misdirected Request",
                "the Host of this request is neither an address nor localhost: `mesh dashboard --host NAME` "
                "lets a name in",
            )
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            raise Answer("405 Method Not Allowed", "only GET is answered")
        path = environ.get("PATH_INFO", "/")
        if not path.startswith("/api/"):
            return self._file(path, start_response)
        if from_elsewhere(environ.get("HTTP_SEC_FETCH_SITE", "")):
            raise Answer("403 Forbidden", "pages of other sites are not answered")
        query = questions.query_of(environ.get("QUERY_STRING", ""))
        head = environ["REQUEST_METHOD"] == "HEAD"
        return self._api(path.removeprefix("/api/"), query, start_response, head)

    def _file(self, path: str, start_response: StartResponse) -> list[bytes]:
        name = path.removeprefix("/") or "index.html"
        body = self._files.get(name)
        if body is None:
            raise Answer("404 Not Found", "there is no such page")
        return _give(start_response, TYPES[name.rpartition(".")[2]], body, [("Cache-Control", "no-cache")])

    def _api(self, name: str, query: Query, start_response: StartResponse, head: bool) -> Iterable[bytes]:
        if name in ("live", "tap") and head:
            _start_events(start_response)
            return []
        if name == "live":
            return self._live(query, start_response)
        if name == "tap":
            return self._tap(query, start_response)
        if name == "export":
            file, body = questions.exported(self._source, query)
            attachment = ("Content-Disposition", f'attachment; filename="{file}"')
            return _give(start_response, _JSON, body, [attachment])
        if name not in self._json:
            raise Answer("404 Not Found", "there is no such question")
        return _give(start_response, _JSON, self._json[name](query))

    # Events

    def _live(self, query: Query, start_response: StartResponse) -> Iterable[bytes]:
        names = [name for name in query.get("topics", "").split(",") if name]
        unknown = [name for name in names if name not in self.feeds]
        if unknown or not names:
            raise BadQuestion(f"no topic {unknown[0]:.40}" if unknown else "topics must be given")
        first = b""
        if HISTORY in names:
            first = b"event: past\ndata: %s\n\n" % to_json(self._history.all())
        page = self.feeds.page(names, first)
        _start_events(start_response)
        return page

    def _tap(self, query: Query, start_response: StartResponse) -> Iterable[bytes]:
        if len(self._taps) >= MOST_TAPS:
            raise Overloaded(f"{MOST_TAPS} pages look at calls as they pass already")
        wanted = (query.get("service") or None, query.get("method") or None)
        tapped = Tapped(lambda: self._source.tap(*wanted), self._taps.discard)
        self._taps.add(tapped)
        _start_events(start_response)
        return tapped

    def close(self) -> None:
        self.feeds.close()


def _static_files() -> Iterator[tuple[str, bytes]]:
    folder = files("mesh.tracing.dashboard") / "static"
    for prefix, part in (("", folder), ("vendor/", folder / "vendor")):
        for file in part.iterdir():
            if file.is_file() and file.name.rpartition(".")[2] in TYPES:
                yield prefix + file.name, file.read_bytes()


def _give(
    start_response: StartResponse, kind: str, body: bytes, headers: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    length = ("Content-Length", str(len(body)))
    caching = () if kind != _JSON else (("Cache-Control", "no-store"),)
    start_response("200 OK", [("Content-Type", kind), length, *caching, *headers, *HEADERS])
    return [body]


def _refuse(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    body = to_json({"error": text})
    headers = [("Content-Type", _JSON), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(status, [*headers, *HEADERS])
    return [body]


def _start_events(start_response: StartResponse) -> None:
    headers = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")]
    start_response("200 OK", [*headers, *HEADERS])
