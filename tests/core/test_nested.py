"""How long a handler's own calls may take, and which of them end with the call that it carries out."""

from __future__ import annotations

import pytest

from mesh.core import nested
from mesh.core.channel import NEVER, OPEN, STREAMING, State
from mesh.core.client_call import Call
from mesh.core.server_call import ServerCall
from mesh.errors import LostRemote, TimeoutExpired


@pytest.fixture
def served() -> ServerCall:
    call = ServerCall(b"peer", {"message_id": b"x"}, "front", [], 0, 100.0, 5.0)
    call.state = OPEN
    call.deadline = 110.0
    return call


@pytest.mark.parametrize(("timeout", "left"), [(30.0, 6.0), (None, 6.0), (2.0, 2.0)])
def test_no_longer_than_the_caller_waits(served: ServerCall, timeout: float | None, left: float) -> None:
    assert nested.time_left(served, "back", timeout, 104.0) == left


def test_as_long_as_its_client_says_where_nobody_waits_for_a_time(served: ServerCall) -> None:
    served.deadline = NEVER
    assert nested.time_left(served, "back", 30.0, 104.0) == 30.0
    served.deadline = 110.0
    served.state = STREAMING
    assert nested.time_left(served, "back", 30.0, 200.0) == 30.0, "each item has a time of its own"
    served.state = State.DONE
    assert nested.time_left(served, "back", None, 200.0) is None, "it has answered"


def test_none_is_begun_that_nobody_waits_for(served: ServerCall) -> None:
    with pytest.raises(TimeoutExpired, match="'back' was not sent: the caller of 'front' waits no") as late:
        nested.time_left(served, "back", 30.0, 110.0)
    served.given_up, served.state = True, State.DONE
    with pytest.raises(LostRemote, match="'back' was given up: the caller of 'front' is gone") as gone:
        nested.time_left(served, "back", 30.0, 104.0)
    assert late.value.refused and gone.value.refused


def test_those_that_are_open_end_with_it(served: ServerCall) -> None:
    calls = [Call(b"%d" % number, "back", 0.0, 5.0, NEVER) for number in range(3)]
    for call in calls:
        nested.note(served, call, "endpoint")
    calls[1].state = State.DONE
    assert nested.take(served) == [(calls[0], "endpoint"), (calls[2], "endpoint")]
    assert nested.take(served) == []


def test_those_that_have_ended_are_not_kept(served: ServerCall) -> None:
    for number in range(1_000):
        call = Call(b"%d" % number, "back", 0.0, 5.0, NEVER)
        nested.note(served, call, "endpoint")
        call.state = State.DONE
    assert served.nested is not None and len(served.nested) <= nested.MANY
