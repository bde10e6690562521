"""A named service, followed as its sources change: the registry file, and DNS for a name that it lacks.

Knows no socket: what follows a name in DNS is given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import NamedTuple, Protocol
from weakref import ref

from mesh.errors import ConfigError, MeshError, ServiceNotFound
from mesh.names.catalog import Catalog
from mesh.names.model import EXTENSION, Answer, Endpoint, Failed, Missing, Service
from mesh.names.resolver import check_name, not_found

log = logging.getLogger("mesh.names")


class Follower(Protocol):
    """One name, as DNS has it. answer: None where no server has answered yet. version: grows with each.
    looked_in: where it is looked for, in words. trouble: why there is no answer yet, as far as is known.
    """

    @property
    def answer(self) -> Answer | None: ...
    @property
    def looked_in(self) -> str: ...
    @property
    def trouble(self) -> str: ...
    @property
    def version(self) -> int: ...
    def want(self) -> None: ...
    def close(self) -> None: ...


FollowInDns = Callable[[str, Callable[[], None]], Follower | None]
"""Begins to follow a name, and calls the function, in any thread, when there is a new answer. None where DNS
is not to be asked."""
Check = Callable[[str, Endpoint], None]
"""Raises ConfigError where an endpoint of the service is of no use to whoever follows it."""


class _State(NamedTuple):
    """seen: the versions of the sources that this comes from. absence: why there are no endpoints."""

    seen: tuple[int, int]
    version: int
    service: Service
    absence: MeshError | None = None
    of_file: bool = True


def _takes_all(name: str, endpoint: Endpoint) -> None:
    """Everything is of use."""


class Followed:
    """One name, in a catalog or in DNS. What can't be used takes nothing away: the last endpoints stay.

    An entry of the file counts as a whole. DNS adds nothing to it, above all no key, and takes none away.

    Raises ServiceNotFound and ConfigError, but none for a name that DNS is still asked for.
    """

    def __init__(
        self, name: str, catalog: Catalog, check: Check = _takes_all, dns: FollowInDns | None = None
    ) -> None:
        check_name(name)
        self.on_change: Callable[[], None] = lambda: None
        """Called, in any thread, where DNS has something new to tell of which `refresh` knows then."""
        self._name = name
        self._catalog = catalog
        self._check = check
        self._follow_in_dns = dns
        self._dns: Follower | None = None
        self._warned = ""
        catalog.refresh(monotonic())
        seen = self._versions()
        answer = self._answer()
        service = Service(name, (), source="DNS") if answer is None else self._usable(answer)
        self._state = _State(seen, 1, service, of_file=self._dns is None)

    @property
    def service(self) -> Service:
        """As it is now; without endpoints where it has none, or DNS has not answered yet."""
        return self._state.service

    @property
    def absence(self) -> MeshError | None:
        """Why there are no endpoints; None where there are, or DNS has not answered yet."""
        return self._state.absence

    @property
    def awaited(self) -> str:
        """Who has still to tell where the service is, and what is wrong there; "" where nobody has."""
        dns = self._dns
        if dns is None or dns.answer is not None:
            return ""
        return f"{dns.looked_in}: {dns.trouble}" if dns.trouble else f"{dns.looked_in} has given no answer"

    def endpoints(self) -> Sequence[Endpoint]:
        return self._state.service.endpoints

    def refresh(self, now: float) -> int:
        """A number that changes with the endpoints; looks at the file as often as its catalog does."""
        self._catalog.refresh(now)
        seen = self._versions()
        if seen != self._state.seen:
            self._decide(seen)
        return self._state.version

    def want(self) -> None:
        """A connection was lost, or a call has nowhere to go: have DNS asked sooner."""
        if self._dns is not None:
            self._dns.want()

    def close(self) -> None:
        """Follow it no more."""
        if self._dns is not None:
            self._dns.close()

    def _versions(self) -> tuple[int, int]:
        dns = self._dns
        return self._catalog.version, 0 if dns is None else dns.version

    def _decide(self, seen: tuple[int, int]) -> None:
        """From what the sources have now. Several threads may be here: the next look mends what is stale."""
        last = self._state
        service, of_file = last.service, last.of_file
        absence: MeshError | None = None
        try:
            answer = self._answer()
            if answer is not None:
                service, of_file = self._usable(answer), self._dns is None
        except ServiceNotFound as exc:
            if of_file:
                self._warn(f"{exc}; its last endpoints are kept")
            else:
                service, absence = replace(service, endpoints=()), exc
        except MeshError as exc:
            if service.endpoints:
                self._warn(f"{exc}; its last endpoints are kept")
            else:
                absence = exc
        self._state = _State(seen, last.version + 1, service, absence, of_file)

    def _answer(self) -> Answer | None:
        """Of the first source that has the name; None as long as DNS has not answered."""
        answer = self._catalog.lookup(self._name)
        if not isinstance(answer, Missing) or self._name.startswith(EXTENSION):
            self.close()
            self._dns = None
            return answer
        if self._dns is None and self._follow_in_dns is not None:
            self._dns = self._follow_in_dns(self._name, partial(_tell, ref(self)))
        if self._dns is None:
            return answer
        match self._dns.answer:
            case Missing(looked_in, known):
                return Missing((*answer.looked_in, *looked_in), (*answer.known, *known))
            case Failed(error):
                return Failed(not_found(self._name, answer.looked_in, answer.known, error))
            case of_dns:
                return of_dns

    def _usable(self, answer: Answer) -> Service:
        """The service, without the endpoints that are of no use here. Raises where there are no others."""
        if isinstance(answer, Missing):
            raise not_found(self._name, answer.looked_in, answer.known)
        if isinstance(answer, Failed):
            raise answer.error
        service, problems = answer.service, []
        if service.split is not None:
            self._warned = ""
            return service
        endpoints: list[Endpoint] = []
        for endpoint in service.endpoints:
            try:
                self._check(service.name, endpoint)
                endpoints.append(endpoint)
            except ConfigError as exc:
                problems.append(exc)
        if not endpoints:
            raise problems[0]
        if problems:
            self._warn(f"{problems[0]}; its other endpoints are used")
        else:
            self._warned = ""
        return replace(service, endpoints=tuple(endpoints))

    def _warn(self, text: str) -> None:
        """Once, as long as nothing else is wrong and nothing is well again in between."""
        if text != self._warned:
            self._warned = text
            log.warning("%s", text)


def _tell(followed: ref[Followed]) -> None:
    one = followed()
    if one is not None:
        one.on_change()
