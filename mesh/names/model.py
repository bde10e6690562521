"""What the names layer answers: a service, or why there is none.

Plain values. Knows neither files nor DNS nor sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from mesh.core.balance_rule import Balance
from mesh.core.traffic import Faults, Split
from mesh.errors import MeshError

# The ZeroMQ socket type at the far end. Each has one that mesh puts against it: DEALER for router,
# SUB for pub and xpub, PUB for sub and xsub, PULL for push, PUSH for pull.
SOCKET_TYPES = ("router", "pub", "sub", "push", "pull", "xpub", "xsub")
MOST_WEIGHT = 65535  # as in an SRV record (RFC 2782)

# A label of DNS holds 63 bytes, none at all stands for the root alone, and SRV puts an underscore before the
# name.
_NAME = re.compile(r"(?=.{1,62}\Z)[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")

LAST_RESORT = 1 << 16
"""What is added to the priority of an endpoint that its source has no more; SRV's have 16 bits."""

# What the names at the top of a file begin with that are there for YAML's anchors alone.
EXTENSION = "x-"

NAME_RULE = (
    "a name is 1 to 62 letters, digits, '.', '_' or '-', begins with a letter or a digit, and has each '.' "
    "between two others of these"
)


def is_service_name(text: str) -> bool:
    """Whether `text` may name a service, as NAME_RULE says."""
    return _NAME.fullmatch(text) is not None


def nearest(word: str, words: Iterable[str]) -> str:
    """ "; did you mean 'x'?" for the one of `words` that is nearest, or "" where none is near."""
    import difflib

    near = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place where a service is reached.

    address: where, as it was written: "tcp://host:4242". hub: a hub is there, and not a server.
    type: one of SOCKET_TYPES. priority: lower ones are preferred; higher ones are there in case.
    weight: its share of the calls among those of its priority, 1 or more. key: CURVE public key in Z85.
    labels: what tells it from others, such as ("version", "2"), by name. hosts: the IP addresses of its
    host, where the source knows them; a connection to any of them is one to it.
    ttl: seconds for which this holds, None for as long as its source says so. source: where it was read,
    such as "/etc/mesh/services.yml:3". Both count for nothing when two are compared.
    """

    address: str
    hub: bool = False
    type: str = "router"
    priority: int = 0
    weight: int = 1
    key: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    hosts: tuple[str, ...] = ()
    ttl: float | None = field(default=None, compare=False)
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Service:
    """How a service is reached.

    endpoints: at least one, no address twice; none where calls are split between others. timeout: seconds a
    call may take; retries: how often an idempotent call is sent again; balance: how calls are spread over its
    endpoints. Each None where the client's own setting counts. split: the services that its calls go to.
    faults: what befalls them in tests.
    source: where this was read; it counts for nothing when two services are compared.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    timeout: float | None = None
    retries: int | None = None
    balance: Balance | None = None
    split: Split | None = None
    faults: Faults | None = None
    source: str = field(default="", compare=False)

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(endpoint.address for endpoint in self.endpoints)


class Found(NamedTuple):
    """The source knows the name."""

    service: Service


class Missing(NamedTuple):
    """The source works and lacks the name.

    looked_in: what was looked through, in words. known: the names it does have, for a suggestion.
    """

    looked_in: tuple[str, ...]
    known: tuple[str, ...] = ()


class Failed(NamedTuple):
    """The source can't tell whether it has the name, or why it has none is to be said as well."""

    error: MeshError


Answer = Found | Missing | Failed


class Source(Protocol):
    """Something that knows services by name."""

    def lookup(self, name: str) -> Answer: ...
