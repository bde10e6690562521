"""What every hub is to the one who runs it. Knows no kind of hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from hubs.spec import HubSpec
from hubs.switching.model import Announced
from hubs.switching.status import Values


class Endpoints(NamedTuple):
    """The real endpoints of both sides: those that are bound, then those that are connected to."""

    in_: tuple[str, ...]
    out: tuple[str, ...]


class Hub(Protocol):
    """A hub in threads of its own. All methods are called by other threads, one at a time."""

    @property
    def alive(self) -> bool:
        """Whether it carries messages; False before start, after stop, and when it has failed."""

    @property
    def endpoints(self) -> Endpoints:
        """Those that it has now."""

    def start(self) -> Endpoints:
        """Begin. Raises ConfigError where it can't, with all that it opened closed again."""

    def reconfigure(self, spec: HubSpec) -> Endpoints | None:
        """Become the hub of `spec`, with all sockets and messages that are in both.

        None where that takes a new hub. Raises ConfigError where it can't, and goes on as before.
        """

    def vacate(self, spec: HubSpec) -> None:
        """Leave the endpoints that `spec` does not have at that side, for another hub, and be as before else.

        `reconfigure` is to follow. Raises ConfigError where it can't.
        """

    def status(self, patience: float) -> Values | None:
        """What it tells of itself, as status.py has it; None where it can't within those seconds.

        This, `unserved` and `stuck` may be called by any number of threads at any time.
        """

    def unserved(self, services: Sequence[str], patience: float) -> Mapping[str, str] | None:
        """Which of these services it has nobody for, each with the reason; None as in `status`."""

    def announced(self, patience: float) -> Mapping[str, Announced] | None:
        """Its services, each with where their workers are reached; None as in `status`. Only a hub that
        clients call has some."""

    def prod(self, now: float) -> None:
        """Have it take a turn, for `stuck`; to be called about every second, with time.monotonic."""

    def tend(self, now: float) -> float:
        """Do what is to be done about every second, with time.monotonic; when it is wanted sooner."""

    def stuck(self, now: float) -> bool:
        """Whether it has had no turn for seconds though it was prodded; a busy one has had many."""

    def stop(self, drain: float) -> None:
        """End within about `drain` seconds; what is under way is finished in that time.

        Its endpoints are free again when this returns. Called once, also where it has failed.
        """
