"""Hubs that leave their endpoints for each other."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from hubs.endpoint_swap import Move, swap
from mesh.errors import ConfigError
from tests.hubs.wires import spec


def hub(**methods: Any) -> Any:
    return Mock(**{f"{name}.side_effect": what for name, what in methods.items()})


def test_a_hub_that_is_late_to_leave_and_has_its_endpoints_all_the_same_is_well() -> None:
    late = Move(hub(vacate=ConfigError("busy")), spec("queue", "late"), spec("queue", "late"))
    assert swap([late]) == ({}, {})


def test_it_is_not_given_up_on_the_way_back_either() -> None:
    late = Move(hub(vacate=[None, ConfigError("busy")]), spec("queue", "late"), spec("queue", "late"))
    other = Move(
        hub(reconfigure=[ConfigError("in use"), None]), spec("queue", "other"), spec("queue", "other")
    )
    problems, lost = swap([late, other])
    assert list(problems) == ["other"]
    assert lost == {}
