"""The frames of Majordomo 0.1 and 0.2, as RFC 7 and RFC 18 draw them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.core import majordomo as mdp
from mesh.core.majordomo import STANDARD, Command, FromClient, FromWorker, Style
from mesh.errors import WireError

WORKER_1 = [b"", b"MDPW01"]
WORKER_2 = [b"MDPW02"]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([*WORKER_1, b"\x01", b"echo"], FromWorker(STANDARD[1], Command.READY, "echo")),
        (
            [*WORKER_1, b"\x03", b"adr", b"", b"x"],
            FromWorker(STANDARD[1], Command.FINAL, address=b"adr", body=(b"x",)),
        ),
        ([*WORKER_1, b"\x04"], FromWorker(STANDARD[1], Command.HEARTBEAT)),
        ([*WORKER_1, b"\x05"], FromWorker(STANDARD[1], Command.DISCONNECT)),
        ([*WORKER_2, b"\x01", b"echo"], FromWorker(STANDARD[2], Command.READY, "echo")),
        (
            [*WORKER_2, b"\x03", b"adr", b"", b"x", b"y"],
            FromWorker(STANDARD[2], Command.PARTIAL, address=b"adr", body=(b"x", b"y")),
        ),
        (
            [*WORKER_2, b"\x04", b"adr", b"", b"x"],
            FromWorker(STANDARD[2], Command.FINAL, address=b"adr", body=(b"x",)),
        ),
        ([*WORKER_2, b"\x05"], FromWorker(STANDARD[2], Command.HEARTBEAT)),
        ([*WORKER_2, b"\x06"], FromWorker(STANDARD[2], Command.DISCONNECT)),
        ([b"", b"MDPC01", b"echo", b"x"], FromClient(STANDARD[1], "echo", (b"x",))),
        ([b"MDPC02", b"\x01", b"echo", b"x"], FromClient(STANDARD[2], "echo", (b"x",))),
        ([b"", b"MDPC02", b"\x01", b"echo", b"x"], FromClient(Style(2, True), "echo", (b"x",))),
        ([b"MDPW01", b"\x04"], FromWorker(Style(1, False), Command.HEARTBEAT)),
    ],
)
def test_reads_each_command(frames: list[bytes], expected: FromWorker | FromClient) -> None:
    assert mdp.read(frames) == expected


@pytest.mark.parametrize("style", [Style(1, True), Style(1, False), Style(2, True), Style(2, False)])
def test_reads_what_it_writes(style: Style) -> None:
    about = {"capacity": 8, "address": "tcp://10.0.0.1:1"}
    assert mdp.read(mdp.ready("echo", about, style)) == FromWorker(style, Command.READY, "echo", about)
    assert mdp.read(mdp.heartbeat(style)) == FromWorker(style, Command.HEARTBEAT)
    assert mdp.read(mdp.heartbeat(style, about)) == FromWorker(style, Command.HEARTBEAT, about=about)
    assert mdp.read(mdp.disconnect(style)) == FromWorker(style, Command.DISCONNECT)
    assert mdp.read(mdp.disconnect(style, "why")) == FromWorker(style, Command.DISCONNECT, reason="why")
    for command in (Command.REQUEST, Command.FINAL):
        frames = mdp.carried(style, command, b"adr", [b"", b"x"])
        assert mdp.read(frames) == FromWorker(style, command, address=b"adr", body=(b"", b"x"))
    assert mdp.read(mdp.request("echo", [b"x"], style)) == FromClient(style, "echo", (b"x",))


@pytest.mark.parametrize(
    "frames", [[], [b""], [b"", b""], [b"\x93\x80\xa1a\x90"], [b"", b"\x93\x80\xa1a\x90"]]
)
def test_leaves_what_is_not_majordomo_to_others(frames: list[bytes]) -> None:
    assert mdp.read(frames) is None


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([b"", b"MDPX01"], "no Majordomo protocol"),
        ([b"MDPW03", b"\x01"], "no Majordomo protocol"),
        (WORKER_1, "lacks its command"),
        ([*WORKER_1, b"\x06"], "no command of Majordomo 0.1"),
        ([*WORKER_2, b"\x07"], "no command of Majordomo 0.2"),
        ([*WORKER_2, b"\x01\x01"], "no command"),
        ([*WORKER_2, b"\x01"], "lacks the service"),
        ([*WORKER_2, b"\x01", b""], "1 to 255 bytes"),
        ([*WORKER_2, b"\x01", b"x" * 1_000_000], "1 to 255 bytes"),
        ([*WORKER_2, b"\x01", b"\xff\xfe"], "must be text"),
        ([*WORKER_2, b"\x01", b"a\nb"], "printable"),
        ([*WORKER_2, b"\x04", b"adr"], "one client address"),
        ([*WORKER_2, b"\x04", b"adr", b"x", b"y"], "one client address"),
        ([*WORKER_2, b"\x04", b"", b"", b"y"], "one client address"),
        ([b"MDPC02", b"\x02", b"echo", b"x"], "nothing but REQUEST"),
        ([b"MDPC02"], "nothing but REQUEST"),
        ([b"", b"MDPC01"], "service name and a body"),
        ([b"", b"MDPC01", b"echo"], "service name and a body"),
    ],
)
def test_says_what_breaks_the_protocol(frames: list[bytes], complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        mdp.read(frames)


@pytest.mark.parametrize("extra", [b"", b"\xc1", b"\x01", b"\x81\x01\x02", b"\xdf\xff\xff\xff\xff"])
def test_a_frame_after_the_service_that_mesh_has_not_written_is_ignored(extra: bytes) -> None:
    seen = mdp.read([*WORKER_2, b"\x01", b"echo", extra])
    assert isinstance(seen, FromWorker)
    assert seen.about is None


@pytest.mark.parametrize("extra", [b"", b"\xc1", b"\x01", b"\x81\xa1x\xc5\xff\xff" + b"x" * 65535])
def test_nor_what_follows_a_heartbeat(extra: bytes) -> None:
    assert mdp.read([*WORKER_2, b"\x05", extra]) == FromWorker(STANDARD[2], Command.HEARTBEAT)


def test_a_reason_is_text_of_one_line_and_not_without_an_end() -> None:
    seen = mdp.read([*WORKER_2, b"\x06", b"a\nb\xff" + b"x" * 10_000])
    assert isinstance(seen, FromWorker)
    assert seen.reason.startswith("a b\ufffd") and len(seen.reason) == mdp.MAX_REASON


@given(
    st.lists(
        st.one_of(st.binary(max_size=12), st.sampled_from([b"", b"MDPW01", b"MDPW02", b"MDPC01", b"MDPC02"]))
    )
)
def test_rubbish_raises_nothing_but_wire_errors(frames: list[bytes]) -> None:
    try:
        mdp.read(frames)
    except WireError:
        pass


def test_a_batch_is_bounded_in_bytes_on_whichever_side_it_is_read() -> None:
    """What it holds would take many times as much."""
    item = [mdp.REQUEST, b"token", b"x" * 1_000]
    assert len(list(mdp.read_batch(mdp.batch(item * 60)))) == 60
    for frame in (mdp.batch(item * 70), b"\xdd" + (1 << 20).to_bytes(4, "big") + b"\x80" * (1 << 20)):
        with pytest.raises(WireError, match="too large: 65536 at most"):
            mdp.read_batch(frame)
