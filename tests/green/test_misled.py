"""Whoever is dealt calls though it is no server: at the side of a queue that its workers connect to."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import msgpack
import pytest
import zmq

import mesh
from mesh.green.sidecar import Sidecar
from tests.helpers.peers import nobody
from tests.helpers.processes import PATIENCE, eventually

ENVELOPE = [b"\0client", b"\0hub"]


class Dealer:
    """Deals calls to whoever connects, as the out side of a queue and a client that has bound do."""

    def __init__(self, endpoint: str = "tcp://127.0.0.1:*") -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.bind(endpoint)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def deal(self, envelope: list[bytes], header: dict[str, Any]) -> None:
        def sent() -> bool:
            try:
                self.socket.send_multipart([*envelope, b"", msgpack.packb([header, "pay", [1]])], zmq.NOBLOCK)
            except zmq.Again:
                return False
            return True

        eventually(sent)

    def answer(self, envelope: list[bytes]) -> tuple[dict[str, Any], str, list[Any]]:
        """The next message but a worker's READY and heartbeats, which has to have that envelope."""
        while True:
            eventually(lambda: self.socket.poll(0))
            *before, payload = self.socket.recv_multipart()
            if before[:1] != [b"MDPW02"]:
                assert before == [*envelope, b""]
                header, name, args = msgpack.unpackb(payload)
                return header, name, args

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def dealer() -> Iterator[Dealer]:
    one = Dealer()
    yield one
    one.close()


@pytest.fixture(params=["client", "server", "sidecar"])
def misled(request: pytest.FixtureRequest, dealer: Dealer) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "client":
            stack.enter_context(mesh.connect(dealer.endpoint))
        elif request.param == "server":
            server = mesh.Server({"pay": lambda amount: amount}, name="till")
            server.register("till", dealer.endpoint)
            server.start()
            stack.callback(server.stop, 0.2)
        else:
            # Its server is not there: it has nothing to offer.
            sidecar = Sidecar("till", nobody(), dealer.endpoint, heartbeat=1.0)
            running = gevent.spawn(sidecar.run)
            stack.callback(running.join, PATIENCE)
            stack.callback(sidecar.stop, 0)
        yield request.param


@pytest.mark.parametrize("envelope", [[], ENVELOPE], ids=["client side", "queue"])
def test_a_call_is_refused_and_told_once(
    dealer: Dealer, misled: str, envelope: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for number in range(3):
            dealer.deal(envelope, {"message_id": f"m{number}", "v": 3})
        for number in range(3):
            header, name, args = dealer.answer(envelope)
            assert (header["response_to"], header["refused"]) == (f"m{number}", True)
            assert (name, args[0]) == ("ERR", "LostRemote")
    told = [record.getMessage() for record in caplog.records if dealer.endpoint in record.getMessage()]
    (line,) = told
    what = "a queue hub for anonymous workers, or a client side"
    assert what in line
    if misled != "client":
        assert line == (
            f"till is no worker of {dealer.endpoint} for now: what is at {dealer.endpoint} is {what}: "
            f"use `mesh serve --connect {dealer.endpoint}`"
        )


def test_what_it_says_to_type_is_quoted_for_a_shell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dealer = Dealer(f"ipc://{tmp_path}/my queue")
    server = mesh.Server({"pay": len}, name="till")
    server.register("till", dealer.endpoint)
    with server:
        dealer.deal(ENVELOPE, {"message_id": "a", "v": 3})
        dealer.answer(ENVELOPE)
    dealer.close()
    assert f"use `mesh serve --connect 'ipc://{tmp_path}/my queue'`" in caplog.text


def test_what_is_no_new_call_is_not_answered(dealer: Dealer, misled: str) -> None:
    dealer.deal(ENVELOPE, {"message_id": "a", "v": 3, "response_to": "b"})
    dealer.deal(ENVELOPE, {"v": 3})
    dealer.deal(ENVELOPE, {"message_id": "c", "v": 3})
    header, name, _ = dealer.answer(ENVELOPE)
    assert (name, header["response_to"]) == ("ERR", "c")


def test_a_worker_that_would_register_with_a_server_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    with mesh.Server({"get": len}, name="users") as users:
        endpoint = users.bind("tcp://127.0.0.1:*")
        with mesh.Server({"pay": len}, name="till") as till:
            till.register("till", endpoint)
            line = (
                f"till is no worker of {endpoint} for now: the hub has sent its worker away: it is no hub "
                "but a server, 'users': register at the out side of a hub"
            )
            eventually(lambda: line in caplog.messages)
            dropped = "users: dropped 1 malformed (a worker that would register, as if this were a hub, from "
            eventually(lambda: dropped in caplog.text)
        with mesh.connect(endpoint) as client:
            assert client.get("abc") == 3
        assert "mdp" not in caplog.text
