"""What a type checker sees of mesh in the program of a user."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import mesh
from tests.helpers import peers

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("package", ["mesh", "hubs"])
def test_a_checker_is_told_that_there_are_types(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    assert (
        '[tool.hatch.build.targets.wheel]\npackages = ["mesh", "hubs"]'
        in (ROOT / "pyproject.toml").read_text()
    ), "the wheel has all that is in the packages"


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
