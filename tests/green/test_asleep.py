"""Clients whose program sleeps, so that their event loop does not turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import mesh
from tests.green.conftest import Connect, Program
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
