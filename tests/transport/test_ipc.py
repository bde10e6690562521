"""What keeps a path of ipc from being bound or connected to, and who may connect to it."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from mesh.errors import ConfigError
from mesh.transport import ipc
from mesh.transport.context import new_context
from mesh.transport.ipc import Access
from mesh.transport.listener import Listener
from tests.helpers.users import open_folder, unprivileged


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "users.ipc"


def listening(path: Path | str) -> closing[socket.socket]:
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(path))
    one.listen()
    return closing(one)


def stale(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def endpoint(path: Path) -> str:
    return f"ipc://{path}"


# Connecting


def test_where_somebody_listens(path: Path) -> None:
    with listening(path):
        assert ipc.connect_problem(endpoint(path)) == ""
        # The backlog of one that takes nobody in is full soon.
        for _ in range(5):
            assert ipc.connect_problem(endpoint(path)) == ""


def test_where_nobody_does(folder: Path, path: Path) -> None:
    assert ipc.connect_problem(endpoint(path)) == f"there is no socket {path}; is a server running there?"
    away = folder / "away" / "deep" / "x.ipc"
    assert ipc.connect_problem(endpoint(away)) == f"there is no folder {folder}/away"
    stale(path)
    assert ipc.connect_problem(endpoint(path)) == (
        f"nobody listens at the socket {path} any more; is a server running there?"
    )
    (folder / "file").touch()
    assert ipc.connect_problem(endpoint(folder / "file")) == f"'{folder}/file' is a file, not a socket"
    assert ipc.connect_problem(endpoint(folder)) == f"'{folder}' is a folder, not a socket"
    assert ipc.connect_problem(endpoint(folder / "file" / "x")) == f"{folder}/file is no folder"


def test_a_relative_path_is_told_in_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert f"no socket {folder}/users.ipc;" in ipc.connect_problem("ipc://users.ipc")


def test_an_abstract_name() -> None:
    name = f"mesh-test-{os.getpid()}"
    problem = ipc.connect_problem(f"ipc://@{name}")
    assert problem == f"nobody listens at the abstract name '@{name}'; is a server running there?"
    with listening(f"\0{name}"):
        assert ipc.connect_problem(f"ipc://@{name}") == ""


@pytest.mark.parametrize("other", ["tcp://127.0.0.1:1", "inproc://users", "ipc://*"])
def test_what_has_no_path(other: str) -> None:
    assert ipc.connect_problem(other) == ipc.bind_problem(other) == ipc.path_of(other) == ""
    assert not ipc.is_used(other)


def test_a_socket_that_may_not_be_opened(path: Path) -> None:
    with listening(path):
        path.chmod(0o050)
        with unprivileged():
            me = ipc._me()
            problem = ipc.connect_problem(endpoint(path))
        owner = f"{path.owner()}:{path.group()}"
    right = f"permission denied: {me} may not write to the socket {path} (owner {owner}, mode 0050)"
    assert problem == right


def test_a_folder_that_may_not_be_entered(folder: Path) -> None:
    closed = folder / "closed"
    (closed / "deep").mkdir(parents=True)
    with listening(closed / "deep" / "s"):
        closed.chmod(0o600 if os.geteuid() == 0 else 0o000)
        with unprivileged():
            problem = ipc.connect_problem(endpoint(closed / "deep" / "s"))
            also = ipc.bind_problem(endpoint(closed / "deep" / "s"))
    assert problem.startswith("permission denied: user ")
    assert f"may not enter the folder {closed} (owner " in problem
    assert "permission denied" in also or "there is no folder" in also


# Binding


def test_where_one_may_bind(folder: Path, path: Path) -> None:
    assert ipc.bind_problem(endpoint(path)) == ""
    stale(path)
    assert ipc.bind_problem(endpoint(path)) == ""
    assert not ipc.is_used(endpoint(path))
    path.unlink()
    with listening(path):
        assert ipc.is_used(endpoint(path))


def test_where_one_may_not(folder: Path) -> None:
    assert ipc.bind_problem(endpoint(folder / "away" / "x")) == (
        f"there is no folder {folder}/away: make it, or take another path"
    )
    (folder / "file").touch()
    assert ipc.bind_problem(endpoint(folder / "file")).endswith(
        "is a file, not a socket: take another path or remove it"
    )
    assert "is no folder" in ipc.bind_problem(endpoint(folder / "file" / "x"))
    folder.chmod(0o555)
    with unprivileged():
        problem = ipc.bind_problem(endpoint(folder / "x"))
    assert f"may not make a file in the folder {folder} (owner " in problem


def test_a_socket_of_another_user_is_told_with_its_owner(folder: Path, path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make the socket of another user")
    folder.chmod(0o1777)
    stale(path)
    with unprivileged():
        problem = ipc.bind_problem(endpoint(path))
    assert problem.startswith(f"the socket {path} (owner root:")
    assert "is there already, and user " in problem and "may not take it over" in problem
    # Also where its mode lets everybody in, and only the folder keeps others from removing it.
    path.chmod(0o777)
    with unprivileged():
        assert "may not take it over" in ipc.bind_problem(endpoint(path))


# Who may connect


@pytest.mark.parametrize(
    ("text", "mode"), [("0660", 0o660), ("660", 0o660), ("0o600", 0o600), ("777", 0o777), ("0600", 0o600)]
)
def test_a_mode(text: str, mode: int) -> None:
    assert ipc.parse_mode(text) == mode


@pytest.mark.parametrize("text", ["", "66", "0668", "4660", "04660", "440", "0060", "u+rw", "0x1b0", "-660"])
def test_what_is_no_mode(text: str) -> None:
    assert ipc.parse_mode(text) is None


def test_nobody_comes_in_before_the_mode_is_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before: list[int] = []
    permit = ipc.permit

    def look(file: str, access: Access) -> None:
        before.append(ipc._knock(file))
        permit(file, access)

    monkeypatch.setattr(ipc, "permit", look)
    with closing(ipc.listen(str(path), Access(0o600), 5)):
        assert before == [errno.ECONNREFUSED]
        assert ipc._knock(str(path)) == 0
        assert mode_of(path) == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o777])
def test_the_mode_is_what_was_asked_for_whatever_the_umask(path: Path, mode: int) -> None:
    with closing(ipc.listen(str(path), Access(mode), 5)):
        assert mode_of(path) == mode


def test_a_group(path: Path) -> None:
    own = os.getegid()
    other = 12345 if os.geteuid() == 0 else own
    with closing(ipc.listen(str(path), Access(group=str(other)), 5)):
        assert path.stat().st_gid == other
        assert mode_of(path) == 0o660
    with pytest.raises(ConfigError, match="there is no group 'no-such-group' on this machine"):
        ipc.listen(str(path), Access(group="no-such-group"), 5)
    assert not path.exists(), "nothing is left of one that could not be made"


def test_a_group_that_may_not_be_given(folder: Path, path: Path) -> None:
    folder.chmod(0o777)
    with (
        unprivileged(),
        pytest.raises(ConfigError, match=r"may not give .* to the group '1', whose member it is not"),
    ):
        ipc.listen(str(path), Access(0o660, "1"), 5)
    assert not path.exists()


@pytest.fixture
def pull() -> Iterator[Listener]:
    context = new_context()
    with context.socket(zmq.PULL) as socket:
        socket.linger, socket.rcvtimeo = 0, 20_000
        yield socket
    context.destroy(0)


def send(pull: Listener, path: Path) -> None:
    with pull.context.socket(zmq.PUSH) as push:
        push.connect(endpoint(path))
        push.send(b"in")
        assert pull.recv() == b"in"


@pytest.mark.parametrize("access", [None, Access(0o600)])
def test_a_socket_takes_over_its_path_and_leaves_nothing(
    pull: Listener, path: Path, access: Access | None
) -> None:
    stale(path)
    assert pull.listen(endpoint(path), access) == endpoint(path)
    assert pull.get_string(zmq.LAST_ENDPOINT).rstrip("\0") == endpoint(path)
    if access:
        assert mode_of(path) == 0o600
    send(pull, path)
    pull.unbind(endpoint(path))
    assert not path.exists()
    pull.listen(endpoint(path), access)
    assert pull.listen("tcp://127.0.0.1:*").startswith("tcp://127.0.0.1:"), "libzmq makes that one"
    send(pull, path)
    pull.close()
    assert not path.exists()


def test_a_path_that_can_t_be_bound_leaves_the_socket_as_it_was(pull: Listener, folder: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        pull.listen(endpoint(folder / "away" / "x"))
    with pytest.raises(ConfigError, match="no group"):
        pull.listen(endpoint(folder / "x"), Access(group="no-such-group"))
    assert list(folder.iterdir()) == []
    pull.listen("tcp://127.0.0.1:*")


def test_the_child_of_a_fork_removes_nothing(pull: Listener, path: Path) -> None:
    pull.listen(endpoint(path))
    child = os.fork()
    if child == 0:
        try:
            pull.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    send(pull, path)


def test_the_file_of_another_is_left_alone(path: Path) -> None:
    with closing(ipc.listen(str(path), Access(0o600), 5)):
        file = ipc.OwnFile(str(path))
        path.unlink()
        path.touch()
        with listening(f"{path}2"):  # so that the number of the inode is not given again
            file.remove()
    assert path.exists()
