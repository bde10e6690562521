"""What a worker's connection to a hub says in the log."""

from __future__ import annotations

import logging
from time import monotonic

import pytest

from mesh.core import majordomo as mdp
from mesh.core.registration import Registration, State
from mesh.core.server_session import Limits, ServerSession
from mesh.transport import hub_connection, process
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


def test_what_may_be_the_matter_is_said_once_and_each_reason_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_connection, "monotonic", lambda: now)
    now = 1000.0
    registration = Registration("till", {"capacity": 1}, 600.0)
    session = ServerSession(process.new_base(), 5.0, Limits())
    with RawServer() as hub, caplog.at_level(logging.INFO):
        link = HubConnection(0, hub.endpoint, registration, session, 10_000, lambda: 0)
        for second in range(70):
            now = 1000.0 + second
            registration.connected(now)
            link._lost("the connection broke" if second % 2 else "the hub was silent", now)
        link.close()
    here = f"till is no worker of {hub.endpoint} for now: "
    assert [message.removeprefix(here).partition(";")[0] for message in caplog.messages] == [
        "the hub was silent",
        "the connection broke",
    ] * 2
    assert [("since READY" in message) for message in caplog.messages] == [True, False, False, False]


def test_after_a_registration_each_reason_is_new(caplog: pytest.LogCaptureFixture) -> None:
    registration = Registration("till", {"capacity": 1}, 600.0)
    with RawServer() as hub, caplog.at_level(logging.INFO):
        session = ServerSession(process.new_base(), 5.0, Limits())
        link = HubConnection(0, hub.endpoint, registration, session, 10_000, lambda: 0)
        for _ in range(2):
            link._tell()
            link._tell("the connection broke")
        link.close()
    there, away = f"till has registered with {hub.endpoint}", f"till is no worker of {hub.endpoint} for now: "
    assert caplog.messages == [there, f"{away}the connection broke"] * 2


def test_no_registration_is_told_of_with_a_hub_that_is_dead(caplog: pytest.LogCaptureFixture) -> None:
    registration = Registration("till", {"capacity": 1}, 600.0)
    session = ServerSession(process.new_base(), 5.0, Limits())
    with RawServer() as hub, caplog.at_level(logging.INFO):
        link = HubConnection(0, hub.endpoint, registration, session, 10_000, lambda: 0)

        def look() -> bool:
            link.take_changes(monotonic())
            link.receive(monotonic(), 100)
            if hub.socket.closed:
                return registration.state is State.AWAY
            if hub.socket.poll(0):
                me, *_ = hub.socket.recv_multipart()
                hub.socket.send_multipart([me, *mdp.heartbeat()])
            return registration.welcome

        eventually(look)
        hub.close()
        eventually(look)
        link.receive(monotonic(), 100)  # the old socket, before another takes its place
        link.connect_anew()
        link.receive(monotonic(), 100)
        link.close()
    assert caplog.messages == [
        f"till has registered with {hub.endpoint}",
        f"till is no worker of {hub.endpoint} for now: the connection broke",
    ]
