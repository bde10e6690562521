"""A ZeroMQ socket that looks after the files of the ipc paths that it binds.

libzmq (4.3.5) takes away whatever is at a path when it binds, leaves its own file behind at the end, and
lets in whomever the umask does.
"""

from __future__ import annotations

import os
from typing import Any

import zmq

from mesh.transport import ipc
from mesh.transport.ipc import Access, OwnFile


class Listener(zmq.Socket[bytes]):
    """Bind it by `listen`. Its files are gone when it has left their endpoints, or is closed."""

    _files: dict[str, OwnFile]

    def __init__(self, *args: Any, **options: Any) -> None:
        self._files = {}
        zmq.Socket.__init__(self, *args, **options)

    def listen(self, endpoint: str, access: Access | None = None) -> str:
        """Bind it, in place of a file that nobody listens at; gives the real endpoint.

        access: who may connect to the path of an endpoint that has one. Raises OSError, zmq.ZMQError, and
        ConfigError that says what stands in the way.
        """
        path = ipc.path_of(endpoint)
        if not path:
            self.bind(endpoint)
            return self.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        # libzmq's own would be open to whom the umask lets in until somebody changes its mode.
        descriptor = ipc.listen(path, access or Access(), int(self.get(zmq.BACKLOG))).detach()
        file = OwnFile(path)
        try:
            self.set(zmq.USE_FD, descriptor)
            self.bind(endpoint)
        except BaseException:
            os.close(descriptor)
            file.remove()
            raise
        finally:
            self.set(zmq.USE_FD, -1)
        self._files[endpoint] = file
        return endpoint

    def unbind(self, addr: str | bytes) -> None:
        """Leave an endpoint."""
        zmq.Socket.unbind(self, addr)
        if file := self._files.pop(addr if isinstance(addr, str) else addr.decode(), None):
            file.remove()

    def close(self, linger: int | None = None) -> None:
        """Leave all endpoints, and close it when `linger` milliseconds are over or all has been sent."""
        zmq.Socket.close(self, linger)
        for file in self._files.values():
            file.remove()
        self._files = {}
