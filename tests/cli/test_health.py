"""What is made of a hub's answer, for one of the services that it may have."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.cli.health import Health, _look, _of_hub, _Told
from mesh.errors import LostRemote, Overloaded, RemoteError
from mesh.names.model import Service

HUB = "tcp://127.0.0.1:1"
USERS = Service("users", (HUB,), hub=True)


def row(name: str, workers: int, capacity: int) -> dict[str, Any]:
    return {"name": name, "workers": workers, "capacity": capacity}


@pytest.mark.parametrize(
    ("kind", "rows", "state", "workers"),
    [
        ("majordomo", [row("other", 3, 3), row("users", 2, 20)], "up", 2),
        ("majordomo", [row("users", 2, 0)], "paused", 2),
        ("majordomo", [row("users", 0, 0)], "no workers", 0),
        ("majordomo", [row("other", 3, 3)], "no workers", 0),
        ("majordomo", [], "no workers", 0),
        ("majordomo", [{}], "no workers", 0),
        ("queue", [row("other", 3, 3)], "up", 3),
    ],
)
def test_the_state_of_a_service_at_a_hub(
    kind: str, rows: list[dict[str, Any]], state: Any, workers: int
) -> None:
    told = _Told(Health(HUB, "up", 1.5), kind, rows)
    assert _of_hub(USERS, told) == Health(HUB, state, 1.5, workers)


@pytest.mark.parametrize("health", [Health(HUB, "up", 1.5), Health(HUB, "down")])
def test_a_hub_that_does_not_tell(health: Health) -> None:
    assert _of_hub(USERS, _Told(health)) == health


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (RemoteError("NameError", "no such method"), "up"),
        (Overloaded("1000 calls wait already"), "up"),
        (LostRemote("the connection broke"), "down"),
    ],
)
def test_whoever_refuses_a_ping_is_there(error: Exception, state: str) -> None:
    def client(method: str) -> None:
        raise error

    look: Any = _look
    assert look(client) == state
