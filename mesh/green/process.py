"""What there is once in a process, and again after a fork: the ZeroMQ context and the id bases.

Sockets of before a fork belong to the parent; whoever keeps state across calls compares
`generation()` with the one it began in, and begins anew when they differ.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, Protocol
from weakref import WeakSet, ref

import greenlet
import zmq
from gevent import monkey
from gevent._hub_local import get_hub_if_exists

from mesh.transport.context import Context, new_context
from mesh.transport.monitors import Monitors

# The real ones, whatever gevent has patched: these guard against native threads.
allocate_lock: Any = monkey.get_original("_thread", "allocate_lock")
get_ident: Any = monkey.get_original("_thread", "get_ident")
sleep: Any = monkey.get_original("time", "sleep")
_start_new_thread: Any = monkey.get_original("_thread", "start_new_thread")
_thread_local: Any = monkey.get_original("_thread", "_local")()

MAX_SOCKETS = 65_536


class Forkable(Protocol):
    """Something with sockets or threads of its own, which a child of a fork does not have."""

    def forked(self) -> None:
        """In the child: leave alone what is the parent's, and what runs in a loop that is not `loop_here`."""


class _Process:
    def __init__(self) -> None:
        self.generation = 0
        self.forked_in: ref[greenlet.greenlet] | None = None
        self.forkables: WeakSet[Forkable] = WeakSet()
        self.context: Context | None = None
        self.monitors: Monitors | None = None
        self.lock = allocate_lock()

    def forked(self) -> None:
        self.generation += 1
        self.forked_in = ref(greenlet.getcurrent())
        self.context = self.monitors = None
        self.lock = allocate_lock()
        for forkable in list(self.forkables):
            try:
                forkable.forked()
            except BaseException:  # noqa: BLE001 - the others must be told all the same
                traceback.print_exc()


_process = _Process()
os.register_at_fork(after_in_child=_process.forked)


def generation() -> int:
    """How many forks lie between this process and the one that imported mesh."""
    return _process.generation


def handler_ended(error: BaseException | None, in_main: bool) -> None:
    """End this process, which a handler of its parent's has forked, where that handler has come to its end.

    There is nobody to answer here, and nothing else to do. error: what it raised. in_main: its loop is that
    of Python's main thread, so that Python can clean up. Another handler of the parent's, which goes on
    here, too, ends the process by SystemExit alone.
    """
    # Of the type: isinstance asks the exception's own __class__, which may raise.
    if not issubclass(type(error), SystemExit):
        forked_in = _process.forked_in
        if forked_in is None or forked_in() is not greenlet.getcurrent():
            return
    if in_main:
        raise SystemExit(_exit_code(error))
    leave(error)


def leave(error: BaseException | None) -> NoReturn:
    """End this process from any thread, as multiprocessing ends its children. error: what has ended it."""
    code = _exit_code(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code & 0xFF)


def _exit_code(error: BaseException | None) -> int:
    """As Python has it, which also says on standard error why it is not 0."""
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
    if monkey.is_module_patched("threading"):
        _start_new_thread(function, args)
    else:
        threading.Thread(target=function, args=args, name=name, daemon=True).start()


def in_main_thread() -> bool:
    """Whether this native thread is the program's main one, also where gevent has patched."""
    main = threading.main_thread()
    # Linux numbers the first thread as its process; of a fork Python (3.11) does not renew `native_id`.
    return bool(get_ident() == main.ident or threading.get_native_id() in (main.native_id, os.getpid()))


def loop_here(hub: Any) -> bool:
    """Whether the event loop of `hub` is that of this native thread, and has not been destroyed.

    In the child of a fork the loops of all other threads stand still for ever, perhaps in the midst of a
    change: nothing in them may be touched.
    """
    return hub is not None and hub is get_hub_if_exists()


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


def in_gevent() -> bool:
    """Whether the program lives in gevent: it has patched the standard library, or this is a greenlet."""
    return bool(monkey.is_module_patched("socket")) or greenlet.getcurrent().parent is not None


def remember(forkable: Forkable) -> None:
    """Tell `forkable` when it finds itself in a child."""
    _process.forkables.add(forkable)


def context() -> Context:
    """The process's ZeroMQ context. It is shared, so that `inproc://` endpoints meet."""
    with _process.lock:
        if _process.context is None:
            _process.context = new_context()
            _process.context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)
        return _process.context


def monitors() -> Monitors:
    """Those of all sockets in that context."""
    shared = context()
    with _process.lock:
        if _process.monitors is None:
            _process.monitors = Monitors(shared, allocate_lock)
        return _process.monitors


def new_base() -> bytes:
    """24 hex digits that no other session has, to begin message ids with."""
    return secrets.token_hex(12).encode()
