"""What native threads wait by, whatever gevent has patched."""

from __future__ import annotations

import _thread
import sys
import time
from typing import Any


def reentrant_lock() -> Any:
    """A lock of the system's own; that of a program which gevent has patched would switch greenlets.

    The thread that has it may take it again, as a finalizer does that interrupts it.
    """
    monkey = sys.modules.get("gevent.monkey")
    make = _thread.RLock if monkey is None else monkey.get_original("_thread", "RLock")
    return make()


def sleep(seconds: float) -> None:
    """Keep this native thread still, and switch to no other greenlet."""
    monkey = sys.modules.get("gevent.monkey")
    (time.sleep if monkey is None else monkey.get_original("time", "sleep"))(seconds)
