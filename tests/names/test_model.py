from __future__ import annotations

import pytest

from mesh.names.model import is_service_name, nearest
from tests.helpers.named import named


@pytest.mark.parametrize("name", ["u", "users", "Users2", "7", "shop.users", "a-b_c.d", "on", "x" * 62])
def test_is_a_service_name(name: str) -> None:
    assert is_service_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a b", "-a", "_a", ".a", "a:1", "a/b", "tcp://a:1", "é", "a\n", "x" * 63, "٣", "a,b"),
        *("a..b", "a.", "x..."),
    ],
)
def test_is_no_service_name(name: str) -> None:
    assert not is_service_name(name)


def test_services_are_equal_wherever_they_were_read() -> None:
    one = named("users", ("tcp://a:1",), source="services.yml:1")
    assert one == named("users", ("tcp://a:1",), source="services.yml:9")
    assert one != named("users", ("tcp://a:2",), source="services.yml:1")


def test_nearest() -> None:
    assert nearest("usres", ["orders", "users"]) == "; did you mean 'users'?"
    assert nearest("qqq", ["orders", "users"]) == ""
    assert nearest("users", []) == ""
