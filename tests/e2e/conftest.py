"""A folder with a module to serve, and one server of it for all the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import ANY_PORT, SERVICE, serving
from tests.helpers.processes import Process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with users.py."""
    path = tmp_path_factory.mktemp("work")
    (path / "users.py").write_text(SERVICE)
    return path


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[tuple[Process, str]]:
    """The server's process and its endpoint; folder/services.yml names it `users`."""
    with serving("users:Users", "--bind", ANY_PORT, cwd=folder) as (process, endpoint):
        (folder / "services.yml").write_text(f"users: {endpoint}\n")
        yield process, endpoint
