"""A wrong setting is told at once, by its name, wherever a program gives one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import mesh
from mesh.core.server_session import Limits
from mesh.green.sidecar import Sidecar
from tests.green.conftest import Serve

NOWHERE = "tcp://127.0.0.1:9"
NAN, INF = float("nan"), float("inf")
NO_TIMES = [-1, NAN, INF, "a", True, b"", []]
NO_NUMBERS = [0, -1, NAN, 1.5, "a", True, []]

Make = Callable[..., Any]


def in_thread(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **options).result(timeout=30)


def connect(**options: Any) -> None:
    mesh.connect(NOWHERE, **options).close()


def view(**options: Any) -> None:
    with mesh.connect(NOWHERE) as client:
        client.with_options(**options)


def server(**options: Any) -> None:
    mesh.Server({"f": len}, **options).stop()


def publisher(**options: Any) -> None:
    mesh.Publisher(**options).close()


def pusher(**options: Any) -> None:
    mesh.Pusher(**options).close()


def subscriber(**options: Any) -> None:
    mesh.Subscriber(None, print, **options).stop()


def puller(**options: Any) -> None:
    mesh.Puller(None, print, **options).stop()


def sidecar(**options: Any) -> None:
    Sidecar("users", NOWHERE, NOWHERE, **options).stop()


CASES: list[tuple[Make, str, list[Any]]] = [
    (connect, "timeout", [0, *NO_TIMES]),
    (connect, "heartbeat", [0, 0.01, *NO_TIMES]),
    (connect, "max_message", NO_NUMBERS),
    (connect, "max_elements", NO_NUMBERS),
    (server, "max_message", NO_NUMBERS),
    (server, "max_elements", NO_NUMBERS),
    (sidecar, "max_message", NO_NUMBERS),
    (sidecar, "max_elements", NO_NUMBERS),
    (view, "timeout", [0, *NO_TIMES]),
    (view, "retries", [-1, 1.5, "a", True]),
    (view, "hedge", [1, "yes", None]),
    (view, "version", ["", 2, True]),
    (connect, "balance", ["random", 1, "", True]),
    (view, "idempotent", [1, "yes", None]),
    (server, "pool_size", NO_NUMBERS),
    (server, "heartbeat", [0, *NO_TIMES]),
    (server, "threads", [-1, 1.5, "a", True, None]),
    (server, "name", [5, b"name"]),
    (server, "limits", [5, {"queue": 5}]),
    (publisher, "queue_size", NO_NUMBERS),
    (publisher, "max_message", NO_NUMBERS),
    (publisher, "keywords", [1, "yes", None]),
    (pusher, "timeout", NO_TIMES),
    (pusher, "queue_size", NO_NUMBERS),
    (pusher, "keywords", [1, "yes", None]),
    (subscriber, "pool_size", [None, *NO_NUMBERS]),
    (subscriber, "queue_size", NO_NUMBERS),
    (puller, "max_message", NO_NUMBERS),
    (puller, "max_elements", NO_NUMBERS),
    (sidecar, "capacity", NO_NUMBERS),
]


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [(make, name, value) for make, name, values in CASES for value in values],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_a_wrong_setting_is_told_by_its_name(make: Make, name: str, value: Any) -> None:
    with pytest.raises(mesh.ConfigError) as caught:
        make(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"{name} must be "), text
    assert repr(value) in text


def test_a_thread_without_a_loop_is_told_at_once_too() -> None:
    with pytest.raises(mesh.ConfigError, match="heartbeat must be"):
        in_thread(connect, heartbeat="a")


@pytest.mark.parametrize("timeout", NO_TIMES)
def test_waits(serve: Serve, timeout: Any) -> None:
    endpoint = serve({"f": len})
    target = mesh.Server({"f": len})
    with mesh.connect(endpoint, timeout=20) as client, mesh.Publisher() as events:
        pending = client.f.future("abc")
        waits: list[Callable[..., Any]] = [
            pending.result,
            in_thread(client.f.future, "abc").result,
            target.stop,
            events.wait_for_subscriber,
            events.close,
        ]
        for wait in waits:
            with pytest.raises(mesh.ConfigError, match="timeout must be"):
                wait(timeout=timeout)
        assert pending.result(timeout=20) == 3
    target.stop()


def test_what_is_no_name_or_address() -> None:
    target = mesh.Server({"f": len})
    for address in ("nonsense", 5, "tcp://*:5"):
        with pytest.raises(mesh.ConfigError, match=r"is no endpoint|has '\*' for a host"):
            target.register("users", NOWHERE, address=address)  # type: ignore[arg-type]
    with pytest.raises(mesh.ConfigError, match="fd must be"):
        target.bind("tcp://127.0.0.1:*", fd="3")  # type: ignore[arg-type]
    target.stop()
    with (
        mesh.connect(NOWHERE) as client,
        pytest.raises(TypeError, match="must be str, not int"),
    ):
        client(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="topics must be"):
        mesh.Subscriber(None, print, topics=5)  # type: ignore[arg-type]


def test_what_one_message_may_be_is_said_of_the_server_or_in_its_limits(serve: Serve) -> None:
    def large() -> bytes:
        return b"x" * 50_000

    for options in (
        {"max_message": 20_000},
        {"limits": Limits(max_message=20_000)},
        {"limits": Limits(max_message=2_000_000), "max_message": 20_000},
    ):
        with (
            mesh.connect(serve({"large": large}, **options)) as client,
            pytest.raises(ValueError, match=r"the limit is 20000.* of connect and Server, --max-message"),
        ):
            client.large()
