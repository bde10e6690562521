"""What all parts of one switch share: its settings, the present time, the timer, and what the driver is told.

Knows no call and no worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from logging import INFO, WARNING
from typing import Any, Protocol

from hubs.switching.model import Address
from hubs.switching.settings import Settings
from mesh.core.channel import NEVER
from mesh.core.progress import Progress
from mesh.core.recording import Recorder


class Driver(Protocol):
    """What a switch asks of whoever owns its sockets."""

    def crowded(self, client: Address) -> bool:
        """Whether this client has to read before it is given more."""

    def progress_of(self, peer: Address) -> Progress | None:
        """What moves on the connection of a peer, where that is known."""

    def worker_endpoint(self) -> str:
        """Where workers come to, for the advice in an error."""

    def host_of(self, peer: Address) -> str:
        """The host that a peer is at; "" where nobody can tell."""

    def describe(self) -> dict[str, Any]:
        """Which hub this is, without what it has."""

    def status(self) -> dict[str, Any]:
        """What the hub tells of itself to whoever asks by a message."""


class Environment:
    """began: when the hub was started. recorder: keeps what is to be told of calls; None where nothing is."""

    def __init__(
        self, settings: Settings, driver: Driver, began: float, recorder: Recorder | None = None
    ) -> None:
        self.settings = settings
        self.driver = driver
        self.began = began
        self.recorder = recorder
        self.now = 0.0
        """The present time, as the driver has told it last."""
        self.wake_at = NEVER
        """When the timer is wanted next."""
        self.draining = False
        """No more calls and workers are taken."""
        self.dropped: Counter[str] = Counter()
        """What was not understood, by kind."""
        self.refused: Counter[str] = Counter()
        """Calls that were refused, by error."""
        self.log_lines: list[tuple[int, str]] = []
        """For the log: the level, as logging has it, and the text."""

    def wake(self, at: float) -> None:
        """Want the timer at that time at the latest."""
        if at < self.wake_at:
            self.wake_at = at

    def begin_timer(self, now: float) -> float:
        """The timer runs: when it was wanted. Whoever wants it again has to say so."""
        self.now = now
        due, self.wake_at = self.wake_at, NEVER
        return due

    def inform(self, text: str) -> None:
        self.log_lines.append((INFO, text))

    def warn(self, text: str) -> None:
        self.log_lines.append((WARNING, text))

    def take_log_lines(self) -> Sequence[tuple[int, str]]:
        if not self.log_lines:
            return ()
        lines, self.log_lines = self.log_lines, []
        return lines
