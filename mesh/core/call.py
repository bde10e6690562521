"""How a client's calls are made: what `with_options` sets, and what may be a method's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mesh.core import settings
from mesh.errors import ConfigError

RETRIES: Final = 2
"""Further attempts of a call where the caller says nothing."""
MAX_KEY: Final = 255
"""Bytes of a key."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a client's calls are made.

    timeout: seconds that a caller waits for an answer, or for the next item of a stream; None
    for no limit. retries: further attempts after one that failed; None for up to RETRIES, each with a server
    that was not tried yet. idempotent: the methods may be carried out twice, so that a call whose server was
    lost is tried again too. key: calls with the same one go to the same worker of a sharded hub, and to the
    same server where the client balances by key; None for none. version, zone: only servers with this label
    are called; None for any. hedge: a call that may be carried out twice, and whose answer is late, goes to
    another server as well.

    Raises ConfigError.
    """

    timeout: float | None = 30.0
    retries: int | None = None
    idempotent: bool = False
    key: str | bytes | int | None = None
    version: str | None = None
    zone: str | None = None
    hedge: bool = False

    def __post_init__(self) -> None:
        settings.seconds("timeout", self.timeout, more=True, none=True)
        settings.count("retries", self.retries, 0, none=True)
        settings.flag("idempotent", self.idempotent)
        settings.flag("hedge", self.hedge)
        settings.text("version", self.version, none=True)
        settings.text("zone", self.zone, none=True)
        if self.key is not None and key_bytes(self.key) is None:
            raise ConfigError(
                f"key must be text or bytes, of 1 to {MAX_KEY} bytes, or a whole number of 64 bits, or None, "
                f"not {self.key!r:.80}"
            )

    @property
    def plain(self) -> bool:
        """Whether calls carry nothing besides, and go to any server, so that the first attempt needs no
        Attempts."""
        return not (self.idempotent or self.hedge or self.labels) and self.key is None

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """What a server must be labelled with, to be called."""
        wanted = (("version", self.version), ("zone", self.zone))
        return tuple((name, value) for name, value in wanted if value is not None)


def key_bytes(key: object) -> bytes | None:
    """What a hub goes by: the bytes, a text in UTF-8, or the digits of a number. So 42, "42" and b"42" are
    one key. None for what can be no key."""
    if type(key) is int:
        return b"%d" % key if -(2**63) <= key < 2**64 else None
    if type(key) is str:
        try:
            key = key.encode()
        except UnicodeEncodeError:
            return None
    return key if type(key) is bytes and 0 < len(key) <= MAX_KEY else None


def remote_name(name: str) -> str:
    """The name of a remote method, of an attribute of a client. Raises AttributeError where it is none."""
    if name.startswith("_") and not name.startswith("_zerorpc_"):
        raise AttributeError(f"names that begin with _ are never remote methods: {name!r}")
    return name


def check_method(method: Any) -> None:
    """Raise TypeError for what can be no method's name."""
    if not isinstance(method, str):
        raise TypeError(f"the name of a method must be str, not {type(method).__name__}")
