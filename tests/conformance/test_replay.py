"""What old peers were recorded to say, said again to mesh, which must do as the other old peer did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

import mesh
from tests.conformance.recordings import Recording, load_all
from tests.helpers import peers
from tests.helpers.peers import Server
from tests.helpers.raw import RawClient, RawServer

# These tell of the server itself, which is another one.
ABOUT_THE_SERVER = ("ping", "name", "inspect")
ANSWERS = ("OK", "ERR", "STREAM", "STREAM_DONE")


def _answers(recording: Recording) -> list[list[Any]]:
    return [event for event in recording.by("server") if event[1] in ANSWERS]


RECORDINGS = [one for one in load_all() if not one.scenario.endswith(ABOUT_THE_SERVER)]
every_recording = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.scenario)


@pytest.fixture(scope="module")
def patient_server() -> Iterator[Server]:
    """The recorded heartbeats are sent at once, and no more come."""
    with peers.mesh_server(heartbeat=5) as server:
        yield server


@every_recording
def test_mesh_answers_a_recorded_client_as_the_old_server_did(
    patient_server: Server, recording: Recording
) -> None:
    expected = _answers(recording) or [[{}, "ERR", ["NameError", "no_such_method", ""]]]
    channel = recording.events[0][0]["message_id"]
    with RawClient(patient_server.endpoint) as raw:
        for sent in recording.messages:
            if sent.sender == "client":
                raw.send_payload(sent.frames[-1])
        for _, name, args in expected:
            header, said_name, said_args = raw.answer()
            assert list(header)[:3] == ["message_id", "v", "response_to"]
            assert header["response_to"] == channel
            assert type(header["response_to"]) is type(channel)
            assert said_name == name
            assert _comparable(name, said_args) == _comparable(name, args)


@pytest.mark.parametrize(
    "recording",
    [one for one in RECORDINGS if _answers(one)],  # zerorpc-node answers no unknown method
    ids=lambda recording: recording.scenario,
)
def test_a_mesh_client_takes_recorded_answers_as_the_old_client_did(recording: Recording) -> None:
    answers = _answers(recording)
    _, method, args = recording.events[0]
    with RawServer() as server, mesh.connect(server.endpoint, timeout=10) as client:
        caller = gevent.spawn(_outcome, client, method, args)
        header, asked, asked_args = server.receive()
        assert (asked, asked_args) == (method, args)
        credit = 1
        for answer_header, name, answer_args in answers:
            while name == "STREAM" and credit == 0:
                _, event, (more,) = server.receive()
                credit += more if event == "_zpc_more" else 0
            credit -= name == "STREAM"
            addressed = {**answer_header, "response_to": header["message_id"]}
            server.send(addressed, name, answer_args)
        if recording.scenario.endswith("abandoned-stream"):
            # As recorded: one item came, and the client left.
            assert caller.get(timeout=10) == ([0], None)
            return
        items, error = caller.get(timeout=10)
    assert items == [
        args if name == "STREAM" else args[0] for _, name, args in answers if name in ("OK", "STREAM")
    ]
    failed = [args for _, name, args in answers if name == "ERR"]
    assert error == (tuple(failed[0]) if failed else None)


def _comparable(name: str, args: Any) -> Any:
    if name == "STREAM_DONE":
        return args or None  # Node sends an empty array, Python nothing
    if name == "ERR":
        kind, text, _traceback = args
        if kind == "NameError":
            return kind, "no_such_method" in text
        return "ValueError" if kind == "RangeError" else kind, text
    return args


def _outcome(client: mesh.Client, method: str, args: list[Any]) -> tuple[list[Any], Any]:
    items: list[Any] = []
    try:
        result = client(method, *args)
        if not hasattr(result, "__next__"):
            return [result], None
        for item in result:
            items.append(item)
            if method == "endless":
                break
    except mesh.RemoteError as exc:
        return items, (exc.name, exc.msg, exc.traceback)
    return items, None
