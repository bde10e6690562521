"""The group `mesh` itself, and the commands of a later release."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import pytest

from mesh.cli.main import COMMANDS
from tests.e2e.commands import MESH, Terminal, environment, failed, mesh
from tests.helpers.processes import run

HELP_WITHIN = 0.25
"""Seconds, on a machine that does nothing else; on any, so many times what Python takes to import asyncio."""
TIMES = 5


def test_help_is_there_at_once(tmp_path: Path) -> None:
    mesh("--help", cwd=tmp_path)  # the first run writes the byte code

    def seconds(*command: str) -> float:
        began = time.monotonic()
        assert run(command, env=environment(), fresh=True).returncode == 0
        return time.monotonic() - began

    took = [(seconds(*MESH, "--help"), seconds(sys.executable, "-c", "import asyncio")) for _ in range(5)]
    usual = statistics.median(other for _, other in took)
    assert min(ours for ours, _ in took) < max(HELP_WITHIN, TIMES * usual)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_needs_no_network(command: list[str], tmp_path: Path) -> None:
    """Asked for its help, a command imports neither gevent nor ZeroMQ."""
    code = (
        "import sys; from mesh.cli.main import mesh; from mesh.cli.reporting import run; "
        f"print(run(mesh, 'mesh', {[*command, '--help']!r})); "
        "print(sorted({'gevent', 'zmq', 'yaml', 'asyncio', 'msgpack'} & set(sys.modules)))"
    )
    result = run([sys.executable, "-c", code], env=environment())
    assert result.stdout.endswith("0\n[]\n"), result


def test_every_command_has_a_help_that_fits(tmp_path: Path) -> None:
    for name in COMMANDS:
        with Terminal([*MESH, name, "--help"], columns=60, cwd=tmp_path) as terminal:
            assert terminal.wait() == 0
            assert "Usage: mesh" in terminal.shown
            assert max(map(len, terminal.shown.splitlines())) <= 60


def test_without_a_command_it_shows_the_help_on_standard_error(tmp_path: Path) -> None:
    result = mesh(cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert all(name in result.stderr for name in COMMANDS)


def test_a_mistyped_command(tmp_path: Path) -> None:
    assert "no command 'cal': did you mean 'call'?" in failed(mesh("cal", cwd=tmp_path), 2)
    assert "there are serve, call" in failed(mesh("zzz", cwd=tmp_path), 2)


def test_the_version(tmp_path: Path) -> None:
    result = mesh("--version", cwd=tmp_path)
    assert result.returncode == 0 and result.stdout.startswith("mesh ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str, tmp_path: Path) -> None:
    result = mesh(cwd=tmp_path, _MESH_COMPLETE=f"{shell}_source")
    assert result.returncode == 0 and "_MESH_COMPLETE" in result.stdout


def test_completion_knows_the_services(tmp_path: Path) -> None:
    (tmp_path / "services.yml").write_text("users: tcp://127.0.0.1:1\nuploads: tcp://127.0.0.1:2\n")
    words = {"COMP_WORDS": "mesh call us", "COMP_CWORD": "2"}
    result = mesh(cwd=tmp_path, _MESH_COMPLETE="bash_complete", **words)
    assert result.stdout == "plain,users\n"


def test_what_this_release_does_not_have_yet() -> None:
    result = run([sys.executable, "-m", "mesh.cli.register", "users", "users:Users"], env=environment())
    assert (result.returncode, result.stdout) == (2, "")
    assert "mesh-register" in result.stderr and result.stderr.count("\n") == 1
