"""The processes of a measurement: `serve PEER`, `work PEER` and `client PEER WORKLOAD SECONDS WARMUP`.

They talk to the harness in lines of JSON: a server says where it listens, a worker and a client are
told where their server is, and the client says what it counted. All end when their standard input
does, so that none outlives a harness that was killed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from benchmarks import usage
from benchmarks.peers import PEERS, Client
from benchmarks.workloads import WORKLOADS, Workload


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def end_with_parent() -> None:
    def watch() -> None:
        # Not sys.stdin: a thread that holds its lock aborts the interpreter's exit.
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def serve(peer: str) -> None:
    end_with_parent()
    PEERS[peer].load().serve(lambda *endpoints: say(endpoints=endpoints))


def work(peer: str) -> None:
    module = PEERS[peer].load()
    told = json.loads(sys.stdin.readline())
    end_with_parent()
    module.work(told["endpoints"][1])


def client(peer: str, workload: str, seconds: float, warmup: float) -> None:
    # Imported before the address is known: the server starts meanwhile.
    module = PEERS[peer].load()
    told = json.loads(sys.stdin.readline())
    end_with_parent()
    caller = module.Client(*told["endpoints"])
    measure(caller, WORKLOADS[workload], seconds, warmup, told["pid"])
    caller.close()


def measure(caller: Client, workload: Workload, seconds: float, warmup: float, server: int) -> None:
    workload.run(caller, warmup)
    server_cpu, client_cpu, start = usage.cpu_seconds(server), time.process_time(), time.perf_counter()
    count = workload.run(caller, seconds)
    elapsed = time.perf_counter() - start
    say(
        count=count,
        seconds=elapsed,
        client_cpu=time.process_time() - client_cpu,
        server_cpu=usage.cpu_seconds(server) - server_cpu,
        client_peak=usage.peak_rss(os.getpid()),
        server_peak=usage.peak_rss(server),
    )


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "serve":
        serve(rest[0])
    elif role == "work":
        work(rest[0])
    else:
        client(rest[0], rest[1], float(rest[2]), float(rest[3]))
