"""What a worker's connection to a hub says in the log."""

from __future__ import annotations

import logging
from time import monotonic

import pytest

from mesh.core.registration import Registration, State
from mesh.core.server_session import Limits, ServerSession
from mesh.transport import process
from mesh.transport.hub_connection import NOTICE, HubConnection
from tests.helpers.processes import eventually
from tests.helpers.raw import RawServer


def test_a_hub_that_nothing_is_offered_to_is_not_said_to_be_away(caplog: pytest.LogCaptureFixture) -> None:
    registration = Registration("till", {"capacity": 0}, 600.0)
    session = ServerSession(process.new_base(), 5.0, Limits())
    with RawServer() as hub:
        link = HubConnection(0, hub.endpoint, registration, session, 10_000, lambda: 0)

        def connected() -> bool:
            link.take_changes(monotonic())
            return registration.state is State.CONNECTED

        eventually(connected)
        now = monotonic() + 2 * NOTICE
        link.on_timer(now)
        assert link.wake_at > now
        assert caplog.messages == []
        link.offer(1, now)
        with caplog.at_level(logging.WARNING):
            link.on_timer(now + 2 * NOTICE)
        assert "is no worker of" in caplog.text
        link.close()
