"""The Majordomo suite against this project's broker, on one socket and on two."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hubs.hub_types import make_hub
from hubs.spec import Side
from tests.helpers.peers import nobody
from tests.helpers.processes import run
from tests.hubs.wires import spec


@pytest.mark.parametrize("sockets", ["one", "two"])
def test_the_broker_conforms(sockets: str, tmp_path: Path) -> None:
    both = Side((f"ipc://{tmp_path}/hub",))
    sides = {"in_": both, "out": both} if sockets == "one" else {}
    broker = make_hub(spec("majordomo", heartbeat=0.3, **sides))
    endpoints = broker.start()
    try:
        result = run(
            [sys.executable, "-m", "tests.conformance.majordomo", endpoints.in_[0], endpoints.out[0]],
            timeout=40,
        )
    finally:
        broker.stop(0)
    assert "FAILED" not in result.stdout, result.stdout
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) > 50


SUITE = [sys.executable, "-m", "tests.conformance.majordomo"]


@pytest.mark.parametrize("arguments", [[], ["--hlep"], ["tcp://a:1", "tcp://a:2", "tcp://a:3"]])
def test_wrong_usage(arguments: list[str]) -> None:
    result = run([*SUITE, *arguments])
    assert (result.returncode, result.stdout) == (2, "")
    assert "ENDPOINT [WORKERS_ENDPOINT]" in result.stderr


def test_help() -> None:
    result = run([*SUITE, "--help"])
    assert (result.returncode, result.stderr) == (0, "")
    assert "ENDPOINT [WORKERS_ENDPOINT]" in result.stdout


@pytest.mark.parametrize("endpoint", ["localhost:5555", "tcp://127.0.0.1"])
def test_what_is_no_endpoint(endpoint: str) -> None:
    result = run([*SUITE, endpoint])
    (line,) = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (2, "")
    assert line.startswith(f"majordomo: {endpoint!r} is no endpoint")


def test_nobody_there_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.conformance import majordomo

    monkeypatch.setattr(majordomo, "PATIENCE", 0.2)
    endpoint = nobody()
    assert majordomo.main([endpoint]) == 2
    assert capsys.readouterr().err == (
        f"majordomo: {endpoint!r}: nobody answers within 0.2 s; is a broker running there?\n"
    )


def test_a_case_that_fails_is_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.conformance import majordomo, majordomo_cases

    monkeypatch.setattr(majordomo, "PATIENCE", 0.2)
    endpoint = nobody()
    assert majordomo.run(endpoint, endpoint, majordomo_cases.CASES[:1]) == 1
    assert "FAILED no request within" in capsys.readouterr().out
