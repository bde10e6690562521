"""The recorded bytes of old peers, read by mesh's wire format and written again."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core import wire
from tests.conformance.recordings import Recording, load_all

RECORDINGS = load_all()
every_recording = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.scenario)


@every_recording
def test_an_event_is_read_as_the_peer_meant_it(recording: Recording) -> None:
    for sent, (header, name, args) in zip(recording.messages, recording.events, strict=True):
        assert sent.frames[:-1] == [b""], "an event stands behind one empty frame"
        assert wire.unpack(sent.frames[-1]) == (header, name, args)


@every_recording
def test_an_event_is_written_byte_for_byte_as_the_peer_wrote_it(recording: Recording) -> None:
    for sent, (header, name, args) in zip(recording.messages, recording.events, strict=True):
        assert wire.pack(header, name, args) == sent.frames[-1]


@every_recording
def test_arguments_in_a_tuple_are_written_as_the_array_of_the_peer(recording: Recording) -> None:
    for sent, (header, name, args) in zip(recording.messages, recording.events, strict=True):
        if isinstance(args, list):
            assert wire.pack(header, name, tuple(args)) == sent.frames[-1]


@every_recording
def test_the_decoded_form_keeps_the_types(recording: Recording) -> None:
    """1, 1.0 and True are equal to Python, and bytes could pass for text in a careless file."""
    for sent, expected in zip(recording.messages, recording.events, strict=True):
        assert _typed(list(wire.unpack(sent.frames[-1]))) == _typed(expected)


@pytest.mark.parametrize("language", ["python", "node"])
@pytest.mark.parametrize("sender", ["client", "server"])
def test_header_keys_and_ids_are_those_of_the_peer(language: str, sender: str) -> None:
    id_type, first = (bytes, ["message_id", "v"]) if language == "python" else (str, ["v", "message_id"])
    seen = 0
    for recording in RECORDINGS:
        if not recording.scenario.startswith(language):
            continue
        opening = recording.events[0][0]["message_id"]
        for header, _name, _args in recording.by(sender):
            seen += 1
            assert list(header)[:2] == first
            assert header["v"] == wire.VERSION
            assert type(header["message_id"]) is id_type
            if header["message_id"] != opening:
                assert list(header) == [*first, "response_to"]
                assert header["response_to"] == opening
    assert seen


@pytest.mark.parametrize("language", ["python", "node"])
def test_the_recordings_hold_every_event_of_the_protocol(language: str) -> None:
    said = {
        (sent.sender, event[1])
        for recording in RECORDINGS
        if recording.scenario.startswith(language)
        for sent, event in zip(recording.messages, recording.events, strict=True)
    }
    server = {wire.OK, wire.ERR, wire.STREAM, wire.STREAM_DONE, wire.BEAT}
    assert {("server", name) for name in server} <= said
    assert {("client", wire.BEAT), ("client", wire.MORE)} <= said


def test_the_facts_that_the_old_code_settles() -> None:
    """Where the old description and the old code differ, peers follow the code."""
    (_, name, value) = _first("python-stream", "server", wire.STREAM)
    assert (name, value) == ("STREAM", 0), "a stream's item is the bare value"
    assert _first("python-stream", "server", wire.STREAM_DONE)[2] is None
    assert _first("node-stream", "server", wire.STREAM_DONE)[2] == []
    for language in ("python", "node"):
        for sender in ("client", "server"):
            assert _first(f"{language}-heartbeat", sender, wire.BEAT)[2] == [0]
        assert _first(f"{language}-stream", "client", wire.MORE)[2] == [100]


def _first(scenario: str, sender: str, name: str) -> list[Any]:
    (recording,) = (one for one in RECORDINGS if one.scenario == scenario)
    return next(event for event in recording.by(sender) if event[1] == name)


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return dict, [(_typed(key), _typed(item)) for key, item in value.items()]
    if isinstance(value, list):
        return list, [_typed(item) for item in value]
    return type(value), value
