"""What docs/names.md shows of DNS is what happens, with the zone and the settings that come with mesh."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers import docs
from tests.helpers.name_servers import CONFIGS, program
from tests.helpers.peers import free_port

ROOT = Path(__file__).parents[2]


def test_the_page_shows_what_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = program("named")
    section = (ROOT / "docs" / "names.md").read_text().partition("\n### Try it\n")[2].partition("\n### ")[0]
    settings = re.findall(r"\$ export (.*)\n", section)[0]
    server, client = str(free_port()), str(free_port())

    def with_ports(text: str) -> str:
        return text.replace("5300", server).replace("4242", client)

    page = tmp_path / "page.md"
    page.write_text(with_ports(re.sub(r"\$ export .*\n", "", section)))
    folder = tmp_path / "dns"
    shutil.copytree(CONFIGS, folder)
    for name in ("named.conf", "mesh.test.zone"):
        (folder / name).write_text(with_ports((CONFIGS / name).read_text()))
    readme = (ROOT / "README.md").read_text()
    (folder / "users.py").write_text(re.findall(r"```python\n(# users\.py\n.*?)```", readme, re.S)[0])
    path = os.pathsep.join([str(Path(sys.executable).parent), str(Path(named).parent), os.environ["PATH"]])
    variables = dict(one.split("=") for one in with_ports(settings).split())
    env = {**os.environ, **variables, "PATH": path, "MESH_SERVICES": "", "XDG_CONFIG_HOME": str(folder)}
    assert docs.Page(page, folder, env, client).run() == 1
