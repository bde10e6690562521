"""What passes a collector's records on, whichever system it is for."""

from __future__ import annotations

from typing import Any, Protocol

from mesh.core.trace_batch import RecordBatch


class Export(Protocol):
    """name: for people, as "otlp". The collector's loop calls `take`, so it must not wait for anything: what
    takes longer is done by a native thread, with what waits for it bounded.
    """

    name: str

    def take(self, batch: RecordBatch, payload: bytes) -> None:
        """A batch was taken in. payload: the same as it came."""

    def told(self) -> dict[str, Any]:
        """What it has done so far, as values that travel. Safe in any thread."""

    def close(self, patience: float) -> None:
        """Send what is left, for so many seconds at the most, and end."""
