"""One look at a service in DNS: which questions there are to ask, and what the answers amount to.

Pure: questions come out, replies go in, each with the time. SRV records give the endpoints (RFC 2782), TXT
records of the same name what is known of them (RFC 6763), A and AAAA records where their hosts are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from mesh.names.dns_described import Described, read_texts
from mesh.names.dns_messages import ENDLESS, Question, Reply, ServerFailed, SrvRecord
from mesh.names.endpoints import endpoint_problem
from mesh.names.model import Endpoint
from mesh.names.subset import subset

AAAA_GRACE: Final = 0.05
"""Seconds that the IPv4 addresses of a host wait for its IPv6 addresses."""
HOSTS_GRACE: Final = 0.25
"""Seconds that the first host with an address waits for the others, before it is used without them."""
LIMIT: Final = 10.0
"""Seconds that a look has."""
MOST_ALIASES: Final = 8
MOST_ENDPOINTS: Final = 128
"""Endpoints of one name whose hosts a process looks up; each of its clients uses some of them."""
NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Positive:
    """The service has these endpoints, for `ttl` seconds. unresolved: those of them whose hosts have no
    address, or none yet. none: the domain says that it has no such service, by the target ".".
    """

    endpoints: tuple[Endpoint, ...]
    ttl: float
    unresolved: frozenset[str] = frozenset()
    none: bool = False


@dataclass(frozen=True, slots=True)
class Negative:
    """There is no such name, or it has no such records. ttl: seconds for which that holds, if it tells.
    decided: the domain says so by the target ".".
    """

    ttl: float | None
    decided: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody could tell. reason: why not, after "DNS can't tell: "."""

    reason: str


Result = Positive | Negative | Unknown


@dataclass(slots=True)
class _Host:
    """What is known of the addresses of one host. pending: the kinds that are still to come, each with the
    name that is asked for: the host's own, or what it is an alias of. aliases: how many were followed.
    """

    addresses: dict[str, tuple[str, ...]]
    pending: dict[str, str]
    ttl: float = NEVER
    aliases: int = 0
    decided_at: float = NEVER
    """When it goes without what is still to come."""


class Lookup:
    """owner_names: those that the service's records may have, the first that has some counts. at: the name
    servers, in words. in_use: the one whose records are, "" for none: where it fails, or is denied, no later
    one takes its place in this look, as that has a service of its own. process: an id, by which of very many
    endpoints each process looks at others.
    """

    def __init__(
        self, owner_names: Sequence[str], at: str, now: float, process: bytes, in_use: str = ""
    ) -> None:
        self.questions: list[Question] = []
        """To be asked now; whoever does takes them out."""
        self.owner_name = ""
        """The name that has records, "" where none has."""
        self.result: Result | None = None
        """The last word, once there is one."""
        self.early: Positive | None = None
        """What can be used already while some hosts are not known yet; whoever uses it takes it out."""
        self._process = process
        self._in_use = in_use
        self._names = list(owner_names)
        self._at = at
        self._name = ""
        self._aliases = 0
        self._ttl = NEVER
        self._missing_ttl: float | None = None
        self._failures: list[str] = []
        self._records: Sequence[SrvRecord] = ()
        self._described: Callable[[str, int], Described] | None = None
        self._hosts: dict[str, _Host] = {}
        self._early_at = NEVER
        self._ends = now + LIMIT
        self._next_name()

    @property
    def wake_at(self) -> float:
        """When `on_timer` is to be called."""
        if self.result is not None:
            return NEVER
        return min(
            [self._ends, self._early_at, *(host.decided_at for host in self._hosts.values() if host.pending)]
        )

    def answered(self, question: Question, reply: Reply | ServerFailed, now: float) -> None:
        """This has come of a question."""
        if self.result is not None:
            return
        if question.kind == "SRV":
            self._endpoints_answered(reply)
        elif question.kind == "TXT":
            self._texts_answered(question, reply)
        else:
            self._host_answered(question, reply, now)
        self._conclude(now)

    def on_timer(self, now: float) -> None:
        if now >= self._ends and self.result is None:
            known = any(host.addresses for host in self._hosts.values())
            self.result = self._positive() if known and self._described else Unknown(self._too_late())
            return
        for host in self._hosts.values():
            if host.decided_at <= now:
                host.pending.clear()
        self._conclude(now)

    def _too_late(self) -> str:
        return f"{self._at} has not told all of {self._name} within {LIMIT:g} s"

    # SRV

    def _next_name(self) -> None:
        if self._names:
            self._name, self._aliases = self._names.pop(0), 0
            if self._name == self._in_use:
                self._names.clear()
            self.questions.append(Question(self._name, "SRV"))
        elif self._failures:
            self.result = Unknown("; ".join(self._failures))
        else:
            self.result = Negative(self._missing_ttl)

    def _endpoints_answered(self, reply: Reply | ServerFailed) -> None:
        if isinstance(reply, ServerFailed):
            self._failures.append(str(reply))
            if reply.silent:
                self._names.clear()  # no other name fares better
            self._next_name()
        elif reply.alias and self._aliases < MOST_ALIASES:
            self._aliases += 1
            self.questions.append(Question(reply.alias, "SRV"))
        elif reply.alias:
            self._failures.append(f"{self._at} says of {self._name} that {ENDLESS}")
            self._next_name()
        elif not reply.records:
            ttls = [ttl for ttl in (self._missing_ttl, reply.ttl) if ttl is not None]
            self._missing_ttl = min(ttls, default=None)
            self._next_name()
        else:
            self._use(reply)

    def _use(self, reply: Reply) -> None:
        """This name has the service."""
        self.owner_name = self._name
        self._ttl = reply.ttl or 0.0
        records = [one for one in reply.records if isinstance(one, SrvRecord)]
        if not any(one.target for one in records):
            self.result = Positive((), self._ttl, none=True)
            return
        usable = _usable(records)
        if not usable:
            self.result = Unknown(_no_endpoint(records))
            return
        self._records = subset(self._process, usable, _priority, _address, MOST_ENDPOINTS)
        self.questions.append(Question(self._name, "TXT"))
        for target in dict.fromkeys(one.target for one in self._records):
            self._look_for(target, reply)

    def _look_for(self, host: str, reply: Reply) -> None:
        if _is_ipv4(host):
            self._hosts[host] = _Host({"A": (host,)}, {})
        elif any(map(_is_ipv4, reply.addresses.get(host, ()))):
            self._hosts[host] = _Host({"A": reply.addresses[host]}, {}, reply.addresses_ttl)
        elif host in reply.addresses:  # those of IPv6 alone were sent along, as the others had no room
            self._hosts[host] = _Host({"AAAA": reply.addresses[host]}, {"A": host}, reply.addresses_ttl)
            self.questions.append(Question(host, "A"))
        else:
            self._hosts[host] = _Host({}, {"A": host, "AAAA": host})
            self.questions += (Question(host, "A"), Question(host, "AAAA"))

    # TXT

    def _texts_answered(self, question: Question, reply: Reply | ServerFailed) -> None:
        if isinstance(reply, ServerFailed):
            # It may say that there is a hub, or a key: nothing is used without it.
            self.result = Unknown(str(reply))
        elif reply.alias and self._aliases < MOST_ALIASES:
            self._aliases += 1
            self.questions.append(Question(reply.alias, "TXT"))
        else:
            if reply.records and reply.ttl is not None:
                self._ttl = min(self._ttl, reply.ttl)
            self._described = read_texts(one for one in reply.records if isinstance(one, tuple))

    # A and AAAA

    def _host_answered(self, question: Question, reply: Reply | ServerFailed, now: float) -> None:
        for host in self._hosts.values():
            if host.pending.get(question.kind) == question.name:
                self._take_addresses(host, question.kind, reply, now)

    def _take_addresses(self, host: _Host, kind: str, reply: Reply | ServerFailed, now: float) -> None:
        if isinstance(reply, Reply) and reply.alias and host.aliases < 2 * MOST_ALIASES:
            self._follow_alias(host, kind, reply)
            return
        del host.pending[kind]
        if isinstance(reply, ServerFailed):
            return
        found = tuple(one for one in reply.records if isinstance(one, str))
        if not found:
            return
        host.addresses[kind] = found
        host.ttl = min(host.ttl, NEVER if reply.ttl is None else reply.ttl)
        if host.pending:
            host.decided_at = now + AAAA_GRACE if kind == "A" else NEVER

    def _follow_alias(self, host: _Host, kind: str, reply: Reply) -> None:
        """The server knows of what the host is an alias, and not where that is."""
        host.aliases += 1
        host.ttl = min(host.ttl, NEVER if reply.ttl is None else reply.ttl)
        host.pending[kind] = reply.alias
        question = Question(reply.alias, kind)
        if question not in self.questions:
            self.questions.append(question)

    # The result

    def _conclude(self, now: float) -> None:
        if self.result is not None or self._described is None:
            return
        known = [host for host in self._hosts.values() if host.addresses and not host.pending]
        waiting = any(host.pending for host in self._hosts.values())
        if not waiting:
            self.result = self._positive()
        elif known and self._early_at == NEVER:
            self._early_at = now + HOSTS_GRACE
        elif known and self._early_at <= now:
            self.early, self._early_at = self._positive(), now + HOSTS_GRACE

    def _positive(self) -> Positive:
        ttl = min([self._ttl, *(host.ttl for host in self._hosts.values())])
        endpoints = tuple(self._endpoint(record) for record in self._records)
        unresolved = frozenset(one.address for one in endpoints if not one.hosts)
        return Positive(endpoints, ttl, unresolved)

    def _endpoint(self, record: SrvRecord) -> Endpoint:
        assert self._described is not None
        host = self._hosts[record.target]
        hosts = () if host.pending else (*host.addresses.get("A", ()), *host.addresses.get("AAAA", ()))
        known = self._described(record.target, record.port)
        return Endpoint(
            _address(record),
            known.hub,
            known.type,
            record.priority,
            max(record.weight, 1),
            known.key,
            known.labels,
            hosts,
            self._ttl,
            f"DNS {self.owner_name} at {self._at}",
        )


def _usable(records: Iterable[SrvRecord]) -> list[SrvRecord]:
    """Without those that are no endpoints, and each endpoint once, by its most preferred record."""
    found: dict[str, SrvRecord] = {}
    for record in sorted(records, key=lambda one: (one.priority, -one.weight, one.target, one.port)):
        address = _address(record)
        if record.target and endpoint_problem(address) is None:
            found.setdefault(address, record)
    return list(found.values())


def _no_endpoint(records: Iterable[SrvRecord]) -> str:
    """Why none of these is an endpoint, by the first that is meant as one."""
    address = next(_address(one) for one in records if one.target)
    return f"its records lead to no endpoint that can be used: {endpoint_problem(address)}"


def _address(record: SrvRecord) -> str:
    return f"tcp://{record.target}:{record.port}"


def _priority(record: SrvRecord) -> int:
    return record.priority


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
