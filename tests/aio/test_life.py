"""How a server of asyncio begins and ends: by `stop`, signals, cancelling, its loop, and wrong use of it."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from typing import Any

import pytest

import mesh
import mesh.aio
from tests.aio.conftest import Connect, Program, Serve
from tests.helpers.processes import PATIENCE, eventually
from tests.scenarios.drivers import LoopThread

TERM, INT = signal.SIGTERM, signal.SIGINT
LOOPS = ["asyncio", "uvloop"]


class Service:
    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended: list[str] = []

    async def echo(self, value: Any) -> Any:
        return value

    async def nap(self, seconds: float) -> str:
        self.begun.set()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        finally:
            self.ended.append("finally")
        return "rested"

    async def stubborn(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(3)
        self.ended.append("went on")

    def block(self, seconds: float) -> str:
        self.begun.set()
        time.sleep(seconds)
        return "rested"


# Stop


def test_the_running_call_is_answered_and_new_ones_are_refused(
    loop: LoopThread, serve: Serve, connect: Connect
) -> None:
    service = Service()
    served = serve(service)
    client, other = connect(served.endpoint), connect(served.endpoint)
    assert other.echo(1) == 1
    call = client.nap.future(0.5)
    eventually(service.begun.is_set)
    stopping = loop.begin(served.server.stop)
    eventually(lambda: served.server._endpoint.session.draining)
    with pytest.raises(mesh.LostRemote):
        other.with_options(timeout=5).echo(1)
    assert call.result() == "rested"
    stopping.result(PATIENCE)
    assert served.server.cut_off == 0 and served.server.unfinished() == ""


def test_what_takes_longer_is_cancelled_and_counted(
    loop: LoopThread, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    served = serve(service, name="svc")
    call = connect(served.endpoint).nap.future(60)
    eventually(service.begun.is_set)
    assert "'nap' for" in served.server.unfinished()
    with caplog.at_level(logging.INFO):
        loop.do(served.server.stop, 0.2)
    assert service.ended == ["cancelled", "finally"]
    assert served.server.cut_off == 1
    assert "svc: waits for 1 calls, for at most 0.2 s: 'nap' for" in caplog.text
    assert "svc: 1 calls still ran after 0.2 s and are given up: 'nap' for" in caplog.text
    with pytest.raises(mesh.LostRemote):
        call.result()


def test_a_handler_that_swallows_its_cancellation_is_named_and_left(
    loop: LoopThread, serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    served = serve(service, name="svc")
    call = connect(served.endpoint).stubborn.future()
    eventually(service.begun.is_set)
    began = time.monotonic()
    loop.do(served.server.stop, 0.1)
    assert time.monotonic() - began < 2.9
    assert "svc: these handlers were cancelled and go on: 'stubborn' for" in caplog.text
    with pytest.raises(mesh.LostRemote):
        call.result()
    assert served.server.unfinished().startswith("1 handlers that were cancelled and go on: 'stubborn' for")
    eventually(lambda: service.ended == ["went on"])
    eventually(lambda: served.server.unfinished() == "")


def test_a_thread_that_goes_on_keeps_nothing(loop: LoopThread, serve: Serve, connect: Connect) -> None:
    service = Service()
    served = serve(service, threads=1)
    call = connect(served.endpoint).block.future(3)
    eventually(service.begun.is_set)
    began = time.monotonic()
    loop.do(served.server.stop, 0.1)
    assert time.monotonic() - began < 2.5
    with pytest.raises(mesh.LostRemote):
        call.result()


def test_stop_from_another_thread_and_from_a_handler(
    loop: LoopThread, serve: Serve, connect: Connect
) -> None:
    served = serve(Service())
    served.server.stop()  # this thread is not the loop's, and nobody awaits what it gives
    eventually(lambda: served.server.unfinished() == "")

    async def stop() -> str:
        began = time.monotonic()
        await target.server.stop()  # does not wait for itself
        return f"{time.monotonic() - began < 5}"

    target = serve({"stop": stop})
    assert connect(target.endpoint).stop() == "True"
    eventually(lambda: target.server.unfinished() == "")


def test_one_that_is_stopped_before_it_has_begun(loop: LoopThread) -> None:
    server = mesh.aio.Server(Service())
    endpoint = server.bind("tcp://127.0.0.1:*")
    loop.do(server.stop)
    with pytest.raises(mesh.MeshError, match="was stopped; make a new server"):
        server.bind(endpoint)
    with pytest.raises(mesh.MeshError, match="was started already, stopped"):
        loop.do(server.serve)


def test_an_idle_one_ends_at_once(loop: LoopThread, serve: Serve) -> None:
    served = serve(Service())
    began = time.monotonic()
    loop.do(served.server.stop)
    assert time.monotonic() - began < 1.5


def test_a_block(loop: LoopThread, connect: Connect) -> None:
    async def main() -> str:
        async with mesh.aio.Server(Service()) as server:
            endpoint = server.bind("tcp://127.0.0.1:*")
            client = mesh.connect(endpoint, timeout=PATIENCE)
            result = await asyncio.to_thread(client, "nap", 0.01)
            with pytest.raises(mesh.MeshError, match="was started already"):
                server.start()
            await asyncio.to_thread(client.close)
        assert server.unfinished() == "" and server.cut_off == 0
        await server.stop()  # again
        return str(result)

    assert loop.do(main) == "rested"


def test_to_cancel_who_serves_ends_it_at_once(loop: LoopThread, connect: Connect) -> None:
    service = Service()
    server = mesh.aio.Server(service)
    endpoint = server.bind("tcp://127.0.0.1:*")
    running = loop.begin(server.serve)
    call = connect(endpoint).nap.future(60)
    eventually(service.begun.is_set)
    began = time.monotonic()
    running.cancel()
    eventually(lambda: server.unfinished() == "")
    assert time.monotonic() - began < 5
    assert service.ended == ["cancelled", "finally"] and server.cut_off == 1
    with pytest.raises(mesh.LostRemote):
        call.result()


# Wrong use


def test_without_a_loop() -> None:
    server = mesh.aio.Server(Service())
    with pytest.raises(mesh.MeshError, match="no event loop runs here in which Service could"):
        server.start()
    server.stop()


def test_another_loop(loop: LoopThread, serve: Serve, connect: Connect) -> None:
    service = Service()
    served = serve(service)

    async def elsewhere() -> None:
        with pytest.raises(mesh.MeshError, match="runs in another event loop"):
            await served.server.serve()
        with pytest.raises(mesh.MeshError, match="runs in another event loop"):
            await served.server.stop()

    call = connect(served.endpoint).nap.future(1.0)
    eventually(service.begun.is_set)  # while it runs the server has not ended
    asyncio.run(elsewhere())
    assert call.result() == "rested"


def test_a_settings_error_of_serve_comes_before_anything_begins(loop: LoopThread) -> None:
    server = mesh.aio.Server(Service())
    for wrong in ({"drain": -1}, {"signals": 1}):
        with pytest.raises(mesh.ConfigError):
            loop.do(server.serve, **wrong)
    with pytest.raises(mesh.ConfigError):
        server.stop(-1)
    server.stop()


# Programs


@pytest.mark.parametrize("way", LOOPS)
@pytest.mark.parametrize("number", [TERM, INT])
@pytest.mark.parametrize(("how", "method"), [("serve", "nap"), ("inside", "nap"), ("serve", "burn")])
def test_a_signal_drains(
    program: Program, connect: Connect, way: str, number: signal.Signals, how: str, method: str
) -> None:
    process = program("serves", how, way)
    client = connect(process.wait_for(r"serving (\S+)")[1])
    call = getattr(client, method).future(0.5)
    process.wait_for("napping")
    process.signal(number)
    assert call.result() == "rested"
    assert process.wait() == 0, process.describe()
    assert "ended, cut off 0, put back True" in process.stdout, process.describe()
    assert ("left the block" in process.stdout) is (how == "inside")
    assert "Traceback" not in process.stderr and "destroyed" not in process.stderr


def test_two_servers_of_one_program_drain_together(program: Program) -> None:
    process = program("serves", "two")
    process.wait_for("serving")
    time.sleep(0.3)
    process.signal(TERM)
    assert process.wait() == 0, process.describe()
    assert "put back True" in process.stdout


def test_a_second_ctrl_c_ends_it(program: Program, connect: Connect) -> None:
    process = program("serves", "serve")
    call = connect(process.wait_for(r"serving (\S+)")[1]).nap.future(60)
    process.wait_for("napping")
    process.signal(INT)
    time.sleep(0.4)
    assert process.returncode is None
    process.signal(INT)
    assert process.wait(timeout=15) == -INT, process.describe()
    assert "cancelled" in process.stdout
    with pytest.raises(mesh.LostRemote):
        call.result()


def test_it_drains_no_longer_than_it_is_told(program: Program, connect: Connect) -> None:
    process = program("serves", "short")
    call = connect(process.wait_for(r"serving (\S+)")[1]).nap.future(60)
    process.wait_for("napping")
    process.signal(TERM)
    assert process.wait(timeout=15) == 0
    assert "ended, cut off 1" in process.stdout
    with pytest.raises(mesh.LostRemote):
        call.result()


def test_a_signal_that_the_program_handles_is_left_to_it(program: Program, connect: Connect) -> None:
    process = program("serves", "own")
    client = connect(process.wait_for(r"serving (\S+)")[1])
    assert client.pid() == process.pid
    process.signal(TERM)
    process.wait_for("handled by the program")
    assert client.pid() == process.pid
    process.signal(INT)
    assert process.wait() == 0


@pytest.mark.parametrize("way", LOOPS)
@pytest.mark.parametrize("method", ["fork", "fork_async"])
def test_a_child_that_a_handler_forks_ends_with_it_and_the_server_goes_on(
    program: Program, connect: Connect, way: str, method: str
) -> None:
    process = program("serves", "serve", way, env={"PYTHONWARNINGS": "ignore::DeprecationWarning"})
    client = connect(process.wait_for(r"serving (\S+)")[1])
    assert [client(method, code) for code in (0, 3, 0)] == [0, 3, 0]
    assert client.pid() == process.pid
    process.signal(TERM)
    assert process.wait() == 0, process.describe()
    assert "put back True" in process.stdout


def test_a_program_that_ends_without_stopping_its_server_says_nothing(
    program: Program, connect: Connect
) -> None:
    process = program("serves", "background")
    call = connect(process.wait_for(r"serving (\S+)")[1]).nap.future(60)
    assert process.wait() == 0
    assert process.stderr == "", process.describe()
    with pytest.raises((mesh.LostRemote, mesh.RemoteError)) as caught:
        call.result()
    assert "LostRemote" in repr(caught.value) or "Cancelled" in repr(caught.value)


def test_a_loop_that_is_closed_while_its_server_serves(program: Program, connect: Connect) -> None:
    process = program("serves", "closed")
    client = connect(process.wait_for(r"serving (\S+)")[1], heartbeat=0.5)
    call = client.nap.future(60)
    process.wait_for("napping")
    process.wait_for("closed")
    with pytest.raises(mesh.LostRemote):
        call.result()
    process.wait_for("its event loop was closed while it served: stop it before")
    assert "destroyed" not in process.stderr


def test_with_no_descriptors_left_it_says_so_and_what_is_open_goes_on(program: Program) -> None:
    process = program("descriptors")
    assert process.wait() == 0 and process.stdout == "done\n", process.describe()
