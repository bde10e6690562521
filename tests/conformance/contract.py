"""What holds with an old peer of any language; each language's tests inherit it and add their own.

Heartbeats are short, so that a call of two seconds outlives several of them.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, ClassVar

import gevent
import pytest

import mesh
from tests.helpers import peers
from tests.helpers.peers import Language, OldClient, Server
from tests.helpers.processes import eventually
from tests.helpers.tap import Tap

HEARTBEAT = 0.5
SEVERAL_HEARTBEATS = 4 * HEARTBEAT

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**31 - 1,
    -(2**31),
    2**53,
    0.1,
    -1e300,
    float("inf"),
    "",
    "Größe, 数, 🚀",
    "x" * 70_000,
    b"",
    b"\x00\xff" * 40_000,
    [],
    {},
    [1, "two", [3.5, None, [b"4"]]],
    {"text": "t", "none": None, "map": {"é": [b"\x01", {"deep": True}]}},
    list(range(1_000)),
]


def _name(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 30 else f"{text[:12]}…{len(text)}"


every_value = pytest.mark.parametrize("value", VALUES, ids=_name)


class MeshCallsAnOldServer:
    language: ClassVar[Language]

    def test_a_call(self, client: mesh.Client) -> None:
        assert client.add(1, 2) == 3
        assert client("add", 1, 2) == 3
        assert client.nothing() is None

    @every_value
    def test_every_value_comes_back_as_it_left(self, client: mesh.Client, value: Any) -> None:
        assert client.echo(value) == value

    def test_a_tuple_arrives_as_a_list(self, client: mesh.Client) -> None:
        assert client.echo((1, (2, 3))) == [1, [2, 3]]

    def test_a_date_passes_through(self, client: mesh.Client) -> None:
        moment = datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=UTC)
        assert client.echo(moment) == moment

    def test_calls_at_the_same_time(self, client: mesh.Client) -> None:
        callers = [gevent.spawn(client.add, number, 1) for number in range(100)]
        gevent.joinall(callers, raise_error=True)
        assert [caller.value for caller in callers] == [number + 1 for number in range(100)]

    def test_a_slow_call_does_not_hold_up_a_quick_one(self, client: mesh.Client) -> None:
        slow = client.wait.future(1)
        assert client.add(1, 2) == 3
        assert slow.result(timeout=20) == "waited"

    @pytest.mark.parametrize("number", [0, 1, 2, 99, 100, 101, 5_000])
    def test_a_stream(self, client: mesh.Client, number: int) -> None:
        assert list(client.count(number)) == list(range(number))

    def test_a_stream_of_every_value(self, client: mesh.Client) -> None:
        assert list(client.items(VALUES)) == VALUES

    def test_long_streams_at_the_same_time_lose_no_item(self) -> None:
        """Old servers drop in silence what goes over their socket's high-water mark of 1,000 messages.

        This one works to capacity for seconds, and may be silent for one: heartbeats are far apart.
        """
        with (
            peers.old_server(self.language, heartbeat=5.0) as server,
            mesh.connect(server.endpoint, timeout=30, heartbeat=5.0) as client,
        ):
            readers = [gevent.spawn(lambda: list(client.count(1_000))) for _ in range(20)]
            gevent.joinall(readers, raise_error=True)
        for reader in readers:
            assert reader.value == list(range(1_000))

    def test_a_stream_that_fails_gives_its_items_first(self, client: mesh.Client) -> None:
        items = []
        with pytest.raises(mesh.RemoteError, match="after 3"):
            for item in client.fail_after(3):
                items.append(item)  # noqa: PERF402 - what came before the error counts
        assert items == [0, 1, 2]

    def test_a_slow_producer_outlives_heartbeats(self, client: mesh.Client) -> None:
        pause = HEARTBEAT * 1.5
        assert list(client.slowly(4, pause)) == [0, 1, 2, 3]

    def test_a_slow_consumer_outlives_heartbeats_and_bounds_the_server(self, old_server: Server) -> None:
        with (
            Tap(old_server.endpoint) as tap,
            mesh.connect(tap.endpoint, timeout=10, heartbeat=HEARTBEAT) as client,
        ):
            stream = iter(client.count(2_000))
            first = [next(stream)]
            gevent.sleep(SEVERAL_HEARTBEATS)
            ahead = sum(one.name == "STREAM" for one in tap.sent_by("server"))
            assert ahead < 1_500, "the server was let to run ahead of its reader"
            assert first + list(stream) == list(range(2_000))

    def test_an_abandoned_stream_ends_in_the_server(self, client: mesh.Client) -> None:
        for number, item in enumerate(client.endless()):
            assert item == number
            if number == 250:
                break
        eventually(lambda: client.open_streams() == 0, what="the end of the abandoned stream")
        assert client.add(1, 2) == 3

    def test_a_long_call_outlives_heartbeats(self, client: mesh.Client) -> None:
        assert client.wait(SEVERAL_HEARTBEATS) == "waited"

    def test_a_call_waits_no_longer_than_its_timeout(self, old_server: Server) -> None:
        with mesh.connect(old_server.endpoint, timeout=0.3, heartbeat=HEARTBEAT) as client:
            begun = time.monotonic()
            with pytest.raises(mesh.TimeoutExpired, match="wait"):
                client.wait(3)
            assert 0.25 < time.monotonic() - begun < 2.5, "not when the call would have ended"
            assert client.add(1, 2) == 3

    def test_a_remote_exception_has_name_message_and_traceback(self, client: mesh.Client) -> None:
        with pytest.raises(mesh.RemoteError) as caught:
            client.fail("Odd", "Größe")
        assert (caught.value.name, caught.value.msg) == ("Odd", "Größe")
        assert caught.value.traceback is not None
        assert "fail" in caught.value.traceback

    def test_keyword_arguments_are_refused_before_anything_is_sent(self, old_server: Server) -> None:
        """An old server would carry out the call without them. It is asked once, by a harmless call."""
        with Tap(old_server.endpoint) as tap:
            with mesh.connect(tap.endpoint, timeout=10, heartbeat=HEARTBEAT) as client:
                assert client.echo(1) == 1
                before = client.calls()
                for _ in range(5):
                    with pytest.raises(TypeError, match="keyword"):
                        client.echo(value=1)
                    with pytest.raises(TypeError, match="keyword"):
                        client.add(1, b=2)
                assert client.calls() == before
            asked = [one.name for one in tap.sent_by("client") if not one.name.startswith("_zpc_")]
            probes = [name for name in asked if name not in ("echo", "calls")]
            assert asked.count("echo") == 1
            assert len(probes) <= 1, f"one question to learn what the server is, not {probes}"
            assert all(name.startswith("_zerorpc_") for name in probes)

    def test_a_dict_with_numbers_for_keys(self, old_server: Server) -> None:
        """zerorpc-python would drop the call, and its caller wait in vain; zerorpc-node has text for them."""
        for options in ({}, {"idempotent": True}):
            with mesh.connect(old_server.endpoint, timeout=10, heartbeat=HEARTBEAT) as client:
                for _ in range(2):
                    if self.language == "node":
                        assert client.with_options(**options).echo({1: "one"}) == {"1": "one"}
                        continue
                    with pytest.raises(
                        TypeError, match="'echo' has a dict with a key of type int, and zerorpc"
                    ):
                        client.with_options(**options).echo({1: "one"})
                    assert client.echo(1) == 1

    def test_what_is_sent_is_what_an_old_client_sends(self, old_server: Server) -> None:
        """The same frames, the same keys first, and besides them only keys that old peers ignore."""
        with Tap(old_server.endpoint) as tap, mesh.connect(tap.endpoint, heartbeat=HEARTBEAT) as client:
            client.add(1, 2)
            assert len(list(client.count(300))) == 300
            client.wait(SEVERAL_HEARTBEATS)
            sent = tap.sent_by("client")
        assert {"_zpc_more", "_zpc_hb", "add", "count", "wait"} == {one.name for one in sent}
        for one in sent:
            header, name, args = one.event
            assert one.frames[:-1] == [b""]
            assert list(header)[:2] == ["message_id", "v"]
            assert type(header["message_id"]) is bytes
            assert header["v"] == 3
            assert type(args) is list
            extra = set(header) - {"message_id", "v", "response_to"}
            assert ("response_to" in header) == name.startswith("_zpc_")
            assert not extra & {"service", "kwargs", "idempotent"}, "said without being asked to"
        assert next(one.event[2] for one in sent if one.name == "_zpc_hb") == [0]

    def test_a_killed_server_is_missed_at_once(self) -> None:
        with (
            peers.old_server(self.language, heartbeat=5) as server,
            mesh.connect(server.endpoint, timeout=30, heartbeat=5) as client,
        ):
            stream = iter(client.slowly(100, 0.01))
            next(stream)
            waiting = client.wait.future(30)
            client.add(1, 2)
            killed = time.monotonic()
            server.kill()
            with pytest.raises(mesh.LostRemote):
                waiting.result(timeout=10)
            assert time.monotonic() - killed < 5, "two heartbeats are 10 s"
            with pytest.raises(mesh.LostRemote):
                list(stream)
            assert time.monotonic() - killed < 5, "two heartbeats are 10 s"

    def test_a_server_that_comes_back_is_called_again(self) -> None:
        with (
            peers.old_server(self.language, heartbeat=HEARTBEAT) as server,
            mesh.connect(server.endpoint, timeout=10, heartbeat=HEARTBEAT) as client,
        ):
            assert client.add(1, 2) == 3
            server.kill()
            with peers.old_server(self.language, heartbeat=HEARTBEAT, endpoint=server.endpoint):
                assert eventually(lambda: _answer(client), what="an answer after the restart") == 3

    def test_one_dead_server_of_three_stalls_nobody(self, old_server: Server) -> None:
        with peers.old_server(self.language, heartbeat=HEARTBEAT) as second:
            endpoints = [old_server.endpoint, peers.nobody(), second.endpoint]
            with mesh.connect(endpoints, timeout=10, heartbeat=HEARTBEAT) as client:
                begun = time.monotonic()
                assert [client.add(number, 1) for number in range(60)] == list(range(1, 61))
                assert time.monotonic() - begun < 10


class OldClientCallsMesh:
    language: ClassVar[Language]

    def test_a_call(self, old_client: OldClient) -> None:
        assert old_client.call("add", 1, 2).value == 3
        assert old_client.call("add", 1).value == 11
        nothing = old_client.call("nothing")
        assert (nothing.value, nothing.error) == (None, None)

    @every_value
    def test_every_value_comes_back_as_it_left(self, old_client: OldClient, value: Any) -> None:
        answer = old_client.call("echo", value)
        assert answer.error is None
        assert answer.value == value

    def test_calls_at_the_same_time(self, old_client: OldClient) -> None:
        answer = old_client.many("add", *[[number, 1] for number in range(100)])
        assert answer.error is None
        assert answer.value == [number + 1 for number in range(100)]

    @pytest.mark.parametrize("number", [1, 2, 99, 100, 101])
    def test_a_stream(self, old_client: OldClient, number: int) -> None:
        answer = old_client.stream("count", number)
        assert answer.error is None
        assert answer.items == list(range(number))

    def test_a_long_stream(self, server: Server) -> None:
        """The old client works to capacity, and may come to read a heartbeat after two of them: they are far
        apart.
        """
        with OldClient(self.language, server.endpoint, heartbeat=5.0) as client:
            answer = client.stream("count", 5_000)
        assert answer.error is None
        assert answer.items == list(range(5_000))

    def test_an_empty_stream(self, old_client: OldClient) -> None:
        answer = old_client.stream("count", 0)
        assert (answer.items, answer.error) == ([], None)

    def test_a_stream_of_every_value(self, old_client: OldClient) -> None:
        answer = old_client.stream("items", VALUES)
        assert answer.error is None
        assert answer.items == VALUES

    def test_a_stream_that_fails_gives_its_items_first(self, old_client: OldClient) -> None:
        answer = old_client.stream("fail_after", 3)
        assert answer.items == [0, 1, 2]
        assert answer.error is not None
        assert (answer.error.name, answer.error.message) == ("ValueError", "after 3")

    def test_a_slow_producer_outlives_heartbeats(self, old_client: OldClient) -> None:
        answer = old_client.stream("slowly", 4, HEARTBEAT * 1.5)
        assert (answer.items, answer.error) == ([0, 1, 2, 3], None)

    def test_a_long_call_outlives_heartbeats(self, old_client: OldClient) -> None:
        assert old_client.call("wait", SEVERAL_HEARTBEATS).value == "waited"

    def test_a_handler_that_computes_loses_no_caller(self, old_client: OldClient) -> None:
        answer = old_client.call("compute", SEVERAL_HEARTBEATS)
        assert (answer.value, answer.error) == ("computed", None)

    def test_a_remote_exception_has_name_message_and_traceback(self, old_client: OldClient) -> None:
        for kind, message in [("Odd", "Größe"), ("ValueError", "42 is wrong")]:
            error = old_client.call("fail", kind, message).error
            assert error is not None
            assert (error.name, error.message) == (kind, message)
            assert "in fail" in (error.traceback or "")

    def test_an_unknown_method(self, old_client: OldClient) -> None:
        error = old_client.call("no_such_method", 1).error
        assert error is not None
        assert error.name == "NameError"
        assert "no_such_method" in error.message

    def test_wrong_arguments(self, old_client: OldClient) -> None:
        error = old_client.call("add", 1, 2, 3).error
        assert error is not None
        assert error.name == "TypeError"

    def test_what_was_hidden_stays_hidden(self, old_client: OldClient) -> None:
        for method in ("_stream", "__init__", "__class__"):
            error = old_client.call(method).error
            assert error is not None
            assert error.name == "NameError"

    def test_a_client_gives_up_after_its_timeout_and_goes_on(self, server: Server) -> None:
        with OldClient(self.language, server.endpoint, heartbeat=HEARTBEAT, timeout=2) as client:
            error = client.call("wait", 3).error
            assert error is not None
            assert "imeout" in error.message or "imeout" in error.kind
            assert client.call("add", 1, 2).value == 3

    def test_introspection(self, old_client: OldClient) -> None:
        assert old_client.call("_zerorpc_ping").value == ["pong", "new"]
        assert old_client.call("_zerorpc_name").value == "new"
        assert {"add", "count", "echo"} <= set(old_client.call("_zerorpc_list").value)
        assert old_client.call("_zerorpc_help", "add").value == "Add two numbers."
        described = old_client.call("_zerorpc_inspect").value
        assert described["name"] == "new"
        add = described["methods"]["add"]
        assert add["doc"] == "Add two numbers."
        assert [argument["name"] for argument in add["args"]] == ["a", "b"]
        assert "default" not in add["args"][0]
        assert add["args"][1]["default"] == 10

    def test_a_client_that_dies_ends_the_handlers_stream(self, server: Server) -> None:
        with mesh.connect(server.endpoint, timeout=10, heartbeat=HEARTBEAT) as observer:
            left = observer.left_streams()
            with OldClient(self.language, server.endpoint, heartbeat=HEARTBEAT) as client:
                client.begin(do="stream", method="slowly", args=[1_000_000, 0.01])
                eventually(lambda: observer.open_streams() == 1, what="the stream's begin")
                client.kill()
                eventually(lambda: observer.open_streams() == 0, what="the stream's end")
            assert observer.left_streams() == left + 1

    def test_through_a_plain_device(self, server: Server) -> None:
        with Tap(server.endpoint) as tap:
            with OldClient(self.language, tap.endpoint, heartbeat=HEARTBEAT) as client:
                assert client.call("add", 1, 2).value == 3
                assert client.stream("count", 500).items == list(range(500))
                assert client.call("wait", SEVERAL_HEARTBEATS).value == "waited"
            for one in tap.sent_by("server"):
                header, _name, _args = one.event
                assert one.frames[:-1] == [b""]
                assert list(header)[:3] == ["message_id", "v", "response_to"]
                assert header["v"] == 3


def _answer(client: mesh.Client) -> Any:
    try:
        return client.add(1, 2)
    except mesh.LostRemote:
        return None
