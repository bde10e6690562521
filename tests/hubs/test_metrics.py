"""The numbers of hubs as Prometheus reads them: the text, the port, and the command with both."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from hubs.devices import Device
from hubs.exporter import Exporters, Readiness
from hubs.hub_types import make_hub
from hubs.metrics import Sample, exposition
from mesh.core.prometheus import CONTENT_TYPE
from mesh.errors import ConfigError
from mesh.transport import pages
from tests.helpers.processes import PATIENCE, ROOT, eventually, python
from tests.hubs.commands import hub, mesh_hub, reload, shown, start
from tests.hubs.wires import ANY, spec

WORKER = Path(__file__).with_name("worker.py")
LINE = re.compile(r'[a-z_]+\{[a-z]+="(?:[^"\\\n]|\\.)*"(?:,[a-z]+="(?:[^"\\\n]|\\.)*")*\} [0-9.e+-]+')
SERVICE = {
    "name": "users",
    "known": True,
    "workers": 2,
    "capacity": 20,
    "busy": 3,
    "waiting": 1,
    "waiting_bytes": 100,
    "oldest_waiting": 0.25,
    "calls": 7,
    "errors": 1,
    "refused": 4,
}


def broker(**more: Any) -> dict[str, Any]:
    few = {"uptime": 1.5, "clients": 1, "open": 4, "refused": {}, "dropped": {}}
    return {**few, "services": [SERVICE], **more}


# The text


def test_the_text_of_a_hub_with_a_service() -> None:
    text = exposition([Sample("one", "queue", broker(dropped={"late": 2}, refused={"Overloaded": 4}))])
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert samples == [
        'mesh_hub_up{hub="one",type="queue"} 1',
        'mesh_hub_uptime_seconds{hub="one"} 1.5',
        'mesh_hub_clients{hub="one"} 1',
        'mesh_hub_open_calls{hub="one"} 4',
        'mesh_hub_workers{hub="one",service="users"} 2',
        'mesh_hub_capacity{hub="one",service="users"} 20',
        'mesh_hub_busy{hub="one",service="users"} 3',
        'mesh_hub_waiting{hub="one",service="users"} 1',
        'mesh_hub_waiting_bytes{hub="one",service="users"} 100',
        'mesh_hub_oldest_waiting_seconds{hub="one",service="users"} 0.25',
        'mesh_hub_calls_total{hub="one",service="users"} 7',
        'mesh_hub_errors_total{hub="one",service="users"} 1',
        'mesh_hub_refused_total{hub="one",service="users"} 4',
        'mesh_hub_refusals_total{hub="one",error="Overloaded"} 4',
        'mesh_hub_dropped_total{hub="one",kind="late"} 2',
    ]


def test_each_metric_is_told_once_with_all_its_hubs_together() -> None:
    text = exposition([Sample("a", "queue", broker()), Sample("b", "majordomo", broker())])
    names = re.findall(r"^# TYPE (\S+) (?:gauge|counter)$", text, re.MULTILINE)
    assert len(names) == len(set(names)) == 13
    seen = [re.split(r"[{ ]", line)[2 if line.startswith("#") else 0] for line in text.splitlines()]
    assert [name for before, name in zip(["", *seen], seen, strict=False) if name != before] == names


def test_a_hub_that_does_not_answer_and_one_that_passes_messages_on() -> None:
    text = exposition(
        [
            Sample("a", "queue", None),
            Sample(
                "b", "streamer", {"uptime": 1.0, "frames": {"in": 5, "out": 0}, "bytes": {"in": 9, "out": 0}}
            ),
        ]
    )
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        'mesh_hub_up{hub="a",type="queue"} 0',
        'mesh_hub_up{hub="b",type="streamer"} 1',
        'mesh_hub_uptime_seconds{hub="b"} 1.0',
        'mesh_hub_frames_total{hub="b",side="in"} 5',
        'mesh_hub_frames_total{hub="b",side="out"} 0',
        'mesh_hub_bytes_total{hub="b",side="in"} 9',
        'mesh_hub_bytes_total{hub="b",side="out"} 0',
    ]


def test_a_hub_that_drains_is_told_from_the_one_that_has_taken_its_name() -> None:
    text = exposition([Sample("a", "queue", broker()), Sample("a", "majordomo", broker(), draining=True)])
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len({line.rpartition(" ")[0] for line in lines})
    assert 'mesh_hub_up{hub="a",draining="true",type="majordomo"} 1' in lines
    assert 'mesh_hub_open_calls{hub="a",draining="true"} 4' in lines
    assert 'mesh_hub_busy{hub="a",draining="true",service="users"} 3' in lines


def test_names_are_escaped_and_made_up_ones_left_out() -> None:
    odd = {**SERVICE, "name": 'a"b\\c\nd'}
    made_up = {**SERVICE, "name": "made-up", "known": False, "workers": 0, "calls": 0}
    text = exposition([Sample("a", "queue", broker(services=[odd, made_up]))])
    assert r'mesh_hub_workers{hub="a",service="a\"b\\c\nd"} 2' in text.splitlines()
    assert "made-up" not in text
    assert all(LINE.fullmatch(line) for line in text.splitlines() if not line.startswith("#"))


def test_the_page_on_hubs_has_all_of_them() -> None:
    values = broker(refused={"x": 1}, dropped={"x": 1}, frames={"in": 1}, bytes={"in": 1})
    told = set(re.findall(r"^mesh_hub_(\w+)", exposition([Sample("a", "queue", values)]), re.MULTILINE))
    page = (ROOT / "docs" / "hubs.md").read_text()
    (table,) = re.findall(r"^\| metric, `mesh_hub_…`.*\n\|.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])} == told


# The port


@pytest.fixture
def exporters() -> Iterator[Exporters]:
    made = Exporters(
        lambda endpoint: f"{endpoint}\n",
        lambda endpoint, name, services: Readiness(
            ",".join([*services, name or ""]), "drains" in (name or "")
        ),
    )
    yield made
    made.close_others([])


def at(endpoint: str) -> Any:
    return spec("streamer", prometheus=endpoint, prometheus_at="hub.yml:3: prometheus")


def address(exporters: Exporters) -> tuple[str, int]:
    (server,) = exporters._open.values()
    return server.server_address[:2]


def get(address: tuple[str, int], path: str = "/metrics") -> str:
    with urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=10) as answer:
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        return str(answer.read().decode())


def test_hubs_share_a_port_and_other_paths_lead_to_it(exporters: Exporters) -> None:
    exporters.open([at(ANY), at(ANY), spec("streamer")])
    where = address(exporters)
    assert get(where) == get(where, "/metrics?x=y") == f"{ANY}\n"
    with pytest.raises(HTTPError, match="404") as caught:
        get(where, "/")
    assert caught.value.read() == b"see /metrics or /ready\n"
    caught.value.close()


def asked(address: tuple[str, int], path: str) -> tuple[int, str]:
    """The status and the text."""
    try:
        with urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_load_balancer_may_ask_whether_calls_are_taken(exporters: Exporters) -> None:
    exporters.open([at(ANY)])
    where = address(exporters)
    assert asked(where, "/ready") == (200, "ready\n")
    assert asked(where, "/ready?hub=hub%20one%20drains") == (503, "hub one drains\n")
    assert asked(where, "/ready?hub=failed&draining=404") == (503, "failed\n")
    assert asked(where, "/ready?draining=404") == (200, "ready\n")
    assert asked(where, "/ready?draining=404&hub=hub%20one%20drains") == (404, "hub one drains\n")


def test_the_names_of_services_are_taken_from_the_address(exporters: Exporters) -> None:
    exporters.open([at(ANY)])
    where = address(exporters)
    assert asked(where, "/ready?service=a%26b%20c&service=d+e&hub=h") == (503, "a&b c,d e,h\n")
    assert asked(where, "/ready?service=&service=x") == (503, ",x,\n")


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("servce=users", "no 'servce' here"),
        ("service=users&Hub=h", "no 'Hub' here"),
        ("servce", "no 'servce' here"),
        ("draining=yes", "draining can't be 'yes'"),
        ("hub=a&hub=b", "hub is given twice"),
    ],
)
def test_a_question_that_it_does_not_know_is_not_answered_with_ready(
    exporters: Exporters, query: str, wrong: str
) -> None:
    exporters.open([at(ANY)])
    right = "/ready takes hub=NAME, service=NAME (which may be repeated) and draining=404"
    assert asked(address(exporters), f"/ready?{query}") == (400, f"{wrong}: {right}\n")


def test_hubs_that_pass_messages_on_know_no_services() -> None:
    for one in (spec("queue"), spec("streamer")):
        device: Any = SimpleNamespace(spec=one)
        kind = "queue of anonymous workers" if one.anonymous else "streamer"
        assert Device.unserved(device, ["a"], 0.0) == {"a": f"hub one, a {kind}, knows no services"}


def test_a_hub_is_stuck_that_takes_no_turn_for_two_seconds() -> None:
    broker = make_hub(spec("queue", anonymous=False))
    broker.start()
    entered, held = threading.Event(), threading.Event()

    def stand_still() -> None:
        entered.set()
        assert held.wait(PATIENCE)

    try:
        assert not broker.stuck(1e9)  # nobody has asked it to take one
        broker._order(stand_still)
        assert entered.wait(PATIENCE)
        broker.prod(10.0)
        broker.prod(11.5)
        assert [broker.stuck(now) for now in (10.0, 11.9, 12.0, 99.0)] == [False, False, True, True]
        held.set()
        eventually(lambda: not broker.stuck(99.0))
        broker.prod(100.0)
        eventually(lambda: not broker.stuck(199.0))
    finally:
        held.set()
        broker.stop(0)


def test_a_port_that_nobody_names_any_more_is_closed(exporters: Exporters) -> None:
    exporters.open([at(ANY)])
    where = address(exporters)
    exporters.close_others([at(ANY)])
    assert get(where)
    exporters.close_others([spec("streamer")])
    with pytest.raises(OSError):
        socket.create_connection(where, timeout=5).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid"])
def test_a_port_that_can_not_be_had_opens_none_of_them(exporters: Exporters, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wrong = f"tcp://{host}:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=rf"^hub.yml:3: prometheus: can't listen at '{wrong}': "):
            exporters.open([at(ANY), at(wrong)])
        assert not exporters._open


def test_connections_are_bounded_in_number_and_time(
    exporters: Exporters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PATIENCE", 2.0)
    exporters.open([at(ANY)])
    where = address(exporters)
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(where, 10)) for _ in range(pages.MOST)]
        (server,) = exporters._open.values()
        eventually(lambda: len(server._connections) == pages.MOST)
        assert get(where)
        assert closed(slow.pop(0))
        begun = time.monotonic()
        slow[0].send(b"GET")
        assert all(closed(one) for one in slow)
        assert time.monotonic() - begun < 15
    eventually(lambda: not server._connections)
    assert get(where)


def closed(one: socket.socket) -> bool:
    try:
        return not one.recv(1)
    except ConnectionResetError:
        return True


# The command


def scrape(port: int) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    assert all(LINE.fullmatch(line) for line in lines if not line.startswith("#"))
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_hubs_of_a_process_behind_one_port(tmp_path: Path) -> None:
    port = free_port()
    sides = f"in: '{ANY}', out: '{ANY}', prometheus: {port}"
    (tmp_path / "hub.yml").write_text(
        f"hubs:\n  calls: {{{sides}, type: majordomo}}\n  jobs: {{{sides}, type: streamer}}\n"
        f"  other: {{in: '{ANY}', out: '{ANY}'}}\n"
    )
    with start("hub.yml", cwd=tmp_path) as process:
        hubs = shown(process, 3)
        with python(WORKER, hubs["calls"].out, "users", "7"):
            workers = 'mesh_hub_workers{hub="calls",service="users"}'
            found = eventually(lambda: one if workers in (one := scrape(port)) else None)
            assert asked(("127.0.0.1", port), "/ready?service=users") == (200, "ready\n")
        assert found['mesh_hub_capacity{hub="calls",service="users"}'] == 7
        assert found['mesh_hub_up{hub="calls",type="majordomo"}'] == 1
        assert found['mesh_hub_up{hub="jobs",type="streamer"}'] == 1
        assert found['mesh_hub_frames_total{hub="jobs",side="in"}'] == 0
        assert not any("other" in name for name in found)
        where = ("127.0.0.1", port)
        assert asked(where, "/ready") == (200, "ready\n")
        one, other = "hub calls has no worker of 'orders'", "hub jobs, a streamer, knows no services"
        assert asked(where, "/ready?service=orders&hub=calls") == (503, f"{one}\n")
        assert asked(where, "/ready?service=orders") == (503, f"{one}; {other}\n")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_a_port_in_use_at_the_start_and_at_a_reload(tmp_path: Path) -> None:
    plain = f"in: {ANY}\nout: {ANY}\ntype: streamer\n"
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wrong = f"{plain}prometheus: {taken.getsockname()[1]}\n"
        (tmp_path / "wrong.yml").write_text(wrong)
        result = mesh_hub("wrong.yml", cwd=tmp_path)
        assert result.returncode == 2
        assert "wrong.yml:4: prometheus: can't listen at 'tcp://127.0.0.1:" in result.stderr
        assert "in use" in result.stderr
        with hub(f"{plain}prometheus: {port}\n", tmp_path) as (process, _):
            says = "not reloaded, all goes on as before: hub.yml:4: prometheus: can't listen at "
            reload(process, wrong, tmp_path, says=says)
            assert scrape(port)['mesh_hub_up{hub="hub",type="streamer"}'] == 1
            reload(process, plain, tmp_path, says="reloaded: changed hub")
            with pytest.raises(OSError):
                scrape(port)


def test_a_hub_is_not_stuck_that_was_prodded_in_the_middle_of_a_turn() -> None:
    """The turn takes that one's byte along with the byte that it was woken by."""
    broker = make_hub(spec("queue", anonymous=False))
    try:
        broker._wake()
        broker.prod(10.0)
        broker._obey()
        assert not broker.stuck(99.0)
    finally:
        broker._close(0)
        broker.stop(0)
