"""Where others reach a hub's services, from its own endpoints and what its workers announce. Pure.

A wildcard, a loopback or a link-local address says nothing to other machines: such a one is published as the
host that the file names by `as`, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple
from zlib import crc32

from hubs.switching.model import Announced
from mesh.core.labels import Labels
from mesh.names.hosts import zone_host
from mesh.names.model import MOST_WEIGHT
from mesh.names.publication import BEHIND, DIRECT, Key, PublishedEndpoint, Record

MAX_LABEL: Final = 63
_HERE: Final = ("localhost", "localhost.localdomain")
_EVERYWHERE: Final = ("*", "0.0.0.0", "::")


class Published(NamedTuple):
    """names: the places of each service. addresses: the records by which their hosts are found. problems:
    what is not published, or perhaps in vain, each with what to do."""

    names: dict[str, tuple[PublishedEndpoint, ...]]
    addresses: frozenset[Record]
    problems: frozenset[str]


def host_and_port(endpoint: str) -> tuple[str, int] | None:
    """Those of a tcp:// endpoint whose port is known."""
    if not endpoint.startswith("tcp://"):
        return None
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isascii() and port.isdigit() else None


def only_here(host: str) -> bool:
    """Whether the host of an endpoint means nothing on another machine."""
    if host == "*" or host.lower().rstrip(".") in _HERE:
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_unspecified or address.is_loopback or address.is_link_local


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") in _HERE


def address_here(endpoints: Iterable[str]) -> str | None:
    """The loopback or link-local address of a hub that listens at such ones alone, None of any other hub.

    One that listens elsewhere as well is not to be called by the address at which others find themselves.
    """
    hosts = [parts[0].partition("%")[0] for endpoint in endpoints if (parts := host_and_port(endpoint))]
    if not hosts or not all(host not in _EVERYWHERE and only_here(host) for host in hosts):
        return None
    found = next((host for host in hosts if not is_loopback(host)), hosts[0])
    return "127.0.0.1" if found.lower().rstrip(".") in _HERE else found


def astray(host: str, own: str, there: Iterable[str]) -> str:
    """What to say of a host that has these addresses in the zone, and not the one that a hub would write."""
    has = f"{host} has the address {' and '.join(sorted(there))} in the zone, and clients go there"
    if is_loopback(own):
        return (
            f"{has}, while this hub listens at {own} alone: have it bind an address that others "
            "reach, or give it an 'as' of its own"
        )
    return (
        f"{has}, while this hub would write {own}: where that is another machine, take the record out of the "
        "zone, and the hub writes its own"
    )


def absolute(host: str, zone: str) -> str:
    """The host's name with the dot at its end; one without a dot is in the zone."""
    return f"{host.lower().rstrip('.')}." if "." in host else f"{host.lower()}.{zone.strip('.')}."


class Places:
    """The places of one hub.

    as_: the host to publish for what means nothing elsewhere, or None. machine: the name of this one.
    resolve: gives an address of a host that has no domain, None where it has none.
    """

    def __init__(
        self, zone: str, as_: str | None, machine: str, resolve: Callable[[str], str | None]
    ) -> None:
        self._zone = zone.strip(".").lower()
        self._as = None if as_ is None else absolute(as_, zone)
        self._machine = machine
        self._resolve = resolve

    @property
    def needs_address(self) -> bool:
        """Whether the host of `as` is in the zone, and so has its address from there."""
        return self._as is not None and self._as.endswith(f".{self._zone}.")

    def hub_id(self, endpoints: Iterable[str]) -> str:
        """What the hub is called in the zone, from what it binds; "" where it binds nothing for others."""
        for endpoint in endpoints:
            found = host_and_port(endpoint)
            if found is None or (only_here(found[0]) and self._as is None):
                continue
            host = self._as if only_here(found[0]) and self._as else found[0]
            host = host.rstrip(".").removesuffix(f".{self._zone}")
            label = re.sub(r"[^a-z0-9]+", "-", f"{host.lower()}-{found[1]}").strip("-")
            if len(label) > MAX_LABEL:
                label = f"{label[: MAX_LABEL - 9]}-{crc32(label.encode()):08x}"
            return label
        return ""

    def published(
        self, endpoints: Sequence[str], services: Mapping[str, Announced], here: str | None
    ) -> Published:
        """All that is to stand in the zone.

        endpoints: what the hub binds for clients. here: this machine's address for others, for the host of
        `as`, which may have none in the zone yet.
        """
        addresses: set[Record] = set()
        problems: set[str] = set()
        hubs: list[tuple[str, int]] = []
        for endpoint in endpoints:
            self._reach(endpoint, None, hubs, addresses, problems)
        if here is not None and self._as is not None:
            addresses |= self._address_of(self._as, here)
        names: dict[str, tuple[PublishedEndpoint, ...]] = {}
        for name, announced in services.items():
            if "." in name:
                problems.add(
                    f"the service {name!r:.80} is not published: in DNS a name with dots is that of a "
                    "service in another domain; give it one without"
                )
                continue
            direct: list[tuple[str, int]] = []
            unreachable = 0
            labels: dict[tuple[str, int], Labels] = {}
            for worker in announced.direct:
                if self._reach(worker.address, worker.host, direct, addresses, problems):
                    labels[direct[-1]] = worker.labels
                else:
                    unreachable += 1
            behind = announced.indirect + unreachable
            priority = BEHIND if direct and not behind else DIRECT
            weight = min(max(behind, 1), MOST_WEIGHT)
            names[name] = (
                *(PublishedEndpoint(host, port, True, priority, weight) for host, port in hubs),
                *(
                    PublishedEndpoint(host, port, labels=labels[host, port])
                    for host, port in sorted(set(direct) - set(hubs))
                ),
            )
        return Published(names, frozenset(addresses), frozenset(problems))

    def _reach(
        self,
        endpoint: str,
        machine: str | None,
        found: list[tuple[str, int]],
        addresses: set[Record],
        problems: set[str],
    ) -> bool:
        """Enter where others reach the endpoint; whether they do. machine: a worker's; None for the hub."""
        parts = host_and_port(endpoint)
        if parts is None:
            return False
        host, port = parts
        if host == machine == self._machine and self._as is not None:
            host = "*"
        elif "." not in host and ":" not in host and not only_here(host):
            # What a machine calls itself is known to others by an address at best.
            host = self._resolve(host) or "*"
        if only_here(host):
            if self._as is None or machine not in (None, self._machine):
                problems.add(
                    f"{endpoint} is not published, for it means nothing on other machines: have the worker "
                    "announce an address that they reach"
                )
                return False
            if is_loopback(host) and machine is not None:
                problems.add(
                    f"{endpoint} is published as {self._as.rstrip('.')}, where the worker does not listen "
                    "unless that is this loopback address: have it announce one that others reach"
                )
            found.append((self._as, port))
            return True
        try:
            number = ip_address(host)
        except ValueError:
            found.append((absolute(host, self._zone), port))
            return True
        # An SRV record names a host, and so an address needs one.
        name = f"{zone_host(host)}.{self._zone}."
        addresses |= self._address_of(name, number.compressed)
        found.append((name, port))
        return True

    def _address_of(self, host: str, address: str) -> set[Record]:
        """The record of a host's address, where the host is in the zone."""
        owner = host.rstrip(".").removesuffix(f".{self._zone}")
        if owner == host.rstrip("."):
            return set()
        return {Record(Key(owner, "AAAA" if ":" in address else "A"), (address,))}
