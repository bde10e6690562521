"""What one hub sends: events to workers and clients, in frames of one turn where the other end takes such.

Also what a Majordomo client can't say of its call to a worker of mesh. Knows no service, no socket and
no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hubs.switching.model import Address, Call, Worker
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.batch import Bundle
from mesh.core.channel import Ids, control
from mesh.core.majordomo import Command
from mesh.core.progress import Progress

Out = tuple[Address, list[bytes]]

WINDOW: Final = 100
"""Items of a stream that a worker may be ahead of a Majordomo client: an old server keeps no more."""


class Sending:
    """base: 24 hex digits that no other sender of events has.

    out: what is to be sent, without the batches: see take_out. crowded: whether a client has to read before
    it is given more, and progress_of: what moves on the connection of a peer, as the driver knows.
    """

    def __init__(self, base: bytes) -> None:
        self.out: list[Out] = []
        self._ids = Ids(base)
        self._laden: list[Worker] = []
        # What goes to each client at the end of this turn.
        self._bundles: dict[Address, Bundle] = {}
        self.crowded: Callable[[Address], bool] = lambda client: False
        self.progress_of: Callable[[Address], Progress | None] = lambda peer: None
        self._owed: list[tuple[Worker, Call, int]] = []

    # To workers

    def _follow(self, worker: Worker, call: Call, payload: bytes) -> None:
        """Only mesh workers know more of a call than its request."""
        if worker.about is not None:
            self._to_worker(worker, call, (payload,))

    def _speak_for(self, worker: Worker, call: Call, name: str) -> None:
        """Say what the worker waits for after an event of that name, as a Majordomo client can't: credit as
        items pass, and a heartbeat for each of the worker's own, so that the worker's interval counts."""
        if name == wire.BEAT:
            self._follow(worker, call, control(self._ids, call.channel, wire.BEAT, 0))
        elif name == wire.STREAM:
            call.items += 1
            if call.items % (WINDOW // 2) == 1:
                self._grant(worker, call, WINDOW if call.items == 1 else WINDOW // 2)

    def _grant(self, worker: Worker, call: Call, credit: int) -> None:
        if self.crowded(call.client):
            self._owed.append((worker, call, credit))
        else:
            self._follow(worker, call, control(self._ids, call.channel, wire.MORE, credit))

    def grant_owed(self) -> None:
        """What was not granted while its client did not read; to be called when peers may have read."""
        owed, self._owed = self._owed, []
        for worker, call, credit in owed:
            if not call.gone and worker.calls.get(call.token) is call:
                self._grant(worker, call, credit)

    def _to_worker(self, worker: Worker, call: Call, body: tuple[bytes, ...]) -> None:
        """In the batch of this turn, but for what is large or not of mesh."""
        batch = worker.batch
        if batch is not None:
            if len(body) == 1 and len(body[0]) < batch.most:
                if not batch.items:
                    self._laden.append(worker)
                if not batch.add(mdp.REQUEST, call.token, body[0]):
                    self._release(worker)
                    batch.add(mdp.REQUEST, call.token, body[0])
                return
            self._release(worker)
        self.out.append((worker.address, mdp.carried(worker.style, Command.REQUEST, call.token, body)))

    def _release(self, worker: Worker) -> None:
        if worker.batch is not None and worker.batch.items:
            self.out.append((worker.address, [worker.batch.take()]))

    def take_out(self) -> list[Out]:
        """All that is to be sent, the batches of this turn among it."""
        if self._laden:
            laden, self._laden = self._laden, []
            for worker in laden:
                self._release(worker)
        if self._bundles:
            bundles, self._bundles = self._bundles, {}
            for client, bundle in bundles.items():
                self.out.append((client, bundle.frames()))
        out, self.out = self.out, []
        return out

    # To clients

    def _to_client(self, call: Call, event: bytes) -> None:
        """The events of a client keep their order."""
        if call.batched:
            bundle = self._bundles.get(call.client)
            if bundle is None:
                bundle = self._bundles[call.client] = Bundle()
            if len(event) < mdp.LONE and bundle.add(event):
                return
            self._settle(call.client)
            if len(event) < mdp.LONE:
                self._to_client(call, event)
                return
        self.out.append((call.client, [b"", event]))

    def _settle(self, client: Address) -> None:
        bundle = self._bundles.pop(client)
        if bundle.events:
            self.out.append((client, bundle.frames()))

    def _tell_pong(self, call: Call, name: str) -> None:
        """Answer a ping in the place of a worker of that service."""
        header: wire.Header = {"message_id": self._ids.next(), "v": wire.VERSION, "response_to": call.channel}
        event = wire.pack(header, wire.OK, [["pong", name]])
        if call.style is None:
            self._to_client(call, event)
        else:
            self.out.append((call.client, mdp.answer(call.style, Command.FINAL, call.asked, [event])))

    def _tell_error(self, call: Call, name: str, text: str, *, refused: bool) -> None:
        if call.style is not None:
            body = [name.encode(), text.encode("utf-8", "replace")]
            self.out.append((call.client, mdp.answer(call.style, Command.FINAL, call.asked, body)))
            return
        header: wire.Header = {
            "message_id": self._ids.next(),
            "v": wire.VERSION,
            "response_to": call.channel,
            "refused": refused,
        }
        self._to_client(call, wire.pack(header, wire.ERR, wire.plain_error(name, text)))
