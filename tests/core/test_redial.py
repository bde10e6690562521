"""When an endpoint is dialled again that refuses the handshake."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mesh.core.channel import NEVER
from mesh.core.redial import LONGEST, Redial

HOUR = 3600.0


def refused(redial: Redial, until: float, *, wanted_every: float | None) -> list[float]:
    """The attempts at an endpoint that refuses each at once, from 0 on."""
    now, attempts, wanted_at = 0.0, [], 0.0 if wanted_every is not None else NEVER
    redial.failed(now)
    while now < until:
        now = min(redial.at, wanted_at)
        if now == wanted_at:
            redial.wanted(now)
            wanted_at += wanted_every or NEVER
        if now >= redial.at:
            redial.dialled(now)
            attempts.append(now)
            redial.failed(now)
    return attempts


def test_nothing_is_dialled_that_has_not_failed() -> None:
    redial = Redial()
    redial.wanted(5.0)
    assert redial.at == NEVER


def test_the_pause_doubles_to_half_a_minute_and_begins_anew_after_a_success() -> None:
    redial = Redial()
    attempts = refused(redial, HOUR, wanted_every=None)
    pauses = [b - a for a, b in zip([0.0, *attempts], attempts, strict=False)]
    assert pauses[:4] == pytest.approx([0.05, 0.1, 0.2, 0.4])
    assert max(pauses) == pytest.approx(LONGEST) == pauses[-1]
    redial.succeeded()
    assert redial.at == NEVER
    redial.failed(HOUR)
    assert redial.at == HOUR + 0.05


def test_an_hour_of_refusals_is_less_than_500_handshakes_also_where_somebody_always_waits() -> None:
    for every in (None, 0.1, 0.25, 1.0, 4.0, 60.0):
        assert len(refused(Redial(), HOUR, wanted_every=every)) < 500


def test_whoever_calls_after_an_idle_hour_has_the_good_server_at_once() -> None:
    redial = Redial()
    last = refused(redial, HOUR, wanted_every=None)[-1]
    now = last + 1.0
    redial.wanted(now)
    assert redial.at == now


def test_whoever_calls_now_and_then_waits_a_second_at_the_most() -> None:
    redial = Redial()
    refused(redial, HOUR, wanted_every=60.0)
    now = HOUR + 30.0
    redial.wanted(now)
    assert redial.at <= now + 1.0


def test_whoever_has_called_for_an_hour_waits_for_the_budget() -> None:
    redial = Redial()
    attempts = refused(redial, HOUR, wanted_every=0.25)
    assert max(b - a for a, b in pairwise(attempts)) <= 8.25
