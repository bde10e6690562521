"""The calling process of the paced run: `PEER SECONDS RATE`, with rate 0 for half of what it reaches."""

from __future__ import annotations

import json
import sys
from statistics import quantiles
from typing import Any

from benchmarks.child import end_with_parent, say
from benchmarks.peers import PEERS
from benchmarks.workloads import CALLERS, SMALL

WARM_UP = 0.2


def main(peer: str, seconds: float, rate: float) -> None:
    module = PEERS[peer].load()
    endpoints = json.loads(sys.stdin.readline())["endpoints"]
    end_with_parent()
    client: Any = module.Client(*endpoints)  # of those that pace
    client.concurrent(SMALL, CALLERS, WARM_UP)
    if not rate:
        rate = client.concurrent(SMALL, CALLERS, seconds) / seconds / 2
    took = client.paced(SMALL, CALLERS, rate, seconds)
    hundredths = quantiles(took, n=100)
    say(rate=len(took) / seconds, p50=hundredths[49], p99=hundredths[98])
    client.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
