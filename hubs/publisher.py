"""Publishes one hub in DNS: the thread that carries out what its Publication decides.

Owns the thread and its clock. It asks the hub where its services are reached, and is never waited for by it:
a name server that is away costs nobody else anything.
"""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hubs.hub import Hub
from hubs.published_places import Places, address_here, astray, is_loopback
from hubs.spec import HubSpec, Publish
from mesh.errors import ConfigError
from mesh.names.publication import Publication, ZoneError
from mesh.names.tsig_key import TsigKey, read_tsig_key

if TYPE_CHECKING:
    from hubs.zone_server import ZoneServer

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the services of the hub."""
PATIENCE: Final = 0.5
"""Seconds that the hub has to tell them."""
WITHDRAW_WITHIN: Final = 3.0
"""Seconds for the name server to take the records away as the hub ends."""
RESOLVED_FOR: Final = 60.0
"""Seconds for which the address of a worker's host counts."""
MAX_RESOLVED: Final = 1_000
MAX_PROBLEMS: Final = 10
"""Lines in the log at one time about what workers announce."""
TOWARDS: Final = ("192.0.2.1", 53)
"""An address of nobody (RFC 5737): by it the system tells by which of its own it reaches others."""

log = logging.getLogger("hubs")


def key_of(publish: Publish) -> TsigKey:
    """The key that updates are signed with. Raises ConfigError."""
    try:
        return read_tsig_key(publish.key_file)
    except ConfigError as error:
        raise ConfigError(f"{publish.source}: publish.key_file: {error}") from None


def check_keys(specs: Iterable[HubSpec]) -> None:
    """Raise ConfigError where a key file of these hubs can't be read."""
    for spec in specs:
        if spec.publish is not None:
            key_of(spec.publish)


def _bound(spec: HubSpec, hub: Hub) -> tuple[str, ...]:
    """What a hub binds for its clients."""
    return tuple(one for one in hub.endpoints.in_ if one not in spec.in_.connect)


def _address_outside() -> str | None:
    """That by which this machine reaches others, as far as its routes tell."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:
            towards.connect(TOWARDS)
            return str(towards.getsockname()[0])
    except OSError:
        return None


def own_address(endpoints: Iterable[str], server: ZoneServer) -> str | None:
    """That of this machine for those who are to reach a hub that binds these endpoints.

    Without a route to others it is that by which the name server is reached, and may be reached by others.
    """
    own = address_here(endpoints) or _address_outside()
    if own is None:
        with suppress(ZoneError):
            own = server.local_address()
        if own is not None and is_loopback(own):
            own = None
    return own


def _is_mine(address: str) -> bool:
    """Whether it is an address of this machine: nothing can be bound to others."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind((address, 0))
            return True
    except OSError:
        return False


class ZonePublisher:
    """Begins at once. Raises ConfigError for a key file that can't be read."""

    def __init__(self, spec: HubSpec, publish: Publish, hub: Hub) -> None:
        from hubs.zone_server import ZoneServer  # by which hubs that are not published would start later

        self._publish = publish
        self._name = spec.name
        self.follow(spec, hub)
        self._server = ZoneServer(publish.zone, publish.server, key_of(publish), publish.ttl)
        self._places = Places(publish.zone, publish.as_, socket.gethostname(), self._resolve)
        hub_id = self._places.hub_id(_bound(spec, hub))
        self._publication = Publication(hub_id, secrets.token_hex(4), time.monotonic())
        self._here: tuple[tuple[str, ...], str | None] = ((), None)
        """What the hub binds, and the address of this machine for that."""
        self._problem = ""
        self._problems: set[str] = set()
        """What was said of single services and workers."""
        self._resolved: dict[str, tuple[float, str | None]] = {}
        """The addresses of hosts that workers announce, and until when they count."""
        self._told = False
        """Whether the log says that it is published."""
        self._stop = threading.Event()
        self._withdraw = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"publish {spec.name}", daemon=True)
        self._thread.start()

    def follow(self, spec: HubSpec, hub: Hub) -> None:
        """Publish this hub from now on, which has come in place of the one before."""
        self._followed = spec, hub

    def serves(self, spec: HubSpec, hub: Hub) -> bool:
        """Whether it is the publisher of a hub that is to be published so, under the same id."""
        hub_id = self._places.hub_id(_bound(spec, hub))
        return spec.publish == self._publish and hub_id == self._publication.hub_id

    def withdraw(self, drain: float) -> None:
        """Take all of it out of the zone, and wait until nobody has it from a cache any more.

        That is for one TTL, and for `drain` seconds at the most. A name server that is away is not waited for
        long.
        """
        self._withdraw.set()
        self._thread.join(min(drain, WITHDRAW_WITHIN) if drain else LOOK_EVERY)
        self._stop.set()
        if self._publication.withdrawn and self._publication.written:
            time.sleep(min(drain, self._publish.ttl))
        elif not self._publication.withdrawn:
            log.warning(
                "hub %s: it could not be taken out of the zone %s in time: other hubs that publish there "
                "do so when its lease is old",
                self._name,
                self._publish.zone,
            )

    # In the thread

    def _run(self) -> None:
        publication = self._publication
        look_at = time.monotonic()
        while not self._stop.is_set() and not publication.withdrawn:
            now = time.monotonic()
            if self._withdraw.is_set():
                publication.withdraw(now)
            elif now >= look_at:
                look_at = now + LOOK_EVERY
                self._look()
            if now >= publication.wake_at:
                self._turn(now)
            wait = min(publication.wake_at, look_at) - time.monotonic()
            (self._stop if self._withdraw.is_set() else self._withdraw).wait(max(wait, 0.01))

    def _look(self) -> None:
        """See where the services of the hub are reached now."""
        spec, hub = self._followed
        services = hub.announced(PATIENCE) if hub.alive else {}
        if services is None:
            return  # it has much to do, and they stay as they are
        endpoints = _bound(spec, hub)
        bound, here = self._here
        if self._places.needs_address and (here is None or bound != endpoints):
            here = self._own_address(endpoints)
            self._here = endpoints, here
        published = self._places.published(endpoints, services, here)
        self._publication.want(published.names, published.addresses)
        self._warn(published.problems)

    def _own_address(self, endpoints: Iterable[str]) -> str | None:
        """The address of the host of `as`; None where this machine has none yet."""
        own = own_address(endpoints, self._server)
        if own is None:
            problem = (
                f"this machine has no address by which others reach it, and so {self._publish.as_} gets none "
                "in the zone: give the machine a route to them, or write the record yourself"
            )
            self._warn([problem])
        return own

    def _warn(self, problems: Iterable[str]) -> None:
        """Say each of them once."""
        for problem in sorted(set(problems) - self._problems)[:MAX_PROBLEMS]:
            self._problems.add(problem)
            log.warning("hub %s: %s", self._name, problem)
        if len(self._problems) > 10 * MAX_PROBLEMS:
            self._problems.clear()

    def _resolve(self, host: str) -> str | None:
        """An address of a host by its short name, as this machine knows it."""
        until, address = self._resolved.get(host, (0.0, None))
        if time.monotonic() < until:
            return address
        try:
            address = socket.gethostbyname(host)
        except (OSError, UnicodeError):
            address = None
        if len(self._resolved) >= MAX_RESOLVED:
            self._resolved.clear()
        self._resolved[host] = (time.monotonic() + RESOLVED_FOR, address)
        return address

    def _turn(self, now: float) -> None:
        publication = self._publication
        turn = publication.turn(now)
        try:
            step = next(turn)
            while True:
                step = turn.send(self._server.carry_out(step))
        except StopIteration:
            self._done()
        except ZoneError as error:
            turn.close()
            publication.failed(time.monotonic())
            self._tell(str(error))

    def _done(self) -> None:
        publication = self._publication
        for hub_id in publication.swept:
            log.info(
                "hub %s: the records that %s has left in the zone %s are taken away: its lease was old",
                self._name,
                hub_id,
                self._publish.zone,
            )
        publication.swept.clear()
        if publication.doubled:
            self._tell(
                f"another hub publishes itself as {publication.hub_id!r}, and this one leaves the zone to "
                "it: give each an 'as' of its own"
            )
            return
        if not publication.written:
            return
        if self._withdraw.is_set():
            if publication.withdrawn:
                log.info("hub %s is withdrawn from the zone %s", self._name, self._publish.zone)
            return
        if not self._told or self._problem:
            log.info(
                "hub %s is published in the zone %s as %s", self._name, self._publish.zone, publication.hub_id
            )
        self._told, self._problem = True, ""
        self._tell_addresses()

    def _tell_addresses(self) -> None:
        """Say which hosts lead, or led, others to elsewhere."""
        publication, zone = self._publication, self._publish.zone
        for key, data in publication.replaced:
            log.info(
                "hub %s: the address %s of %s.%s is taken out of the zone: it led others to themselves",
                self._name,
                data[0],
                key.owner,
                zone,
            )
        publication.replaced.clear()
        self._warn(
            astray(f"{key.owner}.{zone}", data[0], there)
            for (key, data), there in publication.elsewhere.items()
            if is_loopback(data[0]) or not any(map(_is_mine, there))
        )

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            log.warning("hub %s is not published: %s", self._name, problem)


class ZonePublishers:
    """Those of all hubs of this process, by name. For the thread that runs the hubs."""

    def __init__(self) -> None:
        self._of: dict[str, ZonePublisher] = {}

    def keep(self, spec: HubSpec, hub: Hub) -> None:
        """Have a hub published as its spec says from now on. One that is published so already goes on."""
        before = self._of.get(spec.name)
        if before is not None and before.serves(spec, hub):
            before.follow(spec, hub)
            return
        if before is not None:
            self._of.pop(spec.name).withdraw(0.0)
        if spec.publish is None:
            return
        try:
            self._of[spec.name] = ZonePublisher(spec, spec.publish, hub)
        except ConfigError as error:
            log.error("hub %s is not published: %s", spec.name, error)

    def take(self, name: str) -> ZonePublisher | None:
        """That of a hub which ends; whoever takes it has it withdrawn."""
        return self._of.pop(name, None)
