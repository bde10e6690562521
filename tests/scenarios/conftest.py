from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from tests.scenarios.drivers import DRIVERS, PAIRS, Client, Driver


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Pair(NamedTuple):
    """The driver of those that call, and that of those that serve."""

    near: Driver
    far: Driver


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, ends: ExitStack) -> Pair:
    near, far = request.param
    return Pair(DRIVERS[near](ends), DRIVERS[far](ends))


class Served(NamedTuple):
    client: Client
    shop: Any
    endpoint: str


@pytest.fixture
def served(pair: Pair) -> Callable[..., Served]:
    """A client of a server of a shop."""

    def start(server: dict[str, Any] | None = None, **options: Any) -> Served:
        shop = pair.far.shop()
        endpoint = pair.far.serve(shop, **(server or {}))
        return Served(pair.near.connect(endpoint, **options), shop, endpoint)

    return start
