"""What goes on being wrong is said at first, and then ever less often."""

from __future__ import annotations

from mesh.core.reminder import FIRST, LONGEST, Reminder


def test_pauses_grow_up_to_the_longest() -> None:
    reminder = Reminder()
    said = [second for second in range(0, 4 * int(LONGEST), 5) if reminder.due(float(second))]
    assert said[:5] == [0, FIRST, 3 * FIRST, 7 * FIRST, 15 * FIRST]
    assert said[-1] - said[-2] == LONGEST
