"""What a type of hub decides for one service: which of its workers gets a call, and which calls wait.

A scheduler knows no address, no message and no clock; whoever calls it carries out what it says. It gives no
call out twice, and keeps each call that it let wait until it gives it out or is told to let it go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from hubs.switching.model import RoutedCall, Worker
from hubs.switching.pool import Pool

Assignment = tuple[Worker, RoutedCall]
"""A call that waited, and the worker that has it from now on."""


class WaitingCalls(Protocol):
    """The calls of one service that wait, for whoever only looks at them."""

    @property
    def count(self) -> int:
        """How many wait."""

    @property
    def size(self) -> int:
        """Bytes of all that wait."""

    def __iter__(self) -> Iterator[RoutedCall]: ...

    def first_of_each(self) -> Iterator[RoutedCall]:
        """The calls of which one is the oldest that waits."""

    def room(self, size: int) -> bool:
        """Whether a call of so many bytes may wait without another that has to give way."""


class Scheduler(Protocol):
    """The workers of one service and the calls that wait for them.

    pool: the workers, and what room each has; waiting: the calls. Both are only looked at from outside.
    """

    @property
    def pool(self) -> Pool[Worker]: ...

    @property
    def waiting(self) -> WaitingCalls: ...

    # Calls

    def problem(self, call: RoutedCall) -> str:
        """Why a call with this key can go to nobody; "" where it can. Not asked for calls without a key."""

    def submit(self, call: RoutedCall) -> Worker | None:
        """The worker that has this call from now on; None where none that may take it has room now."""

    def enqueue(self, call: RoutedCall) -> Sequence[RoutedCall]:
        """Let a call wait that `submit` had no worker for.

        Gives the calls that have to give way, and wait no more: this one itself where it gets no room.
        """

    def freed(self, worker: Worker) -> Sequence[Assignment]:
        """One call of the worker has ended: what is given out now."""

    def withdraw(self, call: RoutedCall) -> bool:
        """The call waits no more; False where it did not wait."""

    def expire(self, now: float) -> Sequence[RoutedCall]:
        """Take out the calls whose deadline has come."""

    def limit(self, calls: int, size: int) -> None:
        """How many calls may wait from now on, and with how many bytes; what waits already goes on to."""

    # Workers

    def add(self, worker: Worker, capacity: int) -> Sequence[Assignment]:
        """A worker that takes so many calls at once: what is given out now."""

    def resize(self, worker: Worker, capacity: int) -> Sequence[Assignment]:
        """The worker takes that many from now on; what it has beyond that it keeps. What is given out now."""

    def remove(self, worker: Worker, orphans: Sequence[RoutedCall]) -> Sequence[Assignment]:
        """The worker has gone: what is given out now.

        orphans: calls that it had and that another may have. They wait again, whether there is room or not.
        """


NewScheduler = Callable[[int, int], Scheduler]
"""Makes one for a service; it is given how many calls may wait, and with how many bytes."""
