"""What the names layer answers: a service, or why there is none.

Plain values. Knows neither files nor DNS nor sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from mesh.errors import MeshError

# The ZeroMQ socket type at the far end. Each has one that mesh puts against it: DEALER for router,
# SUB for pub and xpub, PUB for sub and xsub, PULL for push, PUSH for pull.
SOCKET_TYPES = ("router", "pub", "sub", "push", "pull", "xpub", "xsub")

# A label of DNS holds 63 bytes, and SRV puts an underscore before the name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,61}")

# What the names at the top of a file begin with that are there for YAML's anchors alone.
EXTENSION = "x-"

NAME_RULE = "a name is 1 to 62 letters, digits, '.', '_' or '-', and begins with a letter or a digit"


def is_service_name(text: str) -> bool:
    """Whether `text` may name a service, as NAME_RULE says."""
    return _NAME.fullmatch(text) is not None


def nearest(word: str, words: Iterable[str]) -> str:
    """ "; did you mean 'x'?" for the one of `words` that is nearest, or "" where none is near."""
    import difflib

    near = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


@dataclass(frozen=True, slots=True)
class Service:
    """How a service is reached.

    endpoints: at least one, of its servers, or of its hubs where `hub` is True.
    type: one of SOCKET_TYPES. timeout: seconds a call may take; retries: how often an idempotent
    call is sent again; both None where the client's own setting counts.
    weight: its share of the calls among equals, 1 or more. key: CURVE public key in Z85.
    source: where this was read, such as "/etc/mesh/services.yml:3"; it counts for nothing when two
    services are compared.
    """

    name: str
    endpoints: tuple[str, ...]
    type: str = "router"
    hub: bool = False
    timeout: float | None = None
    retries: int | None = None
    weight: int = 1
    key: str | None = None
    source: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Found:
    """The source knows the name."""

    service: Service


@dataclass(frozen=True, slots=True)
class Missing:
    """The source works and lacks the name.

    looked_in: what was looked through, in words. known: the names it does have, for a suggestion.
    """

    looked_in: tuple[str, ...]
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The source can't tell whether it has the name."""

    error: MeshError


Answer = Found | Missing | Failed


class Source(Protocol):
    """Something that knows services by name."""

    def lookup(self, name: str) -> Answer: ...
