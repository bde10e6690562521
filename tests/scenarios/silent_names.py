"""Round trips beside a host whose name server is silent, in every way to be connected to it.

Runs as root of namespaces of its own, where UDP port 53 of the loopback is one that takes questions and never
answers. Prints a line for each way: its name, and the slowest round trip in milliseconds.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import mesh
from hubs.hub_types import make_hub
from hubs.spec import Side
from tests.hubs.test_registered import queue
from tests.hubs.wires import ANY, spec
from tests.scenarios.drivers import DRIVERS
from tests.scenarios.targets import Shop

SILENT = "tcp://silent.example:4242"
SECONDS = 0.6
TRIES = 20
"""Attempts of so many seconds: a busy machine has moments of its own, a fault is in each of them."""
LIMIT = 0.05

Call = Callable[[], object]


@contextmanager
def silent_name_server() -> Iterator[None]:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.NamedTemporaryFile("w") as file, socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        file.write("nameserver 127.0.0.1\n")
        file.flush()
        subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)
        yield


def of_client(name: str, ends: ExitStack) -> Call:
    """A client of the driver, with a server."""
    driver = DRIVERS[name](ends)
    client = driver.connect([driver.serve(driver.shop()), SILENT])
    return lambda: client.call("echo", 1)


def of_worker(ends: ExitStack) -> Call:
    """A worker that would be registered with a hub there, too; its hub is connected there as well."""
    hub = make_hub(replace(queue(service="shop"), in_=Side((ANY,), (SILENT,))))
    ends.callback(hub.stop, 0)
    at = hub.start()
    server = mesh.Server(Shop(), name="shop")
    server.register("shop", [at.out[0], SILENT], heartbeat=0.5)
    server.start()
    ends.callback(server.stop, timeout=0.2)
    client = ends.enter_context(mesh.connect(at.in_[0], timeout=30))
    return lambda: client.echo(1)


def of_jobs(ends: ExitStack) -> Call:
    """A pusher that is connected there, too; its jobs go through a hub that is."""
    came: list[Any] = []
    puller = mesh.Puller(None, {"job": came.append})
    sink = puller.bind("tcp://127.0.0.1:*")
    puller.connect(SILENT)
    puller.start()
    ends.callback(puller.stop, timeout=0.2)
    hub = make_hub(spec("streamer", out=Side((), (sink, SILENT))))
    ends.callback(hub.stop, 0)
    at = hub.start()
    pusher = ends.enter_context(mesh.Pusher(at.in_[0]))
    pusher.connect(SILENT)

    def push() -> None:
        number = len(came)
        pusher.job(number)
        while len(came) == number:
            time.sleep(0.0005)

    return push


WAYS: dict[str, Callable[[ExitStack], Call]] = {
    **{name: lambda ends, name=name: of_client(name, ends) for name in DRIVERS},
    "worker": of_worker,
    "jobs": of_jobs,
}


def slowest(call: Call) -> float:
    """Seconds of the slowest of many."""
    worst, end = 0.0, time.monotonic() + SECONDS
    while (began := time.monotonic()) < end:
        call()
        worst = max(worst, time.monotonic() - began)
        time.sleep(0.005)
    return worst


def main() -> None:
    with silent_name_server():
        for name, begin in WAYS.items():
            with ExitStack() as ends:
                call = begin(ends)
                call()
                tries = 1
                while (worst := slowest(call)) >= LIMIT and tries < TRIES:
                    tries += 1
                print(f"{name} {worst * 1000:.1f}", flush=True)


if __name__ == "__main__":
    main()
