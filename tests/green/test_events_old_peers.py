"""Events to and from an unchanged zerorpc-python, in every direction, whoever binds."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

import mesh
from tests.green.events import PATIENCE, Ends, Heard, ends
from tests.helpers.peers import SCRIPTS, nobody, require
from tests.helpers.processes import Process, eventually

__all__ = ["ends"]
HOW = pytest.mark.parametrize("how", ["bind", "connect"])


def old(role: str, how: str, endpoint: str) -> Process:
    require("python")
    return Process([sys.executable, SCRIPTS / "python_events.py", role, how, endpoint], stdin=True)


def attached(end: Any, role: str, how: str) -> Process:
    """The old peer in that role, connected to `end`, or bound and `end` connected to it."""
    if how == "bind":
        endpoint = nobody()
        process = old(role, how, endpoint)
        end.connect(endpoint)
    else:
        process = old(role, how, end.bind("tcp://127.0.0.1:*"))
    process.wait_for("^ready ")
    return process


def heard_by(process: Process) -> list[Any]:
    return [json.loads(line) for line in process.stdout.splitlines() if line.startswith("[")]


@HOW
@pytest.mark.parametrize("topic", [None, "orders.eu"])
def test_an_old_subscriber_gets_events_with_and_without_a_topic(
    ends: Ends, how: str, topic: str | None
) -> None:
    publisher = ends.emitter(mesh.Publisher, None, topic=topic)
    with attached(publisher, "subscriber", how) as process:
        publisher.wait_for_subscriber(PATIENCE)
        publisher.happened(1, "two", [3.5], {"a": None})
        publisher.unknown()
        publisher.happened()
        expected = [["happened", [1, "two", [3.5], {"a": None}]], ["happened", []]]
        eventually(lambda: heard_by(process) == expected, what=process.describe)


@HOW
def test_an_old_puller_gets_jobs(ends: Ends, how: str) -> None:
    pusher = ends.emitter(mesh.Pusher, None, timeout=PATIENCE)
    with attached(pusher, "puller", how) as process:
        pusher.happened(1, "two")
        pusher.fail()
        for number in range(200):
            pusher.happened(number)
        expected = [["happened", [1, "two"]], *(["happened", [number]] for number in range(200))]
        eventually(lambda: heard_by(process) == expected, what=process.describe)
        assert "as it was told to" in process.stderr


@HOW
def test_events_of_an_old_publisher(ends: Ends, how: str) -> None:
    heard, chosen = Heard(), Heard()
    subscriber, chooser = mesh.Subscriber(None, heard), mesh.Subscriber(None, chosen, topics="orders")
    with attached(subscriber, "publisher", how) as process, subscriber, chooser:
        if how == "bind":
            chooser.connect(process.wait_for(r"^ready (\S+)$")[1])

        def arrives() -> bool:
            process.send_line('["hello", []]')
            return bool(heard)

        eventually(arrives, timeout=PATIENCE, what="the subscription")
        process.send_line('["happened", [1, "two", [3.5]]]')
        eventually(lambda: heard[-1] == ["happened", 1, "two", [3.5]], what=lambda: f"the event, not {heard}")
        assert not chosen


@HOW
def test_jobs_of_an_old_pusher(ends: Ends, how: str) -> None:
    heard = Heard()
    puller = mesh.Puller(None, heard)
    with attached(puller, "pusher", how) as process, puller:
        for number in range(50):
            process.send_line(json.dumps(["job", [number, "x"]]))
        heard.wait(*(["job", number, "x"] for number in range(50)))
