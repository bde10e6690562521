"""Every command and program in the documentation does what the page says."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.helpers import docs
from tests.helpers.peers import free_port

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": 7,
    "docs/calls.md": 8,
    "docs/balancing.md": 2,
    "docs/hubs.md": 14,
    "docs/registration.md": 9,
    "docs/events.md": 8,
    "docs/asyncio.md": 1,
    "docs/middleware.md": 6,
    "docs/dashboard.md": 1,
    "docs/tracing.md": 16,
    "docs/drivers.md": 2,
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_is_true(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESH_SERVICES", raising=False)
    scripts = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    assert docs.Page(ROOT / page, tmp_path, env, str(free_port())).run() == PAGES[page]


def test_an_expected_value_that_is_wrong_is_found() -> None:
    with pytest.raises(AssertionError, match="3"):
        exec(docs.checked("1 + 2  # → 4"), {})
    exec(docs.checked("1 + 2  # → 3"), {})


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"
