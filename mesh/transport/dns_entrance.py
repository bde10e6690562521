"""The way to names in DNS, by which what asks for them is loaded when the first name is to be asked for."""

from __future__ import annotations

from collections.abc import Callable

from mesh.names.followed import Follower


def follow(service: str, changed: Callable[[], None]) -> Follower | None:
    """Follow a name in DNS from now on; None where DNS is not to be asked.

    changed: called in any thread when there is a new answer. Raises ConfigError for wrong settings.
    """
    from mesh.transport import dns_names

    return dns_names.follow(service, changed)
