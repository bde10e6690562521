"""The floor: what blocking pyzmq and msgpack cost by themselves.

A DEALER and a ROUTER in two processes exchange exactly the events of zerorpc v3, packed and
unpacked at both ends with one packer each, and do nothing else: no timeout, no heartbeat, no error,
no second method.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from itertools import count
from time import perf_counter

import msgpack
import zmq

from benchmarks.peers.loops import repeat

VERSION = 3


def serve(ready: Callable[[str], None]) -> None:
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    socket.bind("tcp://127.0.0.1:*")
    ready(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    pack = msgpack.Packer().pack
    while True:
        identity, empty, blob = socket.recv_multipart()
        header, _name, args = msgpack.unpackb(blob)
        reply = {"message_id": header["message_id"], "v": VERSION, "response_to": header["message_id"]}
        socket.send_multipart([identity, empty, pack((reply, "OK", args))])


class Client:
    """One blocking loop; `callers` calls in flight stand for so many callers."""

    def __init__(self, endpoint: str) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.connect(endpoint)
        self._pack = msgpack.Packer().pack
        self._prefix = uuid.uuid4().hex[:24].encode()
        self._ids = count()

    def sequential(self, payload: bytes, seconds: float) -> int:
        return repeat(self._echo, payload, seconds)

    def concurrent(self, payload: bytes, callers: int, seconds: float) -> int:
        outstanding = {self._send(payload) for _ in range(callers)}
        answered = 0
        end = perf_counter() + seconds
        while perf_counter() < end:
            outstanding.remove(self._receive())
            answered += 1
            outstanding.add(self._send(payload))
        while outstanding:
            outstanding.remove(self._receive())
            answered += 1
        return answered

    def close(self) -> None:
        self._socket.close(linger=0)

    def _echo(self, payload: bytes) -> None:
        sent = self._send(payload)
        if self._receive() != sent:
            raise RuntimeError("the floor's server answered another call")

    def _send(self, payload: bytes) -> bytes:
        message_id = b"%s%08x" % (self._prefix, next(self._ids))
        header = {"message_id": message_id, "v": VERSION}
        self._socket.send_multipart([b"", self._pack((header, "echo", (payload,)))])
        return message_id

    def _receive(self) -> bytes:
        _empty, blob = self._socket.recv_multipart()
        header, _name, _args = msgpack.unpackb(blob)
        response_to: bytes = header["response_to"]
        return response_to
