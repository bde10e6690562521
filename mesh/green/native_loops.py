"""The loops of native threads come to rest before the interpreter ends.

As it ends Python takes the processor from all threads but the main one: whoever asks for it then is ended by
the system in the midst of whatever it is in. In a thread with greenlets that is a segmentation fault now and
then. So a loop that goes on is made to wait for what never comes, which asks for nothing, and one that comes
to its end is given a moment for that.
"""

from __future__ import annotations

import atexit
import threading
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from gevent.hub import Hub, get_hub

from mesh.transport import native, process

PATIENCE: Final = 0.5
"""Seconds for all of them."""
LOOK: Final = 0.002


class NativeLoops:
    """The native threads that turn a loop of gevent for mesh."""

    def __init__(self) -> None:
        self._hubs: dict[Hub, bool] = {}
        """Those of their loops, and whether they rest."""
        self._threads: dict[threading.Thread, int] = {}
        """Those that `threading` knows, with the ids of their hubs."""
        process.remember(self)
        atexit.register(self.bring_to_rest)

    def forked(self) -> None:
        """In the child of a fork, which has none of them."""
        self._hubs.clear()
        self._threads.clear()

    def enter(self) -> None:
        """This thread turns a loop from now on."""
        hub = get_hub()
        self._hubs[hub] = False
        if not native.is_patched("threading"):
            for thread in [one for one in list(self._threads) if not one.is_alive()]:
                self._threads.pop(thread, None)
            self._threads[threading.current_thread()] = id(hub)

    def leave(self) -> None:
        """Its loop is about to be destroyed."""
        self._hubs.pop(get_hub(), None)

    def bring_to_rest(self) -> None:
        """Have all of them rest. In the main thread, as the program ends."""
        give_up = monotonic() + PATIENCE
        for hub in list(self._hubs):
            with suppress(Exception):  # it is destroyed in this moment
                hub.loop.run_callback_threadsafe(self._rest, hub)
        while not all(list(self._hubs.values())) and monotonic() < give_up:
            native.sleep(LOOK)
        resting = {id(hub) for hub in list(self._hubs)}
        for thread, hub_id in list(self._threads.items()):
            if hub_id not in resting:
                thread.join(max(give_up - monotonic(), 0.0))

    def _rest(self, hub: Hub) -> None:
        """In its loop."""
        never: Any = native.allocate_lock()
        never.acquire()
        self._hubs[hub] = True
        never.acquire()


native_loops: Final = NativeLoops()
