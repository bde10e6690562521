"""Services as the registry gives them, in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh.core.balance_rule import Balance
from mesh.names.model import Endpoint, Service


def named(
    name: str,
    addresses: Sequence[str],
    *,
    timeout: float | None = None,
    retries: int | None = None,
    balance: Balance | None = None,
    source: str = "",
    **described: Any,
) -> Service:
    """described: what is known of each of its endpoints, as Endpoint takes it."""
    endpoints = tuple(Endpoint(address, source=source, **described) for address in addresses)
    return Service(name, endpoints, timeout, retries, balance, source=source)
