"""What is made of the answers of hubs and servers."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from mesh.cli import health
from mesh.cli.health import PATIENCE, SILENT_PATIENCE, Checker, EndpointHealth, _of_hub, _of_server, _Told
from mesh.cli.hub_client import HubAnswer
from mesh.cli.pinger import Load, Pong, _read
from mesh.errors import LostRemote, Overloaded, ServiceNotFound, TimeoutExpired
from mesh.names.model import Endpoint
from mesh.transport import descriptors
from mesh.transport.server_endpoint import MAX_PATIENCE
from mesh.transport.watchdog import PERIOD
from tests.helpers.named import named

HUB = "tcp://127.0.0.1:1"
USERS = named("users", (HUB,), hub=True)


def row(name: str, workers: int, capacity: int, busy: int = 0, waiting: int = 0) -> dict[str, Any]:
    return {"name": name, "workers": workers, "capacity": capacity, "busy": busy, "waiting": waiting}


@pytest.mark.parametrize(
    ("kind", "rows", "state", "workers"),
    [
        ("majordomo", [row("other", 3, 3), row("users", 2, 20)], "up", 2),
        ("majordomo", [row("users", 2, 20, 20, 1)], "full", 2),
        ("majordomo", [row("users", 2, 20, 21, 1)], "full", 2),
        ("majordomo", [row("users", 2, 20, 20, 0)], "up", 2),
        ("majordomo", [row("users", 2, 20, 19, 1)], "up", 2),
        ("majordomo", [row("users", 2, 0)], "paused", 2),
        ("majordomo", [row("users", 2, 0, 2, 5)], "paused", 2),
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
    told = _Told(EndpointHealth(HUB, "up", 1.5), kind, rows)
    assert _of_hub(USERS, told) == EndpointHealth(HUB, state, 1.5, workers)


@pytest.mark.parametrize("health", [EndpointHealth(HUB, "up", 1.5), EndpointHealth(HUB, "down")])
def test_a_hub_that_does_not_tell(health: EndpointHealth) -> None:
    assert _of_hub(USERS, _Told(health)) == health


def expired(*, sent: bool) -> TimeoutExpired:
    error = TimeoutExpired("no answer")
    error.refused = not sent
    return error


@pytest.mark.parametrize(
    ("pong", "state"),
    [
        (Pong(HUB, "users", 0.5), "up"),
        (Pong(HUB, "users", 0.5, Load(1, 1, 0)), "up"),
        (Pong(HUB, "users", 0.5, Load(0, 1, 1)), "up"),
        (Pong(HUB, "users", 0.5, Load(1, 1, 1)), "full"),
        (Pong(HUB, error=Overloaded("1000 calls wait already")), "full"),
        (Pong(HUB, error=LostRemote("the connection broke")), "down"),
        (Pong(HUB, error=expired(sent=False)), "down"),
        (Pong(HUB, error=expired(sent=True)), "silent"),
    ],
)
def test_the_state_of_a_server(pong: Pong, state: str) -> None:
    assert _of_server(pong) == state


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (["pong", "users"], ("users", None)),
        (["pong", "users", {"running": 1, "most": 2, "waiting": 3}], ("users", Load(1, 2, 3))),
        (["pong", "users", {"running": 1, "most": "2", "waiting": 3}], ("users", None)),
        (["pong", "users", []], ("users", None)),
        (["pong", 1], ("", None)),
        (["pong"], ("", None)),
        ("pong", ("", None)),
        (None, ("", None)),
    ],
)
def test_what_an_answer_to_a_ping_tells(answer: Any, found: Any) -> None:
    assert _read(answer) == found


@pytest.mark.parametrize(
    ("pongs", "state", "patiences"),
    [
        ([Pong(HUB, "users", 0.5)], "up", [PATIENCE]),
        ([Pong(HUB, error=expired(sent=False))], "down", [PATIENCE]),
        ([Pong(HUB, error=expired(sent=True)), Pong(HUB, "u", 1.0)], "up", [PATIENCE, SILENT_PATIENCE]),
    ],
)
def test_one_that_is_silent_has_the_time_that_its_second_thread_needs(
    pongs: list[Pong], state: str, patiences: list[float]
) -> None:
    asked: list[float] = []

    class Asked:
        def ask(self, patience: float) -> Pong:
            asked.append(patience)
            return pongs.pop(0)

        def close(self) -> None:
            pass

    with Checker() as checker:
        checker._pingers[HUB, None] = Asked()  # type: ignore[assignment]
        assert [health.state for health in checker.check([named("users", (HUB,))])[0]] == [state]
    assert asked == patiences
    assert PATIENCE + SILENT_PATIENCE > MAX_PATIENCE + PERIOD, "else the guard may come too late"


class Told:
    """A hub that tells these rows, or a worker behind it that tells its load."""

    def __init__(self, told: Any) -> None:
        self.told = told
        self.asked = 0

    def ask(self, _patience: float = 0.0) -> Any:
        self.asked += 1
        return self.told

    def close(self) -> None:
        pass


FULL, IDLE = Load(1, 1, 1), Load(0, 1, 0)
NO_HUB = ServiceNotFound("what answers is no hub that can be asked")


@pytest.mark.parametrize(
    ("rows", "load", "state", "asked"),
    [
        ([row("users", 1, 20, 1)], FULL, "full", 1),
        ([row("users", 1, 20, 1)], IDLE, "up", 1),
        ([row("users", 1, 20, 1)], None, "up", 1),
        ([row("users", 1, 20, 0)], FULL, "up", 0),
        ([row("users", 1, 1, 1, 1)], IDLE, "full", 0),
        ([row("users", 1, 0, 1)], FULL, "paused", 0),
        (None, FULL, "full", 1),
        (None, IDLE, "up", 1),
    ],
)
def test_calls_that_wait_at_the_worker_behind_a_hub(rows: Any, load: Any, state: str, asked: int) -> None:
    values = None if rows is None else {"type": "majordomo", "services": rows}
    worker = Told(Pong(HUB, "users", 0.5, load))
    with Checker() as checker:
        checker._hubs[HUB] = Told(HubAnswer(HUB, values, None if rows else NO_HUB))  # type: ignore[assignment]
        checker._pingers[HUB, "users"] = worker  # type: ignore[assignment]
        ((health,),) = checker.check([USERS])
    assert (health.state, worker.asked) == (state, asked)


def test_where_descriptors_are_few_a_connection_goes_after_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    most = [0]

    class Counted:
        def __init__(self, endpoint: Endpoint, service: str | None = None) -> None:
            opened.append(endpoint.address)
            most[0] = max(most[0], len(opened))

        def ask(self, patience: float) -> Pong:
            gevent.sleep(0)
            return Pong(HUB, "users", 0.5)

        def close(self) -> None:
            opened.pop()

    services = [named("users", tuple(f"tcp://10.0.0.{number}:1" for number in range(9)))]
    monkeypatch.setattr(health, "Pinger", Counted)
    for room, many, kept in ((100, 9, 9), (3, 3, 0)):
        monkeypatch.setattr(descriptors, "at_once", lambda wanted, room=room: min(wanted, room))
        most[0] = 0
        with Checker() as checker:
            for _ in range(2):  # what is open by now needs no more room
                assert {one.state for one in checker.check(services)[0]} == {"up"}
                assert (most[0], len(opened)) == (many, kept)
        assert not opened
