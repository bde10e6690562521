"""The look at the source of TARGET, which tells its event loop before anything is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mesh.cli import loops
from mesh.errors import ConfigError

FILES = {
    "plain.py": """
def get(number): return number
async def _hidden(): pass
class Users:
    def get(self): return 1
    async def _hidden(self): pass
users = Users()
""",
    "app/__init__.py": "from .models import Users as Exported\nfrom app.models import Base\n",
    "app/models.py": """
import functools
import app.calm
import bare.inner.deep as deep
from bare.inner.deep import users as module_users
from app.calm import Quiet
raise RuntimeError("nobody imports this")
class Base:
    async def get(self): return 1
class Users(Base):
    def put(self): pass
class Stream:
    async def rows(self):
        yield 1
class Calm(Quiet):
    def put(self): pass
class Outer:
    async def get(self): pass
    class Calm:
        def get(self): pass
    class Inner:
        async def get(self): pass
users = Users()
typed: Users = Users()
other = users
quiet = Quiet()
calm = Calm()
async def one(): pass
table = {"one": one, "two": len}
quiet_table = {"two": len}
bound = {"get": users.get}
bound_of_new = {"get": Users().get}
of_module = {"get": deep.Users().get}
partial_table = {"one": functools.partial(one, 1)}
keyword_table = dict(one=one)
imported = {"get": module_users.get}
made = deep.Users()
quiet_bound = {"put": users.put, "quiet": Quiet().get, "len": functools.partial(len, []), "none": print()}
quiet_keywords = dict(two=len, put=users.put)
def make(): return Users()
made_by_function = make()
loop = loop
""",
    "app/calm.py": "class Quiet:\n    def get(self): return 1\n",
    "app/broken.py": "def (:\n",
    "functions.py": "async def get(): pass\n",
    "bare/inner/deep.py": "class Users:\n    async def get(self): pass\nusers = Users()\n",
    "bare/inner/calm.py": "class Users:\n    def get(self): pass\n",
}


@pytest.fixture
def path(tmp_path: Path) -> list[str]:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return [str(tmp_path), *sys.path]


@pytest.mark.parametrize(
    "target",
    [
        "functions",
        "functions:get",
        "app:Exported",
        "app:Base",
        "app.Exported",
        "app.models:Base",
        "app.models:Users",
        "app.models:Stream",
        "app.models:users",
        "app.models:typed",
        "app.models:other",
        "app.models:table",
        "app.models:bound",
        "app.models:bound_of_new",
        "app.models:of_module",
        "app.models:partial_table",
        "app.models:keyword_table",
        "app.models:imported",
        "app.models:made",
        "app.models:Outer.Inner",
        "app.models",
        "bare.inner.deep:Users",
    ],
)
def test_coroutines_are_seen(path: list[str], target: str) -> None:
    assert loops.choose(target, None, path) == "asyncio"
    assert loops.choose(target, "gevent", path) == "gevent"


@pytest.mark.parametrize(
    "target",
    [
        "plain",
        "plain:Users",
        "plain:users",
        "plain.Users",
        "plain:missing",
        "app",
        "app.calm:Quiet",
        "app.models:quiet",
        "app.models:calm",
        "app.models:quiet_table",
        "app.models:quiet_bound",
        "app.models:quiet_keywords",
        "app.models:made_by_function",
        "app.models:Outer.Calm",
        "app.models:loop",
        "app.broken:Users",
        "app.missing:Users",
        "bare.inner.calm:Users",
        "bare.inner",
        "bare.missing.calm",
        "missing",
        "urllib.parse",
        "sys",
        "",
        "a b:c",
        ":",
    ],
)
def test_where_there_are_none_or_nobody_can_tell_it_is_gevents(path: list[str], target: str) -> None:
    assert loops.choose(target, None, path) == "gevent"
    assert "app" not in sys.modules, "nothing is imported"


def test_what_is_asked_for_is_taken(path: list[str]) -> None:
    assert loops.choose("plain", "asyncio", path) == "asyncio"
    assert loops.choose("plain", "uvloop", path) == "uvloop"


def test_uvloop_that_is_not_there_is_named(path: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(ConfigError, match=r"pip install 'zeromesh\[uvloop\]'"):
        loops.choose("plain", "uvloop", path)
