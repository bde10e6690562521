from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hubs.wires import Wires


@pytest.fixture
def wires() -> Iterator[Wires]:
    with Wires() as made:
        yield made
