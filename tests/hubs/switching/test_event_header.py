"""What a hub reads of an event."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubs.switching import event_header
from hubs.switching.event_header import HeaderReader, header_of
from mesh.core import wire
from mesh.core.client_session import ClientSession
from mesh.core.span import Span

IDS = st.one_of(st.binary(max_size=40), st.binary(min_size=32, max_size=32), st.text(max_size=40))
HEADERS = st.fixed_dictionaries(
    {"message_id": IDS, "v": st.sampled_from([1, 2, 3, 300])},
    optional={
        "response_to": IDS,
        "deadline": st.one_of(st.integers(-10, 2**33), st.just("soon")),
        "service": st.one_of(st.text(max_size=40), st.just("users"), st.integers(-5, 2**63)),
        "cancel": st.booleans(),
        "idempotent": st.booleans(),
        "batch": st.integers(0, 2),
        "key": st.one_of(st.text(max_size=300), st.binary(max_size=300), st.integers(-(2**63), 2**64 - 1)),
        "kwargs": st.dictionaries(st.text(max_size=5), st.binary(max_size=9_000), max_size=2),
        "trace_id": st.one_of(st.text(max_size=32), st.just("4bf92f3577b34da6a3ce929d0e0e4736")),
        "span_id": st.one_of(st.text(max_size=16), st.just("00f067aa0ba902b7"), st.integers(-5, 2**63)),
    },
)
WANTED = (
    "message_id",
    "response_to",
    "deadline",
    "service",
    "cancel",
    "idempotent",
    "batch",
    "key",
    "trace_id",
    "span_id",
)


@given(HEADERS, st.randoms(use_true_random=False))
def test_it_is_what_the_whole_event_says(header: dict[str, Any], random: Any) -> None:
    items = list(header.items())
    if random.random() < 0.5:
        random.shuffle(items)
    payload = wire.pack(dict(items), "echo", ["x"])
    expected = wire.unpack(payload)[0]
    assert header_of(payload) == tuple(expected.get(key) for key in WANTED)


@pytest.mark.parametrize("service", [None, "users"])
@pytest.mark.parametrize("timeout", [None, 0.05, 5.0, 3600.0])
def test_a_traced_call_costs_little_more_than_another(
    monkeypatch: pytest.MonkeyPatch, service: str | None, timeout: float | None
) -> None:
    """It is read at one look, and not key by key."""
    session = ClientSession(b"0" * 24, lambda: 0.5, service=service)
    span = Span("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
    call = session.open("echo", ("x",), None, 0.0, timeout, None, None, span)
    monkeypatch.setattr(event_header, "_read_header", None)
    header = header_of(call.payload)
    assert header is not None
    assert (header.message_id, header.service) == (call.id, service)
    assert wire.unpack(call.payload)[0]["span_id"] == span.span_id


@given(HEADERS, HEADERS, st.lists(st.tuples(st.booleans(), st.binary(min_size=32, max_size=32)), max_size=6))
def test_it_is_the_same_whatever_came_before(
    one: dict[str, Any], other: dict[str, Any], events: list[tuple[bool, bytes]]
) -> None:
    reader = HeaderReader()
    for which, message_id in events:
        payload = wire.pack({**(one if which else other), "message_id": message_id}, "echo", ["x"])
        for end in (len(payload), len(payload) - 1, 60, 50, 20):
            assert reader.read(payload[:end]) == header_of(payload[:end])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"\xa7service\xbfshort", b"\xa7service\xbf" + b"short" * 6 + b"!"),
        (b"\xa7service\xa1a", b"\xa7service\xa1b"),
        (b"\xaamessage_id\xc4\x20" + b"j" * 32, b"\xaamessage_id\xc4\x20" + b"j" * 32),
    ],
    ids=["cut off", "another service", "two ids"],
)
def test_what_only_looks_like_the_header_before_is_read(first: bytes, second: bytes) -> None:
    reader = HeaderReader()
    head = b"\x93\x83\xaamessage_id\xc4\x20"
    for entry, message_id in ((first, b"i" * 32), (second, b"k" * 32)):
        payload = head + message_id + b"\xa1v\x03" + entry
        assert reader.read(payload) == header_of(payload)


KEYS_CUT_OFF = (b"", b"\xa5", b"\xa5user", b"\xc4", b"\xc4\x05", b"\xc4\x05user")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x93",
        b"\x92\x80\xa1x",
        b"\x93\x90\xa1x\xc0",
        b"\x93\x81\x90\xa1x\xc0",
        b"\x93\xdf\xff\xff\xff\xff\xa1x",
        b"junk",
        b"\xc1" * 5000,
        b"\x93\x83\xaamessage_id\xc4\x20" + b"i" * 32 + b"\xa1v\x03",
        b"\x93\x83\xaamessage_id\xc4\x20" + b"i" * 32 + b"\xa1v\x03\xa7service\xbfshort",
        *[b"\x93\x83\xaamessage_id\xc4\x20" + b"i" * 32 + b"\xa1v\x03\xa3key" + end for end in KEYS_CUT_OFF],
    ],
)
def test_what_has_no_header_has_none(payload: bytes) -> None:
    assert header_of(payload) in (None, (b"i" * 32, None, None, "short", *[None] * 6))


@given(st.binary(max_size=200))
def test_rubbish_harms_nobody(payload: bytes) -> None:
    header_of(payload)
    header_of(b"\x93\x84\xaamessage_id" + payload)


@pytest.mark.parametrize("channel", [b"1", "1", b"x" * 32, "x" * 32])
def test_what_is_an_answer_to_a_call(channel: bytes | str) -> None:
    def event(**header: Any) -> bytes:
        return wire.pack({"message_id": b"m", "v": 3, **header}, wire.OK, ["y" * 5000])

    assert event_header.is_answer(event(response_to=channel), channel)
    assert event_header.is_answer(event(trace="z" * 400, response_to=channel), channel)
    for wrong in (b"", b"x" * 10, event(), event(response_to=b"2"), event(response_to=5)):
        assert not event_header.is_answer(wrong, channel)


@pytest.mark.parametrize("channel", [b"1", "1", b"x" * 32, "x" * 32, b"\xa2OK\x91" * 8, None])
@pytest.mark.parametrize("name", [wire.OK, wire.ERR, wire.STREAM_DONE, wire.BEAT])
def test_a_usual_result_is_known_by_its_bytes(channel: bytes | str | None, name: str) -> None:
    header = {"message_id": b"m" * 32, "v": 3, "response_to": channel}
    usual = name == wire.OK and type(channel) is bytes and len(channel) == 32
    payload = wire.pack(header, name, ["y"])
    assert event_header.is_result(payload, channel) == usual
    assert not event_header.is_result(payload[:98], channel)
    assert not event_header.is_result(payload, b"z" * 32)
    for other in ({**header, "mesh": 1}, {**header, "v": 300}, {"response_to": channel, **header}):
        assert not event_header.is_result(wire.pack(other, name, ["y"]), channel)


def event(*entries: bytes, args: bytes = b"\x90") -> bytes:
    head = b"\xaamessage_id\xc4\x20" + b"i" * 32
    return b"\x93" + bytes((0x80 + 1 + len(entries),)) + head + b"".join(entries) + b"\xa1m" + args


@pytest.mark.parametrize(
    "make",
    [
        lambda maps: event(b"\xa7service" + maps),
        lambda maps: event(b"\xa8deadline" + maps, b"\xa7service\xa5users"),
        lambda maps: event(b"\xa6kwargs" + maps),
        lambda maps: event(b"\xa6kwargs\x80", args=maps),
        lambda maps: event(maps + b"\xc0"),
        lambda maps: b"\x93\xdf" + (16 << 20).to_bytes(4, "big") + b"\xc0\xc0" * (16 << 20),
    ],
    ids=["as a service", "as a deadline", "keyword arguments", "arguments", "a key", "keys"],
)
def test_an_event_full_of_values_costs_a_hub_little(make: Callable[[bytes], bytes]) -> None:
    payload = make(b"\xdd" + (32 << 20).to_bytes(4, "big") + b"\x80" * (32 << 20))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    header = header_of(payload)
    assert time.process_time() - began < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 * 1024
    assert header is None or header.message_id == b"i" * 32, "so that who carries it out can answer"


def test_a_value_that_is_no_name_is_no_name_whatever_it_holds() -> None:
    assert header_of(event(b"\xa7service\x91\xa1x")) == (b"i" * 32, None, None, (), *[None] * 6)


def test_keyword_arguments_may_be_large() -> None:
    header = {"message_id": b"1", "v": 3, "kwargs": {"rows": ["x" * 100] * 30_000}, "service": "users"}
    assert header_of(wire.pack(header, "m", [])) == (b"1", None, None, "users", *[None] * 6)
