"""What is wrong with the records of a service in DNS, as a colleague would say it.

Pure: the records are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesh.names.curve_key import KEY_RULE, key_problem
from mesh.names.dns_described import HUB, values_of
from mesh.names.dns_messages import UDP_BYTES, Question, Reply, ServerFailed, SrvRecord, answer_bytes
from mesh.names.model import SOCKET_TYPES, nearest

Replies = Mapping[Question, Reply | ServerFailed]


@dataclass(frozen=True, slots=True)
class Finding:
    """where: a file and its line, or the name of a record. wrong: it is a mistake; else it may be meant."""

    where: str
    problem: str
    wrong: bool = True


SUGGESTED: Final = "5 to 60 seconds suit servers that come and go"


def targets_of(reply: Reply | ServerFailed) -> list[str]:
    """The hosts that an answer for SRV leads to."""
    records = reply.records if isinstance(reply, Reply) else ()
    return list(dict.fromkeys(one.target for one in records if isinstance(one, SrvRecord) and one.target))


def check_records(name: str, replies: Replies) -> Iterator[Finding]:
    """What is wrong with the service at this name, of which the replies for SRV and TXT are known, and those
    for CNAME, A and AAAA of each target.
    """
    for question, reply in replies.items():
        if isinstance(reply, ServerFailed):
            yield Finding(str(question), f"can't be looked up: {reply}")
    reply = replies[Question(name, "SRV")]
    if isinstance(reply, ServerFailed):
        return
    records = [one for one in reply.records if isinstance(one, SrvRecord)]
    yield from _check_set(f"{name} SRV", reply, records)
    for record in records if targets_of(reply) else ():
        yield from _check_one(f"{name} SRV", record, len(records))
    for target in targets_of(reply):
        yield from _check_target(f"{name} SRV", target, replies)
    texts = replies[Question(name, "TXT")]
    if isinstance(texts, Reply):
        yield from _check_texts(f"{name} TXT", texts, records)


def _check_set(where: str, reply: Reply, records: Sequence[SrvRecord]) -> Iterator[Finding]:
    if not records:
        yield Finding(where, "there is no such record")
        return
    if not reply.ttl:
        yield Finding(where, f"its TTL is 0, so that each look asks the name server: {SUGGESTED}")
    if not targets_of(reply):
        problem = (
            "its only target is '.', by which the zone says that the service is decidedly not available "
            "(RFC 2782): no call finds it"
        )
        yield Finding(where, problem, wrong=False)
        return
    size = answer_bytes(where.partition(" ")[0], records)
    if size > UDP_BYTES:
        yield Finding(
            where,
            f"its {len(records)} records take {size} bytes, and {UDP_BYTES} fit a datagram: TCP is needed",
            wrong=False,
        )
    counts = Counter((one.target, one.port) for one in records)
    for (target, port), number in counts.items():
        if number > 1:
            problem = f"{target}:{port} stands {number} times: the record of the lowest priority counts alone"
            yield Finding(where, problem)


def _check_one(where: str, record: SrvRecord, number: int) -> Iterator[Finding]:
    if not record.target:
        if number > 1:
            yield Finding(where, "the target '.' says that there is no such service, and other records do")
        return
    if not record.port:
        yield Finding(where, f"{record.target} has port 0, and is not used")
    if not record.weight and number > 1:
        problem = f"{record.target}:{record.port} has weight 0, which mesh takes for 1: it does get calls"
        yield Finding(where, problem, wrong=False)


def _check_target(where: str, target: str, replies: Replies) -> Iterator[Finding]:
    alias = replies.get(Question(target, "CNAME"))
    if isinstance(alias, Reply) and alias.records:
        problem = (
            f"its target {target} is an alias of {alias.records[0]}, which RFC 2782 forbids: name that one"
        )
        yield Finding(where, problem)
    answers = [replies.get(Question(target, kind)) for kind in ("A", "AAAA")]
    if all(isinstance(one, Reply) and not one.records for one in answers):
        yield Finding(where, f"its target {target} has no address")


def _check_texts(where: str, reply: Reply, records: Iterable[SrvRecord]) -> Iterator[Finding]:
    there = {f"{one.target}:{one.port}" for one in records}
    for record in reply.records:
        values = values_of(record) if isinstance(record, tuple) else {}
        at = values.get("at")
        if at is not None and at.lower().replace(".:", ":") not in there:
            yield Finding(where, f"at={at} is of no SRV record, and nobody reads it")
        of = "" if at is None else f" of {at}"
        yield from _check_type(where, of, values.get("type"))
        yield from _check_hub(where, of, values.get("hub"))
        yield from _check_key(where, of, values.get("key"))


def _check_type(where: str, of: str, value: str | None) -> Iterator[Finding]:
    if value is not None and value not in SOCKET_TYPES:
        right = nearest(value.lower(), SOCKET_TYPES) or f"; it takes {', '.join(SOCKET_TYPES)}"
        yield Finding(where, f"type={value:.60}{of} is no type that mesh knows, and nobody can use it{right}")


def _check_hub(where: str, of: str, value: str | None) -> Iterator[Finding]:
    if value is not None and value not in HUB:
        yield Finding(
            where, f"hub={value:.60}{of} counts for nothing: write hub=1 where a hub is, else leave it out"
        )


def _check_key(where: str, of: str, value: str | None) -> Iterator[Finding]:
    if value is None:
        return
    if problem := key_problem(value):
        yield Finding(where, f"its key{of} {KEY_RULE}, and {problem}")
        return
    problem = (
        f"it has a key{of}, which counts only as far as the zone can be trusted; this release has no "
        "encryption, and calls no endpoint with a key"
    )
    yield Finding(where, problem, wrong=False)
