"""Events between asyncio's ends and an unchanged zerorpc-python, in every direction."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mesh.aio.events import Publisher, Pusher
from mesh.aio.receivers import Puller, Subscriber
from tests.aio.events import ANY_PORT, Ends, Heard, in_each_loop, until
from tests.helpers.peers import SCRIPTS, require
from tests.helpers.processes import PATIENCE, Process


async def old(role: str, end: Any) -> Process:
    """The old peer in that role, connected to `end`."""
    require("python")
    command = [sys.executable, SCRIPTS / "python_events.py", role, "connect", end.bind(ANY_PORT)]
    process = Process(command, stdin=True)
    await asyncio.to_thread(process.wait_for, "^ready ")
    return process


def heard_by(process: Process) -> list[Any]:
    return [json.loads(line) for line in process.stdout.splitlines() if line.startswith("[")]


@in_each_loop
async def test_an_old_subscriber_gets_events(ends: Ends) -> None:
    publisher = ends.sender(Publisher, None, topic="orders.eu")
    with await old("subscriber", publisher) as process:
        await publisher.wait_for_subscriber(PATIENCE)
        await publisher.happened(1, "two", [3.5], {"a": None})
        await publisher.with_options(topic=None).happened()
        expected = [["happened", [1, "two", [3.5], {"a": None}]], ["happened", []]]
        await until(lambda: heard_by(process) == expected, process.describe)


@in_each_loop
async def test_an_old_puller_gets_jobs(ends: Ends) -> None:
    pusher = ends.sender(Pusher, None, timeout=PATIENCE)
    with await old("puller", pusher) as process:
        for number in range(200):
            await pusher.happened(number)
        expected = [["happened", [number]] for number in range(200)]
        await until(lambda: heard_by(process) == expected, process.describe)


@in_each_loop
async def test_events_of_an_old_publisher(ends: Ends) -> None:
    heard = Heard()
    subscriber = ends.receiver(Subscriber, None, heard)
    with await old("publisher", subscriber) as process:

        def arrives() -> bool:
            process.send_line('["hello", []]')
            return bool(heard)

        await until(arrives, "the subscription")
        process.send_line('["happened", [1, "two", [3.5]]]')
        await until(lambda: heard[-1] == ["happened", 1, "two", [3.5]], lambda: f"the event, not {heard}")


@in_each_loop
async def test_jobs_of_an_old_pusher(ends: Ends) -> None:
    heard = Heard()
    puller = ends.receiver(Puller, None, heard)
    with await old("pusher", puller) as process:
        for number in range(50):
            process.send_line(json.dumps(["job", [number, "x"]]))
        await heard.wait(*(["job", number, "x"] for number in range(50)))
