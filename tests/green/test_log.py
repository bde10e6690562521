"""What stands in the log: enough to find the cause, and never more than a screen of it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.core.log import EVERY, MAX_STACK, MAX_TEXT
from tests.green.conftest import Connect, Serve
from tests.helpers.processes import eventually
from tests.helpers.raw import RawClient


def deep(number: int) -> None:
    """Frames that are all different, so that Python does not sum them up."""
    code = "\n".join(f"def f{n}(): f{n - 1}()" for n in range(1, number))
    scope: dict[str, Any] = {"f0": wordy}
    exec(code, scope)
    scope[f"f{number - 1}"]()


def wordy() -> None:
    raise ValueError("begin" + "x" * 100_000 + "end")


@pytest.mark.parametrize("frames", [1, 500])
def test_an_exception_with_much_to_say(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture, frames: int
) -> None:
    client = connect(serve({"f": lambda: deep(frames) if frames > 1 else wordy()}))
    with caplog.at_level(logging.INFO, "mesh.server"), pytest.raises(ValueError, match="begin"):
        client.f()
    (line,) = [record.getMessage() for record in caplog.records if "raised" in record.getMessage()]
    assert len(line) < MAX_STACK + MAX_TEXT + 300
    assert "in wordy" in line and "ValueError: begin" in line and line.endswith("end")
    assert "characters left out" in line


def test_a_subscriber_too(caplog: pytest.LogCaptureFixture) -> None:
    with (
        mesh.Puller(None, lambda *_: wordy()) as puller,
        mesh.Pusher(puller.bind("tcp://127.0.0.1:*")) as pusher,
    ):
        pusher.job()
        eventually(lambda: "the handler of 'job' raised" in caplog.text)
    assert "in wordy" in caplog.text and "ValueError: begin" in caplog.text
    assert len(caplog.text) < MAX_STACK + MAX_TEXT + 1_000


class Odd(LookupError):
    pass


class Failing:
    def key(self) -> None:
        raise KeyError("gone")

    def odd(self) -> None:
        raise Odd

    @mesh.expected(ValueError, ZeroDivisionError)
    def value(self, text: str) -> float:
        return 1 / int(text)

    @mesh.expected([Odd])
    def items(self, number: int) -> Iterator[int]:
        yield from range(number)
        raise Odd if number == 3 else LookupError

    def exits(self) -> None:
        raise SystemExit(1)

    def no_value(self) -> Any:
        return object()


def levels(caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    """Of what was raised: method and class -> level."""
    told = {}
    for record in caplog.records:
        if found := re.match(r"Failing\.(\w+) raised", record.getMessage()):
            exc = record.getMessage().splitlines()[-1].partition(":")[0].rpartition(".")[2]
            told[f"{found[1]} {exc}"] = record.levelname
    return told


@pytest.mark.parametrize("options", [{}, {"threads": 1}])
def test_what_a_handler_raises_is_an_error_but_for_what_is_expected(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    caplog.set_level(logging.DEBUG, "mesh.server")
    client = connect(serve(Failing, expected=[KeyError], **options))
    for call in (
        client.key,
        client.odd,
        lambda: client.value("x"),
        lambda: client.value("0"),
        lambda: client.value(None),
        lambda: list(client.items(3)),
        lambda: list(client.items(4)),
        client.exits,
        client.no_value,
        client.unknown,
        lambda: client._zerorpc_help("unknown"),
        lambda: client.items(1, 2, 3),
    ):
        with pytest.raises(mesh.RemoteError):
            call()
    assert levels(caplog) == {
        **dict.fromkeys(["key KeyError", "value ValueError", "value ZeroDivisionError"], "INFO"),
        **dict.fromkeys(["items Odd", "items items raised TypeError", "_zerorpc_help NameError"], "INFO"),
        **dict.fromkeys(["odd Odd", "value TypeError", "items LookupError"], "ERROR"),
        **dict.fromkeys(["exits SystemExit", "no_value TypeError"], "ERROR"),
    }


def test_of_many_a_line_a_second(serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "mesh.server")
    client = connect(serve(Failing))
    began = time.monotonic()
    for _ in range(200):
        with pytest.raises(KeyError):
            client.key()
    lines = [message for message in caplog.messages if "raised" in message]
    assert 1 <= len(lines) <= 1 + (time.monotonic() - began) / EVERY


def test_a_wrong_class_is_told() -> None:
    with pytest.raises(mesh.ConfigError, match="several in a list or tuple; not 'ValueError'"):
        mesh.Server({"f": len}, expected=(KeyError, "ValueError"))  # type: ignore[arg-type]
    with pytest.raises(mesh.ConfigError, match="several in a list or tuple; not <class 'int'>"):
        mesh.expected(KeyError, [OSError, int])  # type: ignore[list-item]


def test_what_the_handlers_of_events_raise(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mesh.events")
    failing = Failing()
    with (
        mesh.Puller(None, {"value": failing.value, "key": failing.key}) as puller,
        mesh.Pusher(puller.bind("tcp://127.0.0.1:*")) as pusher,
    ):
        pusher.value("x")
        pusher.key()
        eventually(lambda: "the handler of 'key' raised" in caplog.text)
    told = {name: r.levelname for r in caplog.records for name in ("value", "key") if repr(name) in r.message}
    assert told == {"value": "INFO", "key": "ERROR"}


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_what_was_dropped_is_told_with_method_and_peer(
    caplog: pytest.LogCaptureFixture, transport: str, tmp_path: Path
) -> None:
    server = mesh.Server({"f": len}, name="users")
    endpoint = server.bind("tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{tmp_path}/users")
    where = "127.0.0.1" if transport == "tcp" else "process "
    with server, RawClient(endpoint) as peer:
        peer.socket.send_multipart([b"", b"\x93\x81\xa1v\x03\xa4save\x90"])
        eventually(lambda: "users: dropped 1 malformed ('save' without a message id" in caplog.text)
    assert f"'save' without a message id, from {where}" in caplog.text


def test_an_unknown_method_is_told(serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    client = connect(serve({"f": len}, name="users"))
    with pytest.raises(NameError):
        client.g()
    eventually(lambda: "users: dropped 1 unknown method ('g', from 127.0.0.1)" in caplog.text)


def test_a_method_that_could_not_be_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def __get__(self, obj: object, owner: type | None = None) -> Any:
            raise LookupError("not now")

        def __call__(self) -> None: ...

    service = type("Users", (), {"get": lambda self: 1, "broken": Broken()})
    mesh.Server(service).stop()
    mesh.Puller(None, service()).stop()
    assert "Users: 'broken' is not exposed, for to look at it raised LookupError: not now" in caplog.text
    assert "'broken' handles no events, for to look at it raised LookupError: not now" in caplog.text
