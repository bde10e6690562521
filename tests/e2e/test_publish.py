"""`mesh publish` and `mesh push`: what receivers get, and what is said where nobody does."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import ANY_PORT, MESH, environment, failed, mesh, start
from tests.helpers.peers import LOCAL, free_port, nobody
from tests.helpers.processes import Process, eventually, python, run
from tests.helpers.strangers import stranger

RECEIVER = """
import json
import sys

import mesh


def handle(event, *args, **kwargs):
    print("heard", json.dumps([event, args, kwargs]), flush=True)


kind, name, *topics = sys.argv[1:]
options = {"topics": topics} if topics else {}
print("ready", flush=True)
{"subscriber": mesh.Subscriber, "puller": mesh.Puller}[kind](name, handle, **options).run()
"""

Receive = Callable[..., Process]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a registry in which receivers bind, but for `news`, where publishers do."""
    endpoints = [f"tcp://127.0.0.1:{free_port()}" for _ in range(3)]
    entries = zip(("events", "jobs", "news"), ("sub", "pull", "pub"), endpoints, strict=True)
    lines = [f"{name}: {{address: {endpoint}, type: {kind}}}\n" for name, kind, endpoint in entries]
    (tmp_path / "services.yml").write_text("".join(lines) + "calls: tcp://127.0.0.1:1\n")
    (tmp_path / "receiver.py").write_text(RECEIVER)
    return tmp_path


@pytest.fixture
def receive(folder: Path) -> Iterator[Receive]:
    with ExitStack() as stack:

        def begin(*arguments: str) -> Process:
            command = [sys.executable, "receiver.py", *arguments]
            process = stack.enter_context(Process(command, cwd=folder, env=environment()))
            process.wait_for("^ready$")
            return process

        yield begin


def done(folder: Path, *arguments: str) -> None:
    result = mesh(*arguments, cwd=folder)
    assert result == (0, "", ""), result


def heard(process: Process, number: int = 1) -> list[Any]:
    def lines() -> list[str]:
        return [line[6:] for line in process.stdout.splitlines() if line.startswith("heard ")]

    eventually(lambda: len(lines()) >= number, what=process.describe)
    return [json.loads(line) for line in lines()]


def test_an_event_by_name(folder: Path, receive: Receive) -> None:
    process = receive("subscriber", "events")
    done(folder, "publish", "events", "said", "Ann", "good morning", "-1")
    assert heard(process) == [["said", ["Ann", "good morning", "-1"], {}]]


def test_an_event_to_an_endpoint_with_json_and_keywords(folder: Path, receive: Receive) -> None:
    process = receive("subscriber", "events")
    endpoint = (folder / "services.yml").read_text().split("address: ")[1].split(",")[0]
    done(folder, "publish", endpoint, "said", "-j", "1", "[null]", "--kw", "loud=true", "--", '"--x"')
    assert heard(process) == [["said", [1, [None], "--x"], {"loud": True}]]


def test_topics(folder: Path, receive: Receive) -> None:
    process = receive("subscriber", "events", "orders.")
    done(folder, "publish", "events", "said", "1", "--topic", "orders.eu")
    line = failed(mesh("publish", "events", "said", "2", "--timeout", "0.5", cwd=folder), 3)
    assert "nobody has subscribed to events without a topic within 0.5 s: 1 connected at tcp://" in line
    done(folder, "publish", "events", "said", "3", "--topic", "orders.us")
    assert heard(process, 2) == [["said", ["1"], {}], ["said", ["3"], {}]]


def test_a_publisher_that_binds_waits_for_a_subscriber_to_come_back(folder: Path, receive: Receive) -> None:
    process = receive("subscriber", "news")
    done(folder, "publish", "news", "said", "1")
    done(folder, "publish", "news", "said", "2")
    assert heard(process, 2) == [["said", ["1"], {}], ["said", ["2"], {}]]


def test_a_job(folder: Path, receive: Receive) -> None:
    process = receive("puller", "jobs")
    for number in range(3):
        done(folder, "push", "jobs", "resize", f"{number}.png", "--kw", "width=100")
    assert heard(process, 3) == [["resize", [f"{number}.png"], {"width": "100"}] for number in range(3)]


def test_a_large_job_leaves_before_the_command_ends(folder: Path, receive: Receive) -> None:
    process = receive("puller", "jobs")
    done(folder, "push", "jobs", "keep", "-j", json.dumps(["x" * 100_000]))
    assert len(heard(process)[0][1][0][0]) == 100_000


@pytest.mark.parametrize("command", ["publish", "push"])
def test_nobody_there(folder: Path, command: str) -> None:
    endpoint = nobody()
    line = failed(mesh(command, endpoint, "said", "--timeout", "0.3", cwd=folder), 3)
    assert "within 0.3 s" in line and f"there is no connection to {endpoint}" in line
    line = failed(mesh(command, "unknown", "said", cwd=folder), 3)
    assert "no service 'unknown'" in line


@pytest.mark.parametrize("command", ["publish", "push"])
def test_a_program_of_another_kind_gets_nothing(folder: Path, command: str) -> None:
    with stranger() as (one, endpoint):
        line = failed(mesh(command, endpoint, "said", "telltale", "--timeout", "1", cwd=folder), 3)
    assert f"there is no connection to {endpoint}; it is no ZeroMQ program" in line
    assert "it answers 'HTTP/1.1 400 Bad Request'" in line
    assert one.connections and b"telltale" not in one.heard


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["publish"], "Missing argument 'SERVICE'"),
        (["push", "jobs"], "Missing argument 'METHOD'"),
        (["publish", "events", "said", "-j", "abc"], "argument 1 is not JSON: abc"),
        (["publish", "events", "said", "--kw", "a"], "--kw 'a' is not of the form NAME=VALUE"),
        (["push", "jobs", "do", "--topic", "x"], "no option --topic"),
        (["push", "jobs", "do", "--timout", "3"], "did you mean --timeout?"),
        (["push", "jobs", "do", "--timeout", "-1"], "'-1' is not a number of seconds"),
        (["push", "jobs", "do", "-j", "18446744073709551616"], "integer of more than 64 bits"),
        (["publish", "events", "said", "--topic", "x" * 1001], "1001 bytes is too long"),
        (["publish", "events", "said", "--topic", os.fsdecode(b"\xff")], "no UTF-8"),
        (["publish", "jobs", "said"], "jobs is of type pull"),
        (["push", "calls", "said"], "calls is of type router"),
        (["push", "jobs:1", "said"], "did you mean 'tcp://jobs:1'?"),
        (["publish", "events", "said", "--services", "none.yml"], "none.yml: no such file"),
    ],
)
def test_wrong_usage(folder: Path, arguments: list[str], part: str) -> None:
    assert part in failed(mesh(*arguments, cwd=folder), 2)


def test_a_publisher_that_is_there_already(folder: Path, receive: Receive) -> None:
    with start("publish", "news", "said", "--timeout", "60", cwd=folder) as first:
        endpoint = (folder / "services.yml").read_text().split("address: ")[3].split(",")[0]
        port = int(endpoint.rpartition(":")[2])
        eventually(lambda: listens(port), what="the first publisher")
        line = failed(mesh("publish", "news", "said", cwd=folder), 2)
        assert "news is of type pub" in line and "in use already" in line
        process = receive("subscriber", "news")
        assert first.wait() == 0
        assert heard(process) == [["said", [], {}]]


def listens(port: int) -> bool:
    listening = f":{port:04X} 00000000:0000 0A"
    return any(listening in line for line in Path("/proc/net/tcp").read_text().splitlines())


@pytest.mark.parametrize("command", ["publish", "push"])
def test_ctrl_c_while_waiting(folder: Path, command: str) -> None:
    with start(command, nobody(), "said", "--timeout", "60", cwd=folder) as process:
        eventually(lambda: connecting(process.pid), what="the command to wait")
        process.signal(signal.SIGINT)
        assert process.wait() == 130
        assert (process.stdout, process.stderr) == ("", "")


def connecting(pid: int) -> bool:
    """Whether libzmq is at work in the process; the command waits a moment later."""
    return any("ZMQbg" in path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/comm"))


def test_through_hubs(folder: Path, receive: Receive) -> None:
    text = "".join(
        f'  {name}: {{in: "{ANY_PORT}", out: "{ANY_PORT}", type: {kind}}}\n'
        for name, kind in (("news", "forwarder"), ("jobs", "streamer"))
    )
    (folder / "hub.yml").write_text(f"hubs:\n{text}")
    command = [sys.executable, "-m", "hubs.command", "hub.yml"]
    with Process(command, cwd=folder, env=environment()) as hub:
        sides = [hub.wait_for(rf"^hub {name} \(\w+\) in (\S+) out (\S+)$") for name in ("news", "jobs")]
        types = ("xsub", "xpub", "pull", "push")
        names = ("news-in", "news", "jobs-in", "jobs")
        endpoints = [endpoint for side in sides for endpoint in side.groups()]
        lines = zip(names, endpoints, types, strict=True)
        (folder / "services.yml").write_text(
            "".join(f"{name}: {{address: {endpoint}, type: {kind}}}\n" for name, endpoint, kind in lines)
        )
        line = failed(mesh("publish", "news-in", "said", "--timeout", "0.3", cwd=folder), 3)
        assert "nobody has subscribed" in line and "1 connected at" in line
        subscriber = receive("subscriber", "news")
        puller = receive("puller", "jobs")
        done(folder, "publish", "news-in", "said", "hello")
        done(folder, "push", "jobs-in", "resize", "a.png")
        assert heard(subscriber) == [["said", ["hello"], {}]]
        assert heard(puller) == [["resize", ["a.png"], {}]]


def test_a_job_that_has_not_left_is_no_success(tmp_path: Path) -> None:
    with python(Path(__file__).with_name("never_reads.py"), cwd=tmp_path) as peer:
        port = peer.wait_for(r"^port (\d+)$")[1]
        command = [*MESH, "push", f"{LOCAL}:{port}", "job", *["x" * 120_000] * 15]
        result = run(command, env=environment(), fresh=True)
    assert result.returncode == 3, result
    assert result.stderr.splitlines()[-1] == "mesh: the job had not left this host after 5 s"
