"""The answer to a call that nobody here carries out: that nobody has seen it, so that it may go elsewhere.

Of a hub that stops, and of whoever is dealt calls by mistake. Tells new calls from the events of open ones
by their header. What is no zerorpc event is no call.
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.core import wire
from mesh.core.channel import Ids


class Refusal:
    """why: in words, for the caller."""

    def __init__(self, ids: Ids, why: str) -> None:
        self._ids = ids
        self._args = wire.plain_error("LostRemote", f"{why}: the call was not carried out")

    def __call__(self, message: Sequence[bytes]) -> list[bytes] | None:
        """The answer to a message with its routing id and envelope, None where it is no new call."""
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
