"""A hub that gets nothing but rubbish for a long time: it lives, serves, and takes no more memory."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from benchmarks import usage
from tests.e2e.commands import environment
from tests.helpers.processes import python
from tests.hubs.cluster import Hub, connected, until_served_by, worker

PROGRAM = Path(__file__).parent / "switching" / "rubbish.py"
PROCESSES = 2
MOST_GROWTH_MIB = 10
LOOKS = 4
"""Parts at either end, after the first, whose median counts: what a flood leaves to libzmq and malloc
comes and goes."""


@pytest.mark.parametrize("kind", ["queue", "majordomo"])
@pytest.mark.parametrize(
    ("number", "parts"),
    [
        pytest.param(4_000, 4, id="4,000"),
        pytest.param(1_000_000, 10, id="1,000,000", marks=pytest.mark.soak),
    ],
)
def test_random_messages(kind: str, number: int, parts: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        more = {"default": "echo"} if kind == "majordomo" else {}
        hub = Hub(tmp_path, "one", kind, stack, heartbeat=0.2, **more)
        sizes = []
        for part in range(parts):
            each = str(number // parts // PROCESSES)
            with ExitStack() as senders:
                for one in range(PROCESSES):
                    seed = str(part * PROCESSES + one)
                    arguments = [hub.in_, hub.out, each, seed]
                    sender = senders.enter_context(python(PROGRAM, *arguments, env=environment()))
                    senders.callback(sender.wait_for, f"^sent {each}$", timeout=120)
            assert hub.process.returncode is None, hub.process.describe()
            with worker(hub) as honest, connected(tmp_path, hub.in_) as client:
                # What is left of rubbish workers may have the first calls.
                sure = client.with_options(retries=100, idempotent=True)
                until_served_by(client, {honest.pid})
                assert sure.echo(part) == part
                assert list(sure.count(300)) == list(range(300))
            sizes.append(usage.rss(hub.process.pid) / usage.MIB)
        shown = " ".join(f"{size:.1f}" for size in sizes)
        print(f"{kind}: MiB after each {number // parts:,} messages: {shown}")
        assert median(sizes[-LOOKS:]) - median(sizes[1 : 1 + LOOKS]) < MOST_GROWTH_MIB, shown
