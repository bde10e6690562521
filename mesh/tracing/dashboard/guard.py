"""Who may ask the dashboard, and what a browser may do with what it gets.

A page of another site can make a browser ask 127.0.0.1, and a name that its owner has just pointed there
makes that site the same as ours for the browser (DNS rebinding). So the Host header has to be an address, or
a name that is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

HEADERS: Final = (
    (
        "Content-Security-Policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
"""With every answer."""


class Hosts:
    """The names in Host headers that are let in: addresses, localhost, and these."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {"localhost", *(name.lower() for name in names)}

    def allows(self, header: str) -> bool:
        """Whether a request with this Host header is for us."""
        name = _without_port(header).lower()
        if name in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def from_elsewhere(fetch_site: str) -> bool:
    """Whether a browser says that a page of another site asks. fetch_site: the Sec-Fetch-Site header, ""
    where there is none.
    """
    return fetch_site in ("cross-site", "same-site")


def _without_port(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if header.count(":") == 1 else header
