"""What a client would make of pings, and how `mesh services` shows it."""

from __future__ import annotations

import pytest

from mesh.cli.client_view import ClientView
from mesh.cli.health import EndpointHealth, State
from mesh.cli.output import Printer
from mesh.cli.services_table import HEAD, Shown, place_of, place_of_part, show_all
from mesh.names.model import Endpoint, Service

A = Endpoint("tcp://a:1", weight=3)
B = Endpoint("tcp://b:1", labels=(("version", "2"),))
C = Endpoint("tcp://c:1", priority=1)
USERS = Service("users", (A, B, C), source="services.yml:1")


def shares(view: ClientView, now: float, *states: State, service: Service = USERS) -> list[float | None]:
    return [one.share for one in view.look(service, healths(*states, service=service), now)]


def healths(*states: State, service: Service = USERS) -> list[EndpointHealth]:
    ends = zip(service.endpoints, states, strict=True)
    return [EndpointHealth(end.address, state, 1.0 if state == "up" else None) for end, state in ends]


def test_shares_by_weight_within_the_lowest_priority_that_is_there() -> None:
    view = ClientView(lambda: 0.5)
    assert shares(view, 0.0, "up", "up", "up") == [0.75, 0.25, 0.0]
    assert shares(view, 2.0, "down", "full", "up") == [0.0, 1.0, 0.0]
    assert shares(view, 4.0, "down", "down", "up") == [0.0, 0.0, 1.0]
    assert shares(view, 6.0, "down", "down", "down") == [0.0, 0.0, 0.0]
    assert shares(view, 8.0, "up", "no workers", "up") == [1.0, 0.0, 0.0]
    assert shares(view, 20.0, "-", "up", "up") == [None, 1.0, 0.0]
    less = Service("users", (B,))
    assert shares(view, 22.0, "up", service=less) == [1.0]


def test_one_that_keeps_silent_is_ejected_and_comes_back() -> None:
    view = ClientView(lambda: 0.0)
    now = 0.0
    for _ in range(5):
        looks = view.look(USERS, healths("silent", "up", "up"), now)
        now += 2.0
    assert looks[0].share == 0.0 and looks[0].ejected == 5.0
    assert shares(view, now, "silent", "up", "up") == [0.0, 1.0, 0.0]
    for _ in range(5):
        now += 2.0
        looks = view.look(USERS, healths("up", "up", "up"), now)
    assert looks[0].ejected is None and looks[0].share == 0.75


def test_a_split_has_a_line_for_each_service(capsys: pytest.CaptureFixture[str]) -> None:
    outlooks = ClientView(lambda: 0.0).look(USERS, healths("down", "up", "up"), 0.0)
    rows = zip(USERS.endpoints, healths("down", "up", "up"), outlooks, strict=True)
    users = Shown(USERS, [place_of(USERS, *row) for row in rows])
    parts = [
        place_of_part("users", 95, 100, users, "services.yml:9"),
        place_of_part("nobody", 5, 100, None, "services.yml:9"),
    ]
    split = Shown(Service("all", (), source="services.yml:9"), parts)
    assert users.is_up and split.is_up and split.states == "up, unknown"
    show_all(Printer(), [split, users], watch=False)
    head, *lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert head == list(HEAD)
    assert lines[0] == ["all", "up", "1.0", "split", "-", "95%", "0", "95", "-", "users", "services.yml:9"]
    assert lines[1] == ["all", "unknown", "-", "split", "-", "5%", "0", "5", "-", "nobody", "services.yml:9"]
    assert [line[5] for line in lines[2:]] == ["0%", "100%", "0%"]
    show_all(Printer(as_json=True), [users], watch=False)
    assert '"labels": {"version": "2"}' in capsys.readouterr().out
