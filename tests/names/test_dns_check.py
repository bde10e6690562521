"""What is said of records in DNS that are wrong, or odd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from mesh.names.dns_check import check_records, targets_of
from mesh.names.dns_messages import Question, Reply, ServerFailed, SrvRecord

NAME = "_users._tcp.mesh.test"
GOOD = SrvRecord(10, 60, 4242, "a.mesh.test")
NONE = SrvRecord(0, 0, 0, "")
KEY = b"key=rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


def said(
    *records: SrvRecord,
    ttl: float = 30.0,
    texts: Sequence[tuple[bytes, ...]] = (),
    without: Sequence[str] = (),
    alias: str = "",
) -> list[tuple[str, bool]]:
    """without: hosts that have no address. alias: what each target is an alias of."""
    srv = Reply(records, ttl)
    replies: dict[Question, Any] = {Question(NAME, "SRV"): srv, Question(NAME, "TXT"): Reply(tuple(texts))}
    for host in targets_of(srv):
        replies[Question(host, "CNAME")] = Reply((alias,) if alias else ())
        replies[Question(host, "A")] = Reply(() if host in without else ("10.0.0.5",))
        replies[Question(host, "AAAA")] = Reply()
    return [(f"{one.where}: {one.problem}", one.wrong) for one in check_records(NAME, replies)]


def test_what_is_right() -> None:
    assert said(GOOD, texts=[(b"version=2",), (b"at=A.mesh.test:4242", b"zone=x")]) == []
    assert said(GOOD, texts=[(b"hub=1", b"type=router"), (b"at=a.mesh.test:4242", b"hub=0")]) == []
    assert said(GOOD, texts=[(b"type=pub",)]) == [], "an event's publisher takes no calls, and is meant so"
    assert said(SrvRecord(0, 0, 1, "a.mesh.test")) == [], "one weight counts against nothing"


@pytest.mark.parametrize(
    ("found", "part", "wrong"),
    [
        (said(), "SRV: there is no such record", True),
        (said(GOOD, ttl=0.0), "its TTL is 0, so that each look asks the name server", True),
        (said(GOOD, without=["a.mesh.test"]), "its target a.mesh.test has no address", True),
        (
            said(GOOD, alias="b.mesh.test"),
            "a.mesh.test is an alias of b.mesh.test, which RFC 2782 forbids",
            True,
        ),
        (said(SrvRecord(10, 1, 0, "a.mesh.test")), "a.mesh.test has port 0, and is not used", True),
        (said(GOOD, SrvRecord(0, 0, 0, "")), "the target '.' says that there is no such service", True),
        (said(GOOD, SrvRecord(20, 1, 4242, "a.mesh.test")), "a.mesh.test:4242 stands 2 times", True),
        (
            said(GOOD, SrvRecord(10, 0, 1, "b.mesh.test")),
            "b.mesh.test:1 has weight 0, which mesh takes",
            False,
        ),
        (said(GOOD, texts=[(b"at=x.mesh.test:1",)]), "TXT: at=x.mesh.test:1 is of no SRV record", True),
        (said(GOOD, texts=[(KEY,)]), "TXT: it has a key, which counts only as far as the zone", False),
        (
            said(GOOD, texts=[(b"key=abc",)]),
            "TXT: its key must be a CURVE public key, 40 characters of Z85, and has 3 characters",
            True,
        ),
        (said(GOOD, texts=[(KEY[:-1] + b"~",)]), "and has a character that Z85 lacks", True),
        (
            said(GOOD, texts=[(b"at=a.mesh.test:4242", b"type=rooter")]),
            "TXT: type=rooter of a.mesh.test:4242 is no type that mesh knows, and nobody can use it; did you "
            "mean 'router'?",
            True,
        ),
        (said(GOOD, texts=[(b"type=xyz",)]), "it takes router, pub, sub, push, pull, xpub, xsub", True),
        (
            said(GOOD, texts=[(b"hub=yes",)]),
            "TXT: hub=yes counts for nothing: write hub=1 where a hub is, else leave it out",
            True,
        ),
        (
            said(NONE),
            "SRV: its only target is '.', by which the zone says that the service is decidedly",
            False,
        ),
        (said(NONE, SrvRecord(1, 0, 0, "")), "its only target is '.'", False),
    ],
)
def test_what_is_said(found: list[tuple[str, bool]], part: str, wrong: bool) -> None:
    assert len(found) == 1 and found[0][0].startswith(NAME) and part in found[0][0], found
    assert found[0][1] is wrong


def test_a_set_that_needs_tcp() -> None:
    few = [SrvRecord(10, 60, 4242, f"server-{number:02}.mesh.test") for number in range(10)]
    many = [SrvRecord(10, 60, 4242, f"server-{number:02}.mesh.test") for number in range(40)]
    assert said(*few) == []
    ((text, wrong),) = said(*many)
    assert "its 40 records take" in text and "and 1232 fit a datagram" in text and not wrong


def test_name_servers_that_fail() -> None:
    failed = ServerFailed("127.0.0.1:53 does not answer")
    replies = {Question(NAME, "SRV"): failed, Question(NAME, "TXT"): failed}
    assert [one.where for one in check_records(NAME, replies)] == [f"{NAME} SRV", f"{NAME} TXT"]
