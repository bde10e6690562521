"""What goes on being wrong is said at first, and then ever less often."""

from __future__ import annotations

from mesh.core.reminder import FIRST, LONGEST, Reminder, Reminders


def test_pauses_grow_up_to_the_longest() -> None:
    reminder = Reminder()
    said = [second for second in range(0, 4 * int(LONGEST), 5) if reminder.due(float(second))]
    assert said[:5] == [0, FIRST, 3 * FIRST, 7 * FIRST, 15 * FIRST]
    assert said[-1] - said[-2] == LONGEST


def test_what_has_not_been_wrong_for_long_is_new() -> None:
    reminder = Reminder()
    assert [reminder.due(at) for at in (0.0, FIRST, 3 * FIRST)] == [True] * 3
    later = 3 * FIRST + 4 * FIRST + 8 * FIRST
    assert reminder.due(later) and not reminder.due(later + FIRST - 1) and reminder.due(later + FIRST)


def test_of_two_that_take_turns_each_is_said_once_a_minute_at_most() -> None:
    reminders = Reminders()
    said = [second for second in range(600) if reminders.due("ab"[second % 2], float(second))]
    assert FIRST == 60.0
    assert said == [0, 1, 60, 61, 180, 181, 420, 421]


def test_of_many_the_one_is_forgotten_that_was_longest_not_wrong() -> None:
    reminders = Reminders(2)
    assert [reminders.due(what, 1.0) for what in "abacb"] == [True, True, False, True, True]
