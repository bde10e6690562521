"""The ZeroMQ context of a process, and the routing ids that its ROUTER sockets give.

Every ROUTER of mesh and of the hubs is made in a context that comes from here.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import zmq

from mesh.transport import descriptors
from mesh.transport.listener import Listener


class Context(zmq.Context[Listener]):
    """Makes sockets that look after their files. Raises MeshError where file descriptors have run out.

    reclaim: has libzmq give back the descriptors of sockets that have been closed.
    """

    reclaim: Callable[[], object] | None = None
    _socket_class = Listener

    def socket(self, socket_type: int, **options: Any) -> Listener:  # type: ignore[override]
        return descriptors.patiently(partial(super().socket, socket_type, **options), self._reclaim)

    def _reclaim(self) -> None:
        if self.reclaim is not None:
            self.reclaim()


def new_context() -> Context:
    """A context whose ROUTER sockets give routing ids that nobody can guess."""
    _scatter_routing_ids()
    return Context()


def _scatter_routing_ids() -> None:
    """Have the routing ids of the ROUTER sockets that are made from now on begin anywhere.

    libzmq (4.3.5) counts them on from a number of the C library's rand, which nobody seeds: in each
    process the same, and in the child of a fork its parent's. A stranger who takes the id that comes next
    makes libzmq abort the whole process (`Assertion failed: ok`, socket_base.cpp) at the next connection.
    And after a restart the id of a client that is gone would be that of another, which would get late
    answers.
    """
    try:
        ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))
    except (OSError, AttributeError, TypeError):
        pass  # there is no such C library, and the ids are what they are
