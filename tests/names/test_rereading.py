"""What happens to a catalog while its file changes. The clock is a number that the test sets."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from mesh.errors import ConfigError
from mesh.names.catalog import CHECK_EVERY, Catalog
from mesh.names.model import Failed, Found, Missing
from tests.helpers.processes import PATIENCE

USERS = "users: tcp://10.0.0.5:4242\n"
MOVED = "users: tcp://10.0.0.9:4242\n"
BROKEN = "users: nowhere\n"

_ages = count(1)


def write(path: Path, text: str) -> None:
    """In place, with a time of its own however coarse the file system's clock is."""
    path.write_text(text)
    stamp = 1_700_000_000_000_000_000 + next(_ages)
    os.utime(path, ns=(stamp, stamp))


def rename_over(path: Path, text: str) -> None:
    """As many editors save: the new text beside the old one, then renamed over it."""
    new = path.with_suffix(".new")
    write(new, text)
    new.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "services.yml"
    write(path, USERS)
    return path


@pytest.fixture
def catalog(path: Path) -> Catalog:
    catalog = Catalog(path)
    assert catalog.refresh(0.0)
    return catalog


@pytest.fixture
def ticks() -> Iterator[float]:
    """Times at which the file is looked at each time."""
    return (1.0 + CHECK_EVERY * number for number in count())


def endpoint(catalog: Catalog, name: str = "users") -> str:
    answer = catalog.lookup(name)
    assert isinstance(answer, Found), answer
    return answer.service.endpoints[0].address


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert all(record.name == "mesh.names" for record in caplog.records)
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("save", [write, rename_over])
def test_a_change_is_seen(catalog: Catalog, path: Path, save: Callable[[Path, str], None]) -> None:
    save(path, MOVED)
    assert catalog.refresh(1.0)
    assert endpoint(catalog) == "tcp://10.0.0.9:4242"
    assert catalog.version == 2
    assert not catalog.refresh(2.0)
    assert catalog.version == 2


def test_the_file_is_looked_at_twice_a_second_and_no_more(catalog: Catalog, path: Path) -> None:
    write(path, MOVED)
    for share in (0.0, 0.5, 0.999):
        assert not catalog.refresh(share * CHECK_EVERY)
        assert endpoint(catalog) == "tcp://10.0.0.5:4242"
    assert catalog.refresh(CHECK_EVERY)
    write(path, USERS)
    assert not catalog.refresh(1.999 * CHECK_EVERY)
    assert catalog.refresh(2.0 * CHECK_EVERY)
    assert 2.0 * CHECK_EVERY < 1.0


def test_nothing_is_looked_at_without_a_refresh(catalog: Catalog, path: Path) -> None:
    write(path, MOVED)
    assert endpoint(catalog) == "tcp://10.0.0.5:4242"


def test_a_file_that_stays_is_not_read_again(
    catalog: Catalog, path: Path, ticks: Iterator[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.names.catalog._read", lambda path: pytest.fail(f"read {path} again"))
    for _ in range(3):
        assert not catalog.refresh(next(ticks))


def test_a_change_of_comments_alone_is_no_new_version(catalog: Catalog, path: Path) -> None:
    write(path, "# the users\n" + USERS)
    assert not catalog.refresh(1.0)
    assert catalog.version == 1
    assert catalog.services()[0].source == f"{path}:2"


def test_a_file_that_became_wrong_keeps_its_last_right_content(
    catalog: Catalog, path: Path, ticks: Iterator[float], caplog: pytest.LogCaptureFixture
) -> None:
    write(path, BROKEN)
    for _ in range(3):
        assert not catalog.refresh(next(ticks))
        assert endpoint(catalog) == "tcp://10.0.0.5:4242"
        assert [service.name for service in catalog.services()] == ["users"]
    assert warnings(caplog) == [
        f"{path}:1: users: 'nowhere' is no endpoint: write tcp://HOST:PORT, ipc://PATH or inproc://NAME; "
        "going on with the services that were read before"
    ]
    write(path, BROKEN)
    catalog.refresh(next(ticks))
    assert len(warnings(caplog)) == 2, "each change is worth one warning"
    write(path, MOVED)
    assert catalog.refresh(next(ticks))
    assert endpoint(catalog) == "tcp://10.0.0.9:4242"
    assert len(warnings(caplog)) == 2


def test_a_file_that_was_repaired_as_it_was_is_no_new_version(catalog: Catalog, path: Path) -> None:
    write(path, BROKEN)
    assert not catalog.refresh(1.0)
    write(path, USERS)
    assert not catalog.refresh(2.0)
    assert catalog.version == 1


def test_a_file_that_is_away_for_a_moment(
    catalog: Catalog, path: Path, ticks: Iterator[float], caplog: pytest.LogCaptureFixture
) -> None:
    path.unlink()
    assert not catalog.refresh(next(ticks))
    assert endpoint(catalog) == "tcp://10.0.0.5:4242"
    write(path, MOVED)
    assert catalog.refresh(next(ticks))
    assert endpoint(catalog) == "tcp://10.0.0.9:4242"
    assert warnings(caplog) == []


def test_a_file_that_is_gone_for_good_is_said_once(
    catalog: Catalog, path: Path, ticks: Iterator[float], caplog: pytest.LogCaptureFixture
) -> None:
    backup = path.with_suffix(".bak")
    for absence in (1, 2):
        path.rename(backup)
        for _ in range(4):
            assert not catalog.refresh(next(ticks))
            assert endpoint(catalog) == "tcp://10.0.0.5:4242"
        said = f"{path}: the file is gone; going on with the services that were read before"
        assert warnings(caplog) == [said] * absence
        backup.rename(path)
        assert not catalog.refresh(next(ticks))
    assert catalog.version == 1


def test_a_file_that_is_emptied_and_then_written(
    catalog: Catalog, path: Path, ticks: Iterator[float]
) -> None:
    write(path, "")
    assert not catalog.refresh(next(ticks))
    assert endpoint(catalog) == "tcp://10.0.0.5:4242"
    write(path, MOVED)
    assert catalog.refresh(next(ticks))
    assert endpoint(catalog) == "tcp://10.0.0.9:4242"


def test_a_file_that_stays_empty_has_no_services(
    catalog: Catalog, path: Path, ticks: Iterator[float]
) -> None:
    write(path, "")
    assert not catalog.refresh(next(ticks))
    assert catalog.refresh(next(ticks))
    assert catalog.services() == []
    assert catalog.lookup("users") == Missing((str(path),))
    assert catalog.version == 2


def test_a_link_that_is_pointed_elsewhere(tmp_path: Path) -> None:
    for name, text in (("one", USERS), ("two", MOVED)):
        write(tmp_path / name, text)
    link, new = tmp_path / "services.yml", tmp_path / "new"
    link.symlink_to("one")
    catalog = Catalog(link)
    assert endpoint(catalog) == "tcp://10.0.0.5:4242"
    new.symlink_to("two")
    new.rename(link)
    assert catalog.refresh(0.0)
    assert endpoint(catalog) == "tcp://10.0.0.9:4242"


def test_a_link_whose_file_is_gone(
    tmp_path: Path, ticks: Iterator[float], caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "one", USERS)
    link = tmp_path / "services.yml"
    link.symlink_to("one")
    catalog = Catalog(link)
    assert endpoint(catalog) == "tcp://10.0.0.5:4242"
    (tmp_path / "one").unlink()
    for _ in range(3):
        assert not catalog.refresh(next(ticks))
    why = f"{link}: is a link to one, which is not there"
    assert warnings(caplog) == [f"{why}; going on with the services that were read before"]
    with pytest.raises(ConfigError, match=f"^{why}: give the path of a services.yml$"):
        Catalog(link).services()


def test_a_link_in_a_usual_place_that_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESH_SERVICES", raising=False)
    (tmp_path / "services.yml").symlink_to("/nowhere/services.yml")
    answer = Catalog().lookup("users")
    assert isinstance(answer, Missing)
    where = f"{tmp_path}/services.yml (is a link to /nowhere/services.yml, which is not there)"
    assert answer.looked_in[0] == where


def test_a_file_that_was_wrong_from_the_start(
    tmp_path: Path, ticks: Iterator[float], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "services.yml"
    write(path, BROKEN)
    catalog = Catalog(path)
    assert not catalog.refresh(next(ticks))
    assert isinstance(catalog.lookup("users"), Failed)
    assert catalog.version == 0
    write(path, USERS)
    assert catalog.refresh(next(ticks))
    assert endpoint(catalog) == "tcp://10.0.0.5:4242"
    assert catalog.version == 1
    assert warnings(caplog) == [], "whoever looks up gets the error"


def test_a_given_file_that_comes_later(tmp_path: Path, ticks: Iterator[float]) -> None:
    path = tmp_path / "services.yml"
    catalog = Catalog(path)
    assert isinstance(catalog.lookup("users"), Failed)
    assert not catalog.refresh(next(ticks))
    write(path, USERS)
    assert catalog.refresh(next(ticks))
    assert endpoint(catalog) == "tcp://10.0.0.5:4242"


def test_a_wrong_file_that_is_taken_away(tmp_path: Path, ticks: Iterator[float]) -> None:
    path = tmp_path / "services.yml"
    write(path, BROKEN)
    catalog = Catalog(path)
    catalog.refresh(next(ticks))
    path.unlink()
    catalog.refresh(next(ticks))
    with pytest.raises(ConfigError, match="no such file"):
        catalog.services()


def test_a_file_in_a_usual_place_that_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticks: Iterator[float]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESH_SERVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "none"))
    catalog = Catalog()
    assert isinstance(catalog.lookup("users"), Missing)
    write(tmp_path / "services.yml", USERS)
    assert catalog.refresh(next(ticks))
    assert endpoint(catalog) == "tcp://10.0.0.5:4242"


def test_a_file_that_cannot_be_read_is_tried_again_and_said_once(
    catalog: Catalog, path: Path, ticks: Iterator[float], caplog: pytest.LogCaptureFixture
) -> None:
    # A folder: permissions would not stop a test that runs as root.
    path.unlink()
    path.mkdir()
    for _ in range(3):
        catalog.refresh(next(ticks))
        assert endpoint(catalog) == "tcp://10.0.0.5:4242"
    assert len(warnings(caplog)) == 1
    assert f"{path}: cannot be read: Is a directory" in warnings(caplog)[0]
    path.rmdir()
    write(path, MOVED)
    assert catalog.refresh(next(ticks))


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads that take turns fifty times as often."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("quick_switches")
def test_readers_and_refreshers_in_many_threads(catalog: Catalog, path: Path) -> None:
    clock = count(1)
    stop = time.monotonic() + PATIENCE
    wrong: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                assert endpoint(catalog) in ("tcp://10.0.0.5:4242", "tcp://10.0.0.9:4242")
                catalog.refresh(float(next(clock)))
                assert len(catalog.services()) == 1
                time.sleep(0.0001)  # else who renames waits for its turn for seconds
        except BaseException as error:  # noqa: BLE001 - told by the test below
            wrong.append(error)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 21):
            rename_over(path, MOVED if number % 2 else USERS)
            expected = "tcp://10.0.0.9:4242" if number % 2 else "tcp://10.0.0.5:4242"
            while endpoint(catalog) != expected:
                assert time.monotonic() < stop and not wrong
                time.sleep(0.0001)
    finally:
        done.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    assert catalog.version == 21


def test_a_child_of_a_fork_reads_while_the_parent_held_the_lock(catalog: Catalog, path: Path) -> None:
    write(path, MOVED)
    with catalog._lock:
        child = os.fork()
        if not child:
            os._exit(0 if catalog.refresh(1.0) and catalog.version == 2 else 1)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        assert time.monotonic() < deadline
    assert os.waitstatus_to_exitcode(ended[1]) == 0
