"""The dashboard as a real process, asked as browsers and others ask it."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.tracing.dashboard.guard import Hosts
from tests.e2e.commands import mesh
from tests.helpers.peers import free_port
from tests.tracing.dashboard.serving import Scene, get, scene, showing


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("dashboard")) as one:
        yield one


@pytest.mark.parametrize(
    "name", ["127.0.0.1:4748", "localhost", "LOCALHOST:1", "[::1]:4748", "10.1.2.3:80", "Box.test"]
)
def test_names_that_are_let_in(name: str) -> None:
    assert Hosts(["box.test"]).allows(name)


@pytest.mark.parametrize(
    "name", ["", "evil.example", "evil.example:4748", "localhost.evil.example", "127.0.0.1.evil.test"]
)
def test_names_that_are_not(name: str) -> None:
    assert not Hosts(["box.test"]).allows(name)


def test_a_page_of_another_name_gets_nothing(shown: Scene) -> None:
    status, _, body = get(shown.page, "/", {"Host": "evil.example"})
    assert status == 421 and "--host" in body["error"]


def test_a_page_of_another_site_can_not_ask(shown: Scene) -> None:
    assert get(shown.page, "/api/traces", {"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert get(shown.page, "/api/traces", {"Sec-Fetch-Site": "same-origin"})[0] == 200


def test_what_a_browser_is_told_to_keep_to(shown: Scene) -> None:
    for path in ("/", "/app.js", "/vendor/dagre.esm.js", "/api/about", "/nothing"):
        _, headers, _ = get(shown.page, path)
        assert headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff"
    page = get(shown.page, "/")[2].decode()
    assert "://" not in page and "style=" not in page and "<script>" not in page


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/nothing", 404, "no such question"),
        ("/../pyproject.toml", 404, "no such page"),
        ("/vendor/..%2f..%2fserver.py", 404, "no such page"),
        ("/api/trace", 400, "id must be given"),
        ("/api/trace?id=" + "f" * 32, 404, "has no trace"),
        ("/api/trace?id=" + "f" * 300, 400, "longer than 200"),
        ("/api/traces?slower=much", 400, "slower must be a number"),
        ("/api/traces?since=nan", 400, "since must be a number"),
        ("/api/export?id=a&format=xml", 400, "perfetto, speedscope"),
        ("/api/live", 400, "topics must be given"),
        ("/api/live?topics=rates-60,gossip", 400, "no topic gossip"),
        ("/api/why?service=web", 400, "service and method"),
        ("/api/traces?" + "&".join(f"a{i}=1" for i in range(50)), 400, "too many parameters"),
    ],
)
def test_questions_that_make_no_sense(shown: Scene, path: str, status: int, says: str) -> None:
    answered, _, body = get(shown.page, path)
    assert answered == status and says in body["error"]


def test_only_get_is_answered(shown: Scene) -> None:
    assert get(shown.page, "/api/about", method="POST")[0] == 405
    assert get(shown.page, "/", method="HEAD")[::2] == (200, b"")


def test_search_and_trace(shown: Scene) -> None:
    _, _, found = get(shown.page, "/api/traces?service=payments&error=CardDeclined&limit=500")
    assert shown.declined in [one["id"] for one in found["traces"]]
    _, _, trace = get(shown.page, f"/api/trace?id={shown.declined[:12]}")
    assert trace["id"] == shown.declined
    (charge,) = [row for row in trace["spans"] if trace["texts"][row[4]] == "charge"]
    assert "bank.py" in charge[-1]["traceback"] and trace["spans"].index(charge) in trace["critical"]


def test_export_is_a_file(shown: Scene) -> None:
    for form, key in (("perfetto", "traceEvents"), ("speedscope", "profiles")):
        status, headers, body = get(shown.page, f"/api/export?id={shown.declined}&format={form}")
        assert status == 200 and body[key]
        assert headers["Content-Disposition"] == f'attachment; filename="trace-{shown.declined}.{form}.json"'


def test_why(shown: Scene) -> None:
    _, _, told = get(shown.page, "/api/why?service=payments&method=charge")
    assert told["failing"]["outcomes"]["CardDeclined"] >= 1


def test_events_come_once_a_second(shown: Scene) -> None:
    names = "status,history,rates-60,graph-5,calls"
    connection = http.client.HTTPConnection(shown.page.removeprefix("http://").rstrip("/"), timeout=20)
    connection.request("GET", f"/api/live?topics={names}")
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    told: dict[str, list[object]] = {}
    name = ""
    while {*told} < {"past", *names.split(",")} or len(told["status"]) < 2:
        line = answer.readline().decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            told.setdefault(name, []).append(json.loads(line[6:]))
    connection.close()
    calls = [row for row in told["calls"][0]["value"]["calls"] if row["trace_id"] == shown.stuck]  # type: ignore[index]
    assert {row["method"] for row in calls} == {"checkout", "place", "charge"}


def test_what_passes_by(shown: Scene) -> None:
    connection = http.client.HTTPConnection(shown.page.removeprefix("http://").rstrip("/"), timeout=20)
    connection.request("GET", "/api/tap?service=payments")
    answer = connection.getresponse()
    assert answer.readline() == b": hello\n"
    seen = threading.Event()

    def sell() -> None:
        while not seen.wait(0.05):
            shown.shop.checkout_now(declined=False)
            shown.shop.flush(1.0)

    seller = threading.Thread(target=sell)
    seller.start()
    try:
        line = b""
        while not line.startswith(b"data: "):
            line = answer.readline()
    finally:
        seen.set()
        seller.join()
    trace = json.loads(line[6:])["trace_id"]
    assert len(trace) == 32
    connection.close()


def test_the_port_is_in_use(shown: Scene, tmp_path: Path) -> None:
    address = shown.page.removeprefix("http://").rstrip("/")
    done = mesh("dashboard", "--bind", address, "--collector", f"tcp://127.0.0.1:{shown.port}", cwd=tmp_path)
    assert done.returncode == 2 and f"can't listen on {address}: the port is in use" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--bind", "here", "--collector", "tcp://127.0.0.1:9"), "--bind takes HOST:PORT"),
        (("--bind", "a..b:80", "--collector", "tcp://127.0.0.1:9"), "'a..b' is no name of a host"),
        (("--bind", "192.0.2.1:0", "--collector", "tcp://127.0.0.1:9"), "no such address"),
        ((), "give --collector EP"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    done = mesh("dashboard", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and says in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_begins_without_a_collector_and_ends_at_a_signal(number: int, code: int, tmp_path: Path) -> None:
    with showing(free_port(), tmp_path) as (process, page):
        process.wait_for(r"no collector answers at tcp://\S+ yet")
        with socket.create_connection(
            (page.split(":")[1].strip("/"), int(page.split(":")[2].strip("/")))
        ) as open_one:
            open_one.sendall(b"GET /api/live?topics=status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert open_one.recv(100).startswith(b"HTTP/1.1 200 OK")
            process.signal(number)
            assert process.wait() == code
        assert process.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/api/about", 200),
        ("/nothing", 404),
        ("/api/traces?limit=x", 400),
        ("/api/live?topics=status", 200),
        ("/api/tap", 200),
    ],
)
def test_who_asks_for_the_head_alone_gets_no_more(shown: Scene, path: str, status: int) -> None:
    connection = http.client.HTTPConnection(shown.page.removeprefix("http://").rstrip("/"), timeout=20)
    connection.request("HEAD", path)
    head = connection.getresponse()
    assert (head.status, head.read()) == (status, b"")
    connection.request("GET", "/api/about")
    assert json.loads(connection.getresponse().read())["windows"]
    connection.close()
    assert status == (
        200 if "?limit" not in path and path != "/nothing" else 404 if path == "/nothing" else 400
    )
