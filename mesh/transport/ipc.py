"""The file of an `ipc://` endpoint: why nobody may connect or bind there, who may connect, and its end.

libzmq's connect says nothing of a path that it can't open, and its bind takes away whatever is there. Knows
no ZeroMQ, so that files can be looked at without libzmq.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import stat
from _socket import AF_UNIX, SOCK_STREAM, socket  # the plain one, also where gevent has patched the other
from typing import Final, NamedTuple

from mesh.errors import ConfigError

SCHEME: Final = "ipc://"
GROUP_MODE: Final = 0o660
"""The mode where only a group is given."""

MODE_RULE: Final = "the permissions of a file as chmod takes them, from 0600 to 0777, such as 0660"

_MODE: Final = re.compile(r"(?:0|0o)?([0-7]{3})")
_LISTENING: Final = (0, errno.EAGAIN, errno.EINPROGRESS)
_REFUSED: Final = (errno.EACCES, errno.EPERM)


class Access(NamedTuple):
    """Who may connect to an endpoint: those who may write to its file.

    mode: its permissions, as chmod takes them; None for what the umask leaves. group: the name of its
    group, or the number as text; None for the process's own.
    """

    mode: int | None = None
    group: str | None = None


def parse_mode(text: str) -> int | None:
    """The mode that a text means, None where it is none by MODE_RULE."""
    match = _MODE.fullmatch(text)
    mode = int(match[1], 8) if match else 0
    return mode if is_mode(mode) else None


def is_mode(mode: int) -> bool:
    """Whether it leaves its owner in, and says no more than who may read, write and execute."""
    return mode & 0o600 == 0o600 and not mode & ~0o777


def path_of(endpoint: str) -> str:
    """The path of its file, as it is written; "" where it has none, as an abstract name or a wildcard."""
    path = endpoint.removeprefix(SCHEME)
    return "" if path == endpoint or path[:1] in ("@", "*") else path


# Connecting


def connect_problem(endpoint: str) -> str:
    """Why nobody answers at this endpoint, "" where somebody listens, or where it is none of ipc.

    Connects, and ends the connection at once.
    """
    if not endpoint.startswith(SCHEME):
        return ""
    path = path_of(endpoint)
    if not path:
        name = endpoint.removeprefix(SCHEME)
        silent = name[0] == "@" and _knock(f"\0{name[1:]}") == errno.ECONNREFUSED
        return f"nobody listens at the abstract name {name!r}; is a server running there?" if silent else ""
    code, path = _knock(path), os.path.abspath(path)
    if code in _LISTENING:
        return ""
    if code in _REFUSED:
        return _refusal(path)
    if code in (errno.ENOENT, errno.ENOTDIR):
        return _missing_folder(path) or f"there is no socket {path}; is a server running there?"
    if code == errno.ECONNREFUSED:
        return _no_socket(path) or f"nobody listens at the socket {path} any more; is a server running there?"
    if code in (errno.ENFILE, errno.EMFILE, errno.ENOMEM, errno.ENOBUFS):
        return ""  # that is about this process, not about the path
    return f"{path} can't be connected to: {os.strerror(code)}"


def _knock(address: str) -> int:
    """The error number of a connection to it, 0 where it stands."""
    try:
        probe = socket(AF_UNIX, SOCK_STREAM)
    except OSError as exc:
        return exc.errno or errno.EMFILE
    try:
        probe.setblocking(False)
        return probe.connect_ex(address)
    except OSError:  # a path that is too long
        return errno.ENAMETOOLONG
    finally:
        probe.close()


def _refusal(path: str) -> str:
    """What keeps this user from the socket: a folder on the way, or the mode of the socket itself."""
    for folder in _folders(path):
        if os.path.exists(folder) and not _may(folder, os.X_OK):
            return f"permission denied: {_me()} may not enter the folder {folder}{_owned(folder)}"
    return f"permission denied: {_me()} may not write to the socket {path}{_owned(path)}"


def _folders(path: str) -> list[str]:
    """Those that the path leads through, the highest first."""
    folders = []
    while (folder := os.path.dirname(path)) != path:
        folders.append(folder)
        path = folder
    return folders[::-1]


def _missing_folder(path: str) -> str:
    for folder in _folders(path):
        if not os.path.isdir(folder):
            return f"{folder} is no folder" if os.path.lexists(folder) else f"there is no folder {folder}"
    return ""


def _no_socket(path: str) -> str:
    """What is at the path where that is no socket, "" where it is one or nothing."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    if stat.S_ISSOCK(mode):
        return ""
    return f"{path!r} is a {'folder' if stat.S_ISDIR(mode) else 'file'}, not a socket"


# Binding


def bind_problem(endpoint: str) -> str:
    """Why this user can't bind there, whoever listens there now; "" where he can, or there is no file."""
    path = path_of(endpoint)
    if not path:
        return ""
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    if problem := _missing_folder(path):
        return f"{problem}: make it, or take another path"
    if problem := _no_socket(path):
        return f"{problem}: take another path or remove it"
    if not _may(folder, os.X_OK):
        return _refusal(path)
    if os.path.exists(path) and not (_may(path, os.W_OK) and _may_remove(path, folder)):
        right = "have it removed, or take another path"
        return f"the socket {path}{_owned(path)} is there already, and {_me()} may not take it over: {right}"
    if not _may(folder, os.W_OK):
        return f"permission denied: {_me()} may not make a file in the folder {folder}{_owned(folder)}"
    return ""


def is_used(endpoint: str) -> bool:
    """Whether somebody listens at its file."""
    path = path_of(endpoint)
    return bool(path) and _knock(path) in _LISTENING


def _may_remove(path: str, folder: str) -> bool:
    if not _may(folder, os.W_OK | os.X_OK):
        return False
    status = os.stat(folder)
    me = os.geteuid()
    return not status.st_mode & stat.S_ISVTX or me in (0, status.st_uid, os.lstat(path).st_uid)


# Who may connect


class OwnFile:
    """A file that this process has made, and removes when nobody listens at it any more."""

    def __init__(self, path: str) -> None:
        # The working folder may be another by then.
        self.path = os.path.abspath(path)
        self._identity = _identity(self.path)
        self._process = os.getpid()

    def remove(self) -> None:
        """Unless another's is there by now, or this is the child of a fork."""
        if os.getpid() != self._process:
            return
        try:
            if _identity(self.path) == self._identity:
                os.unlink(self.path)
        except OSError:
            pass  # it is gone already, or the folder is no longer ours


def listen(path: str, access: Access, backlog: int) -> socket:
    """A listening socket at the path, in place of one that nobody listens at.

    Nobody can connect before it listens, and then its file has the permissions that it shall have. Raises
    OSError as bind does, and ConfigError where the group can't be given.
    """
    listening = socket(AF_UNIX, SOCK_STREAM)
    try:
        if os.path.lexists(path):
            os.unlink(path)
        listening.bind(path)
        try:
            permit(path, access)
            listening.listen(backlog)
        except BaseException:
            os.unlink(path)
            raise
    except BaseException:
        listening.close()
        raise
    return listening


def permit(path: str, access: Access) -> None:
    """Give the file its group and mode. Raises ConfigError where this user may not."""
    if access.group is not None:
        try:
            os.chown(path, -1, group_id(access.group))
        except PermissionError:
            raise ConfigError(
                f"permission denied: {_me()} may not give {path} to the group {access.group!r}, whose member "
                "it is not"
            ) from None
    mode = GROUP_MODE if access.mode is None and access.group is not None else access.mode
    if mode is not None:
        os.chmod(path, mode)


def group_id(name: str) -> int:
    """The number of a group. Raises ConfigError where there is none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if name.isascii() and name.isdigit() and int(name) < 2**32 - 1:
            return int(name)
        raise ConfigError(f"there is no group {name!r} on this machine") from None


def _identity(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


# In words


def _may(path: str, how: int) -> bool:
    return os.access(path, how, effective_ids=os.access in os.supports_effective_ids)


def _me() -> str:
    return f"user {_user(os.geteuid())}"


def _owned(path: str) -> str:
    """As " (owner root:mesh, mode 0750)", "" where that can't be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    owner = f"{_user(status.st_uid)}:{_group(status.st_gid)}"
    return f" (owner {owner}, mode {stat.S_IMODE(status.st_mode):04o})"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
