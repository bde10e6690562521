"""Uses a server a lot and says what that cost. Arguments: endpoint, "clients" or "calls", how many, warm-up.

Prints "grew DESCRIPTORS THREADS KIB": what this process has more after than before. It does it three times
and prints the least: what leaks does so each time. A busy machine disturbs one of them, where sockets wait
to be closed by libzmq's own threads, and more memory is held for a moment.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable

import mesh

ROUNDS = 3


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def resident_kib() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def clients(endpoint: str, number: int) -> None:
    for _ in range(number):
        with mesh.connect(endpoint, timeout=20) as client:
            assert client.add(1, 2) == 3
            stream = iter(client.endless())
            assert next(stream) == 0


def calls(endpoint: str, number: int) -> None:
    with mesh.connect(endpoint, timeout=20) as client:
        for n in range(number):
            assert client.add(n, 1) == n + 1


def measure() -> tuple[int, int, int]:
    gc.collect()
    return descriptors(), threads(), resident_kib()


def grown(use: Callable[[str, int], None], endpoint: str, number: int) -> tuple[int, int, int]:
    before = measure()
    use(endpoint, number)
    deadline = time.monotonic() + 5
    while descriptors() > before[0] and time.monotonic() < deadline:
        time.sleep(0.05)  # sockets are closed by libzmq's own thread
    after = measure()
    return after[0] - before[0], after[1] - before[1], after[2] - before[2]


def main() -> None:
    endpoint, what, number, warm_up = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    use = {"clients": clients, "calls": calls}[what]
    use(endpoint, warm_up)
    rounds = [grown(use, endpoint, number) for _ in range(ROUNDS)]
    print("grew", *map(min, zip(*rounds, strict=True)), flush=True)


main()
