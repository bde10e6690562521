"""A ZeroMQ socket that looks after the files of the ipc paths that it binds.

libzmq (4.3.5) takes away whatever is at a path when it binds, leaves its own file behind at the end, and
lets in whomever the umask does.
"""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakSet

import zmq

from mesh.transport import descriptors, ipc, native
from mesh.transport.ipc import Access, OwnFile


class Listener(zmq.Socket[bytes]):
    """Bind it by `listen`. Its files are gone when it has left their endpoints, or is closed.

    listening: the endpoints that it has bound, as they were given, and the real ones.
    """

    listening: dict[str, str]
    _files: dict[str, OwnFile]

    def __init__(self, *args: Any, **options: Any) -> None:
        self.listening = {}
        self._files = {}
        zmq.Socket.__init__(self, *args, **options)

    def listen(self, endpoint: str, access: Access | None = None) -> str:
        """Bind it, in place of a file that nobody listens at; gives the real endpoint. Of tcp it has numbers.

        access: who may connect to the path of an endpoint that has one. Raises OSError, zmq.ZMQError, and
        ConfigError that says what stands in the way.
        """
        descriptors.require(descriptors.BIND)
        with descriptors.told():
            real = self._listen(endpoint, access)
        with lock:
            self.listening[endpoint] = real
            _bound.add(self)
            _changed()
        return real

    def _listen(self, endpoint: str, access: Access | None) -> str:
        path = ipc.path_of(endpoint)
        if not path:
            self.set(zmq.IPV6, int("[" in endpoint))
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
        with lock:
            self.listening.pop(addr if isinstance(addr, str) else addr.decode(), None)
            _changed()
            zmq.Socket.unbind(self, addr)
        if file := self._files.pop(addr if isinstance(addr, str) else addr.decode(), None):
            file.remove()

    def close(self, linger: int | None = None) -> None:
        """Leave all endpoints, and close it when `linger` milliseconds are over or all has been sent."""
        with lock:
            if self.listening:
                self.listening = {}
                _changed()
            zmq.Socket.close(self, linger)
        for file in self._files.values():
            file.remove()
        self._files = {}


_bound: WeakSet[Listener] = WeakSet()
"""Those of this process that have listened somewhere."""
lock: Any = native.reentrant_lock()
"""Held while one leaves its endpoints, and by whoever must not have that happen."""
version = 0
"""Counts the changes of what listens."""


def _changed() -> None:
    global version
    version += 1


def _forked() -> None:
    global lock
    lock = native.reentrant_lock()


os.register_at_fork(after_in_child=_forked)


def addresses() -> set[Any]:
    """Where the sockets of this process listen: (host, port), or the path of ipc."""
    endpoints = [real for one in list(_bound) for real in list(one.listening.values())]
    return {_address(real) for real in endpoints}


def _address(endpoint: str) -> Any:
    transport, _, address = endpoint.partition("://")
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if transport == "tcp" and port.isdigit() else address
