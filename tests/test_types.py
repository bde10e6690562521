"""What a type checker sees of mesh in the program of a user."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import mesh
import mesh.aio
from tests.helpers import peers

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("package", ["mesh", "hubs"])
def test_a_checker_is_told_that_there_are_types(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    assert (
        '[tool.hatch.build.targets.wheel]\npackages = ["mesh", "hubs"]'
        in (ROOT / "pyproject.toml").read_text()
    ), "the wheel has all that is in the packages"


@pytest.mark.parametrize("module", [mesh, mesh.aio])
def test_who_completes_a_name_sees_the_public_ones(module: Any) -> None:
    """Also those that are loaded when they are first used."""
    assert dir(module) == sorted(module.__all__) and "connect" in dir(module)


@pytest.mark.parametrize("module", [mesh, mesh.aio])
def test_a_misspelt_argument_is_told_by_the_name_that_users_know(module: Any) -> None:
    with pytest.raises(TypeError, match=r"^connect\(\) got an unexpected keyword argument 'tmeout'"):
        module.connect("tcp://127.0.0.1:1", tmeout=3)


def test_every_public_name_has_its_type_and_a_misspelt_one_is_an_error(tmp_path: Path) -> None:
    if find_spec("mypy") is None:
        peers.lacking("mypy is not installed: run `make .venv/.installed`")
    reveals = [f"reveal_type(mesh.{name})" for name in mesh.__all__]
    (tmp_path / "user.py").write_text("\n".join(["import mesh", *reveals, "mesh.RemoteEror", ""]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", "user.py"],
        cwd=tmp_path,
        env={"PATH": "", "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    *revealed, error, _ = done.stdout.splitlines()
    assert error.startswith(f'user.py:{len(reveals) + 2}: error: Module has no attribute "RemoteEror"'), done
    assert len(revealed) == len(reveals)
    assert not [line for line in revealed if ": note: Revealed type is" not in line or '"Any"' in line]
