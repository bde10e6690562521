"""Questions to name servers and their answers, as bytes and as plain values.

Pure. Owns what dnspython is used for, which is imported when the first question is asked, for that takes a
tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dns.message import QueryMessage

UDP_BYTES: Final = 1232
"""What is asked for at most in one datagram: it fits everywhere without fragments (DNS flag day 2020)."""
MOST_BYTES: Final = 65_535
"""What one answer can have by TCP."""
_TRUNCATED: Final = 0x02
"""In the third byte of a message (RFC 1035, 4.1.1): TC."""
MOST_TTL: Final = 2**31 - 1
"""Seconds; what is more counts as 0 (RFC 2181, section 8)."""

ENDLESS: Final = (
    "its aliases (CNAME) lead round in a circle, or are too many: "
    "correct them in the zone so that they lead to its records"
)


@dataclass(frozen=True, slots=True)
class Question:
    """name: absolute, in lower case, without the dot at its end. kind: SRV, TXT, CNAME, A or AAAA."""

    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """target: as a Question's name; "" for the root, by which a domain says that it has no such service."""

    priority: int
    weight: int
    port: int
    target: str


Record = SrvRecord | tuple[bytes, ...] | str
"""The strings of a TXT record; an address."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server knows of a question.

    records: of the kind that was asked for; none where there are none, or no such name. ttl: seconds for
    which that holds; None where a negative answer does not tell. alias: the name that is to be asked for in
    place of this one, "" where there is none. addresses: of names that the records lead to, sent along;
    addresses_ttl: seconds for which those hold.
    """

    records: tuple[Record, ...] = ()
    ttl: float | None = None
    alias: str = ""
    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    addresses_ttl: float = float("inf")


class ServerFailed(Exception):
    """A server's answer tells nothing of the question; another may. The text follows on the server's name.

    silent: no server has answered at all.
    """

    silent = False


class IsTruncated(Exception):
    """The answer did not fit: TCP is to be used."""


class IsNoAnswer(Exception):
    """It answers another question, or none: whoever has sent it, the answer may be still to come."""


def load() -> None:
    """Import what questions and the usual answers take, which otherwise the first of each does."""
    import dns.message
    import dns.rdtypes.ANY.CNAME
    import dns.rdtypes.ANY.NS
    import dns.rdtypes.ANY.SOA
    import dns.rdtypes.ANY.TXT
    import dns.rdtypes.IN.A
    import dns.rdtypes.IN.AAAA
    import dns.rdtypes.IN.SRV
    import dns.rrset  # noqa: F401


def pack_question(question: Question, number: int, *, edns: bool = True) -> bytes:
    """The message that asks, of this id. edns: it says what size of answer can be taken (RFC 6891).

    Raises ServerFailed, before any server is asked, for a name that DNS can't have.
    """
    import dns.exception
    import dns.message

    options: dict[str, Any] = {"use_edns": 0, "payload": UDP_BYTES} if edns else {}
    try:
        query = dns.message.make_query(question.name + ".", question.kind, id=number, **options)
    except dns.exception.DNSException as exc:
        raise ServerFailed(f"{question.name:.300} can't be a name in DNS ({type(exc).__name__})") from None
    return query.to_wire()


def read_reply(payload: bytes, question: Question, number: int) -> Reply:
    """The answer to a question that was asked with this id.

    Raises IsNoAnswer, IsTruncated and ServerFailed.
    """
    import dns.exception
    import dns.message

    if len(payload) < 2 or int.from_bytes(payload[:2]) != number:
        raise IsNoAnswer
    try:
        message = dns.message.from_wire(payload, ignore_trailing=True)
    except Exception as exc:  # noqa: BLE001 - a stranger's bytes may lead dnspython anywhere
        if payload[2:3] and payload[2] & _TRUNCATED:  # perhaps in the midst of a record
            raise IsTruncated from None
        raise ServerFailed(f"sent what can't be read ({type(exc).__name__})") from None
    _check(message, question)
    assert isinstance(message, dns.message.QueryMessage)
    try:
        return _reply(message, question)
    except dns.message.ChainTooLong:
        raise ServerFailed(_endless(question)) from None
    except dns.exception.DNSException as exc:
        raise ServerFailed(f"sent what makes no sense ({type(exc).__name__})") from None


def answer_bytes(name: str, records: Sequence[SrvRecord]) -> int:
    """The bytes of an answer that has these records, and nothing besides; MOST_BYTES where it has more."""
    import dns.exception
    import dns.message
    import dns.rrset

    question = dns.message.make_query(name + ".", "SRV", use_edns=0)
    answer = dns.message.make_response(question)
    texts = [f"{one.priority} {one.weight} {one.port} {one.target}." for one in records]
    answer.answer.append(dns.rrset.from_text(name + ".", 0, "IN", "SRV", *texts))
    try:
        return len(answer.to_wire(max_size=MOST_BYTES))
    except dns.exception.TooBig:
        return MOST_BYTES


def needs_plain_question(error: ServerFailed) -> bool:
    """Whether a server may know nothing of EDNS, and answer a question without it."""
    return str(error) in (_says("FORMERR"), _says("NOTIMP"))


def _says(code: str) -> str:
    """What a server answers with, and what that may mean where it is not plain from the word."""
    hint = " (it may not have this domain, or not answer this host)" if code == "REFUSED" else ""
    return f"answers {code}{hint}"


def _check(message: Any, question: Question) -> None:
    """Raise where this is no answer to the question."""
    import dns.flags
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdataclass
    import dns.rdatatype

    if not message.flags & dns.flags.QR or not isinstance(message, dns.message.QueryMessage):
        raise IsNoAnswer
    code = message.rcode()
    if not message.question and code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise ServerFailed(_says(dns.rcode.to_text(code)))
    if len(message.question) != 1:
        raise IsNoAnswer
    asked = message.question[0]
    kind = dns.rdatatype.from_text(question.kind)
    if asked.rdtype != kind or asked.rdclass != dns.rdataclass.IN or _text(asked.name) != question.name:
        raise IsNoAnswer
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise ServerFailed(_failure(message, question))
    if message.flags & dns.flags.TC:
        raise IsTruncated


def _failure(message: QueryMessage, question: Question) -> str:
    """What a server answers with. BIND fails for aliases in a circle, which it sends along."""
    import dns.exception
    import dns.message
    import dns.rcode

    try:
        message.resolve_chaining()
    except dns.message.ChainTooLong:
        return _endless(question)
    except dns.exception.DNSException:
        pass  # it failed: what else it sends counts for nothing
    return _says(dns.rcode.to_text(message.rcode()))


def _endless(question: Question) -> str:
    return f"says of {question.name} that {ENDLESS}"


def _reply(message: QueryMessage, question: Question) -> Reply:
    import dns.rdatatype

    chain = message.resolve_chaining()
    if chain.answer is None:
        return _negative(message, chain.canonical_name, chain.minimum_ttl, bool(chain.cnames))
    convert = _CONVERSIONS[question.kind]
    records = tuple(dict.fromkeys(map(convert, chain.answer)))
    addresses: dict[str, tuple[str, ...]] = {}
    least = float("inf")
    if question.kind == "SRV":
        wanted = {record.target for record in records if isinstance(record, SrvRecord)}
        for rrset in message.additional:
            name = _text(rrset.name)
            if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA) and name in wanted:
                addresses[name] = addresses.get(name, ()) + tuple(one.address for one in rrset)
                least = min(least, _ttl(rrset.ttl))
    return Reply(records, _ttl(chain.minimum_ttl), "", addresses, least)


def _negative(message: QueryMessage, name: Any, ttl: int, aliased: bool) -> Reply:
    """No such name, or none of that kind, as RFC 2308 tells it: with the SOA of the zone, or without."""
    import dns.rcode
    import dns.rdatatype

    kinds = {rrset.rdtype for rrset in message.authority}
    if dns.rdatatype.SOA in kinds:
        return Reply(ttl=_ttl(ttl))
    if message.rcode() == dns.rcode.NXDOMAIN:
        return Reply()
    if aliased:
        return Reply(ttl=_ttl(ttl), alias=_text(name))
    if dns.rdatatype.NS in kinds:
        raise ServerFailed("refers to other servers: it answers for zones of its own alone")
    return Reply()


def _ttl(seconds: int) -> float:
    return float(seconds if seconds <= MOST_TTL else 0)


def _text(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower() if name.labels != (b"",) else ""


_CONVERSIONS: Final[dict[str, Callable[[Any], Record]]] = {
    "SRV": lambda data: SrvRecord(data.priority, data.weight, data.port, _text(data.target)),
    "TXT": lambda data: tuple(data.strings),
    "CNAME": lambda data: _text(data.target),
    "A": lambda data: str(data.address),
    "AAAA": lambda data: str(data.address),
}
