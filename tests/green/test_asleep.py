"""Clients whose program sleeps, so that their event loop does not turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest

import mesh
from tests.green.conftest import Connect, Program
from tests.helpers.clients import endpoint_of
from tests.helpers.peers import nobody
from tests.helpers.processes import Process, eventually

Service = Callable[..., tuple[str, Process]]


@pytest.mark.parametrize("way", ["stream", "locked"])
def test_a_stream_that_is_left_ends_while_its_program_sleeps(
    service: Service, program: Program, connect: Connect, way: str
) -> None:
    endpoint, _ = service()
    watching: mesh.Client = connect(endpoint)
    asleep = program("asleep", way, endpoint)
    asleep.wait_for("^asleep$")
    eventually(lambda: watching.events() == ["closed"], what="the end of the generator")
    assert asleep.returncode is None, asleep.describe()


def test_an_answer_counts_that_came_before_the_connection_broke(service: Service, program: Program) -> None:
    endpoint, serving = service()
    pid = serving.pid
    asleep = program("asleep", "future", endpoint, pid)
    asleep.wait_for("^answered$")
    serving.kill()
    assert asleep.wait_for("^got (.*)$")[1] == str(pid)


def test_a_call_is_sent_when_its_server_comes_while_its_program_sleeps(
    service: Service, program: Program, connect: Connect
) -> None:
    endpoint = nobody()
    asleep = program("asleep", "note", endpoint)
    asleep.wait_for("^asleep$")
    service("--bind", endpoint)
    watching: mesh.Client = connect(endpoint)
    eventually(lambda: watching.events() == ["asleep"], what="the call")
    assert asleep.returncode is None, asleep.describe()


def test_a_loop_that_merely_waits_is_not_woken_by_the_looks(client_of: Callable[..., mesh.Client]) -> None:
    client = client_of({"echo": lambda value: value, "wait": gevent.sleep}, heartbeat=60.0)
    endpoint = endpoint_of(client)
    client.echo(1)
    waiting = client.wait.future(60.0)
    looked, posted, post = set(), [], endpoint.loop.call_soon_threadsafe

    def note(function: Callable[..., object], *args: Any) -> None:
        posted.append(function)
        post(function, *args)

    def looks() -> int:
        looked.add(endpoint._looked)
        return len(looked)

    endpoint.loop.call_soon_threadsafe = note
    eventually(lambda: looks() > 5)
    assert not posted
    waiting.cancel()
