"""Which of its peers a call may go to, where that is not any of them."""

from __future__ import annotations

from mesh.core.peer import Peer
from mesh.core.span import Span


class Route:
    """key: what the call belongs to, by which the rule "key" chooses. labels: what its peer must be labelled
    with. hedge: a copy may go to another peer where the answer is late. keywords: it has keyword arguments,
    which not every peer takes. tried: those that it was sent to before, which are taken only where there is
    no other. peer: the one that it must go to; None for any that is allowed. span: of the call, whichever of
    its attempts; None where it belongs to no trace, or none was made yet.
    """

    __slots__ = ("hedge", "key", "keywords", "labels", "peer", "span", "tried")

    def __init__(
        self,
        key: bytes | None = None,
        labels: tuple[tuple[str, str], ...] = (),
        *,
        hedge: bool = False,
        keywords: bool = False,
    ) -> None:
        self.key = key
        self.labels = labels
        self.hedge = hedge
        self.keywords = keywords
        self.tried: set[Peer] = set()
        self.peer: Peer | None = None
        self.span: Span | None = None

    def allows(self, peer: Peer) -> bool:
        """Whether it has the labels, and may understand the call."""
        if self.keywords and peer.mesh is False:
            return False
        return all(peer.labels.get(name) == value for name, value in self.labels)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.labels)
