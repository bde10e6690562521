"""What is read of a name server's bytes."""

from __future__ import annotations

import dns.message
import dns.rrset
import pytest

from mesh.names.dns_messages import IsTruncated, Question, ServerFailed, read_reply

QUESTION = Question("_users._tcp.mesh.test", "SRV")


def cut(truncated: bool) -> bytes:
    """An answer that ends in the midst of a record."""
    message = dns.message.make_response(dns.message.make_query(QUESTION.name + ".", "SRV", id=7))
    texts = [f"10 1 {port} host{port}.mesh.test." for port in range(20)]
    message.answer.append(dns.rrset.from_text(QUESTION.name + ".", 60, "IN", "SRV", *texts))
    if truncated:
        message.flags |= 0x0200
    return message.to_wire()[:-200]


def test_what_is_cut_in_the_midst_of_a_record_and_says_so_is_asked_for_by_tcp() -> None:
    with pytest.raises(IsTruncated):
        read_reply(cut(truncated=True), QUESTION, 7)
    with pytest.raises(ServerFailed, match="sent what can't be read"):
        read_reply(cut(truncated=False), QUESTION, 7)
