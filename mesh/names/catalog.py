"""The services of one services.yml: which file that is, and its content as the file changes.

Owns the search order and the reading. The clock comes from the caller; what an entry may hold is
the business of entries.py.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from mesh.errors import ConfigError
from mesh.names.mistakes import Mistake
from mesh.names.model import Answer, Failed, Found, Missing, Service
from mesh.names.textfile import decoded, open_at_once, problem_of

FILE_NAME = "services.yml"
ENV = "MESH_SERVICES"
NO_FILE = "no such file"
CHECK_EVERY = 0.4  # seconds between two looks at the file, so that two of them are within a second

log = logging.getLogger("mesh.names")


class _Signature(NamedTuple):
    """What tells one content of a file from the next."""

    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int


class _State(NamedTuple):
    """What is known of the file; replaced as a whole, so that readers need no lock.

    path: the file in use, None while there is none. signature: of what was read last, None where
    the reading failed. version: 0 until there is content. problem: why what stands in the file was
    not taken. gone: the last look found the file absent or empty for the first time.
    """

    path: str | None = None
    signature: _Signature | None = None
    services: Mapping[str, Service] = MappingProxyType({})
    version: int = 0
    problem: str | None = None
    gone: bool = False


class Catalog:
    """The registry file. Reads it at first use; call `refresh` with the time to follow its changes.

    path: the file; None for the search order, of which the first file that exists is used. A
    change that makes the file wrong is logged, and the last right content stays. Safe in any
    number of threads and greenlets, and after a fork.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._candidates, self._needed = _search_order(path)
        self._state: _State | None = None
        self._next_check = float("-inf")
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def path(self) -> str | None:
        """The file in use, or None where none exists."""
        return self._loaded().path

    @property
    def version(self) -> int:
        """A number that grows each time the services have changed; 0 while there is no file."""
        return self._loaded().version

    def services(self) -> list[Service]:
        """All services in the file's order; ConfigError where the file has had no right content yet."""
        state = self._loaded()
        if state.problem and not state.version:
            raise ConfigError(state.problem)
        return list(state.services.values())

    def lookup(self, name: str) -> Answer:
        state = self._loaded()
        service = state.services.get(name)
        if service:
            return Found(service)
        if state.problem and not state.version:
            return Failed(ConfigError(state.problem))
        if state.path:
            return Missing((state.path,), tuple(state.services))
        return Missing(tuple(f"{path} ({_absence(path, NO_FILE)})" for path in self._candidates))

    def refresh(self, now: float) -> bool:
        """Read the file again if it has changed; True if that changed the services.

        now: seconds on a clock that never goes back. Looks at most once in CHECK_EVERY seconds,
        and never waits for another thread that is looking.
        """
        if now < self._next_check:
            return False
        lock = self._own_lock()
        if not lock.acquire(blocking=False):
            return False
        try:
            self._next_check = now + CHECK_EVERY
            before = self._state or _State()
            state = self._state = self._next(before)
        finally:
            lock.release()
        # Outside the lock: a handler may switch to another greenlet, which may come here.
        if state.version and state.problem and _complaint(state) != _complaint(before):
            log.warning("%s; going on with the services that were read before", state.problem)
        return state.version != before.version

    def _loaded(self) -> _State:
        state = self._state
        if state is None:
            with self._own_lock():
                state = self._state = self._state or self._first()
        return state

    def _own_lock(self) -> threading.Lock:
        # Another thread may have held the lock at the moment of a fork; nobody would release it here.
        if self._pid != os.getpid():
            self._lock, self._pid = threading.Lock(), os.getpid()
        return self._lock

    def _first(self) -> _State:
        for path in self._candidates:
            if os.path.exists(path):
                return _take(_State(), path)
        if self._needed is None:
            return _State()
        path = self._candidates[0]
        return _State(problem=self._needed.format(f"{path}: {_absence(path, NO_FILE)}"))

    def _next(self, last: _State) -> _State:
        signature = _signature(last.path) if last.path else None
        if signature and signature == last.signature:
            return last._replace(gone=False, problem=None) if last.gone else last
        if last.path is None or not last.version:
            return self._first()
        # Editors replace a file, or empty it and then write: one look later it is there again.
        if not (signature and signature.size) and last.services and not last.gone:
            return last._replace(gone=True)
        if signature is None:
            return last._replace(problem=f"{last.path}: {_absence(last.path, 'the file is gone')}")
        return _take(last, last.path)


def _take(last: _State, path: str) -> _State:
    """The state after reading the file: its content, or the last one and what is wrong now."""
    signature, content = _read(path)
    if isinstance(content, str):
        return last._replace(path=path, signature=signature, problem=content, gone=False)
    changed = content != last.services or not last.version
    return _State(path, signature, content, last.version + changed)


def _read(path: str) -> tuple[_Signature | None, dict[str, Service] | str]:
    """The file's services, or what is wrong with it."""
    from mesh.names.entries import parse_services

    signature, data = read_data(path)
    if isinstance(data, Mistake):
        return signature, str(data)
    try:
        return signature, parse_services(decoded(data, path), path)
    except ConfigError as error:
        return signature, str(error)


def read_data(path: str) -> tuple[_Signature | None, bytes | Mistake]:
    """What stands in the file, or why it can't be read."""
    try:
        with open_at_once(path) as file:
            # Taken before the content: what is written meanwhile differs at the next look.
            status = os.fstat(file.fileno())
            signature = _sign(status)
            if problem := problem_of(status, path, FILE_NAME):
                return signature, Mistake(problem.removeprefix(f"{path}: "), path)
            return signature, file.read()
    except OSError as error:
        problem = f"cannot be read: {error.strerror}. It must be a file that this user may read"
        return None, Mistake(problem, path)


def _signature(path: str) -> _Signature | None:
    try:
        return _sign(os.stat(path))
    except OSError:
        return None


def _absence(path: str, without_link: str) -> str:
    """Why there is no file at this path, where a link may be that leads nowhere."""
    try:
        return f"is a link to {os.readlink(path)}, which is not there"
    except OSError:
        return without_link


def _sign(status: os.stat_result) -> _Signature:
    return _Signature(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _complaint(state: _State) -> tuple[str | None, _Signature | None]:
    return state.problem, state.signature


def _search_order(path: str | os.PathLike[str] | None) -> tuple[list[str], str | None]:
    """The files to try, absolute, and what is said if none exists, None where that is fine; {} is for why."""
    if path is not None:
        return [absolute(_given(path))], f"{{}}: give the path of a {FILE_NAME}"
    if named := os.environ.get(ENV):
        return [absolute(named)], f"{ENV} names {{}}: correct the variable, or unset it"
    home = _folder(os.environ.get("XDG_CONFIG_HOME", "")) or os.path.expanduser("~/.config")
    dirs = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    folders = [home, *filter(None, map(_folder, dirs.split(os.pathsep))), "/etc"]
    return [absolute(FILE_NAME), *(os.path.join(folder, "mesh", FILE_NAME) for folder in folders)], None


def _given(path: str | os.PathLike[str]) -> str:
    given = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(given, str) or not given:
        raise ConfigError(f"services must be the path of a {FILE_NAME}, not {path!r}")
    return given


def _folder(text: str) -> str | None:
    """The XDG specification lets relative folders count for nothing."""
    return text if os.path.isabs(text) else None


def absolute(path: str) -> str:
    """The file that a user means by this path, whatever the working folder will be."""
    path = os.path.expanduser(path)
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        return path  # the working folder was removed, and with it all that is relative to it
