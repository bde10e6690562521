"""A DNS zone in memory, for what writes into one: it keeps to what RFC 2136 says of an update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from mesh.names.publication import Data, Key, Publication, Read, Record, Update


class NameServerDown(Exception):
    """It does not answer."""


class Zone:
    """down: whether it is. deaf: it carries an update out, and the answer is lost. updates: all of them."""

    def __init__(self) -> None:
        self.sets: dict[Key, set[Data]] = defaultdict(set)
        self.down = False
        self.deaf = False
        self.updates: list[Update] = []
        self.reads = 0

    def carry_out(self, step: Read | Update) -> Mapping[Key, frozenset[Data]] | bool:
        if self.down:
            raise NameServerDown
        if isinstance(step, Read):
            self.reads += 1
            return {key: frozenset(self.sets[key]) for key in step.keys if self.sets.get(key)}
        self.updates.append(step)
        if any(self.sets.get(key, set()) != data for key, data in step.require.items()):
            return False
        for key, data in step.delete:
            self.sets[key].discard(data)
        for key, data in step.add:
            self.sets[key].add(data)
        if self.deaf:
            raise NameServerDown
        return True

    def records(self) -> set[Record]:
        return {Record(key, data) for key, sets in self.sets.items() for data in sets}

    def put(self, record: Record) -> None:
        self.sets[record.key].add(record.data)


def run(publication: Publication, zone: Zone, now: float, until: float) -> float:
    """Every turn that is due from `now` to `until`, at its time; gives `until`."""
    while (at := max(now, publication.wake_at)) <= until:
        now = at
        turn = publication.turn(now)
        try:
            step = next(turn)
            while True:
                step = turn.send(zone.carry_out(step))
        except StopIteration:
            pass
        except NameServerDown:
            turn.close()
            publication.failed(now)
        if publication.withdrawn:
            break
    return until
