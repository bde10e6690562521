"""What waits for a peer that takes no more: in order, counted, bounded."""

from __future__ import annotations

from mesh.core.outbox import MAX_BYTES, MAX_MESSAGES, Outbox


def test_it_is_full_by_messages_and_half_of_them_are_a_crowd() -> None:
    outbox: Outbox[int] = Outbox()
    crowds = 0
    for number in range(MAX_MESSAGES):
        assert not outbox.full
        outbox.append(number, 10)
        crowds += outbox.crowded
    assert outbox.full
    assert crowds == MAX_MESSAGES // 2 + 1
    assert list(outbox) == list(range(MAX_MESSAGES))


def test_it_is_full_by_bytes_but_never_of_a_lone_message() -> None:
    outbox: Outbox[str] = Outbox()
    outbox.append("large", 2 * MAX_BYTES)
    assert not outbox.full
    outbox.append("small", 1)
    assert outbox.full
    outbox.popleft()
    assert not outbox.full
    assert outbox.size == 1


def test_what_is_not_wanted_any_more_makes_room() -> None:
    outbox: Outbox[int] = Outbox()
    for number in range(3):
        outbox.append(number, MAX_BYTES)
    assert outbox.full
    outbox.keep(lambda number: number == 1)
    assert not outbox.full
    assert (list(outbox), outbox.size) == ([1], MAX_BYTES)
    outbox.clear()
    assert not outbox
    assert outbox.size == 0
