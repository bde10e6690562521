"""`mesh-register`: what it refuses before it looks for any hub."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.e2e.commands import environment
from tests.helpers.processes import Process, Result

HUB = "tcp://127.0.0.1:1"


def register(*arguments: str, cwd: Path) -> Result:
    command = [sys.executable, "-m", "mesh.cli.register", *arguments]
    with Process(command, cwd=cwd, env=environment()) as process:
        return Result(process.wait(), process.stdout, process.stderr)


@pytest.mark.parametrize("target", ["users:Users", "tcp://127.0.0.1:2"])
@pytest.mark.parametrize(
    ("name", "hubs", "part"),
    [
        ("", [HUB], "'' is no name of a service: a name is 1 to 62"),
        ("a b", [HUB], "'a b' is no name of a service: a name is 1 to 62"),
        ("mmi.service", [HUB], "names that begin with 'mmi.' belong to the hubs themselves"),
        ("users", [HUB, HUB], f"{HUB} is given twice"),
        ("users", ["nowhere"], "'nowhere' is no endpoint"),
    ],
)
def test_wrong_usage(folder: Path, target: str, name: str, hubs: list[str], part: str) -> None:
    result = register(name, target, *(f"--hub={hub}" for hub in hubs), cwd=folder)
    assert (result.returncode, result.stdout) == (2, ""), result
    (line,) = result.stderr.splitlines()
    assert line.startswith("mesh-register: ") and part in line


def test_its_version(folder: Path) -> None:
    assert register("--version", cwd=folder) == Result(
        0, f"mesh-register {metadata.version('zeromesh')}\n", ""
    )
