"""Which of its peers a call may go to, where that is not any of them."""

from __future__ import annotations

from mesh.core.peer import Peer
from mesh.core.span import Span


class Route:
    """key: what the call belongs to, by which the rule "key" chooses. labels: what its peer must be labelled
    with. hedge: a copy may go to another peer where the answer is late. keywords: it has keyword arguments,
    which not every peer takes. odd_keys: it has a dict that not every peer reads. tried: those that it was
    sent to before, which are taken only where there is no other. peer: the one that it must go to; None for
    any that is allowed. span: of the call, whichever of its attempts; None where it belongs to no trace, or
    none was made yet.
    """

    __slots__ = ("hedge", "key", "keywords", "labels", "odd_keys", "peer", "span", "tried")

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
        self.odd_keys = False
        self.tried: set[Peer] = set()
        self.peer: Peer | None = None
        self.span: Span | None = None

    def allows(self, peer: Peer) -> bool:
        """Whether it has the labels, and may understand the call."""
        if peer.mesh is False and (self.keywords or (self.odd_keys and not peer.reads_all_keys)):
            return False
        return all(peer.labels.get(name) == value for name, value in self.labels)

    def suits(self, peer: Peer) -> bool:
        """Whether it is known to understand the call."""
        return bool(peer.mesh) or (peer.reads_all_keys and not self.keywords)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.labels)
