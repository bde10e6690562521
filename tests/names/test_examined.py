"""All that is wrong with a services.yml, as whoever checks it hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.errors import ConfigError
from mesh.names.catalog import Catalog
from mesh.names.examined import Examined, examine
from mesh.names.model import Found, Missing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "services.yml"


def examined(path: Path, text: str) -> Examined:
    path.write_text(text)
    return examine(Catalog(path))


def told(file: Examined) -> list[tuple[int, str, str]]:
    """Line, key and the first words of each mistake."""
    found = []
    for one in file.mistakes:
        assert one.where.startswith(f"{file.path}:{one.line}") and str(one) == f"{one.where}: {one.problem}"
        key = one.where.removeprefix(f"{file.path}:{one.line}").removeprefix(": ")
        found.append((one.line, key, " ".join(one.problem.split()[:3])))
    return found


def test_a_file_that_is_right(path: Path) -> None:
    file = examined(path, "users: tcp://a:1\nall: {split: {users: 1, other: 1}}\n")
    assert list(file.services) == ["users", "all"] and not file.mistakes
    assert file.lookup("users") == Found(file.services["users"])
    assert file.lookup("other") == Missing((str(path),), ("users", "all"))


def test_mistakes_of_several_entries(path: Path) -> None:
    text = (
        "users: localhost:4242\n"
        "bar: {adress: tcp://127.0.0.1:1}\n"
        "good: tcp://h:1\n"
        "baz: {address: tcp://h:1, timeout: 5s}\n"
        "_odd: tcp://h:1\n"
        "users: tcp://h:1\n"
    )
    file = examined(path, text)
    assert told(file) == [
        (1, "users", "'localhost:4242' is no"),
        (2, "bar.adress", "unknown key; did"),
        (4, "baz.timeout", "must be a"),
        (5, "", "'_odd' cannot name"),
        (6, "users", "stands twice, in"),
    ]
    assert {name: one.addresses for name, one in file.services.items()} == {
        "users": (),
        "bar": (),
        "good": ("tcp://h:1",),
        "baz": (),
    }
    with pytest.raises(ConfigError, match="localhost:4242"):
        Catalog(path).services()


def test_mistakes_within_one_entry(path: Path) -> None:
    text = (
        "a:\n"
        "  address:\n"
        "    - nowhere\n"
        "    - {address: tcp://h:1, weight: 0, zone: ''}\n"
        "    - tcp://h:2\n"
        "    - tcp://h:2\n"
        "  timeout: 5s\n"
        "  faults: {eror: 1, drop: 101, delay: {ms: 1}}\n"
        "  balance: {rule: x, taus: 1}\n"
        "b: {split: {a: x, c/d: 1}, weight: 1}\n"
        "c: {address: nowhere, hub: tcp://h:1}\n"
        "d: {timeout: 5}\n"
    )
    assert told(examined(path, text)) == [
        (3, "a.address", "'nowhere' is no"),
        (4, "a.address.weight", "must be a"),
        (4, "a.address.zone", "must have 1"),
        (6, "a.address", "'tcp://h:2' stands twice"),
        (7, "a.timeout", "must be a"),
        (8, "a.faults.eror", "unknown key; did"),
        (8, "a.faults.drop", "must be a"),
        (8, "a.faults.delay.ms", "unknown key; the"),
        (9, "a.balance.rule", "must be one"),
        (9, "a.balance.taus", "unknown key; did"),
        (10, "b", "has 'weight' beside"),
        (10, "b.split.a", "must be a"),
        (10, "b.split", "'c/d' cannot name"),
        (11, "c", "has both 'address'"),
        (11, "c.address", "'nowhere' is no"),
        (12, "d", "has none of"),
    ]


def test_a_variable_that_is_not_set_is_one_mistake_and_hides_no_other(path: Path) -> None:
    text = 'a: tcp://${MESH_NO_SUCH}:1\nb: {address: ["tcp://${MESH_NO_SUCH}:1", nowhere], timeout: 5s}\n'
    assert told(examined(path, text)) == [
        (1, "a", "the variable MESH_NO_SUCH"),
        (2, "b.address", "the variable MESH_NO_SUCH"),
        (2, "b.address", "'nowhere' is no"),
        (2, "b.timeout", "must be a"),
    ]


def test_a_split_to_an_entry_with_a_mistake_is_none(path: Path) -> None:
    text = "all: {split: {users: 1, events: 1}}\nusers: nowhere\nevents: {address: tcp://h:1, type: pub}\n"
    assert told(examined(path, text)) == [
        (1, "all.split.events", "is of type"),
        (2, "users", "'nowhere' is no"),
    ]


def test_anchors_that_stand_twice(path: Path) -> None:
    assert told(examined(path, "x-a: 1\nx-a: 2\nusers: nowhere\n")) == [
        (2, "x-a", "stands twice, in"),
        (3, "users", "'nowhere' is no"),
    ]


@pytest.mark.parametrize("text", ["a: [\nb: nowhere\n", "- a\n- b\n", "a: nowhere\nb: &x [*x", "\x00"])
def test_what_is_no_registry_at_all_is_one_mistake(path: Path, text: str) -> None:
    file = examined(path, text)
    assert len(file.mistakes) == 1 and not file.services


def test_files_that_can_not_be_read(path: Path) -> None:
    (absent,) = examine(Catalog(path)).mistakes
    assert (absent.where, absent.problem) == (str(path), "no such file: give the path of a services.yml")
    (folder,) = examine(Catalog(path.parent)).mistakes
    assert folder.where == str(path.parent) and folder.problem.startswith("cannot be read: Is a directory")
    path.write_bytes(b"a: tcp://h:1\nb: \xff\n")
    (not_text,) = examine(Catalog(path)).mistakes
    assert not_text.where == f"{path}:2" and "is not UTF-8" in not_text.problem


def test_no_file_where_none_has_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    monkeypatch.delenv("MESH_SERVICES", raising=False)
    file = examine(Catalog())
    assert (file.path, dict(file.services), list(file.mistakes)) == (None, {}, [])
    assert file.lookup("users") == Missing(())
