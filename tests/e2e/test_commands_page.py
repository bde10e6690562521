"""docs/commands.md shows what the commands do, and every option that they have."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest

from mesh.cli.main import COMMANDS
from tests.e2e.commands import environment
from tests.helpers import docs
from tests.helpers.peers import free_port
from tests.helpers.processes import ROOT

PAGE = ROOT / "docs" / "commands.md"
COMMON = {"--debug", "--services", "--json", "--timeout"}  # told of once, for all commands


def test_what_the_page_shows_is_true(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, **environment(PATH=path)}
    assert docs.Page(PAGE, tmp_path, env, str(free_port())).run() == 12


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_on_the_page(name: str) -> None:
    page = PAGE.read_text()
    (section,) = [part for part in page.split("\n## ") if part.startswith(f"mesh {name} ")]
    module, attribute, _ = COMMANDS[name]
    for param in getattr(importlib.import_module(module), attribute).params:
        option = next((opt for opt in param.opts if opt.startswith("--")), None)
        if option:
            assert f"`{option}" in (page if option in COMMON else section), f"{option} of mesh {name}"
