"""Processes, rounds and measurements.

Every measurement has a server, its workers and a client, all processes of their own: peak memory is
then that of the one workload, and the luck of one process's layout is drawn anew every round. Rounds
are interleaved, peer beside peer, so that a machine that slows down slows all of them. Must not know
how results are shown.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.peers import PEERS
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parent.parent
START_SECONDS = 30.0
PATIENCE_SECONDS = 60.0


class BenchmarkError(Exception):
    """A measurement could not be taken; the text says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """seconds and warmup: of one measurement."""

    peers: tuple[str, ...]
    workloads: tuple[str, ...]
    rounds: int = 5
    seconds: float = 1.0
    warmup: float = 0.2


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one client counted. CPU in seconds, peaks in bytes."""

    peer: str
    workload: str
    round: int
    count: int
    seconds: float
    client_cpu: float
    server_cpu: float
    client_peak: int
    server_peak: int

    @property
    def rate(self) -> float:
        return self.count / self.seconds


class Child:
    """A process that plays one role and talks in lines of JSON."""

    def __init__(self, process: subprocess.Popen[str], complaints: IO[str], label: str) -> None:
        self._process = process
        self._complaints = complaints
        self._label = label

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, **fields: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(fields) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchmarkError(f"{self._label} ended: {self._last_words()}") from None

    def hear(self, seconds: float) -> dict[str, Any]:
        """Its next line, waited for so many seconds at most."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise BenchmarkError(f"{self._label} said nothing for {seconds:g} s: {self._last_words()}")
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{self._label} ended: {self._last_words()}")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def _last_words(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().strip().splitlines()
        return lines[-1] if lines else "without a word"


@contextmanager
def child(module: str, *args: str) -> Iterator[Child]:
    """Run `python -m MODULE ARGS` for the length of the block."""
    command = [sys.executable, "-m", module, *args]
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True, cwd=ROOT
        ) as process,
    ):
        try:
            yield Child(process, complaints, " ".join([module, *args[:3]]))
        finally:
            process.kill()


def measure(peer: str, workload: str, turn: int, settings: Settings) -> Measurement:
    """One server with its workers, one client, one figure."""
    times = (str(settings.seconds), str(settings.warmup))
    with ExitStack() as stack:
        server = stack.enter_context(child("benchmarks.child", "serve", peer))
        others = [("work", peer)] * PEERS[peer].workers
        workers = [stack.enter_context(child("benchmarks.child", *role)) for role in others]
        client = stack.enter_context(child("benchmarks.child", "client", peer, workload, *times))
        told = {**server.hear(START_SECONDS), "pid": server.pid}
        for one in (*workers, client):
            one.tell(**told)
        return Measurement(peer, workload, turn, **client.hear(settings.seconds + PATIENCE_SECONDS))


def run(
    settings: Settings, progress: Callable[[str], None], failed: Callable[[str], None]
) -> list[Measurement]:
    """All rounds. A pair that fails is reported once and left out from then on, its figures with it."""
    taken: list[Measurement] = []
    broken: set[tuple[str, str]] = set()
    for turn in range(settings.rounds):
        for workload, peer in _schedule(settings, turn):
            if (peer, workload) in broken:
                continue
            try:
                taken.append(measure(peer, workload, turn, settings))
            except BenchmarkError as error:
                broken.add((peer, workload))
                failed(f"{peer}, {workload}: {error}")
            else:
                progress(
                    f"round {turn + 1}/{settings.rounds} {workload:<10} {peer:<8} {taken[-1].rate:,.0f}/s"
                )
    return [one for one in taken if (one.peer, one.workload) not in broken]


def _schedule(settings: Settings, turn: int) -> Iterator[tuple[str, str]]:
    for workload in settings.workloads:
        for peer in _rotated(settings.peers, turn):
            if workload in PEERS[peer].workloads:
                yield WORKLOADS[workload].name, peer


def _rotated(peers: Sequence[str], turn: int) -> Sequence[str]:
    # No peer always comes first, or right after the heaviest.
    shift = turn % len(peers) if peers else 0
    return (*peers[shift:], *peers[:shift])
