"""Where names are looked up in DNS: by MESH_DOMAIN and MESH_DNS, else as resolv.conf says.

Pure but for `read_settings` and `read_servers`. DNS is asked only where a domain is known, so that a name
which is spelt wrong fails at once on a machine without a network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from mesh.errors import ConfigError
from mesh.names.textfile import MOST_BYTES

DOMAIN: Final = "MESH_DOMAIN"
SERVER: Final = "MESH_DNS"
RESOLV_CONF: Final = "/etc/resolv.conf"
PORT: Final = 53
MOST_SERVERS: Final = 3
MOST_DOMAINS: Final = 6
"""As many as resolv.conf's readers take of each."""
SERVICE: Final = "{service}"
"""What stands in a domain for the name of the service."""
MOST_CHARS: Final = 190
"""Characters of a domain, so that the names of services fit before it: a name in DNS has 255 bytes."""

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SERVER = re.compile(r"(tcp:)?(?:\[([0-9A-Fa-f:.%\w]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class NameServer:
    """host: an address, or a name that the system finds. tcp: it is asked by TCP from the start."""

    host: str
    port: int = PORT
    tcp: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tcp:' if self.tcp else ''}{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """servers: at least one, asked in this order. domains: at least one, the first that has a name counts.

    of_system: the servers are those of resolv.conf, which change as a machine goes from network to network.
    """

    servers: tuple[NameServer, ...]
    domains: tuple[str, ...]
    of_system: bool = False

    def present_servers(self, path: str = RESOLV_CONF) -> tuple[NameServer, ...]:
        """Those to ask now."""
        return _read_resolv_conf(_text_of(path))[0] if self.of_system else self.servers

    def owner_names(self, service: str) -> tuple[str, ...]:
        """The names in DNS that a service's records may have, without the dot at their end (RFC 2782).

        A service whose name has dots names its domain itself.
        """
        own, dot, domain = service.partition(".")
        domains = (domain,) if dot else self.domains
        return tuple(f"_{own}._tcp.{domain.replace(SERVICE, own)}".lower() for domain in domains)


def read_settings(environ: Mapping[str, str] = os.environ, path: str = RESOLV_CONF) -> DnsSettings | None:
    """The settings of now; None where DNS is not to be asked. Raises ConfigError for a wrong variable."""
    return dns_settings(environ, _text_of(path))


def read_servers(environ: Mapping[str, str] = os.environ, path: str = RESOLV_CONF) -> tuple[NameServer, ...]:
    """The name servers of now, whatever the domain. Raises ConfigError for a wrong variable."""
    named = tuple(map(_server, _words(environ.get(SERVER, ""))))
    return named or _read_resolv_conf(_text_of(path))[0]


def dns_settings(environ: Mapping[str, str], resolv_conf: str) -> DnsSettings | None:
    """The same, with the text of resolv.conf. MESH_DOMAIN set to nothing means that DNS is not asked."""
    servers, search = _read_resolv_conf(resolv_conf)
    given = environ.get(DOMAIN)
    domains = search if given is None else tuple(map(_domain, _words(given)))
    if not domains:
        return None
    named = _words(environ.get(SERVER, ""))
    return DnsSettings(tuple(map(_server, named)) or servers, domains, of_system=not named)


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(MOST_BYTES)
    except OSError:
        return ""


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def is_domain(text: str, most: int = MOST_CHARS) -> bool:
    """Whether a domain can have this name, without the dot at its end. most: characters."""
    return len(text) <= most and _DOMAIN.fullmatch(text) is not None


def _domain(text: str) -> str:
    domain = text.strip(".")
    if len(domain) > MOST_CHARS or not _DOMAIN.fullmatch(domain.replace(SERVICE, "x")):
        raise ConfigError(
            f"{DOMAIN} has {text[:80]!r}, which is no domain: write one such as example.com, or several with "
            f"spaces between them, of at most {MOST_CHARS} characters each"
        )
    return domain


def _server(text: str) -> NameServer:
    match = _SERVER.fullmatch(text)
    port = int(match[4]) if match and match[4] else PORT
    if not match or not 1 <= port <= 65535:
        raise ConfigError(
            f"{SERVER} has {text[:80]!r}: write a name server as HOST:PORT, such as 127.0.0.1:5300 or "
            "[::1]:53, with 'tcp:' before it for TCP alone; several with spaces between them"
        )
    return NameServer(match[2] or match[3], port, tcp=bool(match[1]))


def _read_resolv_conf(text: str) -> tuple[tuple[NameServer, ...], tuple[str, ...]]:
    """The servers and the domains of resolv.conf(5); what makes no sense there is passed over."""
    servers: list[NameServer] = []
    search: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver" and _is_address(words[1]):
            servers.append(NameServer(words[1]))
        elif words[0] in ("search", "domain"):
            # The last of these lines counts.
            search = [word.strip(".") for word in (words[1:] if words[0] == "search" else words[1:2])]
    domains = [one for one in search if _DOMAIN.fullmatch(one) and len(one) <= MOST_CHARS]
    return tuple(servers[:MOST_SERVERS]) or (NameServer("127.0.0.1"),), tuple(domains[:MOST_DOMAINS])


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
