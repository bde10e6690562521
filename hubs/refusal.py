"""The answer of a stopping hub to a new call: that nobody has seen it, so that it may go elsewhere.

Tells new calls from the events of open ones by their header. What is no zerorpc event is no call.
"""

from __future__ import annotations

from mesh.core import wire
from mesh.core.channel import Ids


class Refusal:
    """base: 24 hex digits that no other sender of events has. hub: its name, for the text."""

    def __init__(self, base: bytes, hub: str) -> None:
        self._ids = Ids(base)
        self._args = wire.plain_error("LostRemote", f"hub {hub!r} is stopping: the call was not carried out")

    def __call__(self, message: list[bytes]) -> list[bytes] | None:
        """The answer to a message with its routing id and envelope, None where it is to go on."""
        header = wire.salvage_header(message[-1])
        if not header or "message_id" not in header or "response_to" in header:
            return None
        answer: wire.Header = {
            "message_id": self._ids.next(),
            "v": wire.VERSION,
            "response_to": header["message_id"],
            "refused": True,
        }
        return [*message[:-1], wire.pack(answer, wire.ERR, self._args)]
