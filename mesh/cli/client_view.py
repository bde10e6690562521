"""What a client in this process would make of services: whom it would call, and whom it would leave alone.

Its balancer is fed with the pings of the command. Pure: time and chance come in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mesh.cli.health import UP, EndpointHealth
from mesh.core.balance import Balancer, best
from mesh.core.client_session import WORKERLESS
from mesh.core.peer import Peer
from mesh.names.model import Service

_PING = b"ping"


@dataclass(frozen=True, slots=True)
class Outlook:
    """share: of the calls, between 0 and 1, if all took the same time; None where nothing is to be called.
    ejected: seconds for which it is left alone; None where it is not.
    """

    share: float | None = None
    ejected: float | None = None


class ClientView:
    """random: gives floats in [0, 1)."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._balancers: dict[str, Balancer] = {}

    def look(self, service: Service, healths: Sequence[EndpointHealth], now: float) -> list[Outlook]:
        """Take in what was found of a service's endpoints, and say what becomes of them, in their order."""
        balancer = self._balancers.get(service.name)
        if balancer is None:
            balancer = self._balancers[service.name] = Balancer(self._random)
        known = {peer.endpoint: peer for peer in balancer.peers}
        peers: list[Peer | None] = []
        for endpoint, health in zip(service.endpoints, healths, strict=True):
            peer = known.pop(endpoint.address, None)
            if health.state == "-":
                peers.append(None)
                continue
            if peer is None:
                peer = Peer(endpoint.address)
                balancer.add(peer)
            peer.weight, peer.priority = endpoint.weight, endpoint.priority
            peers.append(peer)
        for gone in known.values():
            balancer.remove(gone)
        balancer.due(now)
        for peer, health in zip(peers, healths, strict=True):
            if peer is not None:
                _take_in(balancer, peer, health, now)
        return _outlooks(balancer, peers, now)


def _take_in(balancer: Balancer, peer: Peer, health: EndpointHealth, now: float) -> None:
    """One ping, as a client takes in a call."""
    if health.state == "down":
        if peer.live:
            peer.live = False
            balancer.down(peer, now)
        return
    if not peer.live:
        peer.live = True
        balancer.up(peer, now)
    if health.state in UP:
        peer.unanswered[_PING] = now - (health.ms or 0.0) / 1000
        balancer.answered(peer, _PING, now)
    elif health.state == "silent":
        peer.unanswered[_PING] = now
        balancer.failed(peer, _PING, now)
    else:
        peer.leaving = now + WORKERLESS
        balancer.changed()


def _outlooks(balancer: Balancer, peers: Sequence[Peer | None], now: float) -> list[Outlook]:
    called = best((peer for peer in peers if peer is not None), now)
    weights = sum(peer.weight for peer in called)
    found = []
    for peer in peers:
        if peer is None:
            found.append(Outlook())
            continue
        share = peer.weight / weights if peer in called else 0.0
        left = max(peer.conduct.probe_at - now, 0.0) if peer.conduct.ejected else None
        found.append(Outlook(share, left))
    return found
