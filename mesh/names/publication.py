"""What one hub writes of itself into a DNS zone, and what it takes away.

Pure: knows no socket, no clock and no DNS library.

In the zone stand, for a hub known as "box-5555" that has a service "users":

    _users._tcp            SRV  10 1 5555 box.mesh.test.     where it is (RFC 2782)
    _users._tcp            TXT  "at=box.mesh.test:5555" "hub=1" "by=box-5555"
    box-5555._mesh         TXT  "lease=17" "period=10" "run=5f0c"   its lease: the number grows while it lives
    names.box-5555._mesh   TXT  "users"                      the services that it has written records of
    3.hubs._mesh           TXT  "box-5555"                   the hubs that hold leases, in 16 sets

Records are added and deleted one by one and exactly, never whole names, for others write at the same names.
Each update (RFC 2136) requires that the hub's lease stands there as it was written last: so two hubs that
are called the same find each other out. Who has seen another hub's lease unchanged for three of its periods,
by a clock of its own, takes that one's records away, and requires that the lease is the same still.

A host that has no address gets its own. What it has stays, for others may need it or have set it on purpose,
but for a loopback address, which leads everybody to themselves: a hub that others reach takes that away.
Each such update requires that the host has the addresses that were seen.

A `turn` is a generator: it yields what is to be done in the zone, is sent what came of it, and is left to be
collected where that failed, which `failed` is told. Each has one update at the most.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final, NamedTuple
from zlib import crc32

from mesh.core.labels import Labels

PERIOD: Final = 10.0
"""Seconds between two renewals of the lease."""
UNCHANGED: Final = 3.0
"""Periods after which a lease that stays the same is that of a dead hub."""
LONGEST_PERIOD: Final = 3600.0
"""Seconds that another's period counts as, at the most."""
AUDIT: Final = 60.0
"""Seconds after which what stands in the zone is read back, and mended."""
INTERVAL: Final = 1.0
"""Seconds between two updates, at the least."""
MAX_ENDPOINTS: Final = 64
"""Endpoints of one name; where there are more, its hubs alone are published."""
MAX_CHANGES: Final = 200
"""Records that one update adds and deletes; the others follow."""
MAX_NAMES: Final = 1_000
"""Services of one hub that are published."""
MAX_HUBS: Final = 200
"""Other hubs whose leases are watched."""
FIRST_PAUSE: Final = 1.0
LAST_PAUSE: Final = 60.0
"""Seconds from a failure to the next try: doubling from the first to the last."""
DIRECT: Final = 10
"""The priority of workers that are reached directly; also of a hub that has workers which are not."""
BEHIND: Final = 20
"""The priority of a hub all of whose workers are reached directly: for when they are not."""
_HUB_SETS: Final = 16
_NAMES_A_RECORD: Final = 20
"""A server may take no more than 100 records of a name and type."""

Data = tuple[str, ...]
"""The strings of a TXT record, the four fields of an SRV record, or the address of an A or AAAA record."""


class Key(NamedTuple):
    """A set of records. owner: relative to the zone."""

    owner: str
    type: str


class Record(NamedTuple):
    """One record of such a set."""

    key: Key
    data: Data


@dataclass(frozen=True, slots=True)
class PublishedEndpoint:
    """Where a service is reached. host: absolute, with the dot at its end, as an SRV record has it."""

    host: str
    port: int
    hub: bool = False
    priority: int = DIRECT
    weight: int = 1
    labels: Labels = ()

    @property
    def at(self) -> str:
        return f"{self.host.rstrip('.')}:{self.port}"


@dataclass(frozen=True, slots=True)
class Read:
    """Read these sets of records. What is sent back: a map of those that are not empty."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Update:
    """Send one dynamic update. What is sent back: whether the sets were as it requires them.

    require: the sets that have to stand there exactly so; an empty one must not exist.
    """

    require: Mapping[Key, frozenset[Data]]
    add: tuple[Record, ...] = ()
    delete: tuple[Record, ...] = ()


Found = Mapping[Key, frozenset[Data]]
Turn = Generator[Read | Update, Any, None]
"""What is sent to it is Found after a Read, and a bool after an Update."""


class ZoneError(Exception):
    """What a turn wanted could not be done in the zone. The text says what to do about that."""


def service_owner(name: str) -> str:
    """Where a service is found, relative to the zone."""
    return f"_{name.lower()}._tcp"


def lease_key(hub_id: str) -> Key:
    return Key(f"{hub_id}._mesh", "TXT")


def names_key(hub_id: str) -> Key:
    return Key(f"names.{hub_id}._mesh", "TXT")


def _hubs_key(number: int) -> Key:
    return Key(f"{number}.hubs._mesh", "TXT")


def hub_record(hub_id: str) -> Record:
    """By which others learn of a hub."""
    return Record(_hubs_key(crc32(hub_id.encode()) % _HUB_SETS), (hub_id,))


def service_records(name: str, places: Iterable[PublishedEndpoint], hub_id: str) -> set[Record]:
    """What a hub writes of a service."""
    owner = service_owner(name)
    records: set[Record] = set()
    for one in places:
        srv = (str(one.priority), str(one.weight), str(one.port), one.host)
        labels = (f"{name}={value}" for name, value in one.labels)
        txt = (f"at={one.at}", *(("hub=1",) if one.hub else ()), *labels, f"by={hub_id}")
        records |= {Record(Key(owner, "SRV"), srv), Record(Key(owner, "TXT"), txt)}
    return records


def _name_records(names: Iterable[str], hub_id: str) -> set[Record]:
    ordered = sorted(names)
    key = names_key(hub_id)
    return {
        Record(key, tuple(ordered[start : start + _NAMES_A_RECORD]))
        for start in range(0, len(ordered), _NAMES_A_RECORD)
    }


def _service_keys(names: Iterable[str]) -> tuple[Key, ...]:
    return tuple(Key(service_owner(name), kind) for name in names for kind in ("SRV", "TXT"))


def _at(srv: Data) -> str:
    """Where an SRV record leads, as TXT records have it."""
    return f"{srv[3].rstrip('.')}:{srv[2]}" if len(srv) == 4 else ""


def _told(txt: Data, key: str) -> str:
    """The value of `key=value` among a record's strings, "" where it has none."""
    return next((one[len(key) + 1 :] for one in txt if one.startswith(f"{key}=")), "")


def _records_by(hub_id: str, names: Iterable[str], found: Found) -> set[Record]:
    """Those of the sets' records that a hub has written, without what another one has written as well."""
    records: set[Record] = set()
    for name in names:
        srv_key, txt_key = _service_keys([name])
        claims = found.get(txt_key, frozenset())
        own = {txt for txt in claims if _told(txt, "by") == hub_id}
        alone = {_told(txt, "at") for txt in own} - {_told(txt, "at") for txt in claims - own}
        records |= {Record(txt_key, txt) for txt in own}
        records |= {Record(srv_key, srv) for srv in found.get(srv_key, frozenset()) if _at(srv) in alone}
    return records


def _host_keys(owner: str) -> tuple[Key, Key]:
    """Where the addresses of a host are."""
    return Key(owner, "A"), Key(owner, "AAAA")


def _is_address(record: Record) -> bool:
    return record.key.type in ("A", "AAAA")


def _is_loopback(address: Record) -> bool:
    return ip_address(address.data[0]).is_loopback


@dataclass(slots=True)
class _Lease:
    """The lease of another hub. since: when it was first seen as it is. period: seconds."""

    data: frozenset[Data]
    since: float
    period: float


@dataclass(slots=True)
class _Standing:
    """What stands in the zone of this hub, as far as it knows.

    claims: all TXT records of its services. hosts: all addresses of the hosts that it writes addresses of.
    """

    lease: frozenset[Data] = frozenset()
    records: set[Record] = field(default_factory=set)
    claims: dict[str, frozenset[Data]] = field(default_factory=dict)
    hosts: dict[Key, frozenset[Data]] = field(default_factory=dict)

    def addresses(self, owner: str) -> set[Record]:
        return {Record(key, data) for key in _host_keys(owner) for data in self.hosts.get(key, ())}

    def saw(self, hosts: Iterable[Key], found: Found) -> None:
        self.hosts |= {key: found.get(key, frozenset()) for key in hosts}

    def changed(self, add: Iterable[Record], gone: Iterable[Record]) -> None:
        """The zone has taken an update with these."""
        for one in add:
            if _is_address(one):
                self.hosts[one.key] |= {one.data}
            else:
                self.records.add(one)
        for one in gone:
            if _is_address(one):
                self.hosts[one.key] -= {one.data}
            else:
                self.records.discard(one)


class Publication:
    """hub_id: what the hub is called in the zone: one label, the same after a restart, and no other hub's.

    run: what no other process has, by which two hubs of one id find each other out.
    """

    def __init__(self, hub_id: str, run: str, now: float, period: float = PERIOD) -> None:
        self.hub_id = hub_id
        self.withdrawn = False
        """Whether nothing of the hub is left in the zone, after `withdraw`."""
        self.written = False
        """Whether the zone has taken an update of it."""
        self.swept: list[str] = []
        """The hubs whose records it has taken away, until somebody reads this."""
        self.replaced: list[Record] = []
        """The loopback addresses that it has taken away, until somebody reads this."""
        self.doubled = False
        """Whether another hub writes under the same id: the one that began later goes on alone."""
        self._period = period
        self._wanted: dict[str, tuple[PublishedEndpoint, ...]] = {}
        self._addresses: frozenset[Record] = frozenset()
        self._standing = _Standing()
        self._run = run
        self._began = False
        """Whether an update was sent."""
        self._withdrawing = False
        self._changed = True
        self._pause = FIRST_PAUSE
        self._turn_at = self._audit_at = self._renew_at = self._look_at = now
        self._leases: dict[str, _Lease] = {}

    # What it is told

    def want(
        self, names: Mapping[str, Iterable[PublishedEndpoint]], addresses: Iterable[Record] = ()
    ) -> None:
        """Have these services found at these places from now on.

        addresses: A and AAAA records of the hosts that they name, one of each host; they are added where the
        host has none, or loopback addresses in place of one that others reach, and stay.
        """
        wanted = {name: tuple(places) for name, places in sorted(names.items())[:MAX_NAMES]}
        if not self._withdrawing and (wanted, frozenset(addresses)) != (self._wanted, self._addresses):
            self._wanted, self._addresses, self._changed = wanted, frozenset(addresses), True

    def withdraw(self, now: float) -> None:
        """Take all of it away, at once."""
        self._withdrawing = self._changed = True
        self._wanted, self._addresses, self._turn_at = {}, frozenset(), now

    def failed(self, now: float) -> None:
        """The last turn could not be brought to its end."""
        self._turn_at = now + self._pause
        self._pause = min(self._pause * 2, LAST_PAUSE)
        self._audit_at = now  # an update may have arrived whose answer was lost

    @property
    def elsewhere(self) -> dict[Record, frozenset[str]]:
        """Of its address records: those whose hosts have others in the zone, with these addresses."""
        there = {
            one: self._standing.addresses(one.key.owner) - self._misleading(one) for one in self._addresses
        }
        return {
            one: frozenset(other.data[0] for other in others)
            for one, others in there.items()
            if others and one not in others
        }

    @property
    def wake_at(self) -> float:
        """When the next turn is due."""
        if self._changed:
            return self._turn_at
        if self.doubled:
            return max(self._turn_at, self._audit_at)
        return max(self._turn_at, min(self._audit_at, self._renew_at, self._look_at))

    # What it does

    def turn(self, now: float) -> Turn:
        """What is to be done now in the zone."""
        self._turn_at = now + INTERVAL
        if now >= self._audit_at:
            yield from self._audit(now)
        if self.doubled:
            self.withdrawn, self._changed = self._withdrawing, False
        elif self._changed or now >= self._renew_at:
            yield from self._write(now)
        elif now >= self._look_at:
            yield from self._sweep(now)
        self._pause = FIRST_PAUSE

    def _audit(self, now: float) -> Turn:
        """Learn what stands in the zone: of this hub, also from before a restart, and of its services."""
        lease, names, index = lease_key(self.hub_id), names_key(self.hub_id), hub_record(self.hub_id).key
        self._standing.hosts = {}
        hosts = self._unseen()
        found: Found = yield Read((lease, names, index, *hosts))
        self._standing.saw(hosts, found)
        before, self._standing.lease = self._standing.lease, found.get(lease, frozenset())
        others = {_told(data, "run") for data in self._standing.lease} - {self._run}
        self.doubled = self._began and bool(others) and self._standing.lease != before
        written = {name for data in found.get(names, ()) for name in data}
        ours = sorted(written | set(self._wanted))
        services: Found = yield Read(_service_keys(ours))
        records = _records_by(self.hub_id, ours, services)
        records |= {Record(names, data) for data in found.get(names, ())}
        records |= {Record(index, data) for data in found.get(index, ()) if data == (self.hub_id,)}
        self._standing.records = records
        self._standing.claims = {
            name: services.get(Key(service_owner(name), "TXT"), frozenset()) for name in ours
        }
        self._audit_at = now + (UNCHANGED * self._period if self.doubled else AUDIT)
        self._changed = True

    def _desired(self) -> set[Record]:
        """All that is to stand there of this hub, without its lease and the addresses of hosts."""
        if self._withdrawing:
            return set()
        records: set[Record] = {hub_record(self.hub_id)}
        records |= _name_records(self._wanted, self.hub_id)
        for name, places in self._wanted.items():
            claims = self._standing.claims.get(name, frozenset())
            others = {_told(txt, "at") for txt in claims if _told(txt, "by") != self.hub_id}
            if len(others | {one.at for one in places}) > MAX_ENDPOINTS:
                places = tuple(one for one in places if one.hub)
            records |= service_records(name, places, self.hub_id)
        return records

    def _unseen(self) -> tuple[Key, ...]:
        """Of the hosts that it writes addresses of: those whose own addresses it does not know."""
        keys = {key for one in self._addresses for key in _host_keys(one.key.owner)}
        return tuple(sorted(keys - self._standing.hosts.keys()))

    def _misleading(self, address: Record) -> set[Record]:
        """The addresses of the same host that lead others to themselves, where this one does not."""
        there = self._standing.addresses(address.key.owner)
        return set() if _is_loopback(address) else {one for one in there if _is_loopback(one)}

    def _changes(self) -> tuple[list[Record], list[Record]]:
        """What the next update adds and takes away, beside the lease."""
        standing, desired = self._standing, self._desired()
        new, misleading = set(), set()
        for one in self._addresses:
            misleading |= self._misleading(one)
            if not standing.addresses(one.key.owner) - misleading:
                new.add(one)
        add = sorted((desired - standing.records) | new)[:MAX_CHANGES]
        gone = sorted((standing.records - desired) | misleading)[: MAX_CHANGES - len(add)]
        return add, gone

    def _as_seen(self, changes: Iterable[Record]) -> dict[Key, frozenset[Data]]:
        """What an update requires that changes the addresses of hosts: that they are still those."""
        owners = {one.key.owner for one in changes if _is_address(one)}
        return {key: self._standing.hosts[key] for owner in owners for key in _host_keys(owner)}

    def _write(self, now: float) -> Turn:
        """Make it as it should be, and renew the lease."""
        standing = self._standing
        if unseen := self._unseen():
            standing.saw(unseen, (yield Read(unseen)))
        add, gone = self._changes()
        if not add and not gone and now < self._renew_at and not self._withdrawing:
            self._changed = False
            return
        delete = yield from self._only_ours(gone)
        more = len(add) + len(gone) == MAX_CHANGES
        last = self._withdrawing and not more
        lease = frozenset() if last else self._next_lease()
        key = lease_key(self.hub_id)
        swap_in = [Record(key, data) for data in lease - standing.lease]
        swap_out = [Record(key, data) for data in standing.lease - lease]
        if last and not delete and not swap_out:
            self.withdrawn = True
            self._changed = False
            return
        self._began = True
        require = {key: standing.lease} | self._as_seen((*add, *gone))
        done = yield Update(require, (*add, *swap_in), (*delete, *swap_out))
        if not done:
            self._audit_at = now
            return
        self.written = True
        standing.lease = lease
        standing.changed(add, gone)
        self.replaced += filter(_is_address, gone)
        self._changed, self.withdrawn = more, last
        self._renew_at = now + self._period

    def _only_ours(self, gone: list[Record]) -> Generator[Read, Found, list[Record]]:
        """These without the SRV records that other hubs have written as well by now."""
        owners = sorted({one.key.owner for one in gone if one.key.type == "SRV"})
        if not owners:
            return gone
        found: Found = yield Read(tuple(Key(owner, "TXT") for owner in owners))
        theirs = {
            (key.owner, _told(txt, "at"))
            for key, claims in found.items()
            for txt in claims
            if _told(txt, "by") != self.hub_id
        }
        return [one for one in gone if one.key.type != "SRV" or (one.key.owner, _at(one.data)) not in theirs]

    def _next_lease(self) -> frozenset[Data]:
        number = max((_number(_told(data, "lease")) for data in self._standing.lease), default=0)
        return frozenset({(f"lease={number + 1}", f"period={self._period:g}", f"run={self._run}")})

    def _sweep(self, now: float) -> Turn:
        """Look at the leases of the other hubs, and take away what one left that is dead."""
        self._look_at = now + self._period
        found: Found = yield Read(tuple(_hubs_key(number) for number in range(_HUB_SETS)))
        others = sorted({data[0] for sets in found.values() for data in sets if data} - {self.hub_id})
        leases: Found = yield Read(tuple(lease_key(one) for one in others[:MAX_HUBS]))
        seen, self._leases = self._leases, {}
        for hub_id in others[:MAX_HUBS]:
            data = leases.get(lease_key(hub_id), frozenset())
            last = seen.get(hub_id)
            self._leases[hub_id] = last if last and last.data == data else _lease_of(data, now)
        for hub_id, lease in self._leases.items():
            if now - lease.since >= UNCHANGED * lease.period:
                yield from self._take_away(hub_id, lease, now)
                return

    def _take_away(self, hub_id: str, lease: _Lease, now: float) -> Turn:
        found: Found = yield Read((names_key(hub_id),))
        lists = found.get(names_key(hub_id), frozenset())
        names = sorted({name for data in lists for name in data})[:MAX_NAMES]
        services: Found = yield Read(_service_keys(names))
        gone = sorted(_records_by(hub_id, names, services))[:MAX_CHANGES]
        if len(gone) < MAX_CHANGES:
            gone += [Record(names_key(hub_id), data) for data in lists]
            gone += [Record(lease_key(hub_id), data) for data in lease.data]
            gone.append(hub_record(hub_id))
        else:
            self._look_at = now  # the rest follows
        if (yield Update({lease_key(hub_id): lease.data}, delete=tuple(gone))):
            self.swept.append(hub_id)
        else:
            self._leases.pop(hub_id, None)  # it lives


def _lease_of(data: frozenset[Data], now: float) -> _Lease:
    told = max((_number(_told(one, "period")) for one in data), default=0)
    return _Lease(data, now, min(float(told) or PERIOD, LONGEST_PERIOD))


def _number(text: str) -> int:
    """What is no number of a sane size counts as 0."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
