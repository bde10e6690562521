"""Random messages over clients, a hub and workers in one model: what must hold does. See model.py."""

from __future__ import annotations

from collections import Counter

import pytest

from mesh.core.hub_calls import HubCalls
from mesh.core.registration import Registration
from tests.core.test_hub_calls import DROPPED
from tests.hubs.switching.model import Model

SEEDS = 12
MANY = 400
NO_CALLS = list(DROPPED.values())


def run(seed: int) -> Model:
    model = Model(seed, NO_CALLS)
    model.run()
    return model


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_request_has_an_end(seed: int) -> None:
    run(seed)


def test_the_model_has_calls_and_items_that_go_together() -> None:
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        seen += run(seed).seen
        if seen["batches"] > 20 and seen["items"] > 20:
            return
    pytest.fail(f"no more than {seen}")


def test_the_model_finds_a_worker_that_drops_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """As workers did with a stray answer: a rule that can't be broken would be none."""
    opened = HubCalls._open

    def drop_strays(self: HubCalls, key: bytes, token: bytes, event: bytes, now: float) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            if b"response_to" in event:
                patch.setattr(Registration, "end", lambda *_: None)
            return opened(self, key, token, event, now)

    monkeypatch.setattr(HubCalls, "_open", drop_strays)
    with pytest.raises(AssertionError):
        for seed in range(SEEDS):
            Model(seed, NO_CALLS).run()


@pytest.mark.soak
def test_every_request_of_many_runs_has_an_end() -> None:
    for seed in range(SEEDS, MANY):
        try:
            Model(seed, NO_CALLS, steps=400).run()
        except BaseException:
            print(f"seed {seed}")
            raise
