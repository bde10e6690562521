"""mesh and zerorpc-node 0.9.8, live, in both directions."""

from __future__ import annotations

import mesh
from tests.conformance import contract


class TestMeshCallsNode(contract.MeshCallsAnOldServer):
    language = "node"

    def test_a_thrown_exception_is_also_the_built_in_it_was(self, client: mesh.Client) -> None:
        try:
            client.fail("TypeError", "thrown")
        except TypeError as exc:
            assert isinstance(exc, mesh.RemoteError)
            assert (exc.name, exc.msg) == ("TypeError", "thrown")

    def test_a_stream_whose_items_grow_does_not_stall(self, client: mesh.Client) -> None:
        """Node takes a grant of credit for all that it has, zerorpc-python adds it to what it had."""
        sizes = [len(item) for item in client.growing(2_000, 600, 131_072)]
        assert sizes == [0] * 2_000 + [131_072] * 600

    def test_introspection(self, client: mesh.Client) -> None:
        assert client._zerorpc_ping() == ["pong", ""]
        assert "add" in client._zerorpc_inspect()["methods"]


class TestNodeCallsMesh(contract.OldClientCallsMesh):
    language = "node"
