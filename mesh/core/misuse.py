"""What a program is told that uses a client's objects in a way they do not have.

Python's own words for it ("object does not support the asynchronous context manager protocol", "object is
not iterable") do not say what to write instead. A class that has an instance of `Advice` under the name of
such a protocol's method says it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def advice(text: str) -> Callable[..., NoReturn]:
    """A method that raises TypeError with this text, whatever it is called with. {kind} in it stands for the
    name of the object's class.
    """

    def misused(self: object, *_: Any) -> NoReturn:
        raise TypeError(text.format(kind=type(self).__name__))

    return misused


def no_such_attribute(method: str, name: str) -> AttributeError:
    """What a remote method says that is asked for an attribute."""
    dotted = f"{method}.{name}"
    return AttributeError(
        f"the remote method {method!r:.80} has no attribute {name!r:.80}; a method whose name has a dot "
        f"in it is called as client({dotted!r:.160}, …)"
    )
