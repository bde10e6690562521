"""Where one endpoint is to be dialled: asks for its host when that is due, and turns the name into numbers.

Used by one thread at a time, under the lock of whoever has the socket; waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.core.channel import NEVER
from mesh.core.host_addresses import HostAddresses, HostAnswer
from mesh.names.endpoints import check_endpoint
from mesh.names.hosts import canonical, host_of, numeric
from mesh.transport.host_lookup import HostQuestion, lookups


class Finder:
    """wake: called in any thread when `settle` has something new. An endpoint without a name is itself, and
    costs nothing. hosts: the addresses of its host, where whoever knows the endpoint knows them; then nobody
    is asked. Raises ConfigError where the endpoint is none.
    """

    __slots__ = ("_given", "_host", "_number", "_question", "_wake", "addresses", "endpoint")

    def __init__(
        self, endpoint: str, wake: Callable[[], object], now: float, hosts: tuple[str, ...] = ()
    ) -> None:
        self.endpoint = endpoint
        self._wake = wake
        self._host = host = host_of(endpoint)
        if host:
            check_endpoint(endpoint)
        self._number = "" if host else canonical(endpoint)
        self._question: HostQuestion | None = None
        self.addresses = HostAddresses(host, now, lookups.known(host)) if host else None
        self._given: tuple[str, ...] = ()
        self.give(hosts, now)
        self.settle(now)

    def give(self, hosts: tuple[str, ...], now: float) -> None:
        """These are the addresses of its host now, or it is to be asked for. `settle` follows."""
        if hosts != self._given:
            self._given = hosts
            if self.addresses is not None and hosts:
                self.addresses.found(HostAnswer(hosts), now)

    @property
    def at(self) -> str:
        """The endpoint in numbers, as it is to be dialled now; "" while its host is not known."""
        if self.addresses is None:
            return self._number
        return numeric(self.endpoint, self.addresses.at) if self.addresses.at else ""

    @property
    def problem(self) -> str:
        """Why its host has no address, as far as is known; "" where it has one."""
        return self.addresses.problem if self.addresses is not None else ""

    @property
    def wake_at(self) -> float:
        """When `settle` is to be called."""
        addresses = self.addresses
        if addresses is None:
            return NEVER
        # Who has asked is woken by the answer.
        asks = self._question is None and not self._given
        return min(addresses.move_at, addresses.ask_at if asks else NEVER)

    def settle(self, now: float) -> None:
        """Take in what was found, ask where it is time to, and go on to another address where that is due."""
        addresses = self.addresses
        if addresses is None:
            return
        self._take_in(addresses, now)
        if addresses.ask_at <= now and self._question is None and not self._given:
            addresses.asked(now)
            self._question = lookups.ask(self._host, self._wake, whole=addresses.whole)
            self._take_in(addresses, now)
        addresses.on_timer(now)

    def _take_in(self, addresses: HostAddresses, now: float) -> None:
        question = self._question
        if question is not None and question.answer is not None:
            self._question = None
            if self._given:
                return
            addresses.found(question.answer, now)

    def close(self) -> None:
        """Nobody wants to know any more."""
        if self._question is not None:
            self._question.drop()
