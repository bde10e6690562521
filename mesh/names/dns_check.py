"""What is wrong with the records of a service in DNS, as a colleague would say it.

Pure: the records are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mesh.names.dns_messages import UDP_BYTES, Question, Reply, ServerFailed, SrvRecord, answer_bytes

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
    for record in records:
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
        for string in record if isinstance(record, tuple) else ():
            key, _, value = string.decode("utf-8", "replace").partition("=")
            key, place = key.strip().lower(), value.lower().replace(".:", ":")
            if key == "at" and place not in there:
                yield Finding(where, f"at={value} is of no SRV record, and nobody reads it")
            elif key == "key":
                problem = (
                    "it has a key, which counts only as far as the zone can be trusted; this release has "
                )
                yield Finding(where, f"{problem}no encryption, and calls no endpoint with a key", wrong=False)
