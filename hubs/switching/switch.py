"""What a hub with registered workers decides: which worker gets a call, and what belongs to that call.

Frames go in with the side they came from and the present time; frames to send come out of `take_out`. This
file reads what a message is, and hands it to those that it concerns: calls.py and workers.py. Knows no socket
and no clock; the driver tells who can't be reached any more.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hubs.switching.calls import Calls
from hubs.switching.environment import Driver, Environment
from hubs.switching.event_header import HeaderReader, header_of
from hubs.switching.majordomo_clients import MajordomoClients
from hubs.switching.model import Address, HubClient, RoutedCall, Worker
from hubs.switching.open_calls import HubOpenCalls
from hubs.switching.outgoing import Out, Outgoing
from hubs.switching.services import Services
from hubs.switching.settings import Settings
from hubs.switching.stand_in import StandIn
from hubs.switching.workers import WorkerRegistry
from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.batch import holds_events, read_events
from mesh.core.channel import NEVER
from mesh.core.majordomo import STANDARD, Command, FromClient, FromWorker
from mesh.core.recording import Recorder
from mesh.errors import WireError

_OWN: Final = frozenset((mdp.STATUS, mdp.CALLS))
"""The services that events ask of the hub itself."""
_HEAD: Final = b"MDPW02"
_ANSWERS: Final = {b"\x03": False, b"\x04": True}
"""What is an answer of a 0.2 worker, and whether it is the last."""
GRAIN: Final = 0.005
GRAIN_OF_EACH: Final = 5e-6
"""Seconds between two looks at what waits, at least, and more for each call."""
STATUS_FOR: Final = 0.1
"""Seconds for which a status is told again: with thousands of workers it takes a while to gather."""


class Switch:
    """The state of one hub.

    base: 24 hex digits that no other hub has. driver: whom it may ask. began: when the hub was started.
    recorder: keeps what is to be told of its calls; None where nothing is.
    """

    def __init__(
        self,
        settings: Settings,
        base: bytes,
        driver: Driver,
        began: float = -NEVER,
        recorder: Recorder | None = None,
    ) -> None:
        env = self._env = Environment(settings, driver, began, recorder)
        self._outgoing = Outgoing(base)
        self._services = Services(settings)
        self._majordomo_clients = MajordomoClients(env, self._outgoing)
        self._calls = Calls(env, self._services, self._outgoing, self._majordomo_clients, base)
        self._workers = WorkerRegistry(env, self._services, self._calls, self._outgoing)
        self._header_of = HeaderReader().read
        self._stand_in = StandIn(env, self._workers, self._calls, self._outgoing)
        self._open_calls = HubOpenCalls(env, self._services, self._workers, self._calls, self._outgoing)
        # The last status in each form, and until when it is told again.
        self._statuses: dict[str, tuple[float, bytes]] = {}

    # What it has, to be looked at

    @property
    def settings(self) -> Settings:
        return self._env.settings

    @property
    def services(self) -> Services:
        return self._services

    @property
    def workers(self) -> Mapping[Address, Worker]:
        return self._workers.by_address

    @property
    def clients(self) -> Mapping[Address, HubClient]:
        """Those with open calls."""
        return self._calls.clients

    @property
    def calls(self) -> Sequence[RoutedCall]:
        """All that are open and have somebody who waits for them."""
        return self._calls.open

    @property
    def draining(self) -> bool:
        return self._env.draining

    @property
    def dropped(self) -> Counter[str]:
        """What was not understood, by kind."""
        return self._env.dropped

    @property
    def refused(self) -> Counter[str]:
        """The calls that were refused, by error."""
        return self._env.refused

    @property
    def wake_at(self) -> float:
        """When on_timer is to be called next."""
        return self._env.wake_at

    @property
    def owes_nothing(self) -> bool:
        """Whether nothing is to be sent, now or as soon as somebody reads."""
        return self._outgoing.idle and self._majordomo_clients.idle

    # What goes out

    def take_out(self) -> list[Out]:
        """All that is to be sent, the batches of this turn among it."""
        return self._outgoing.take()

    def take_log_lines(self) -> Sequence[tuple[int, str]]:
        """What is for the log: the level, as logging has it, and the text."""
        return self._env.take_log_lines()

    # What comes in

    def receive(self, side: int, frames: Sequence[bytes], now: float) -> int:
        """Take in one message with its routing id; how many events it held.

        Never raises: what makes no sense is counted.
        """
        self._env.now = now
        # What comes most, past the reading of all that could come.
        if len(frames) == 3 and not frames[1] and len(frames[2]) > 6:
            self._event(self._calls.client_at((side, (frames[0],))), frames[2], now, False)
            return 1
        if len(frames) == 2 and frames[1][:1] >= mdp.BATCHED:
            number = self._batch((side, (frames[0],)), frames[1], now)
            if number:
                return number
        if len(frames) == 6 and frames[1] == _HEAD:
            worker = self._workers.by_address.get((side, (frames[0],)))
            if worker is not None and frames[2] in _ANSWERS and frames[3] and not frames[4]:
                worker.last_heard = now
                self._calls.answer(worker, frames[3], _ANSWERS[frames[2]], (frames[5],))
                return 1
        self._other(side, frames, now)
        return 1

    def _batch(self, address: Address, frame: bytes, now: float) -> int:
        """Several answers of a worker, or events of a client, in one frame; 0 where that is none of these."""
        worker = self._workers.by_address.get(address)
        if worker is not None:
            return self._answers(worker, frame, now) if worker.batch is not None else 0
        if holds_events(frame):
            return self._events(address, frame, now)
        if late := mdp.size_of_batch(frame):
            # Of a worker that has been given up, as after either has stood still.
            self._env.dropped["late"] += late
            self._workers.tell_to_register(address, STANDARD[2])
        return late

    def _other(self, side: int, frames: Sequence[bytes], now: float) -> None:
        address = side, (frames[0],)
        try:
            message = mdp.read(frames[1:])
        except WireError as error:
            self._env.dropped["malformed"] += 1
            self._workers.distrust(address, str(error), frames[1:])
            return
        if type(message) is FromWorker:
            self._workers.receive(address, message, now)
        elif type(message) is FromClient:
            self._from_client(address, message, now)
        elif address in self._workers.by_address:
            self._env.dropped["malformed"] += 1
            self._workers.distrust(address, "that was no command of a worker")
        else:
            envelope = frames[:-2] if len(frames) > 2 and not frames[-2] else frames[:-1]
            if envelope:
                self._event(self._calls.client_at((side, tuple(envelope))), frames[-1], now, False)
            else:
                self._env.dropped["malformed"] += 1

    def refuse_large(self, side: int, peer: bytes) -> None:
        """A message of this peer was larger than any may be, and nothing of it is left."""
        self._env.dropped["too large"] += 1
        self._workers.distrust((side, (peer,)), "a message larger than max_message")

    def _answers(self, worker: Worker, frame: bytes, now: float) -> int:
        worker.last_heard = now
        number = 0
        answer = self._calls.answer
        try:
            for code, token, event in mdp.read_batch(frame):
                if code == mdp.REQUEST:
                    raise WireError("REQUEST is the hub's")
                answer(worker, token, code == mdp.FINAL, (event,))
                number += 1
        except WireError as error:
            self._env.dropped["malformed"] += 1
            self._workers.distrust(worker.address, str(error))
        return number or 1

    def _events(self, address: Address, frame: bytes, now: float) -> int:
        try:
            events = read_events(frame)
        except WireError:
            self._env.dropped["malformed"] += 1
            return 1
        client = self._calls.client_at(address)
        for event in events:
            self._event(client, event, now, True)
        return len(events)

    def _from_client(self, address: Address, message: FromClient, now: float) -> None:
        if message.service.startswith(mdp.MANAGEMENT):
            body = self._manage(message)
            self._outgoing.send(address, mdp.answer(message.style, Command.FINAL, message.service, [body]))
            return
        header = header_of(message.body[0])
        if header is not None and header.response_to is not None:
            header = None  # an event, but none that begins a call
        self._calls.majordomo_request(self._calls.client_at(address), message, header, now)

    def _manage(self, message: FromClient) -> bytes:
        """RFC 8."""
        if message.service == mdp.STATUS:
            return self._status("json", lambda values: json.dumps(values).encode())
        if message.service != "mmi.service":
            return b"501"
        service = self._services.get(self._services.named(message.body[0].decode("utf-8", "replace")))
        return b"200" if service is not None and len(service.scheduler.pool) else b"404"

    def _event(self, client: HubClient, payload: bytes, now: float, batched: bool) -> None:
        header = self._header_of(payload)
        if header is None:
            self._env.dropped["malformed"] += 1
            return
        channel = header.response_to
        if channel is None:
            if header.service in _OWN:
                if header.service == mdp.STATUS:
                    self._tell_status(client.address, header.message_id)
                else:
                    self._open_calls.asked(client, header.message_id, payload)
                return
            self._calls.request(client, header, payload, now, batched)
        elif type(channel) in (bytes, str):
            self._calls.follow_up(client, channel, payload, cancel=header.cancel is True)
        else:
            self._env.dropped["malformed"] += 1

    def _tell_status(self, client: Address, channel: Any) -> None:
        if type(channel) not in (bytes, str):
            self._env.dropped["malformed"] += 1
            return
        pack, _ = wire.packer()
        self._outgoing.result(client, channel, self._status("event", pack))

    def _status(self, form: str, pack: wire.Pack) -> bytes:
        now = self._env.now
        until, status = self._statuses.get(form, (NEVER, b""))
        if not status or now >= until:
            status = pack(self._env.driver.status())
            self._statuses[form] = (now + STATUS_FOR, status)
        return status

    # What else the driver tells

    def not_read(self, address: Address, number: int) -> None:
        """That many messages were thrown away as the peer of this address has not read them."""
        self._env.dropped["not read"] += number
        if address not in self._workers.by_address:
            open_calls = len(self._calls.client_at(address).calls)
            self._env.warn(
                f"a client did not read: {number} messages are thrown away, calls given up: {open_calls}"
            )
        self.unreachable(address, f"did not read: {number} messages are thrown away")

    def unreachable(self, address: Address, what: str = "lost its connection") -> None:
        """The peer of this address is gone. what: it has done, if it is a worker."""
        self._workers.unreachable(address, what)
        self._calls.give_up_client(address)

    def grant_owed(self) -> None:
        """Peers may have read what was kept for them: what waited for that is sent."""
        self._majordomo_clients.grant_owed()

    def probe(self, side: int) -> None:
        """A word to all who wait for one on that side: whoever can't be reached is gone."""
        self._workers.probe(side)
        self._calls.probe(side)

    def configure(self, settings: Settings) -> None:
        """Go on with other settings."""
        self._env.settings = settings
        self._services.configure(settings)
        self._workers.reconfigure()
        self._env.wake(self._env.now)

    def drain(self) -> None:
        """Take no more calls and workers; what is open goes on."""
        self._env.draining = True

    def farewell(self) -> None:
        """The hub ends: what is still open comes to nothing, and the workers may go elsewhere.

        What comes after that is refused.
        """
        self.drain()
        self._calls.refuse_all("LostRemote", "the hub has stopped")
        self._workers.part()
        self._services.clear()

    # Time

    def on_timer(self, now: float) -> None:
        """Heartbeats, silent workers, and calls that nobody wants any more."""
        env = self._env
        due = env.begin_timer(now)
        self._workers.on_timer(due, now)
        self._stand_in.on_timer(now)
        waited = self._calls.expire(now)
        env.wake_at = max(env.wake_at, now + max(GRAIN, GRAIN_OF_EACH * waited))
