"""mesh and zerorpc-python 0.6.3, live, in both directions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mesh
from tests.conformance import contract
from tests.conformance.contract import HEARTBEAT
from tests.helpers.peers import OldClient, Server
from tests.helpers.processes import eventually, run


class TestMeshCallsPython(contract.MeshCallsAnOldServer):
    language = "python"

    def test_integers_of_64_bits(self, client: mesh.Client) -> None:
        values = [2**63 - 1, -(2**63), 2**64 - 1, 2**53 + 1]
        assert client.echo(values) == values

    def test_an_unknown_method(self, client: mesh.Client) -> None:
        with pytest.raises(NameError, match="no_such_method") as caught:
            client.no_such_method()
        assert type(caught.value) is mesh.MethodNotFound and caught.value.refused

    def test_an_exception_is_also_the_built_in_it_was(self, client: mesh.Client) -> None:
        with pytest.raises(KeyError) as caught:
            client.fail("KeyError", "gone")
        assert isinstance(caught.value, mesh.RemoteError)
        assert (caught.value.name, caught.value.msg) == ("KeyError", "'gone'")
        with pytest.raises(ValueError, match="42"):
            client.fail("ValueError", "42")

    def test_introspection(self, client: mesh.Client) -> None:
        assert client._zerorpc_ping() == ["pong", "old"]
        assert client._zerorpc_name() == "old"
        assert "add" in client._zerorpc_list()

    def test_streams_one_after_the_other_leave_the_server_alive(self, client: mesh.Client) -> None:
        """The old server hangs for good where two events reach a channel just as it ends."""
        for _ in range(40):
            assert len(list(client.count(250))) == 250
        assert client.open_streams() == 0


class TestPythonCallsMesh(contract.OldClientCallsMesh):
    language = "python"

    def test_integers_of_64_bits(self, old_client: OldClient) -> None:
        values = [2**63 - 1, -(2**63), 2**64 - 1, 2**53 + 1]
        assert old_client.call("echo", values).value == values

    def test_a_key_that_it_can_t_read_is_an_error_at_once(self, old_client: OldClient) -> None:
        """It would drop the event, and wait for another, or read on without an item."""
        says = "has a dict with a key of type int, and zerorpc's Python peers read no keys but text and bytes"
        answer = old_client.call("numbered")
        assert answer.error is not None and f"the result {says}" in str(answer.error)
        answer = old_client.stream("numbered_items")
        assert answer.items == ["first"]
        assert answer.error is not None and f"the item {says}" in str(answer.error)

    def test_a_slow_consumer_outlives_heartbeats(self, old_client: OldClient) -> None:
        answer = old_client.stream("count", 6, pause=HEARTBEAT)
        assert (answer.items, answer.error) == (list(range(6)), None)

    def test_an_abandoned_stream_ends_in_the_handler(self, server: Server) -> None:
        """The old client has no cancel: it falls silent, and that must be enough.

        It can also get stuck when it leaves a stream, so another one looks.
        """
        with (
            mesh.connect(server.endpoint, timeout=10, heartbeat=HEARTBEAT) as observer,
            OldClient("python", server.endpoint, heartbeat=HEARTBEAT) as leaver,
        ):
            left = observer.left_streams()
            answer = leaver.stream("endless", take=5)
            assert (answer.items, answer.error) == ([0, 1, 2, 3, 4], None)
            eventually(lambda: observer.open_streams() == 0, what="the stream's end")
            assert observer.left_streams() == left + 1

    def test_an_unknown_method_is_told_where_the_old_client_prints_it(self, old_client: OldClient) -> None:
        """str() of its RemoteError is the traceback, and nothing else."""
        error = old_client.call("no_such_method").error
        assert error is not None and "no_such_method" in error.message
        assert error.traceback == f"NameError: {error.message}\n"

    def test_the_old_command_describes_the_service(self, server: Server) -> None:
        """It can't call on a Python of today, whatever the server: it asks for collections.Iterator."""
        zerorpc = Path(sys.executable).with_name("zerorpc")
        described = run([zerorpc, server.endpoint])
        assert described.returncode == 0, described.stderr
        assert described.stdout.startswith("[new]\n")
        assert "Add two numbers." in described.stdout
        one = run([zerorpc, "-?", server.endpoint, "add"])
        assert one.returncode == 0, one.stderr
        assert "add(a, b=10)" in one.stdout
