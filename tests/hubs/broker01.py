"""A Majordomo broker that knows version 0.1 and nothing else: it does what the one of the ZeroMQ Guide does.

As that one, it ends at a message that has no empty frame where 0.1 has one, gives heartbeats only to workers
that wait, takes a worker out that says what is not its turn, and gives each worker one request at a time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Final, Self

import zmq

READY, REQUEST, REPLY, HEARTBEAT, DISCONNECT = (bytes([code]) for code in range(1, 6))
LIVENESS: Final = 3


class Broker01:
    """In a thread of its own, as a context manager; the other members are for after its end, or to be read.

    died: what it could not read, and ended at. said: all that workers have sent it, without their addresses.
    """

    def __init__(self, heartbeat: float) -> None:
        self._heartbeat = heartbeat
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self.endpoint = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.died: list[bytes] | None = None
        self.said: list[list[bytes]] = []
        self.waiting: dict[bytes, float] = {}
        self._services: dict[bytes, bytes] = {}
        self._requests: dict[bytes, deque[list[bytes]]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)
        self._context.destroy(linger=0)

    def _run(self) -> None:
        beat_at = time.monotonic() + self._heartbeat
        while not self._stop.is_set():
            if self._socket.poll(20):
                sender, *frames = self._socket.recv_multipart()
                if len(frames) < 2 or frames[0]:
                    self.died = frames
                    self._socket.close(0)
                    return
                self._take(sender, frames[1], frames[2:])
            now = time.monotonic()
            for worker in [worker for worker, until in self.waiting.items() if until < now]:
                self._remove(worker)
            if now >= beat_at:
                beat_at = now + self._heartbeat
                for worker in self.waiting:
                    self._tell(worker, HEARTBEAT)

    def _take(self, sender: bytes, head: bytes, rest: list[bytes]) -> None:
        if head == b"MDPC01":
            service, *body = rest
            self._requests.setdefault(service, deque()).append([sender, b"", *body])
            self._dispatch(service)
        elif head == b"MDPW01":
            self.said.append(rest)
            self._from_worker(sender, *rest)

    def _from_worker(self, worker: bytes, command: bytes, *rest: bytes) -> None:
        known = worker in self._services
        if command == READY and not known:
            self._services[worker] = rest[0]
            self._wait(worker)
        elif command == REPLY and known:
            client, empty, *body = rest
            assert not empty
            self._socket.send_multipart([client, b"", b"MDPC01", self._services[worker], *body])
            self._wait(worker)
        elif command == HEARTBEAT and known:
            if worker in self.waiting:
                self.waiting[worker] = time.monotonic() + LIVENESS * self._heartbeat
        elif command == DISCONNECT:
            self._remove(worker)
        else:
            self._tell(worker, DISCONNECT)
            self._remove(worker)

    def _wait(self, worker: bytes) -> None:
        self.waiting[worker] = time.monotonic() + LIVENESS * self._heartbeat
        self._dispatch(self._services[worker])

    def _remove(self, worker: bytes) -> None:
        self._services.pop(worker, None)
        self.waiting.pop(worker, None)

    def _dispatch(self, service: bytes) -> None:
        requests = self._requests.get(service, ())
        for worker in [one for one in self.waiting if self._services[one] == service]:
            if requests:
                del self.waiting[worker]
                self._tell(worker, REQUEST, *requests.popleft())

    def _tell(self, worker: bytes, command: bytes, *rest: bytes) -> None:
        self._socket.send_multipart([worker, b"", b"MDPW01", command, *rest])
