"""Code behind a server, in this process or in several: what `mesh serve` and `mesh-register` do.

Owns the order of the steps, and what is printed. Loading is target.py's, endpoints are binding.py's,
the processes are processes.py's, the end is stopping.py's, or starting.py's before it serves.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mesh.cli.lines import unblock_errors
from mesh.cli.log_format import draining_line, formatter
from mesh.cli.loops import GEVENT, choose, current_folder, run
from mesh.cli.reporting import State, report, tell, tell_draining
from mesh.cli.starting import Start
from mesh.cli.stopping import DRAIN, PARENTS_MARGIN, Stop
from mesh.transport.ipc import path_of

if TYPE_CHECKING:
    import mesh.aio
    from mesh import Server
    from mesh.cli.binding import Binds
    from mesh.cli.processes import Lifeline

    AnyServer = Server | mesh.aio.Server


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asks for.

    hubs: their out sides, where it registers. hub_heartbeat: seconds between signs of life to
    them. mdp: the version of Majordomo that they speak. announce: whether the hubs are told of the
    first endpoint that is bound. loop: gevent, asyncio or uvloop; None for the one that the target needs.
    access: who may connect to paths of ipc, as `Server.bind` takes it.
    """

    target: str
    binds: Binds
    service: str | None
    connect: tuple[str, ...] = ()
    hubs: tuple[str, ...] = ()
    hub_heartbeat: float | None = None
    mdp: str = "0.2"
    announce: bool = False
    access: Mapping[str, Any] = field(default_factory=dict)
    pool_size: int | None = None
    heartbeat: float | None = None
    threads: int = 0
    max_message: int | None = None
    max_elements: int | None = None
    drain: float = DRAIN
    loop: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    log_level: str = "info"
    log_format: str = "text"


def serve(plan: Plan, processes: int, state: State) -> int:
    """Serve until a signal ends it; gives the exit code."""
    start = begin(plan.log_level, plan.log_format)
    return _serve_here(plan, start) if processes == 1 else _serve_in_processes(plan, processes, state, start)


def begin(log_level: str, log_format: str) -> Start:
    """What is done first. The log goes to standard error, and waits for nobody who reads it; nor does what
    is said of a signal, which may come as soon as signals are let in.

    log_level, log_format: as in options.LOG_LEVELS and LOG_FORMATS.
    """
    unblock_errors()
    start = Start(partial(tell_draining, line=draining_line(log_level, log_format)))
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(log_format))
    logging.basicConfig(level=log_level.upper(), handlers=[handler])
    return start


def _serve_here(plan: Plan, start: Start) -> int:
    server, loop = _make_server(plan)
    endpoints = plan.binds.each(partial(_bind, server, plan))
    _connect(server, plan, endpoints)
    stop = Stop(server, plan.drain, start=start)
    _announce(server.name, endpoints, plan)
    run(server, loop, stop.share_wakeup)
    return stop.exit_code


def _serve_in_processes(plan: Plan, count: int, state: State, start: Start) -> int:
    from mesh.cli.binding import listen
    from mesh.cli.processes import Supervisor

    listening = plan.binds.each(listen)

    def work(lifeline: Lifeline) -> int:
        try:
            return _serve_in_child(plan, listening, lifeline)
        except BaseException as error:  # noqa: BLE001 - a child's last stop
            return report(error, "mesh", state)

    def on_ready(name: str) -> None:
        _announce(name, [endpoint for endpoint, _ in listening], plan)

    return Supervisor(count, work, on_ready, plan.drain + PARENTS_MARGIN, start.tell_draining).run()


def _serve_in_child(plan: Plan, listening: list[tuple[str, socket.socket]], lifeline: Lifeline) -> int:
    server, loop = _make_server(plan)
    for endpoint, sock in listening:
        # libzmq closes the descriptor that it is given.
        server.bind(endpoint, fd=os.dup(sock.fileno()))
    _connect(server, plan, [endpoint for endpoint, _ in listening])
    stop = Stop(server, plan.drain, numbers=[signal.SIGTERM], tell=False)
    lifeline.ready(server.name)
    run(server, loop, stop.share_wakeup)
    from mesh.transport.recording import recording

    recording.flush()  # the process ends where Python does not see it
    return stop.exit_code


def _make_server(plan: Plan) -> tuple[AnyServer, str]:
    """The server, and the loop that it is for."""
    loop = choose(plan.target, plan.loop, [current_folder(), *sys.path])
    if loop == GEVENT and not plan.threads:
        _patch()

    import mesh
    from mesh.cli.target import load

    target = load(plan.target)
    make: type[Server] | type[mesh.aio.Server]
    if loop == GEVENT:
        make = mesh.Server
    else:  # mesh.Server, if only looked at, would load gevent
        import mesh.aio

        make = mesh.aio.Server
    heartbeat: dict[str, Any] = {} if plan.heartbeat is None else {"heartbeat": plan.heartbeat}
    server = make(
        target.methods,
        name=plan.service or target.name,
        pool_size=plan.pool_size,
        threads=plan.threads,
        max_message=plan.max_message,
        max_elements=plan.max_elements,
        labels=plan.labels,
        **heartbeat,
    )
    return server, loop


def _patch() -> None:
    """Have what TARGET waits for wait in gevent's loop."""
    import gevent
    from gevent import monkey

    with _plugins_read_once():
        monkey.patch_all()
    # gevent does so with the first child, after its fork: of one that ends sooner nobody ever hears.
    gevent.get_hub().loop.install_sigchld()

    from mesh.cli.client import quiet_interrupt

    quiet_interrupt()


@contextmanager
def _plugins_read_once() -> Iterator[None]:
    """While gevent patches, it asks 25 times for plugins, and each time Python reads anew what is installed.

    That was most of a server's start where there are a hundred packages, some 0.2 s.
    """
    from importlib import metadata

    entry_points = metadata.entry_points
    setattr(metadata, "entry_points", entry_points().select)  # noqa: B010 - for mypy it has one type alone
    try:
        yield
    finally:
        setattr(metadata, "entry_points", entry_points)  # noqa: B010


def _bind(server: AnyServer, plan: Plan, endpoint: str) -> str:
    return server.bind(endpoint, **plan.access) if path_of(endpoint) else server.bind(endpoint)


def _connect(server: AnyServer, plan: Plan, bound: list[str]) -> None:
    for endpoint in plan.connect:
        server.connect(endpoint)
    if plan.hubs:
        heartbeat: dict[str, Any] = {} if plan.hub_heartbeat is None else {"heartbeat": plan.hub_heartbeat}
        address = _reachable(bound[0]) if plan.announce else None
        server.register(server.name, plan.hubs, address=address, mdp=plan.mdp, **heartbeat)


def _reachable(endpoint: str) -> str:
    """An endpoint that means something on other machines, too."""
    for everywhere in ("tcp://0.0.0.0:", "tcp://[::]:"):
        if endpoint.startswith(everywhere):
            return f"tcp://{socket.gethostname()}:{endpoint.removeprefix(everywhere)}"
    return endpoint


def _announce(name: str, bound: list[str], plan: Plan) -> None:
    tell(
        [
            *(f"serving {name} on {endpoint}" for endpoint in bound),
            *(f"serving {name} through {endpoint}" for endpoint in (*plan.connect, *plan.hubs)),
        ]
    )
