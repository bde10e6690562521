"""The name of the service, which hubs have to be told, and servers need not."""

from __future__ import annotations

import pytest

from mesh.core import wire
from mesh.core.balance import Peer
from mesh.core.client_session import ClientSession


def peer(address: str, *, hub: bool) -> Peer:
    one = Peer(address)
    one.hub, one.live = hub, True
    return one


def header_of_a_call(session: ClientSession) -> wire.Header:
    payload = session.open("get", (), None, 0.0, 5.0).payload
    return wire.unpack(payload)[0]


@pytest.mark.parametrize(
    ("hubs", "told"), [((), True), ((False,), False), ((True,), True), ((False, True), True)]
)
def test_calls_name_their_service_where_they_may_come_to_a_hub(hubs: tuple[bool, ...], told: bool) -> None:
    session = ClientSession(b"c" * 24, lambda: 0.5, service="users")
    for number, hub in enumerate(hubs):
        session.add(peer(f"tcp://a:{number + 1}", hub=hub))
    assert header_of_a_call(session).get("service") == ("users" if told else None)


def test_what_a_call_names_follows_the_endpoints() -> None:
    session = ClientSession(b"c" * 24, lambda: 0.5, service="users")
    server, hub = peer("tcp://a:1", hub=False), peer("tcp://h:1", hub=True)
    session.add(server)
    session.add(hub)
    assert header_of_a_call(session)["service"] == "users"
    session.remove(hub)
    assert "service" not in header_of_a_call(session)


def test_a_service_without_a_name_is_not_named() -> None:
    session = ClientSession(b"c" * 24, lambda: 0.5)
    session.add(peer("tcp://h:1", hub=True))
    assert "service" not in header_of_a_call(session)
