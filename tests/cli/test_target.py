"""TARGET on the command line: what loads, and what is said where it does not."""

from __future__ import annotations

import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.cli.target import load
from mesh.errors import ConfigError

SHOP = """
class Users:
    def get(self, number): return number

class Needy:
    def __init__(self, db, *, cache, size=3): ...
    def get(self): ...

class Broken:
    def __init__(self):
        raise OSError("no disk")
    def get(self): ...

class Empty:
    value = 3

class Odd:
    def __getattr__(self, name):
        raise RuntimeError(f"no {name}")
    def get(self): ...

class Picky:
    def __getattribute__(self, name):
        if name == "get":
            raise ValueError("not now")
        return object.__getattribute__(self, name)
    def get(self): ...

odd = Odd()

class Outer:
    class Inner:
        def hello(self): return "hello"

users = Users()
functions = {"get": users.get}
wrong = {"get": 3}
VERSION = "1.0"

def helper(): ...
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with modules, as the current one."""
    before = set(sys.modules)
    package = tmp_path / "acme"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "shop.py").write_text(SHOP)
    (tmp_path / "needs_more.py").write_text("x = 1\nimport not_installed_here\n")
    (tmp_path / "bad_syntax.py").write_text("x = 1\ndef broken(:\n")
    (tmp_path / "raises.py").write_text("\n\nraise ValueError('no settings')\n")
    (tmp_path / "odd_dir.py").write_text("def __dir__(): return ['a', 5]\n")
    (tmp_path / "script.py").write_text("import sys\nsys.exit('usage: script FILE')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def failure(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value)


def test_a_module() -> None:
    target = load("urllib.parse")
    assert target.methods is urllib.parse
    assert target.name == "urllib.parse"


@pytest.mark.parametrize("text", ["acme.shop:Users", "acme.shop.Users"])
def test_a_class_is_instantiated(shop: Path, text: str) -> None:
    target = load(text)
    assert target.methods.get(42) == 42
    assert target.name == "Users"


@pytest.mark.parametrize("text", ["acme.shop:users", "acme.shop.users"])
def test_an_object(shop: Path, text: str) -> None:
    target = load(text)
    assert target.methods.get(42) == 42
    assert target.name == "users"


def test_an_object_that_has_no_attribute_but_raises(shop: Path) -> None:
    assert load("acme.shop:Odd").name == "Odd"


def test_a_nested_class(shop: Path) -> None:
    assert load("acme.shop:Outer.Inner").methods.hello() == "hello"


def test_a_dict_of_functions(shop: Path) -> None:
    assert load("acme.shop:functions").methods["get"](1) == 1


def test_the_current_directory_is_on_the_path_once(shop: Path) -> None:
    load("acme.shop")
    load("acme.shop")
    assert sys.path.count(str(shop)) == 1


def test_no_such_module_names_the_place_and_the_nearest(shop: Path) -> None:
    text = failure("acmee.shop")
    assert "no module 'acmee.shop'" in text and str(shop) in text and "'acme'?" in text


def test_no_such_module_in_a_package(shop: Path) -> None:
    assert "no module 'acme.shoop'" in failure("acme.shoop:Users")


def test_a_dotted_path_that_ends_nowhere_says_what_the_module_lacks(shop: Path) -> None:
    assert (
        failure("acme.shop.Usres") == "acme.shop has no attribute 'Usres'; did you mean 'Users' or 'users'?"
    )


def test_no_such_attribute(shop: Path) -> None:
    assert "did you mean 'Users'" in failure("acme.shop:Usres")
    assert failure("acme.shop:zzz") == "acme.shop has no attribute 'zzz'"


@pytest.mark.parametrize("text", ["needs_more", "needs_more:thing", "needs_more.thing"])
def test_a_module_whose_own_import_fails_is_told_apart(shop: Path, text: str) -> None:
    message = failure(text)
    assert "was found, but its import failed" in message
    assert f"{shop / 'needs_more.py'}:2" in message and "not_installed_here" in message


def test_a_module_that_raises(shop: Path) -> None:
    message = failure("raises")
    assert f"{shop / 'raises.py'}:3" in message and "ValueError: no settings" in message


def test_a_syntax_error_has_its_line(shop: Path) -> None:
    assert f"{shop / 'bad_syntax.py'}:2" in failure("bad_syntax")


def test_a_script_that_exits(shop: Path) -> None:
    assert "ended the program when imported" in failure("script")


def test_a_class_that_needs_arguments_names_them(shop: Path) -> None:
    message = failure("acme.shop:Needy")
    assert "(db, cache)" in message and "module:service" in message


def test_a_class_that_fails_has_the_line(shop: Path) -> None:
    message = failure("acme.shop:Broken")
    assert "OSError: no disk" in message and "shop.py:11" in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("acme.shop:VERSION", "is of type str"),
        (
            "acme.shop:Picky",
            "no public method to expose: to look at 'get' raised ValueError: not now at ",
        ),
        ("acme.shop:odd.name", "acme.shop.odd.name can't be had: RuntimeError: no name at "),
        ("acme.shop:helper", "is a function"),
        ("acme.shop:wrong", "must map names to callables"),
        ("acme.shop:Empty", "acme.shop:Empty can't be served: Empty has no public method to expose"),
        ("odd_dir:missing", "odd_dir has no attribute 'missing'"),
    ],
)
def test_what_can_not_be_served(shop: Path, text: str, part: str) -> None:
    assert part in failure(text)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("__all__ = ['helper', 5]", "the __all__ of odd_one must be a list of names, 5 is none"),
        ("__all__ = 'helper'", "the __all__ of odd_one must be a list of names, 'helper' is none"),
        ("__all__ = 5", "the __all__ of odd_one raised TypeError: 'int' object is not iterable"),
        ("__dir__ = lambda: ['helper', 5]", "has (its __dir__) raised TypeError: '<' not supported"),
        ("__dir__ = lambda: [5]", "the __dir__ of odd_one must give names, 5 is none"),
        ("__getattr__ = lambda name: 1 / 0", "the __all__ of odd_one raised ZeroDivisionError"),
    ],
)
def test_a_module_that_can_not_be_listed(shop: Path, line: str, part: str) -> None:
    (shop / "odd_one.py").write_text(f"def helper(): ...\n{line}\n")
    assert part in failure("odd_one")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("acme/shop.py:Users", "acme.shop:Users"),
        ("./script.py", "script"),
        ("script.py", "script"),
    ],
)
def test_a_file_in_place_of_a_module(shop: Path, text: str, hint: str) -> None:
    assert failure(text).endswith(f"give its module: {hint}")


@pytest.mark.parametrize("text", ["", ":", "acme:", "a b", "acme::shop", "tcp://127.0.0.1:1"])
def test_not_a_target_at_all(text: str) -> None:
    assert "form module or module:name" in failure(text)
