"""When a server asks which of its peers can still be reached."""

from __future__ import annotations

import pytest

from mesh.core.channel import NEVER
from mesh.core.probing import PAUSES, Probing


def probes(probing: Probing, until: float) -> list[float]:
    """When it has probed, called whenever it asked for it."""
    times = []
    while probing.wake_at <= until:
        now = probing.wake_at
        assert probing.due(now)
        times.append(now)
    return times


def test_a_break_is_probed_for_at_once_and_twice_more() -> None:
    probing = Probing()
    assert not probing.due(9.0)
    probing.connection_broke(10.0)
    assert probes(probing, 20.0) == pytest.approx([10.0, 10.0 + PAUSES[1], 10.0 + PAUSES[1] + PAUSES[2]])
    assert probing.wake_at == NEVER and not probing.due(20.0)


def test_it_is_not_probed_before_it_is_due() -> None:
    probing = Probing()
    probing.connection_broke(10.0)
    assert probing.due(10.0) and not probing.due(10.0 + PAUSES[1] / 2)


def test_a_storm_of_breaks_is_probed_for_now_and_then_and_once_after_its_end() -> None:
    probing, now, count = Probing(), 10.0, 0
    while now < 20.0:
        probing.connection_broke(now)
        count += probing.due(now)
        now += 0.001
    assert 10.0 / PAUSES[-1] - 5 < count < 10.0 / PAUSES[-1] + 5
    assert len(probes(probing, 30.0)) >= 1
    probing.connection_broke(40.0)
    assert len(probes(probing, 50.0)) == len(PAUSES)
