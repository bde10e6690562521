"""The ids of spans as other systems have them: 16 bytes for a trace, 8 for a span, none of them twice.

Here both sides of a call are one span, with one id. There each side is a span of its own: the callee's keeps
the id, as that is what its own calls have as their parent, and what it hands on in a `traceparent`. The
caller's, and that of a hub on the way, have ids that are made of it. All is made of the ids alone, so that
any collector gives the same.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

_NO_TRACE: Final = bytes(16)
_NO_SPAN: Final = bytes(8)


def trace_bytes(trace_id: str) -> bytes:
    """Those of its 32 hexadecimal digits; of another program's id, which has no such form, a hash."""
    if len(trace_id) == 32:
        try:
            found = bytes.fromhex(trace_id)
        except ValueError:
            found = b""
        if len(found) == 16 and found != _NO_TRACE:
            return found
    return _hash(16, b"trace", trace_id.encode("utf-8", "replace"))


def is_foreign(trace_id: str) -> bool:
    """Whether its bytes are a hash of it."""
    return trace_bytes(trace_id).hex() != trace_id


def span_bytes(span_id: str) -> bytes:
    """As with a trace, of 16 digits; none where there is no id."""
    if not span_id:
        return b""
    if len(span_id) == 16:
        try:
            found = bytes.fromhex(span_id)
        except ValueError:
            found = b""
        if len(found) == 8 and found != _NO_SPAN:
            return found
    return _hash(8, b"span", span_id.encode("utf-8", "replace"))


def caller_bytes(span: bytes) -> bytes:
    """The id of the caller's side of the span with these bytes."""
    return _hash(8, b"caller", span)


def made_bytes(*parts: bytes) -> bytes:
    """An id for what has none of its own. parts: what tells it from others."""
    return _hash(8, b"made", *parts)


def _hash(size: int, what: bytes, *parts: bytes) -> bytes:
    made = blake2b(digest_size=size, person=what)
    for part in parts:
        made.update(part)
    return made.digest()
