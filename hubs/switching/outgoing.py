"""What one hub sends: events to workers and clients, in frames of one turn where the other end takes such.

Knows no service, no socket and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hubs.switching.model import Address, HubClient, RoutedCall, Worker
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.batch import Bundle
from mesh.core.channel import Ids, control
from mesh.core.majordomo import Command

Out = tuple[Address, list[bytes]]


class Outgoing:
    """base: 24 hex digits that no other sender of events has."""

    def __init__(self, base: bytes) -> None:
        self._ids = Ids(base)
        # What is to be sent, but for the batches and bundles of this turn.
        self._out: list[Out] = []
        # The workers whose batch holds something.
        self._batching: list[Worker] = []
        # The clients that have a bundle, some of them twice.
        self._bundling: list[HubClient] = []

    @property
    def idle(self) -> bool:
        """Whether nothing is to be sent."""
        return not (self._out or self._batching or self._bundling)

    def send(self, address: Address, frames: list[bytes]) -> None:
        """Send these frames as they are."""
        self._out.append((address, frames))

    def take(self) -> list[Out]:
        """All that is to be sent, the batches of this turn among it."""
        if self._batching:
            batching, self._batching = self._batching, []
            for worker in batching:
                self.release(worker)
        if self._bundling:
            bundling, self._bundling = self._bundling, []
            for client in bundling:
                self._settle(client)
        out, self._out = self._out, []
        return out

    # To workers

    def to_worker(self, worker: Worker, token: bytes, body: tuple[bytes, ...]) -> None:
        """In the batch of this turn, but for what is large or not of mesh."""
        batch = worker.batch
        if batch is not None:
            if len(body) == 1 and len(body[0]) < batch.most:
                if not batch.items:
                    self._batching.append(worker)
                if not batch.add(mdp.REQUEST, token, body[0]):
                    self.release(worker)
                    batch.add(mdp.REQUEST, token, body[0])
                return
            self.release(worker)
        self._out.append((worker.address, mdp.carried(worker.style, Command.REQUEST, token, body)))

    def follow(self, worker: Worker, call: RoutedCall, payload: bytes) -> None:
        """A further event of a call; only mesh workers know more of one than its request."""
        if worker.about is not None:
            self.to_worker(worker, call.token, (payload,))

    def follow_control(
        self, worker: Worker, call: RoutedCall, name: str, number: int = 0, **extra: Any
    ) -> None:
        """A heartbeat, credit or a cancel that the hub itself sends for a call's client."""
        if worker.about is not None:
            self.to_worker(worker, call.token, (control(self._ids, call.channel, name, number, **extra),))

    def release(self, worker: Worker) -> None:
        """Let go what waits in the worker's batch."""
        if worker.batch is not None and worker.batch.items:
            self._out.append((worker.address, [worker.batch.take()]))

    # To clients

    def to_client(self, call: RoutedCall, event: bytes) -> None:
        """The events of a client keep their order."""
        if call.batched:
            client = call.client
            bundle = client.bundle
            if bundle is None:
                bundle = client.bundle = Bundle()
                self._bundling.append(client)
            if len(event) < mdp.LONE and bundle.add(event):
                return
            self._settle(client)
            if len(event) < mdp.LONE:
                self.to_client(call, event)
                return
        self._out.append((call.client.address, [b"", event]))

    def _settle(self, client: HubClient) -> None:
        bundle, client.bundle = client.bundle, None
        if bundle is not None and bundle.events:
            self._out.append((client.address, bundle.frames()))

    def to_majordomo(self, call: RoutedCall, command: Command, body: Sequence[bytes]) -> None:
        """To a client that speaks Majordomo."""
        assert call.style is not None
        self._out.append((call.client.address, mdp.answer(call.style, command, call.requested_as, body)))

    def beat(self, call: RoutedCall) -> None:
        """A sign of life to the client of a call."""
        self.to_client(call, control(self._ids, call.channel, wire.BEAT, 0))

    def beat_apart(self, call: RoutedCall, **extra: Any) -> None:
        """As beat, in a message of its own, and to a client of either protocol."""
        event = control(self._ids, call.channel, wire.BEAT, 0, **extra)
        if call.style is None:
            self._out.append((call.client.address, [b"", event]))
        else:
            self.to_majordomo(call, Command.PARTIAL, [event])

    def pong(self, call: RoutedCall, service: str) -> None:
        """Answer a ping in the place of a worker of that service."""
        header: wire.Header = {"message_id": self._ids.next(), "v": wire.VERSION, "response_to": call.channel}
        event = wire.pack(header, wire.OK, [["pong", service]])
        if call.style is None:
            self.to_client(call, event)
        else:
            self.to_majordomo(call, Command.FINAL, [event])

    def error(self, call: RoutedCall, name: str, text: str, *, refused: bool) -> None:
        """End a call with an error of the hub's. refused: no worker has seen it."""
        if call.style is not None:
            self.to_majordomo(call, Command.FINAL, [name.encode(), text.encode("utf-8", "replace")])
            return
        header: wire.Header = {
            "message_id": self._ids.next(),
            "v": wire.VERSION,
            "response_to": call.channel,
            "refused": refused,
        }
        self.to_client(call, wire.pack(header, wire.ERR, wire.plain_error(name, text)))

    def refusal(self, client: Address, channel: Any, text: str) -> None:
        """The error to such an event."""
        header: wire.Header = {"message_id": self._ids.next(), "v": wire.VERSION, "response_to": channel}
        error = wire.pack({**header, "refused": True}, wire.ERR, wire.plain_error("ServiceNotFound", text))
        self._out.append((client, [b"", error]))

    def result(self, client: Address, channel: Any, packed: bytes) -> None:
        """Answer an event that is no call of a service. packed: the value, as MessagePack."""
        header: wire.Header = {"message_id": self._ids.next(), "v": wire.VERSION, "response_to": channel}
        pack, _ = wire.packer()
        parts = (b"\x93", pack(header), pack(wire.OK), b"\x91", packed)
        self._out.append((client, [b"", b"".join(parts)]))
