"""Services as the text of a DNS zone, which mesh resolves back to the same endpoints.

Pure: the addresses of hosts are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from mesh.names.hosts import zone_host
from mesh.names.model import Endpoint, Service

MOST_STRING: Final = 255
"""Bytes of one string of a TXT record."""
AddressesOf = Callable[[str], Sequence[str]]
"""The addresses of a host whose name has no domain; none where it has none."""


@dataclass(frozen=True, slots=True)
class ZoneText:
    """left_out: what a zone can't say, each with the place where it stands in the file."""

    text: str
    left_out: Sequence[str]


def zone_text(
    services: Iterable[Service], zone: str, addresses_of: AddressesOf, *, serial: int, ttl: int
) -> ZoneText:
    """zone: its name, without the dot at its end. ttl: seconds, of each record."""
    writer = _Writer(zone, addresses_of)
    lines = [line for service in services for line in writer.service(service)]
    head = [
        f"$ORIGIN {zone}.",
        f"$TTL {ttl}",
        f"@ SOA localhost. hostmaster.localhost. {serial} 3600 600 86400 {ttl}",
        "@ NS localhost.",
    ]
    hosts = [
        f"{name} {'AAAA' if ':' in address else 'A'} {address}"
        for name, addresses in writer.hosts.items()
        for address in addresses
    ]
    return ZoneText("\n".join([*head, *lines, *hosts, ""]), writer.left_out)


class _Writer:
    """hosts: names within the zone, and their addresses."""

    def __init__(self, zone: str, addresses_of: AddressesOf) -> None:
        self.hosts: dict[str, Sequence[str]] = {}
        self.left_out: list[str] = []
        self._zone = zone
        self._addresses_of = addresses_of
        self._names: dict[str, str] = {}

    def service(self, service: Service) -> Iterator[str]:
        name = service.name
        problem = self._problem_of(service)
        if problem:
            self.left_out.append(f"{service.source}: {name}: {problem}")
            return
        self._names[name.lower()] = name
        unsaid = [
            key for key in ("timeout", "retries", "balance", "faults") if getattr(service, key) is not None
        ]
        if unsaid:
            self.left_out.append(f"{service.source}: {name}: {', '.join(unsaid)}: a zone has no place for it")
        places = [(one, self._target(service, one)) for one in service.endpoints]
        there = [(one, target) for one, target in places if target]
        for one, target in there:
            yield f"_{name}._tcp SRV {one.priority} {one.weight} {_port(one)} {target}"
        described = {_strings(one) for one, _ in there}
        if len(described) == 1:
            yield from self._text(service, next(iter(described)))
            return
        for one, target in there:
            if _strings(one):
                host = target.rstrip(".") if target.endswith(".") else f"{target}.{self._zone}"
                yield from self._text(service, (f"at={host.lower()}:{_port(one)}", *_strings(one)))

    def _problem_of(self, service: Service) -> str:
        """Why it can't be in the zone at all."""
        name = service.name
        if service.split is not None:
            return "its calls are split, which a zone can't say"
        if "." in name:
            return f"a name with a dot names its domain itself, which is not {self._zone}"
        if name.lower() in self._names:
            return f"DNS knows no upper and lower case, and there is {self._names[name.lower()]!r}"
        return ""

    def _target(self, service: Service, endpoint: Endpoint) -> str:
        """The target of its record, "" where it can have none."""
        transport, _, rest = endpoint.address.partition("://")
        problem = "only tcp:// endpoints can be in a zone"
        if transport == "tcp":
            host = rest.rpartition(":")[0].strip("[]")
            target = self._host(host)
            if target:
                return target
            problem = f"its host {host!r} has no domain and no address"
        self.left_out.append(
            f"{endpoint.source or service.source}: {service.name}: {endpoint.address}: {problem}"
        )
        return ""

    def _host(self, host: str) -> str:
        try:
            address = ip_address(host)
        except ValueError:
            pass
        else:
            name = zone_host(host)
            self.hosts[name] = (str(address),)
            return name
        if "." in host.rstrip("."):
            return f"{host.rstrip('.')}."
        name = host.rstrip(".").lower()
        if name not in self.hosts:
            addresses = self._addresses_of(name)
            if not addresses:
                return ""
            self.hosts[name] = addresses
        return name

    def _text(self, service: Service, strings: Sequence[str]) -> Iterator[str]:
        fitting = [one for one in strings if len(one.encode()) <= MOST_STRING]
        for one in strings:
            if one not in fitting:
                what = one.partition("=")[0]
                self.left_out.append(
                    f"{service.source}: {service.name}: {what}: more than {MOST_STRING} bytes"
                )
        if fitting:
            yield f"_{service.name}._tcp TXT {' '.join(map(_quoted, fitting))}"


def _port(endpoint: Endpoint) -> str:
    return endpoint.address.rpartition(":")[2]


def _strings(endpoint: Endpoint) -> tuple[str, ...]:
    """What a TXT record says of an endpoint; nothing where it is a plain server."""
    found = [f"type={endpoint.type}"] if endpoint.type != "router" else []
    if endpoint.hub:
        found.append("hub=1")
    if endpoint.key is not None:
        found.append(f"key={endpoint.key}")
    return (*found, *(f"{name}={value}" for name, value in endpoint.labels))


def _quoted(text: str) -> str:
    """As master files have strings (RFC 1035, section 5.1)."""
    shown = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03d}" for byte in text.encode()
    )
    return f'"{"".join(shown)}"'
