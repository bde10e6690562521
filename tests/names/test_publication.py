"""What a hub writes into a zone, renews, mends and takes away: with a zone in memory, and its own clock."""

from __future__ import annotations

import pytest

from mesh.names.publication import (
    AUDIT,
    INTERVAL,
    MAX_CHANGES,
    MAX_ENDPOINTS,
    PERIOD,
    Key,
    Publication,
    PublishedEndpoint,
    Read,
    Record,
    hub_record,
    lease_key,
    service_records,
)
from tests.helpers.zone import Zone, run

HUB = PublishedEndpoint("box.mesh.test.", 5555, hub=True)
OTHER = PublishedEndpoint("other.mesh.test.", 5555, hub=True)
USERS_SRV, USERS_TXT = Key("_users._tcp", "SRV"), Key("_users._tcp", "TXT")


def published(
    zone: Zone, hub_id: str = "box-5555", place: PublishedEndpoint = HUB, now: float = 0.0
) -> Publication:
    publication = Publication(hub_id, f"r{now:g}", now)
    publication.want({"users": [place]})
    run(publication, zone, now, now + 1.0)
    return publication


def lease(zone: Zone, hub_id: str = "box-5555") -> set[tuple[str, ...]]:
    return zone.sets[lease_key(hub_id)]


def test_a_hub_and_its_workers_stand_there_with_a_lease() -> None:
    zone = Zone()
    publication = Publication("box-5555", "r0", 0.0)
    publication.want({"users": [HUB, PublishedEndpoint("w1.mesh.test.", 4242)]})
    run(publication, zone, 0.0, 1.0)
    assert zone.sets[USERS_SRV] == {
        ("10", "1", "5555", "box.mesh.test."),
        ("10", "1", "4242", "w1.mesh.test."),
    }
    assert zone.sets[USERS_TXT] == {
        ("at=box.mesh.test:5555", "hub=1", "by=box-5555"),
        ("at=w1.mesh.test:4242", "by=box-5555"),
    }
    assert lease(zone) == {("lease=1", "period=10", "run=r0")}
    assert len(zone.updates) == 1


def test_the_lease_grows_and_nothing_else_is_written() -> None:
    zone = Zone()
    publication = published(zone)
    before = zone.records() - {Record(lease_key("box-5555"), data) for data in lease(zone)}
    run(publication, zone, 1.0, 9.5 * PERIOD)
    assert lease(zone) == {("lease=10", "period=10", "run=r0")}
    assert {one for one in zone.records() if one.key != lease_key("box-5555")} == before
    assert all(len(update.add) == len(update.delete) == 1 for update in zone.updates[1:])


def test_a_worker_that_comes_and_goes_is_written_within_a_second() -> None:
    zone = Zone()
    publication = published(zone)
    publication.want({"users": [HUB, PublishedEndpoint("w1.mesh.test.", 4242)]})
    run(publication, zone, 1.5, 1.5 + INTERVAL)
    assert len(zone.sets[USERS_SRV]) == 2
    publication.want({"users": [HUB]})
    run(publication, zone, 2.5, 2.5 + INTERVAL)
    assert zone.sets[USERS_SRV] == {("10", "1", "5555", "box.mesh.test.")}
    assert zone.sets[USERS_TXT] == {("at=box.mesh.test:5555", "hub=1", "by=box-5555")}


def test_changes_that_never_end_make_one_update_a_second() -> None:
    zone = Zone()
    publication = published(zone)
    for number in range(1_000):
        publication.want({"users": [HUB, PublishedEndpoint("w.mesh.test.", 4000 + number)]})
        run(publication, zone, 1.0 + number / 100, 1.0 + (number + 1) / 100)
    assert len(zone.updates) <= 12


def test_withdrawn_it_leaves_only_what_others_wrote() -> None:
    zone = Zone()
    theirs = {("at=a.mesh.test:4242",)}
    zone.sets[USERS_TXT] |= theirs
    zone.sets[USERS_SRV].add(("10", "60", "4242", "a.mesh.test."))
    publication = published(zone)
    publication.withdraw(3.0)
    run(publication, zone, 3.0, 5.0)
    assert publication.withdrawn
    assert zone.records() == {
        Record(USERS_TXT, ("at=a.mesh.test:4242",)),
        Record(USERS_SRV, ("10", "60", "4242", "a.mesh.test.")),
    }


def test_what_the_zone_never_took_was_not_written_when_it_is_withdrawn() -> None:
    zone = Zone()
    publication = Publication("box-5555", "r0", 0.0)
    publication.want({"users": [HUB]})
    zone.down = True
    run(publication, zone, 0.0, 2.0)
    zone.down = False
    publication.withdraw(3.0)
    run(publication, zone, 3.0, 5.0)
    assert publication.withdrawn and not publication.written and not zone.updates
    assert published(zone).written


def test_a_restart_takes_its_own_records_over_and_drops_those_that_are_no_more() -> None:
    zone = Zone()
    publication = Publication("box-5555", "r0", 0.0)
    publication.want({"users": [HUB, PublishedEndpoint("w1.mesh.test.", 4242)], "orders": [HUB]})
    run(publication, zone, 0.0, 1.0)
    published(zone, now=100.0)
    assert lease(zone) == {("lease=2", "period=10", "run=r100")}
    assert not zone.sets[Key("_orders._tcp", "SRV")] and not zone.sets[Key("_orders._tcp", "TXT")]
    assert zone.sets[USERS_SRV] == {("10", "1", "5555", "box.mesh.test.")}


def test_a_crashed_hub_is_swept_by_another_after_three_periods_of_that_ones_clock() -> None:
    zone = Zone()
    published(zone)
    other = published(zone, "other-5555", OTHER, now=1_000_000.0)
    run(other, zone, 1_000_001.0, 1_000_000.0 + 3 * PERIOD)
    assert ("10", "1", "5555", "box.mesh.test.") in zone.sets[USERS_SRV]
    run(other, zone, 1_000_000.0 + 3 * PERIOD, 1_000_000.0 + 5 * PERIOD)
    assert zone.sets[USERS_SRV] == {("10", "1", "5555", "other.mesh.test.")}
    assert zone.sets[USERS_TXT] == {("at=other.mesh.test:5555", "hub=1", "by=other-5555")}
    assert not lease(zone) and not zone.sets[hub_record("box-5555").key] & {("box-5555",)}
    assert other.swept == ["box-5555"]


def test_a_living_hub_is_never_swept_not_even_when_it_renews_at_the_last_moment() -> None:
    zone = Zone()
    publication = published(zone)
    other = published(zone, "other-5555", OTHER)
    # It was away from the name server for long, and comes back between the look and the update.
    now = 2.0
    while not any(step.require.get(lease_key("box-5555")) for step in zone.updates[2:]):
        turn = other.turn(now := other.wake_at)
        try:
            step = next(turn)
            while True:
                if lease_key("box-5555") in getattr(step, "require", ()):
                    run(publication, zone, now, now + 1.0)
                step = turn.send(zone.carry_out(step))
        except StopIteration:
            pass
    assert len(zone.sets[USERS_SRV]) == 2 and lease(zone)


def test_a_hub_that_was_swept_comes_back() -> None:
    zone = Zone()
    publication = published(zone)
    other = published(zone, "other-5555", OTHER)
    run(other, zone, 1.0, 5 * PERIOD)
    assert not lease(zone)
    run(publication, zone, 5 * PERIOD, 5 * PERIOD + 3.0)
    assert len(zone.sets[USERS_SRV]) == 2 and not publication.doubled


def test_a_record_that_somebody_took_away_is_mended_at_the_next_audit() -> None:
    zone = Zone()
    publication = published(zone)
    zone.sets[USERS_SRV].clear()
    run(publication, zone, 1.0, AUDIT + 2.0)
    assert zone.sets[USERS_SRV] == {("10", "1", "5555", "box.mesh.test.")}


def test_of_two_that_are_called_the_same_the_later_goes_on_and_the_other_says_so() -> None:
    zone = Zone()
    first = published(zone)
    second = published(zone, place=OTHER, now=2.0)
    for second_now in range(3, 100):
        run(first, zone, second_now, second_now + 0.5)
        run(second, zone, second_now + 0.5, second_now + 0.9)
    assert first.doubled and not second.doubled
    assert zone.sets[USERS_SRV] == {("10", "1", "5555", "other.mesh.test.")}
    second.withdraw(100.0)
    run(second, zone, 100.0, 102.0)
    run(first, zone, 102.0, 102.0 + 4 * PERIOD)
    assert not first.doubled and zone.sets[USERS_SRV] == {("10", "1", "5555", "box.mesh.test.")}


def test_an_update_whose_answer_was_lost_is_no_other_hub() -> None:
    zone = Zone()
    publication = published(zone)
    publication.want({"orders": [HUB]})
    zone.deaf = True
    run(publication, zone, 2.0, 2.5)
    zone.deaf = False
    run(publication, zone, 2.5, 10.0)
    assert not publication.doubled
    assert not zone.sets[USERS_SRV] and zone.sets[Key("_orders._tcp", "SRV")]


def test_a_name_server_that_is_away_is_asked_ever_more_seldom_and_then_all_is_written() -> None:
    zone = Zone()
    zone.down = True
    publication = Publication("box-5555", "r0", 0.0)
    publication.want({"users": [HUB]})
    turns = 0
    now = 0.0
    while now < 600.0:
        now = publication.wake_at
        turns += 1
        publication.turn(now).close()
        publication.failed(now)
    assert turns < 20
    zone.down = False
    run(publication, zone, now, now + 61.0)
    assert zone.sets[USERS_SRV]


def test_a_name_with_too_many_endpoints_has_its_hubs_alone() -> None:
    zone = Zone()
    publication = Publication("box-5555", "r0", 0.0)
    workers = [PublishedEndpoint("w.mesh.test.", 4000 + number) for number in range(MAX_ENDPOINTS)]
    publication.want({"users": [HUB, *workers[1:]]})
    run(publication, zone, 0.0, 3.0)
    assert len(zone.sets[USERS_SRV]) == MAX_ENDPOINTS
    publication.want({"users": [HUB, *workers]})
    run(publication, zone, 3.0, 5.0)
    assert zone.sets[USERS_SRV] == {("10", "1", "5555", "box.mesh.test.")}
    # Those of others count as well.
    other = Publication("other-5555", "r1", 0.0)
    other.want({"users": [OTHER, *workers[1:]]})
    run(other, zone, 5.0, 7.0)
    assert len(zone.sets[USERS_SRV]) == 2


def test_a_worker_of_two_hubs_stays_until_both_have_taken_it_away() -> None:
    zone = Zone()
    worker = PublishedEndpoint("w1.mesh.test.", 4242)
    first, second = Publication("box-5555", "r0", 0.0), Publication("other-5555", "r1", 0.0)
    first.want({"users": [HUB, worker]})
    second.want({"users": [OTHER, worker]})
    run(first, zone, 0.0, 0.5)
    run(second, zone, 0.5, 0.9)
    srv = ("10", "1", "4242", "w1.mesh.test.")
    first.want({"users": [HUB]})
    run(first, zone, 2.0, 3.5)
    assert srv in zone.sets[USERS_SRV]
    second.withdraw(4.0)
    run(second, zone, 4.0, 6.0)
    assert srv not in zone.sets[USERS_SRV]


def test_many_names_go_in_updates_of_a_bounded_size() -> None:
    zone = Zone()
    publication = Publication("box-5555", "r0", 0.0)
    publication.want({f"s{number}": [HUB] for number in range(500)})
    run(publication, zone, 0.0, 10.0)
    assert all(len(zone.sets[Key(f"_s{number}._tcp", "SRV")]) == 1 for number in range(500))
    assert max(len(update.add) + len(update.delete) for update in zone.updates) <= MAX_CHANGES + 2
    publication.withdraw(20.0)
    run(publication, zone, 20.0, 40.0)
    assert not zone.records()


BOX_A, BOX_AAAA = Key("box", "A"), Key("box", "AAAA")
OWN, LOOPBACK = Record(BOX_A, ("10.0.0.7",)), Record(BOX_A, ("127.0.0.1",))


def addressed(zone: Zone, own: Record = OWN) -> Publication:
    """It has written itself and the address of its host, as far as it is to."""
    publication = Publication("box-5555", "r0", 0.0)
    publication.want({"users": [HUB]}, [own])
    run(publication, zone, 0.0, 3.0)
    return publication


@pytest.mark.parametrize("own", [OWN, LOOPBACK])
def test_a_host_without_an_address_gets_its_own_which_stays(own: Record) -> None:
    zone = Zone()
    publication = addressed(zone, own)
    assert zone.sets[BOX_A] == {own.data} and not publication.elsewhere
    assert zone.updates[0].require[BOX_A] == zone.updates[0].require[BOX_AAAA] == frozenset()
    run(publication, zone, 3.0, 2 * AUDIT)
    publication.withdraw(2 * AUDIT)
    run(publication, zone, 2 * AUDIT, 2 * AUDIT + 2.0)
    assert publication.withdrawn and zone.records() == {own}


def test_a_loopback_address_gives_way_to_one_that_others_reach() -> None:
    zone = Zone()
    zone.put(LOOPBACK)
    zone.put(Record(BOX_AAAA, ("::1",)))
    publication = addressed(zone)
    assert zone.sets[BOX_A] == {OWN.data} and not zone.sets[BOX_AAAA]
    assert publication.replaced == [LOOPBACK, Record(BOX_AAAA, ("::1",))] and not publication.elsewhere
    (update,) = zone.updates
    assert (update.require[BOX_A], update.require[BOX_AAAA]) == ({LOOPBACK.data}, {("::1",)})


def test_a_loopback_address_beside_one_that_others_reach_is_taken_away() -> None:
    zone = Zone()
    zone.put(LOOPBACK)
    zone.put(Record(BOX_A, ("10.0.0.9",)))
    publication = addressed(zone)
    assert zone.sets[BOX_A] == {("10.0.0.9",)} and publication.elsewhere == {OWN: {"10.0.0.9"}}


@pytest.mark.parametrize("own", [OWN, LOOPBACK])
@pytest.mark.parametrize("there", [Record(BOX_A, ("10.0.0.9",)), Record(BOX_AAAA, ("2001:db8::9",))])
def test_an_address_that_others_reach_stays_whatever_it_is_and_is_told(own: Record, there: Record) -> None:
    zone = Zone()
    zone.put(there)
    publication = addressed(zone, own)
    assert zone.sets[BOX_A] | zone.sets[BOX_AAAA] == {there.data}
    assert publication.elsewhere == {own: {there.data[0]}} and not publication.replaced


def test_an_address_that_comes_as_it_writes_its_own_is_seen() -> None:
    zone = Zone()
    publication = Publication("box-5555", "r0", 0.0)
    publication.want({"users": [HUB]}, [OWN])
    turn = publication.turn(0.0)
    step = next(turn)
    while isinstance(step, Read):
        step = turn.send(zone.carry_out(step))
    zone.put(Record(BOX_A, ("10.0.0.9",)))
    with pytest.raises(StopIteration):
        turn.send(zone.carry_out(step))
    run(publication, zone, 0.5, 3.0)
    assert zone.sets[BOX_A] == {("10.0.0.9",)} and zone.sets[USERS_SRV] and not publication.doubled


def test_a_host_that_is_wanted_later_is_looked_at_first() -> None:
    zone = Zone()
    zone.put(LOOPBACK)
    publication = published(zone)
    publication.want({"users": [HUB]}, [OWN])
    run(publication, zone, 2.0, 3.5)
    assert zone.sets[BOX_A] == {OWN.data} and len(zone.updates) == 2


def test_of_a_hub_that_others_reach_and_one_that_they_do_not_the_first_has_the_address() -> None:
    """Whichever began first, and they do not take turns."""
    zone = Zone()
    loopback = addressed(zone, LOOPBACK)
    other = Publication("box-5556", "r1", 3.0)
    other.want({"users": [PublishedEndpoint("box.mesh.test.", 5556, hub=True)]}, [OWN])
    for now in range(3, 200):
        run(other, zone, now, now + 0.5)
        run(loopback, zone, now + 0.5, now + 0.9)
    assert zone.sets[BOX_A] == {OWN.data} and len(other.replaced) == 1
    assert loopback.elsewhere == {LOOPBACK: {"10.0.0.7"}} and not other.elsewhere


def test_rubbish_in_the_zone_harms_nobody() -> None:
    zone = Zone()
    for record in service_records("users", [HUB], "dead-1"):
        zone.put(record)
    zone.put(hub_record("dead-1"))
    zone.put(Record(lease_key("dead-1"), ("lease=x", "period=1e999")))
    zone.put(Record(lease_key("dead-1"), ()))
    zone.put(Record(hub_record("dead-1").key, ()))
    zone.put(Record(hub_record("dead-1").key, ("a" * 63, "b")))
    zone.put(Record(USERS_SRV, ("1", "2")))
    zone.put(Record(USERS_TXT, ("at=", "by=", "=", "")))
    publication = published(zone)
    run(publication, zone, 1.0, 100.0)
    assert lease(zone)
