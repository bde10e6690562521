"""What docs/names.md and the example services.yml say is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mesh.errors import ConfigError, ServiceNotFound
from mesh.names.catalog import Catalog
from mesh.names.entries import parse_services
from mesh.names.resolver import resolve

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "names.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)
MISTAKES = [text.split("→ ") for kind, text in BLOCKS if kind == "text" and "→" in text]


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "yaml"])
def test_the_examples_are_right(text: str, tmp_path: Path) -> None:
    path = tmp_path / "services.yml"
    path.write_text(text)
    assert Catalog(path).services()


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_the_mistakes_say_what_the_page_says(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_services(text, "/srv/shop/services.yml")
    assert str(caught.value) == said.strip()


def test_the_page_shows_mistakes_and_an_unknown_name(tmp_path: Path) -> None:
    assert len(MISTAKES) >= 5
    path = tmp_path / "services.yml"
    path.write_text("users: tcp://10.0.0.5:4242")
    with pytest.raises(ServiceNotFound) as caught:
        resolve("user", Catalog(path))
    assert str(caught.value).replace(str(path), "/srv/shop/services.yml") in PAGE


def test_the_example_file_is_right() -> None:
    names = [service.name for service in Catalog(ROOT / "services.yml").services()]
    assert "users" in names
