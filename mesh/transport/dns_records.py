"""The records of a service in DNS as they are, for whoever checks them and can wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Final

from mesh.names.dns_check import targets_of
from mesh.names.dns_messages import Question, Reply, ServerFailed
from mesh.names.dns_settings import NameServer
from mesh.transport.dns_asker import DnsAsker

LIMIT: Final = 10.0
"""Seconds for all questions that are asked together."""


def records_of(name: str, servers: Sequence[NameServer]) -> dict[Question, Reply | ServerFailed]:
    """What the name servers say of this name, and of the hosts that its records lead to."""
    service = Question(name, "SRV")
    replies = _ask([service, Question(name, "TXT")], servers)
    hosts = targets_of(replies[service])
    return replies | _ask(
        (Question(host, kind) for host in hosts for kind in ("CNAME", "A", "AAAA")), servers
    )


def _ask(
    questions: Iterable[Question], servers: Sequence[NameServer]
) -> dict[Question, Reply | ServerFailed]:
    asker = DnsAsker()
    replies: dict[Question, Reply | ServerFailed] = {}
    asked = list(questions)
    until = monotonic() + LIMIT
    try:
        for question in asked:
            asker.ask(question, servers, partial(replies.__setitem__, question))
        while len(replies) < len(asked) and monotonic() < until:
            asker.run(until)
    finally:
        asker.close()
    late = ServerFailed(f"nobody has answered within {LIMIT:g} s")
    return {question: replies.get(question, late) for question in asked}
