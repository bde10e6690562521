from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import ConfigError
from mesh.names.catalog import Catalog
from mesh.names.model import Failed, Found, Missing

USERS = "users: tcp://10.0.0.5:4242\n"
SEARCH = "search: tcp://10.0.0.6:4242\n"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The usual places for the file, best first, all in a folder of the test's own; none has a file."""
    home, site, system = tmp_path / "home", tmp_path / "site", tmp_path / "system"
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("MESH_SERVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_DIRS", f"{site}{os.pathsep}{system}")
    return [work / "services.yml", *(folder / "mesh" / "services.yml" for folder in (home, site, system))]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(catalog: Catalog) -> list[str]:
    return [service.name for service in catalog.services()]


# Which file


def test_the_usual_places_in_order(places: list[Path]) -> None:
    for place in reversed(places):
        write(place, USERS)
        assert Catalog().path == str(place)


def test_only_the_first_file_counts(places: list[Path]) -> None:
    write(places[0], USERS)
    write(places[1], SEARCH)
    catalog = Catalog()
    assert names(catalog) == ["users"]
    assert catalog.lookup("search") == Missing((str(places[0]),), ("users",))


def test_the_variable_comes_before_the_usual_places(
    places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(places[0], USERS)
    monkeypatch.setenv("MESH_SERVICES", str(write(tmp_path / "mine.yml", SEARCH)))
    assert names(Catalog()) == ["search"]


def test_an_empty_variable_counts_for_nothing(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    write(places[0], USERS)
    monkeypatch.setenv("MESH_SERVICES", "")
    assert names(Catalog()) == ["users"]


def test_a_given_path_comes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SERVICES", str(write(tmp_path / "other.yml", SEARCH)))
    path = write(tmp_path / "mine.yml", USERS)
    assert names(Catalog(path)) == names(Catalog(str(path))) == ["users"]


def test_the_home_folder_without_xdg_variables(
    places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("XDG_CONFIG_DIRS")
    path = write(tmp_path / ".config" / "mesh" / "services.yml", USERS)
    assert Catalog().path == str(path)
    path.unlink()
    answer = Catalog().lookup("users")
    assert isinstance(answer, Missing)
    assert answer.looked_in == tuple(
        f"{place} (no such file)"
        for place in (places[0], path, "/etc/xdg/mesh/services.yml", "/etc/mesh/services.yml")
    )


def test_a_relative_xdg_folder_counts_for_nothing(
    places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", "config")
    monkeypatch.setenv("XDG_CONFIG_DIRS", f"etc{os.pathsep}")
    write(Path("config/mesh/services.yml"), USERS)
    write(Path("etc/mesh/services.yml"), USERS)
    assert Catalog().path is None


def test_a_given_path_that_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "absent.yml"
    catalog = Catalog(path)
    with pytest.raises(ConfigError, match=f"^{path}: no such file: give the path of a services.yml$"):
        catalog.services()
    answer = catalog.lookup("users")
    assert isinstance(answer, Failed)
    assert "no such file" in str(answer.error)
    assert catalog.version == 0


def test_a_variable_that_names_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SERVICES", str(tmp_path / "absent.yml"))
    with pytest.raises(ConfigError) as caught:
        Catalog().services()
    assert str(caught.value) == (
        f"MESH_SERVICES names {tmp_path}/absent.yml: no such file: correct the variable, or unset it"
    )


def test_no_file_at_all_is_fine_until_a_name_is_asked_for(places: list[Path]) -> None:
    catalog = Catalog()
    assert catalog.services() == []
    assert (catalog.path, catalog.version) == (None, 0)
    answer = catalog.lookup("users")
    assert isinstance(answer, Missing)
    assert answer.looked_in[:4] == tuple(f"{place} (no such file)" for place in places)


def test_a_relative_path_stays_the_same_file_when_the_working_folder_changes(
    places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(places[0], USERS)
    catalog = Catalog("services.yml")
    monkeypatch.chdir(tmp_path)
    assert catalog.path == str(places[0])


def test_a_working_folder_that_was_removed(places: list[Path]) -> None:
    write(places[1], USERS)
    places[0].parent.rmdir()
    assert names(Catalog()) == ["users"]


# What it holds


def test_lookup(tmp_path: Path) -> None:
    path = write(tmp_path / "services.yml", USERS + "search: [tcp://a:1, tcp://b:1]\n")
    catalog = Catalog(path)
    answer = catalog.lookup("search")
    assert isinstance(answer, Found)
    assert answer.service.addresses == ("tcp://a:1", "tcp://b:1")
    assert answer.service.source == f"{path}:2"
    assert catalog.lookup("orders") == Missing((str(path),), ("users", "search"))
    assert catalog.version == 1


def test_a_wrong_file_fails_every_name(tmp_path: Path) -> None:
    path = write(tmp_path / "services.yml", USERS + "search: nowhere\n")
    catalog = Catalog(path)
    for name in ("users", "search", "orders"):
        answer = catalog.lookup(name)
        assert isinstance(answer, Failed)
        assert str(answer.error).startswith(f"{path}:2: search: 'nowhere' is no endpoint")
    with pytest.raises(ConfigError, match="is no endpoint"):
        catalog.services()


def test_the_error_is_a_new_one_each_time_for_a_raised_one_grows(tmp_path: Path) -> None:
    catalog = Catalog(write(tmp_path / "services.yml", "- x"))
    one, two = catalog.lookup("a"), catalog.lookup("a")
    assert isinstance(one, Failed) and isinstance(two, Failed)
    assert one.error is not two.error


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Catalog(tmp_path).services()
    assert str(caught.value) == (
        f"{tmp_path}: cannot be read: Is a directory. It must be a file that this user may read"
    )


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "services.yml"
    path.write_bytes(USERS.encode() + b"caf\xe9: tcp://a:1\n")
    with pytest.raises(ConfigError, match=f"^{path}:2: the byte 0xe9 is not UTF-8: save the file as UTF-8$"):
        Catalog(path).services()


def test_a_byte_order_mark_is_no_part_of_the_name(tmp_path: Path) -> None:
    path = tmp_path / "services.yml"
    path.write_bytes(b"\xef\xbb\xbf" + USERS.encode())
    assert names(Catalog(path)) == ["users"]


def test_the_module_is_cheap_to_import() -> None:
    code = "import sys, mesh.names.catalog, mesh.names.resolver; print('yaml' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pipe" if kind == "pipe" else Path("/dev/zero")
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ConfigError, match=f"{path}: is no regular file"):
        Catalog(path).services()


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "services.yml"
    with path.open("wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(ConfigError, match=f"^{path}: has 17825792 bytes, and may have 16777216: is it"):
        Catalog(path).services()


@pytest.mark.parametrize("path", ["", 5, b"services.yml", ["services.yml"]])
def test_a_path_that_is_none(path: Any) -> None:
    with pytest.raises(ConfigError, match="services must be the path of a "):
        Catalog(path)


def test_a_change_of_neither_size_nor_time_is_seen(tmp_path: Path) -> None:
    file = write(tmp_path / "services.yml", USERS)
    catalog = Catalog(file)
    assert names(catalog) == ["users"]
    before = file.stat()
    time.sleep(0.02)
    file.write_text(USERS.replace("4242", "4243"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert catalog.refresh(1e9)


def test_a_fork_while_a_file_is_read_leaves_the_collector_of_garbage_on() -> None:
    program = """
import gc, os, threading
from mesh.names.nodes import collector_paused
inside, go_on = threading.Event(), threading.Event()
def read():
    with collector_paused():
        inside.set()
        go_on.wait(20)
threading.Thread(target=read).start()
inside.wait(20)
pid = os.fork()
if not pid:
    os._exit(gc.isenabled())
go_on.set()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "1\n"
