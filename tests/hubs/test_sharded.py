"""Sharded hubs end to end: real hubs, real workers, and clients that set keys."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import mesh
from tests.e2e.commands import mesh as cli
from tests.helpers.processes import Process, eventually
from tests.hubs.cluster import Hub, connected, until_served_by, worker

KEYS = [f"user-{number}" for number in range(60)]


class Setup:
    """Two sharded hubs, and three workers that have registered with both."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.hubs = [Hub(folder, name, "sharded", stack) for name in ("one", "two")]
        self.workers: list[Process] = [stack.enter_context(worker(*self.hubs)) for _ in range(3)]
        self.clients = [stack.enter_context(connected(folder, hub.in_)) for hub in self.hubs]
        for client in self.clients:
            until_served_by(client, {one.pid for one in self.workers})

    def owners(self, client: mesh.Client) -> dict[str, int]:
        """The process that each key's calls go to."""
        return {key: client.with_options(key=key, retries=5, idempotent=True).pid() for key in KEYS}

    def are_owned_by(self, client: mesh.Client, pids: set[int]) -> bool:
        return set(self.owners(client).values()) == pids


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    with ExitStack() as stack:
        yield Setup(tmp_path, stack)


def test_calls_of_a_key_go_to_one_worker_whichever_hub_they_come_through(
    setup: Setup, tmp_path: Path
) -> None:
    one, two = setup.clients
    owners = setup.owners(one)
    assert set(owners.values()) == {each.pid for each in setup.workers}
    assert setup.owners(two) == owners == setup.owners(one)
    by_number = [one.with_options(key=key).pid() for key in (7, "7", b"7")]
    assert len(set(by_number)) == 1
    assert len({one.pid() for _ in range(30)}) == 3, "calls without a key are spread"
    for key in KEYS[:2]:
        shown = cli("call", setup.hubs[0].in_, "pid", "--key", key, cwd=tmp_path)
        assert (shown.stdout, shown.stderr) == (f"{owners[key]}\n", ""), "the command has it, too"
    assert list(one.with_options(key="user-1").count(300)) == list(range(300))
    assert one.with_options(key="user-1").echo("x" * 100_000) == "x" * 100_000


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["dies", "drains"])
def test_only_the_keys_of_a_worker_that_goes_move(setup: Setup, number: int) -> None:
    one, two = setup.clients
    before = setup.owners(one)
    gone = setup.workers.pop()
    gone.signal(number)
    left = {each.pid for each in setup.workers}
    for client in (one, two):
        eventually(partial(setup.are_owned_by, client, left), what="keys to move")
    after = setup.owners(one)
    assert all(after[key] == pid for key, pid in before.items() if pid != gone.pid)
    assert setup.owners(two) == after


def test_an_odd_key_is_refused_at_the_client(setup: Setup) -> None:
    odd: Any
    for odd in (["a"], 1.5, True, "", b"", "x" * 256, 2**64, {}):
        with pytest.raises(mesh.ConfigError, match=r"^key must be text or bytes, of 1 to 255 bytes, or a"):
            setup.clients[0].with_options(key=odd)
    keyed = setup.clients[0].with_options(key="a")
    assert len({keyed.with_options(key=None).pid() for _ in range(30)}) == 3, "None takes a key back"
