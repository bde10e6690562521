"""What TXT records say of endpoints."""

from __future__ import annotations

import pytest

from mesh.names.dns_described import MOST_LABELS, Described, read_texts

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


def described(*records: tuple[bytes, ...], host: str = "a.mesh.test", port: int = 4242) -> Described:
    return read_texts(records)(host, port)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ((), Described()),
        (((b"type=pub",),), Described(type="pub")),
        (((b"HUB=1", b"hub=0"),), Described(hub=True)),
        (((b"hub",),), Described(hub=True)),
        (((b"hub=yes",),), Described(hub=False)),
        (((b"hub=0",), (b"hub=1",)), Described(hub=False)),
        (((f"key={KEY}".encode(),),), Described(key=KEY)),
        (((b"version=2", b"Zone=a"),), Described(labels=(("version", "2"), ("zone", "a")))),
        (((b"zone=a=b",),), Described(labels=(("zone", "a=b"),))),
        (((b"txtvers=1", b"by=box-1", b"=x", b"", b"\xff=1"),), Described()),
        (((b"v=spf1 -all",),), Described(labels=(("v", "spf1 -all"),))),
    ],
)
def test_records_that_are_about_all_endpoints(
    records: tuple[tuple[bytes, ...], ...], says: Described
) -> None:
    assert described(*records) == says


def test_a_record_that_is_about_one_endpoint_counts_for_more() -> None:
    records = (
        (b"at=hub.mesh.test:5555", b"hub=1", b"zone=b"),
        (b"zone=a", b"version=2"),
        (b"at=B.mesh.test.:4242", b"type=pub"),
    )
    assert described(*records) == Described(labels=(("version", "2"), ("zone", "a")))
    hub = described(*records, host="hub.mesh.test", port=5555)
    assert hub == Described(hub=True, labels=(("version", "2"), ("zone", "b")))
    assert described(*records, host="b.mesh.test").type == "pub"
    assert described(*records, host="b.mesh.test", port=4243).type == "router"


def test_what_a_stranger_writes_is_bounded() -> None:
    labels = described(tuple(f"k{number:04}=v".encode() for number in range(5000))).labels
    assert len(labels) == MOST_LABELS and labels[0] == ("k0000", "v")
    assert described(*[(b"at=a.mesh.test:4242", b"hub=1")] * 5000).hub is True
