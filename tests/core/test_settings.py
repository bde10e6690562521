"""What settings may be, and how a wrong one is told."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import settings
from mesh.core.server_session import Limits
from mesh.errors import ConfigError

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [0, -1, True, 1.0, NAN, "1", b"1", [], 2**31, 10**30])
def test_what_is_no_count(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.count("pool_size", value)
    assert str(caught.value) == f"pool_size must be a whole number from 1 to 2147483647; not {value!r}"


@pytest.mark.parametrize("value", [-0.1, NAN, INF, -INF, True, False, "5", None, 1e10, 10**400])
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(ConfigError, match="timeout must be from 0 to 1000000000 seconds; not "):
        settings.seconds("timeout", value)


def test_none_is_told_where_it_is_allowed() -> None:
    settings.seconds("timeout", None, none=True)
    settings.count("pool_size", None, none=True)
    with pytest.raises(ConfigError, match=r"more than 0 and at most 60 seconds, or None; not 0$"):
        settings.seconds("timeout", 0, most=60, more=True, none=True)


@pytest.mark.parametrize("value", [0, 1e9, 0.5, 7])
def test_times(value: float) -> None:
    settings.seconds("timeout", value)


@pytest.mark.parametrize("value", [None, 0, 1, "yes"])
def test_what_is_no_flag(value: Any) -> None:
    with pytest.raises(ConfigError, match=f"idempotent must be True or False; not {value!r}"):
        settings.flag("idempotent", value)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        settings.count("pool_size", "x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["queue", "queue_bytes", "max_message", "max_heartbeat", "channels"])
@pytest.mark.parametrize("value", [0, -1, "a", NAN, None, True])
def test_limits(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be "):
        Limits(**{name: value})


@pytest.mark.parametrize("value", [KeyError, (KeyError, OSError), [], [KeyboardInterrupt], {KeyError}])
def test_exceptions(value: Any) -> None:
    classes = settings.exceptions("expected", value)
    assert type(classes) is tuple and (value is KeyError or set(classes) == set(value))


def test_exceptions_in_whatever_can_be_iterated_over() -> None:
    both = {KeyError: 1, OSError: 2}
    for value in (iter(both), both, both.keys(), (cls for cls in both)):
        assert settings.exceptions("expected", value) == (KeyError, OSError)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "None"),
        ("KeyError", "'KeyError'"),
        (KeyError("a"), "KeyError('a')"),
        (int, "<class 'int'>"),
        ((KeyError, int), "<class 'int'>"),
        ([KeyError, "OSError"], "'OSError'"),
        ([[KeyError]], "[<class 'KeyError'>]"),
        (len, "<built-in function len>"),
        (5, "5"),
    ],
)
def test_what_is_no_exception(value: Any, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.exceptions("expected", value)
    wanted = "expected must be an exception class, or several in a list or tuple"
    assert str(caught.value) == f"{wanted}; not {what}"


def test_an_integer_of_thousands_of_digits_is_told_as_a_wrong_setting_too() -> None:
    with pytest.raises(
        ConfigError, match="queue must be a whole number from 1 to 2147483647; not so large an int"
    ):
        settings.count("queue", 10**5000)
