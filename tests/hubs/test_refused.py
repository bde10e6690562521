"""A hub that is connected to an endpoint which refuses the handshake for a while: it is there again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import zmq

from hubs.files import load
from hubs.hub_types import make_hub
from mesh.transport import handshake
from mesh.transport.dialers import Dialers
from tests.helpers.peers import free_port
from tests.helpers.processes import Process, eventually
from tests.helpers.strangers import HTTP, stranger
from tests.hubs.commands import hub

DEVICES = {
    "forwarder": (zmq.PUB, zmq.SUB),
    "streamer": (zmq.PUSH, zmq.PULL),
    "queue": (zmq.DEALER, zmq.REP),
}
"""Those that send what comes without being asked for it; who sends to them, and who hears them."""
KINDS = {
    "forwarder": (zmq.XPUB, "in"),
    "streamer": (zmq.PUSH, "in"),
    "queue": (zmq.DEALER, "in"),
    "majordomo": (zmq.DEALER, "in"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hub_is_there_again_when_it_is_no_longer_refused(kind: str, tmp_path: Path) -> None:
    far, near = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    context = zmq.Context()
    try:
        foreign = context.socket(zmq.ROUTER)
        foreign.curve_server = True
        foreign.curve_secretkey = zmq.curve_keypair()[1]
        foreign.bind(far)
        text = f"in: {{bind: {near}, connect: {far}}}\nout: tcp://127.0.0.1:{free_port()}\ntype: {kind}\n"
        with hub(text, tmp_path) as (process, _):
            process.wait_for(f"hub.yml:1: .*'{far}': .*want.* a key")
            foreign.close(0)
            good = context.socket(KINDS[kind][0])
            with good.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
                eventually(lambda: _bound(good, far), what=f"room at {far}")
                assert monitor.poll(20_000), "the hub has come"
                good.disable_monitor()
            assert process.returncode is None
    finally:
        context.destroy(0)


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("how", ["connects", "connects to the silent", "binds"])
def test_a_hub_hands_nothing_to_what_is_no_zeromq_program(
    kind: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(handshake.ENV, "0.5")
    says, why = (b"", "says nothing") if "silent" in how else (HTTP, "no ZeroMQ .* answers 'HTTP/1.1 400 Bad")
    connects = how != "binds"
    context = zmq.Context()
    near, out = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    try:
        with stranger(says=says) as (one, bad), ExitStack() as stack:
            sends, hears = (context.socket(each) for each in DEVICES[kind])
            if hears.type == zmq.SUB:
                hears.subscribe(b"")
            port = hears.bind_to_random_port("tcp://127.0.0.1")
            side = f"{{connect: [{bad}, 'tcp://127.0.0.1:{port}']}}" if connects else out
            anonymous = "workers: anonymous\n" if kind == "queue" else ""
            text = f"in: {near}\nout: {side}\ntype: {kind}\n{anonymous}"
            process, _ = stack.enter_context(hub(text, tmp_path))
            if connects:
                process.wait_for(f"hub.yml:2: .*'{bad}': .*{why}")
            else:
                heard = stack.enter_context(_called(out))
                hears.connect(out)
            sends.connect(near)
            _all_carried(sends, hears, process)
            assert b"telltale" not in (one.heard if connects else _all(heard))
    finally:
        context.destroy(0)


@contextmanager
def _called(endpoint: str) -> Iterator[socket.socket]:
    """A stranger who has come to an endpoint, and has been let go."""
    host, _, port = endpoint.rpartition("/")[2].rpartition(":")
    with socket.create_connection((host, int(port))) as one:
        one.settimeout(10)
        one.sendall(b"GET / HTTP/1.1\r\n\r\n")
        yield one


def _all(one: socket.socket) -> bytes:
    heard = b""
    with suppress(ConnectionError):
        while more := one.recv(65_536):
            heard += more
    return heard


def _all_carried(sends: zmq.Socket[bytes], hears: zmq.Socket[bytes], process: Process) -> None:
    """Each message comes through, while the hub tries the other end again and again."""
    sent = 0

    def came() -> bool:
        nonlocal sent
        if sent == 0 or sends.type == zmq.PUB:  # what is published may have nobody at first
            _send(sends, b"hello")
            sent += 1
        return bool(hears.poll(200))

    eventually(came, timeout=20, what=lambda: f"the first message; {process.describe()}")
    for number in range(100):
        _send(sends, b"telltale %d" % number)
        time.sleep(0.02)
    expected, heard = [b"telltale %d" % number for number in range(100)], []
    while len(heard) < 100 and hears.poll(5_000):
        message = hears.recv()
        if hears.type == zmq.REP:
            hears.send(b"")
        if message != b"hello":
            heard.append(message)
    assert heard == expected, process.describe()


def _send(sends: zmq.Socket[bytes], message: bytes) -> None:
    sends.send_multipart([b"", message] if sends.type == zmq.DEALER else [message])


NAMES = {"0x7f000001": "127.0.0.1", "0x7f000002": "127.0.0.2"}
"""Names that every system knows, as far as mesh looks: numbers in another form."""


@pytest.mark.parametrize("kind", KINDS)
def test_an_idle_hub_acts_on_what_is_found_out_of_two_names_and_dials_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, goes_on = threading.Event(), threading.Event()
    find_out = Dialers._find_out

    def slow(*arguments: Any) -> None:
        asked.set()
        assert goes_on.wait(20)
        find_out(*arguments)

    monkeypatch.setattr(Dialers, "_find_out", slow)
    with ExitStack() as stack:
        context = zmq.Context()
        stack.callback(context.destroy, 0)
        good = context.socket(KINDS[kind][0])
        port = good.bind_to_random_port("tcp://127.0.0.1")
        far = [f"tcp://{name}:{port}" for name in NAMES]
        side = f"{{bind: 'tcp://127.0.0.1:{free_port()}', connect: {far}}}"
        text = f"in: {side}\nout: tcp://127.0.0.1:{free_port()}\ntype: {kind}\n"
        (tmp_path / "hub.yml").write_text(text)
        (spec,) = load([tmp_path / "hub.yml"])
        one = make_hub(spec)
        one.start()
        stack.callback(one.stop, 0.0)

        def tend(until: Callable[[], bool]) -> bool:
            one.tend(time.monotonic())
            return until()

        def rest(seconds: float) -> None:
            end = time.monotonic() + seconds
            eventually(partial(tend, lambda: time.monotonic() > end), what="rest")

        _hub_comes(context.socket(KINDS[kind][0]), f"tcp://127.0.0.2:{port}", tend).close(0)
        foreign = stack.enter_context(ExitStack())
        foreign.enter_context(stranger(port, says=b"", closes=True, host="127.0.0.2"))
        eventually(partial(tend, asked.is_set), what="the question")
        rest(0.5)
        goes_on.set()
        # Nobody tends it now, and nothing happens at its sockets.
        eventually(lambda: caplog.text, timeout=20, what="a line in the log")
        assert f"'{far[1]}': the handshake failed" in caplog.text and far[0] not in caplog.text
        foreign.close()
        _hub_comes(context.socket(KINDS[kind][0]), f"tcp://127.0.0.2:{port}", tend)


def _hub_comes(
    one: zmq.Socket[bytes], endpoint: str, tend: Callable[[Callable[[], bool]], bool]
) -> zmq.Socket[bytes]:
    """A hub, which is tended meanwhile, connects to a socket that binds this endpoint."""
    with one.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
        eventually(lambda: _bound(one, endpoint), what=f"room at {endpoint}")
        eventually(partial(tend, lambda: bool(monitor.poll(10))), timeout=20, what="the hub")
        one.disable_monitor()
    return one


def _bound(one: zmq.Socket[bytes], endpoint: str) -> bool:
    try:
        one.bind(endpoint)
    except zmq.ZMQError:
        return False
    return True
