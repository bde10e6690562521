"""The errors that end a client's calls: what a peer reports, and what the client finds out itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from mesh import errors
from mesh.core import wire
from mesh.core.client_call import Call
from mesh.core.peer import Peer
from mesh.core.route import Route
from mesh.core.span import Span
from mesh.core.wire import Header, as_text
from mesh.errors import (
    LostRemote,
    MeshError,
    MethodNotFound,
    Overloaded,
    RemoteError,
    ServiceNotFound,
    TimeoutExpired,
    WireError,
)

MAX_NAME = 200
"""Characters of the class name of a remote error."""
NOT_TOLD: Final = "no name server has told yet where the service is"
_OLD_UNKNOWN: Final = re.compile(
    r"Traceback \(most recent call last\):\n"
    r'  File "[^"\n]*\bzerorpc[/\\]core\.pyc?", line \d+, in _async_task\n'
    r"(?:    [^\n]*\n)*"
)
"""How zerorpc-python's traceback begins where its server has found no handler: with one frame, its own.
What a handler raises has others after it."""


def expired(
    method: str, waited: float, peer: Peer | None, peers: Sequence[Peer], awaited: str = ""
) -> TimeoutExpired:
    """No answer in time. peer: whom the call was sent to, None where it was not sent at all. awaited: who has
    still to tell where peers are.
    """
    if peer is not None:
        return TimeoutExpired(f"no answer from {peer.endpoint} to {method!r:.80} after {waited:.4g} s")
    whys = "; ".join(f"{peer.endpoint}: {peer.why}" for peer in peers[:3]) or not_told(awaited)
    error = TimeoutExpired(f"{method!r:.80} could not be sent after {waited:.4g} s: {whys}")
    error.refused = True
    return error


def not_told(awaited: str) -> str:
    """Why it is not known where to go. awaited: who has still to tell that, and why that has not come, in
    words; "" where nobody has.
    """
    return f"{NOT_TOLD}: {awaited}" if awaited else NOT_TOLD


def nowhere(why: MeshError, method: str) -> MeshError:
    """There is no endpoint for a call. why: that of the service, which many calls may end with."""
    error = type(why)(f"{method!r:.80} was not sent: {why}")
    error.refused = True
    return error


def closed(call: Call) -> LostRemote:
    return LostRemote(f"the client was closed while {call.method!r:.80} was open")


def not_sent(peer: Peer, method: str) -> LostRemote:
    error = LostRemote(f"{peer.endpoint} is gone ({peer.why}) before {method!r:.80} could be sent")
    error.refused = True
    return error


def no_room(method: str, waiting: int, peers: Sequence[Peer]) -> Overloaded:
    """Too many calls wait for a connection."""
    where = ", ".join(peer.endpoint for peer in peers[:3]) or "any server"
    return _refused(f"{method!r:.80} was not sent: {waiting} calls wait for a connection to {where} already")


def not_read(method: str, waiting: int, peer: Peer) -> Overloaded:
    """Too many calls wait for a server to read."""
    return _refused(
        f"{method!r:.80} was not sent: {waiting} messages wait already for {peer.endpoint}, which does not "
        "read, or are more than can be sent in one turn of the loop: make fewer calls at once"
    )


def not_labelled(route: Route, peers: Sequence[Peer]) -> ServiceNotFound:
    """No endpoint is what the caller asks for."""
    known = sorted({f"{name}={value}" for peer in peers for name, value in peer.labels.items()})
    others = f"there are {', '.join(known[:10])}" if known else "none of them has labels"
    error = ServiceNotFound(f"no endpoint of {len(peers)} has {route}: {others}")
    error.refused = True
    return error


def _refused(text: str) -> Overloaded:
    error = Overloaded(text)
    error.refused = True
    return error


def tell_trace(error: Exception, span: Span) -> None:
    """Have the error of a call say to which trace it belongs. Where a remote traceback ends with that, as it
    is of an error that was passed on, it is not said there, so that it stands once whatever the depth.
    """
    if isinstance(error, MeshError) and error.trace_id is None:
        error.trace_id = span.trace_id
        line = f"TraceID: {span.trace_id}"
        notes = getattr(error, "__notes__", None)
        if notes and notes[-1].endswith(f"\n{line}\n"):
            notes[-1] = notes[-1].removesuffix(f"{line}\n")
        error.add_note(line)


def remote(header: Header, args: Any, peer: Peer, method: str) -> Exception:
    """The exception that an ERR carries: of protocol 1 only its text, else name, text, traceback.

    The header key `refused` marks an error of the server's own: True where no handler saw the call. Of
    a method that does not exist it tells a mesh server's from a NameError that a handler raised; an old
    server's is told by its traceback.
    """
    if type(args) is not list or not args:
        return WireError("the remote answered with an error that has no text")
    if len(args) < 2:
        return RemoteError("RemoteError", as_text(args[0]))
    name, msg = as_text(args[0])[:MAX_NAME], as_text(args[1])
    trace = as_text(args[2]) if len(args) > 2 and args[2] else None
    refused = header.get("refused")
    if name == wire.UNKNOWN_METHOD:
        if refused is True:
            return _no_method(msg, trace)
        if trace and _is_old_unknown(trace, msg, method):
            return _no_method(f"{peer.endpoint} has no method {method!r:.100}", trace)
    if refused is True or (refused is False and name in errors.BY_NAME):
        ended = "refused" if refused else "gave up"
        error = errors.BY_NAME.get(name, Overloaded)(f"{peer.endpoint} {ended} {method!r:.80}: {msg}")
        error.refused = refused
        if isinstance(error, Overloaded):
            error.pause = _seconds(header.get("pause"))
        return error
    builtin = header.get("builtin")
    raised = errors.remote_error(name, msg, trace, builtin if type(builtin) is str else None)
    if trace and not _says_no_more(*args[:3]):
        raised.add_note(f"The remote traceback:\n{trace}")
    return raised


def _seconds(milliseconds: Any) -> float | None:
    """None for what is no time."""
    return milliseconds / 1000 if type(milliseconds) is int and 0 <= milliseconds < 2**32 else None


def _no_method(msg: str, trace: str | None) -> MethodNotFound:
    error = MethodNotFound(msg, trace)
    error.refused = True
    return error


def _is_old_unknown(trace: str, msg: str, method: str) -> bool:
    """Whether zerorpc-python's own code has raised it, in place of calling a handler."""
    own_frame = _OLD_UNKNOWN.match(trace)
    return msg == method and own_frame is not None and trace[own_frame.end() :] == f"NameError: {msg}\n"


def _says_no_more(name: Any, msg: Any, trace: Any) -> bool:
    """Whether a traceback is but the text, for clients that print nothing else."""
    texts = type(name) is type(msg) is type(trace) is str
    return texts and [name, msg, trace] == wire.plain_error(name, msg)
