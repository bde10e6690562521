"""The host of an endpoint: whether it has to be looked up, and what an answer means.

libzmq looks names up in its only thread, and tells nobody that it found nothing; so it gets numbers alone.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from itertools import chain, zip_longest
from typing import Any, Final

from mesh.core.host_addresses import HostAnswer

MAX_ADDRESSES: Final = 16
"""Addresses of one host that are tried."""
LOCALHOST: Final = HostAnswer(("127.0.0.1", "::1"))
"""It needs no look-up (RFC 6761, section 6.3)."""

GetAddrInfo = Callable[..., Any]
"""The standard library's."""


def host_of(endpoint: str) -> str:
    """The name that has to be looked up to connect; "" where there is none."""
    transport, _, address = endpoint.partition("://")
    host = address.rpartition(":")[0]
    numeric = host.startswith("[") or not host.strip("0123456789.")
    return "" if transport != "tcp" or numeric else host


def numeric(endpoint: str, address: str) -> str:
    """The endpoint with one of its host's addresses in place of the name."""
    port = endpoint.rpartition(":")[2]
    return f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}"


def zone_host(address: str) -> str:
    """What a host that is known by an address alone is called in a zone; no two addresses share a name."""
    number = ip_address(address)
    digits = number.exploded.replace(":", "") if isinstance(number, IPv6Address) else str(number)
    return f"ip-{digits.replace('.', '-')}"


def canonical(endpoint: str) -> str:
    """An endpoint whose host is a number, as libzmq tells of it in the end."""
    transport, _, address = endpoint.partition("://")
    if transport != "tcp" or not address.startswith("["):
        return endpoint
    host, percent, scope = address[1 : address.index("]")].partition("%")
    packed = socket.inet_pton(socket.AF_INET6, host)
    return numeric(endpoint, socket.inet_ntop(socket.AF_INET6, packed) + percent + scope)


def look_up(host: str, getaddrinfo: GetAddrInfo = socket.getaddrinfo, *, whole: bool = False) -> HostAnswer:
    """Where a host is. whole: also by IPv6, which else is asked for where there is nothing by IPv4.

    So nobody waits for an answer that a name server never gives. It may take half a minute all the same.
    """
    four, problem = _addresses(host, socket.AF_INET, getaddrinfo)
    if four and not whole:
        return HostAnswer(four, whole=False)
    six, _ = _addresses(host, socket.AF_INET6, getaddrinfo)
    taken_in_turn = (one for one in chain.from_iterable(zip_longest(four, six)) if one is not None)
    addresses = tuple(taken_in_turn)[:MAX_ADDRESSES]
    return HostAnswer(addresses, "" if addresses else problem)


def _addresses(host: str, family: int, getaddrinfo: GetAddrInfo) -> tuple[tuple[str, ...], str]:
    try:
        found = getaddrinfo(host, None, family, socket.SOCK_STREAM)
    except socket.gaierror as exc:
        return (), f"its host {host!r} can't be resolved ({exc.strerror})"
    except (OSError, UnicodeError) as exc:
        return (), f"its host {host!r} can't be resolved ({exc})"
    addresses = tuple(dict.fromkeys(_with_scope(one[4]) for one in found))
    return addresses[:MAX_ADDRESSES], "" if addresses else f"its host {host!r} has no address"


def _with_scope(address: Any) -> str:
    """As libzmq has it: a link-local one of IPv6 with the number of its interface."""
    host = str(address[0])
    scope = address[3] if len(address) > 3 else 0
    return f"{host}%{scope}" if scope and "%" not in host else host
