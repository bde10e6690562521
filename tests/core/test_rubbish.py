"""Whatever bytes arrive: nothing is raised, nothing grows without an end, and the next call works."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.core import wire
from mesh.core.batch import pack_events
from mesh.core.channel import State
from mesh.core.server_session import MAX_OUT, Limits
from tests.helpers.pair import Pair

QUEUE = 20
EXAMPLES = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from([0, 1, -1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1]),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=9)),
    st.builds(msgpack.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**9 - 1)),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=4),
    max_leaves=6,  # what is deep or huge has tests of its own
)
names = st.sampled_from(
    [wire.OK, wire.ERR, wire.STREAM, wire.STREAM_DONE, wire.MORE, wire.BEAT, "echo", "", "_zerorpc_ping"]
) | st.text(max_size=10)
KEYS = ["message_id", "v", "response_to", "deadline", "heartbeat", "cancel", "refused", "builtin", "mesh"]
KEYS += ["kwargs", "service", "idempotent", "batch", "items"]


@st.composite
def events(draw: st.DrawFn, channels: tuple[bytes, ...]) -> bytes:
    """Something like an event, on a channel that exists, with anything in its fields."""
    ids = st.sampled_from(channels) | st.sampled_from([b"other", "text"])
    header: Any = draw(st.dictionaries(st.sampled_from(KEYS), values, max_size=6))
    if draw(st.booleans()):
        header["message_id"] = draw(ids)
    if draw(st.booleans()):
        header["response_to"] = draw(ids)
    if draw(st.integers(0, 20)) == 0:
        header = draw(values)
    event = [header, draw(names | values), draw(values | st.lists(values, max_size=3))]
    payload: bytes = msgpack.packb(event, unicode_errors="surrogatepass")
    return payload


@st.composite
def mutated(draw: st.DrawFn, channels: tuple[bytes, ...]) -> bytes:
    """An event of which some bytes were cut, changed, or repeated."""
    payload = bytearray(draw(events(channels)))
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(0, max(len(payload) - 1, 0)))
        how = draw(st.integers(0, 3))
        if how == 0:
            payload[where : where + 1] = bytes([draw(st.integers(0, 255))])
        elif how == 1:
            del payload[where:]
        elif how == 2:
            del payload[where : where + draw(st.integers(1, 8))]
        else:
            payload[where:where] = payload[: draw(st.integers(0, 64))]
    return bytes(payload)


CHANNELS = tuple(f"{number:08x}".encode() + b"c" * 24 for number in (1, 2, 3))
rubbish = st.binary(max_size=200) | events(CHANNELS) | mutated(CHANNELS)
frames = st.lists(rubbish, max_size=8).map(pack_events) | rubbish


def busy() -> Pair:
    """A unary call, a stream and a call that waits in the queue, all open."""
    pair = Pair(limits=Limits(queue=QUEUE, queue_bytes=100_000))
    pair.call("work", timeout=None)
    pair.advance()
    pair.call("stream", timeout=None)
    pair.advance()
    pair.server.stream(pair.server.running[1], iter(int, 1))
    pair.advance()
    pair.server.pool = 2
    pair.call("queued", timeout=None)
    pair.advance()
    assert tuple(pair.client.session.calls) == CHANNELS
    return pair


def still_bounded(pair: Pair) -> None:
    client, server = pair.client.session, pair.server.session
    assert len(client.calls) <= 3 and not client.unsent and len(client.woken) <= 3
    assert pair.peer.open == len(client.calls)
    assert server._queued <= QUEUE and len(server.ready) <= 2 * QUEUE
    assert 0 <= server._queued_bytes <= 100_000
    assert len(server.calls) <= QUEUE + len(pair.server.running)
    assert len(server.out) <= MAX_OUT and len(server.woken) <= len(pair.server.running)
    assert len(server.dropped) <= 10 and len(client.dropped) <= 10


def still_works(pair: Pair) -> None:
    pair.server.pool = float("inf")
    pair.connection.down()
    pair.connection.up()
    pair.server.running.clear()
    call = pair.call("echo", "a", timeout=5.0)
    pair.advance()
    served = next(served for served in pair.server.running if served.id == call.id)
    pair.server.answer(served, served.args[0])
    pair.advance()
    assert call.state is State.DONE and call.value == "a" and call.error is None


@EXAMPLES
@given(st.lists(st.tuples(st.booleans(), rubbish, st.floats(0.0, 3.0)), max_size=12))
def test_rubbish_harms_neither_end(messages: list[tuple[bool, bytes, float]]) -> None:
    pair = busy()
    for to_server, payload, pause in messages:
        pair.connection.send(to_server, payload)
        pair.advance(pause)
        still_bounded(pair)
    still_works(pair)


@EXAMPLES
@given(st.lists(st.tuples(frames, st.floats(0.0, 3.0)), max_size=8))
def test_frames_of_rubbish_harm_no_server(messages: list[tuple[bytes, float]]) -> None:
    pair = busy()
    for frame, pause in messages:
        assert pair.server.session.receive_batch(pair.connection.identity, frame, pair.now) >= 1
        pair.server.settle()
        pair.advance(pause)
        still_bounded(pair)
    still_works(pair)


@pytest.mark.soak
@settings(deadline=None, max_examples=4_000, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.booleans(), rubbish, st.floats(0.0, 3.0)), max_size=40))
def test_much_rubbish_harms_neither_end(messages: list[tuple[bool, bytes, float]]) -> None:
    pair = busy()
    for to_server, payload, pause in messages:
        pair.connection.send(to_server, payload)
        pair.advance(pause)
        still_bounded(pair)
    still_works(pair)


def flipped(payload: bytes) -> list[bytes]:
    """Each prefix, and each byte changed in a few ways."""
    prefixes = [payload[:end] for end in range(len(payload))]
    changed = [
        payload[:place] + bytes([payload[place] ^ mask]) + payload[place + 1 :]
        for place in range(len(payload))
        for mask in (0x01, 0x10, 0x80, 0xFF)
    ]
    return prefixes + changed


@pytest.mark.parametrize(
    ("to_server", "header", "name", "args"),
    [
        (True, {"message_id": b"new", "v": 3, "deadline": 5_000, "heartbeat": 1_000}, "echo", [1, "a"]),
        (True, {"message_id": b"m", "v": 3, "response_to": CHANNELS[1]}, wire.MORE, [10]),
        (True, {"message_id": b"m", "v": 3, "response_to": CHANNELS[0], "cancel": True}, wire.BEAT, [0]),
        (False, {"message_id": b"m", "v": 3, "response_to": CHANNELS[0]}, wire.OK, [{"a": [1.5]}]),
        (False, {"message_id": b"m", "v": 3, "response_to": CHANNELS[1]}, wire.STREAM, {"a": b"b"}),
        (
            False,
            {"message_id": b"m", "response_to": CHANNELS[0], "builtin": "KeyError"},
            wire.ERR,
            ["A", "b", "c"],
        ),
    ],
)
def test_every_byte_of_a_good_event_may_be_wrong(
    to_server: bool, header: dict[str, Any], name: str, args: Any
) -> None:
    pair = busy()
    for payload in flipped(wire.pack(header, name, args)):
        pair.connection.send(to_server, payload)
        pair.advance()
        still_bounded(pair)
    still_works(pair)


def nested(opening: bytes, depth: int, innermost: bytes) -> bytes:
    return opening * depth + innermost


HUGE = [
    nested(b"\x91", 1_000, b"\xc0"),
    nested(b"\x91", 100_000, b"\xc0"),
    nested(b"\x81\xa1a", 1_000, b"\xc0"),
    nested(b"\x81\xa1a", 100_000, b"\xc0"),
    nested(b"\xdd\x00\x00\x00\x01", 1_000, b"\x01"),
    b"\xdc\xff\xff" + b"\xc0" * 65_535,
    b"\xdd\x00\x10\x00\x00" + b"\x80" * 2**20,
    b"\xdb\x00\x10\x00\x00" + b"x" * 2**20,
    b"\xc6\x00\x10\x00\x00" + b"x" * 2**20,
    b"\xdf\xff\xff\xff\xff" + b"\x01" * 1_000,
    b"\xde\xff\xff" + b"\xc0".join(map(msgpack.Packer().pack, range(65_535))) + b"\xc0",
]


@pytest.mark.parametrize("value", HUGE, ids=range(len(HUGE)))
@pytest.mark.parametrize("place", ["header", "name", "args", "id", "error"])
def test_deep_and_huge_values_anywhere(value: bytes, place: str) -> None:
    pair = busy()
    for to_server in (True, False):
        for channel in (None, CHANNELS[0], CHANNELS[1]):
            header = b"\x83\xa1v\x03\xaamessage_id\xc4\x01m"
            header += b"\xabresponse_to" + (b"\xc0" if channel is None else msgpack.packb(channel))
            fields = [header, msgpack.packb("echo" if to_server else wire.OK), b"\x90"]
            if place == "header":
                fields[0] = b"\x84" + header[1:] + b"\xa6kwargs" + value
            elif place == "name":
                fields[1] = value
            elif place == "args":
                fields[2] = b"\x91" + value
            elif place == "id":
                fields[0] = b"\x81\xaamessage_id" + value
            else:
                fields[1:] = [b"\xa3ERR", b"\x93" + value * 3]
            pair.connection.send(to_server, b"\x93" + b"".join(fields))
            pair.advance()
            still_bounded(pair)
    still_works(pair)


@pytest.mark.parametrize("seed", range(5))
def test_a_flood_of_noise(seed: int) -> None:
    chance = random.Random(seed)
    pair = busy()
    for _ in range(3_000):
        pair.connection.send(chance.random() < 0.5, chance.randbytes(chance.choice([0, 1, 3, 20, 300])))
    pair.advance()
    still_bounded(pair)
    assert pair.client.session.dropped.total() + pair.server.session.dropped.total() >= 2_900
    still_works(pair)
