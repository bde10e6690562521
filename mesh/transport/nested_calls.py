"""What becomes of the calls that a handler makes when the call that it carries out is given up."""

from __future__ import annotations

from mesh.core import nested
from mesh.core.server_call import ServerCall


def end_nested(served: ServerCall) -> None:
    """End them, wherever their clients are: the handler gets LostRemote in place of their answers."""
    for call, endpoint in nested.take(served):
        endpoint.abandon(call, nested.caller_gone(served, call.method))
