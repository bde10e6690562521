"""What there is once in a process, and again after a fork: the ZeroMQ context and the id bases.

Sockets of before a fork belong to the parent; whoever keeps state across calls compares
`generation()` with the one it began in, and begins anew when they differ.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, Final, NoReturn, Protocol
from weakref import WeakSet, ref

import zmq

from mesh.transport import descriptors, native
from mesh.transport.context import Context, new_context
from mesh.transport.monitors import Monitors

_thread_local: Any = native.original("_thread", "_local")()

MAX_SOCKETS = 65_536

MAX_FORK_WAIT: Final = 2.0
"""Seconds that a fork waits for a thread of mesh's own to come to a point where it may be cut off."""


class Forkable(Protocol):
    """Something with sockets or threads of its own, which a child of a fork does not have."""

    def forked(self) -> None:
        """In the child: leave alone what is the parent's, and what runs in a loop that is not `loop_here`."""


class _Process:
    def __init__(self) -> None:
        self.generation = 0
        self.forkables: WeakSet[Forkable] = WeakSet()
        self.context: Context | None = None
        self.monitors: Monitors | None = None
        self.lock = native.allocate_lock()
        self.importing = native.allocate_lock()
        self._forks = False

    def before_fork(self) -> None:
        if self.importing.acquire(timeout=MAX_FORK_WAIT):
            self._forks = True

    def after_fork(self) -> None:
        if self._forks:
            self._forks = False
            self.importing.release()

    def forked(self) -> None:
        self.generation += 1
        if self.monitors is not None:
            self.monitors.forked()  # what is stopped in the child forgets its own there
        self.context = self.monitors = None
        self.lock = native.allocate_lock()
        self.importing = native.allocate_lock()
        for forkable in list(self.forkables):
            try:
                forkable.forked()
            except BaseException:  # noqa: BLE001 - the others must be told all the same
                traceback.print_exc()


_process = _Process()
os.register_at_fork(
    before=_process.before_fork, after_in_parent=_process.after_fork, after_in_child=_process.forked
)


def generation() -> int:
    """How many forks lie between this process and the one that imported mesh."""
    return _process.generation


def importing() -> AbstractContextManager[object]:
    """What a thread of mesh's own does in here, a fork waits for; so is to be all that may import a module.

    The child has no such thread. A module that the thread was about to import would stay locked there, and
    whoever imports it wait for ever.
    """
    lock: AbstractContextManager[object] = _process.importing
    return lock


def leave(error: BaseException | None) -> NoReturn:
    """End this process from any thread, as multiprocessing ends its children. error: what has ended it."""
    code = exit_code(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code & 0xFF)


def exit_code(error: BaseException | None) -> int:
    """What Python would end a process with that this has ended; as it does, says on standard error why."""
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def start_thread(function: Callable[..., object], args: tuple[Any, ...], name: str) -> None:
    """Call a function in a new native thread, which keeps no program from ending.

    One that `threading` knows, so that a process which is forked from it ends as any other; where gevent
    has patched that, its threads are greenlets, and it sees to the forks itself.
    """
    if native.is_patched("threading"):
        native.start_new_thread(function, args)
    else:
        threading.Thread(target=function, args=args, name=name, daemon=True).start()


def in_main_thread() -> bool:
    """Whether this native thread is the program's main one, also where gevent has patched."""
    main = threading.main_thread()
    # Linux numbers the first thread as its process; of a fork Python (3.11) does not renew `native_id`.
    here = (main.native_id, os.getpid())
    return bool(native.get_ident() == main.ident or threading.get_native_id() in here)


class Presence:
    """Lives as long as the native thread that it belongs to."""

    __slots__ = ("__weakref__",)


def presence() -> ref[Presence]:
    """A reference that is dead once this native thread has ended.

    sys._current_frames tells that too, but keeps alive whatever the frames of the caller hold.
    """
    if not hasattr(_thread_local, "presence"):
        _thread_local.presence = Presence()
    return ref(_thread_local.presence)


def remember(forkable: Forkable) -> None:
    """Tell `forkable` when it finds itself in a child."""
    _process.forkables.add(forkable)


def context() -> Context:
    """The process's ZeroMQ context. It is shared, so that `inproc://` endpoints meet. Raises MeshError where
    descriptors have run out.
    """
    with _process.lock, descriptors.told():
        if _process.context is None:
            descriptors.require(descriptors.CONTEXT)
            _process.context = new_context()
            _process.context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        return _process.context


def monitors() -> Monitors:
    """Those of all sockets in that context. Raises MeshError where descriptors have run out."""
    shared = context()
    with _process.lock, descriptors.told():
        if _process.monitors is None:
            _process.monitors = Monitors(shared, native.allocate_lock)
        return _process.monitors


def new_base() -> bytes:
    """24 hex digits that no other session has, to begin message ids with."""
    return os.urandom(12).hex().encode()
