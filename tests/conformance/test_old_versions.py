"""Peers that speak versions 1 and 2 of the protocol, older than any that can still be installed.

Version 1 knows no heartbeats, and its ERR carries one text. In version 2 a heartbeat's argument grants
credit, and there is no `_zpc_more`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

import mesh
from tests.conformance.contract import HEARTBEAT
from tests.helpers.peers import Server
from tests.helpers.processes import eventually
from tests.helpers.raw import Header, RawClient, RawServer

V1: list[Header] = [{"message_id": "one"}, {"message_id": b"one", "v": 1}]
V2: Header = {"message_id": b"two", "v": 2}


@pytest.fixture
def raw(server: Server) -> Iterator[RawClient]:
    with RawClient(server.endpoint) as client:
        yield client


@pytest.mark.parametrize("header", [*V1, V2], ids=["no version", "version 1", "version 2"])
class TestMeshServesAnyVersion:
    def test_a_call(self, raw: RawClient, header: Header) -> None:
        raw.send(header, "add", [1, 2])
        answer, name, args = raw.receive()
        assert (name, args) == ("OK", [3])
        assert answer["response_to"] == header["message_id"]
        assert type(answer["response_to"]) is type(header["message_id"])

    def test_a_stream_begins_with_one_item(self, raw: RawClient, header: Header) -> None:
        raw.send(header, "count", [3])
        assert raw.answer()[1:] == ("STREAM", 0)


@pytest.mark.parametrize("header", V1, ids=["no version", "version 1"])
class TestMeshServesVersion1:
    def test_an_error_is_one_text(self, raw: RawClient, header: Header) -> None:
        raw.send(header, "fail", ["KeyError", "gone"])
        _, name, args = raw.receive()
        assert name == "ERR"
        assert len(args) == 1
        assert "KeyError" in args[0]
        assert "gone" in args[0]

    def test_an_unknown_method(self, raw: RawClient, header: Header) -> None:
        raw.send(header, "no_such_method", [])
        _, name, args = raw.receive()
        assert (name, len(args)) == ("ERR", 1)
        assert "no_such_method" in args[0]

    def test_a_long_call_needs_no_heartbeats(self, raw: RawClient, header: Header) -> None:
        raw.send(header, "wait", [4 * HEARTBEAT])
        _, name, args = raw.receive()
        assert (name, args) == ("OK", ["waited"]), "version 1 is sent no heartbeat before it sent one"


class TestMeshServesVersion2:
    def test_an_error_has_name_message_and_traceback(self, raw: RawClient) -> None:
        raw.send(V2, "fail", ["ValueError", "42"])
        _, name, args = raw.receive()
        assert (name, args[:2]) == ("ERR", ["ValueError", "42"])
        assert "in fail" in args[2]

    def test_a_heartbeat_grants_credit(self, raw: RawClient) -> None:
        raw.send(V2, "count", [20])
        assert raw.answer()[1:] == ("STREAM", 0)
        self._beat(raw, 3)
        assert [raw.answer()[2] for _ in range(3)] == [1, 2, 3]
        self._beat(raw, 0)
        names = {name for _, name, _ in raw.all_within(HEARTBEAT / 2)}
        assert names <= {"_zpc_hb"}, "a heartbeat of 0 keeps the channel, and grants nothing"
        self._beat(raw, 100)
        rest: list[Any] = []
        while True:
            _, name, value = raw.answer()
            if name == "STREAM_DONE":
                break
            rest.append(value)
        assert rest == list(range(4, 20))

    def test_heartbeats_keep_a_long_call(self, raw: RawClient) -> None:
        raw.send(V2, "wait", [4 * HEARTBEAT])
        beats = 0
        while True:
            _, name, args = raw.receive()
            if name != "_zpc_hb":
                break
            assert args == [0], "to version 2 any other number would be credit"
            beats += 1
            self._beat(raw, 0)
        assert (name, args) == ("OK", ["waited"])
        assert beats >= 2

    def test_a_silent_client_is_given_up(self, server: Server, raw: RawClient) -> None:
        with mesh.connect(server.endpoint, timeout=10, heartbeat=HEARTBEAT) as observer:
            raw.send(V2, "endless", [])
            assert raw.answer()[1:] == ("STREAM", 0)
            assert observer.open_streams() >= 1
            eventually(lambda: observer.open_streams() == 0, what="the stream's end")

    @staticmethod
    def _beat(raw: RawClient, credit: int) -> None:
        raw.send({"message_id": b"beat", "v": 2, "response_to": V2["message_id"]}, "_zpc_hb", [credit])


class TestMeshCallsAnyVersion:
    @pytest.mark.parametrize("version", [None, 1, 2, 3])
    def test_a_call(self, version: int | None) -> None:
        with RawServer() as server, mesh.connect(server.endpoint, timeout=10) as client:
            pending = gevent.spawn(client.add, 1, 2)
            header, name, args = server.receive()
            assert (name, args) == ("add", [1, 2])
            server.send(self._reply(header, version), "OK", [3])
            assert pending.get(timeout=20) == 3

    def test_an_error_of_version_1_is_one_text(self) -> None:
        with RawServer() as server, mesh.connect(server.endpoint, timeout=10) as client:
            pending = gevent.spawn(client.add, 1, 2)
            header, _, _ = server.receive()
            server.send(self._reply(header, 1), "ERR", ["ZeroDivisionError('gone')"])
            with pytest.raises(mesh.RemoteError) as caught:
                pending.get(timeout=20)
            assert caught.value.name == "RemoteError"
            assert caught.value.msg == "ZeroDivisionError('gone')"
            assert caught.value.traceback is None

    @staticmethod
    def _reply(header: Header, version: int | None) -> Header:
        reply: Header = {"message_id": b"reply", "response_to": header["message_id"]}
        return reply if version is None else {**reply, "v": version}
