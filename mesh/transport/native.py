"""What native threads wait by, and how they begin: the system's own, whatever gevent has patched."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final


def original(module: str, name: str) -> Any:
    """What a module of the standard library has had under a name before gevent patched it, if it has."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(importlib.import_module(module), name)


def is_patched(module: str) -> bool:
    """Whether gevent has patched this module of the standard library."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched(module))


# Bound when this is first imported: what gevent patches later, these stay as they are.
allocate_lock: Final = original("_thread", "allocate_lock")
reentrant_lock: Final = original("_thread", "RLock")
"""A lock which the thread that has it may take again, as a finalizer does that interrupts it."""
get_ident: Final = original("_thread", "get_ident")
start_new_thread: Final = original("_thread", "start_new_thread")
sleep: Final = original("time", "sleep")
"""Keeps this native thread still, and switches to no greenlet."""
getaddrinfo: Final = original("socket", "getaddrinfo")
