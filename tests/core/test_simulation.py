"""Seeded runs of a whole mesh in memory; a failure names the seed that replays it."""

from __future__ import annotations

import pytest

from tests.core.simulation import Simulation


@pytest.mark.parametrize("seed", range(25))
def test_every_call_ends_once_and_in_time_and_nothing_is_left(seed: int) -> None:
    Simulation(seed).run()


def test_a_seed_replays_its_run() -> None:
    first, second = Simulation(7).run(), Simulation(7).run()
    assert first.outcomes == second.outcomes
    assert [task.ended for task in first.tasks] == [task.ended for task in second.tasks]


def test_the_runs_meet_every_outcome() -> None:
    """Else they would prove nothing about it."""
    missing = {"answered", "KeyError", "TimeoutExpired", "LostRemote", "Overloaded", "left", "died"}
    for seed in range(25):
        missing -= set(Simulation(seed, seconds=20.0).run().outcomes)
        if not missing:
            break
    assert not missing


@pytest.mark.soak
@pytest.mark.parametrize("block", range(10))
def test_many_seeds(block: int) -> None:
    for seed in range(1_000 + 25 * block, 1_025 + 25 * block):
        try:
            Simulation(seed, clients=6, servers=4, seconds=120.0).run()
        except AssertionError as exc:
            raise AssertionError(f"seed {seed}: {exc}") from exc
