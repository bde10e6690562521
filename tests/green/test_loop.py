"""What gevent's loop does for the transport that nothing else shows."""

from __future__ import annotations

import threading

import gevent

from mesh.green.loop import GeventLoop
from tests.helpers.processes import PATIENCE


def test_a_loop_that_was_destroyed_is_called_in_vain() -> None:
    """As a monitor that somebody else reads does whose thread has ended."""
    loops: list[GeventLoop] = []

    def run() -> None:
        hub = gevent.get_hub()
        loops.append(GeventLoop(hub))
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    [loop] = loops
    assert not loop.alive()
    loop.call_soon_threadsafe(print, "never")
