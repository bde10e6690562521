"""What a queue or majordomo hub decides: which worker gets a call, and what belongs to that call.

Frames go in with the side they came from and the present time; frames to send come out in `out`.
Owns what a message is for, and the timer; knows no socket and no clock. The driver tells it who can't
be reached any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from logging import WARNING
from typing import Any, Final

from hubs.switching import status
from hubs.switching.event_header import head_of
from hubs.switching.model import Address, Call, Settings, Worker
from hubs.switching.registration import STOPPING, Registration
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.batch import holds_events, read_events
from mesh.core.channel import NEVER, control, fairly_heard
from mesh.core.majordomo import STANDARD, Command, FromClient, FromWorker
from mesh.core.server_session import MAX_CHANNEL_ID
from mesh.errors import WireError

_HEAD: Final = b"MDPW02"
_NONE: Final[dict[Any, Any]] = {}
"""The calls of a client that has none; never filled."""
_ANSWERS: Final = {b"\x03": False, b"\x04": True}
"""What is an answer of a 0.2 worker, and whether it is the last."""
GRAIN: Final = 0.005
GRAIN_OF_EACH: Final = 5e-6
"""Seconds between two looks at what waits, at least, and more for each call."""


STATUS_FOR: Final = 0.1
"""Seconds for which a status is told again: with thousands of workers it takes a while to gather."""


class Switch(Registration):
    """The state of one hub; see Calls."""

    def __init__(
        self, settings: Settings, base: bytes, describe: Callable[[], dict[str, Any]] = dict
    ) -> None:
        super().__init__(settings, base, describe)
        self._statuses: dict[str, tuple[float, bytes]] = {}

    # What comes in

    def receive(self, side: int, frames: Sequence[bytes], now: float) -> int:
        """Take in one message with its routing id; how many events it held.

        Never raises: what makes no sense is counted.
        """
        self._now = now
        # What comes most, past the reading of all that could come.
        if len(frames) == 3 and not frames[1] and len(frames[2]) > 6:
            self._event((side, (frames[0],)), frames[2], now)
            return 1
        if len(frames) == 2 and frames[1][:1] >= mdp.BATCHED:
            address = side, (frames[0],)
            worker = self.workers.get(address)
            if worker is not None and worker.batch is not None:
                return self._answers(worker, frames[1], now)
            if worker is None and holds_events(frames[1]):
                return self._events(address, frames[1], now)
            if worker is None and (late := mdp.size_of_batch(frames[1])):
                # Of a worker that has been given up, as after either has stood still.
                self.dropped["late"] += late
                self._tell_to_register(address, STANDARD[2])
                return late
        if len(frames) == 6 and frames[1] == _HEAD:
            worker = self.workers.get((side, (frames[0],)))
            if worker is not None and frames[2] in _ANSWERS and frames[3] and not frames[4]:
                worker.last_heard = now
                self._answer(worker, frames[3], _ANSWERS[frames[2]], (frames[5],))
                return 1
        self._other(side, frames, now)
        return 1

    def _other(self, side: int, frames: Sequence[bytes], now: float) -> None:
        try:
            message = mdp.read(frames[1:])
        except WireError as error:
            self.dropped["malformed"] += 1
            self._distrust((side, (frames[0],)), str(error), frames[1:])
            return
        if type(message) is FromWorker:
            self._from_worker((side, (frames[0],)), message, now)
        elif type(message) is FromClient:
            self._from_client((side, (frames[0],)), message, now)
        else:
            if (side, (frames[0],)) in self.workers:
                self.dropped["malformed"] += 1
                self._distrust((side, (frames[0],)), "that was no command of a worker")
                return
            envelope = frames[:-2] if len(frames) > 2 and not frames[-2] else frames[:-1]
            self._event((side, tuple(envelope)), frames[-1], now)

    def refuse_large(self, side: int, peer: bytes) -> None:
        """A message of this peer was larger than any may be, and nothing of it is left."""
        self.dropped["too large"] += 1
        self._distrust((side, (peer,)), "a message larger than max_message")

    def _answers(self, worker: Worker, frame: bytes, now: float) -> int:
        worker.last_heard = now
        number = 0
        try:
            for code, token, event in mdp.read_batch(frame):
                if code == mdp.REQUEST:
                    raise WireError("REQUEST is the hub's")
                self._answer(worker, token, code == mdp.FINAL, (event,))
                number += 1
        except WireError as error:
            self.dropped["malformed"] += 1
            self._distrust(worker.address, str(error))
        return number or 1

    def _events(self, client: Address, frame: bytes, now: float) -> int:
        try:
            events = read_events(frame)
        except WireError:
            self.dropped["malformed"] += 1
            return 1
        for event in events:
            self._event(client, event, now, batched=True)
        return len(events)

    def _from_client(self, client: Address, message: FromClient, now: float) -> None:
        if message.service.startswith(mdp.MANAGEMENT):
            body = self._manage(message)
            self.out.append((client, mdp.answer(message.style, Command.FINAL, message.service, [body])))
            return
        name, size = self.named(message.service), sum(map(len, message.body))
        call = Call(self._token(), client, name, message.body, size, now, now + self.settings.timeout)
        call.style, call.asked, call.channel = message.style, message.service, _channel_of(message.body)
        self._admit(call, now)

    def _manage(self, message: FromClient) -> bytes:
        """RFC 8."""
        if message.service == mdp.STATUS:
            return self._status("json", lambda values: json.dumps(values).encode())
        if message.service != "mmi.service":
            return b"501"
        service = self.services.get(self.named(message.body[0].decode("utf-8", "replace")))
        return b"200" if service is not None and len(service.pool) else b"404"

    def _event(self, client: Address, payload: bytes, now: float, *, batched: bool = False) -> None:
        head = head_of(payload)
        if head is None or not client[1]:
            self.dropped["malformed"] += 1
            return
        channel = head[1]
        if channel is None:
            if head[3] == mdp.STATUS:
                self._tell_status(client, head[0])
                return
            self._request(client, head, payload, now, batched)
        elif type(channel) in (bytes, str):
            self._follow_up(self.clients.get(client, _NONE).get(channel), payload, cancel=head[4] is True)
        else:
            self.dropped["malformed"] += 1

    def _tell_status(self, client: Address, channel: Any) -> None:
        if type(channel) not in (bytes, str):
            self.dropped["malformed"] += 1
            return
        answer: wire.Header = {"message_id": self._ids.next(), "v": wire.VERSION, "response_to": channel}
        pack, _ = wire.packer()
        parts = (b"\x93", pack(answer), pack(wire.OK), b"\x91", self._status("event", pack))
        self.out.append((client, [b"", b"".join(parts)]))

    def _status(self, form: str, pack: wire.Pack) -> bytes:
        until, told = self._statuses.get(form, (NEVER, b""))
        if not told or self._now >= until:
            told = pack({**self._describe(), **status.full(self, self._now)})
            self._statuses[form] = (self._now + STATUS_FOR, told)
        return told

    # What else the driver tells

    def not_read(self, address: Address, number: int) -> None:
        """That many messages were thrown away as the peer of this address has not read them."""
        self.dropped["not read"] += number
        if address not in self.workers:
            open_calls = len(self.clients.get(address, ()))
            text = f"a client did not read: {number} messages are thrown away, calls given up: {open_calls}"
            self.log_lines.append((WARNING, text))
        self.unreachable(address, f"did not read: {number} messages are thrown away")

    def unreachable(self, address: Address, what: str = "lost its connection") -> None:
        """The peer of this address is gone. what: it has done, if it is a worker."""
        worker = self.workers.get(address)
        if worker is not None:
            self._dismiss(worker, what, tell=False)
        for call in list(self.clients.get(address, _NONE).values()):
            self._give_up(call)

    def probe(self, side: int) -> None:
        """A word to all who wait for one on that side: whoever can't be reached is gone."""
        for worker in self.workers.values():
            if worker.address[0] == side:
                self.out.append((worker.address, mdp.heartbeat(worker.style)))
        for client, calls in self.clients.items():
            call = next(filter(_may_be_probed, calls.values()), None)
            if client[0] == side and call is not None:
                beat = control(self._ids, call.channel, wire.BEAT, 0)
                if call.style is None:
                    self.out.append((client, [b"", beat]))
                else:
                    self.out.append((client, mdp.answer(call.style, Command.PARTIAL, call.asked, [beat])))

    def configure(self, settings: Settings) -> None:
        """Go on with other settings."""
        self.settings = settings
        for service in self.services.values():
            service.waiting.limit(settings.queue, settings.queue_bytes)
        for worker in self.workers.values():
            self._pace(worker)
            if worker.about is not None:
                self._acknowledge(worker)
        self._wake(self._now)

    def farewell(self) -> None:
        """The hub ends: what is still open comes to nothing, and the workers may go elsewhere.

        What comes after that is refused.
        """
        self.draining = True
        for call in self.calls:
            self._refuse(call, "LostRemote", "the hub has stopped", seen=call.tries > 0)
        for worker in self.workers.values():
            reason = STOPPING if worker.about is not None else ""
            self._tell_to_register(worker.address, worker.style, reason)
        self.workers.clear()
        self.services.clear()

    # Time

    def on_timer(self, now: float) -> None:
        """Heartbeats, silent workers, and calls that nobody wants any more."""
        self._now = now
        due, self.wake_at = self.wake_at, NEVER
        waiting = 0
        self._told = {address: until for address, until in self._told.items() if until > now}
        if self._told:
            self._wake(min(self._told.values()))
        for worker in list(self.workers.values()):
            worker.last_heard = fairly_heard(worker.last_heard, due, now, worker.interval)
            self._beat_worker(worker, now)
        self._stand_in(now)
        for service in list(self.services.values()):
            waiting += len(service.waiting)
            self._expire(service, now)
        self.wake_at = max(self.wake_at, now + max(GRAIN, GRAIN_OF_EACH * waiting))


def _channel_of(body: Sequence[bytes]) -> Any:
    """The message id of the event that a Majordomo client sends; None where its body begins with none.

    Workers of mesh look at the first frame of a body, whatever comes after it.
    """
    head = head_of(body[0])
    if head is None or head[1] is not None:
        return None
    channel = head[0]
    return channel if type(channel) in (bytes, str) and len(channel) <= MAX_CHANNEL_ID else None


def _may_be_probed(call: Call) -> bool:
    """Whether its client expects heartbeats: one of Majordomo only those of a worker of mesh."""
    if call.style is None:
        return True
    of_mesh = call.worker is not None and call.worker.about is not None
    return call.channel is not None and call.style.version == 2 and of_mesh
