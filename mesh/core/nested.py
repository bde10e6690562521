"""The calls that a handler makes: none outlasts the call that it carries out.

A call that a handler makes waits no longer than the handler's own caller does, also where nothing was said of
a timeout, and ends when that one is gone or has cancelled. So a chain of services has one deadline, and no
work goes on that nobody wants. A handler that has answered is free: what it left running goes on.
"""

from __future__ import annotations

from typing import Any, Final

from mesh.core.channel import DONE, NEVER, STREAMING
from mesh.core.client_call import Call
from mesh.core.server_call import ServerCall
from mesh.errors import LostRemote, MeshError, TimeoutExpired

MANY: Final = 16
"""Calls of one handler from which on those that have ended are forgotten, when they have doubled."""


def time_left(served: ServerCall, method: str, timeout: float | None, now: float) -> float | None:
    """Seconds that a call of `method` may take that the handler of `served` makes; None for no limit.

    timeout: what it would have otherwise. Raises TimeoutExpired or LostRemote, which are `refused`, where
    nobody waits for what the handler does.
    """
    if served.given_up:
        raise _refused(caller_gone(served, method))
    # Of a stream its caller waits for each item anew.
    if served.deadline == NEVER or served.state is DONE or served.state is STREAMING:
        return timeout
    left = served.deadline - now
    if left <= 0.0:
        raise _refused(
            TimeoutExpired(
                f"{method!r:.80} was not sent: the caller of {served.method!r:.80} waits no longer"
            )
        )
    return left if timeout is None or left < timeout else timeout


def note(served: ServerCall, call: Call, endpoint: Any) -> None:
    """A handler has made this call, by this endpoint."""
    nested = served.nested
    if nested is None:
        nested = served.nested = {}
    elif len(nested) >= MANY and not len(nested) & (len(nested) - 1):
        for one in [one for one in nested if one.state is DONE]:
            del nested[one]
    nested[call] = endpoint


def take(served: ServerCall) -> list[tuple[Call, Any]]:
    """Those of its calls that are open, each with its endpoint; it is over with them."""
    nested, served.nested = served.nested, None
    return [(call, endpoint) for call, endpoint in (nested or {}).items() if call.state is not DONE]


def caller_gone(served: ServerCall, method: str) -> LostRemote:
    """What a call of `method` ends with whose handler works for nobody."""
    return LostRemote(
        f"{method!r:.80} was given up: the caller of {served.method!r:.80} is gone, or has cancelled"
    )


def _refused(error: MeshError) -> MeshError:
    error.refused = True
    return error
