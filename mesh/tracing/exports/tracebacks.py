"""Tracebacks that came once, and by their fingerprint from then on."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from mesh.core.trace_record import FINGERPRINT, TRACEBACK

MOST: Final = 300
MOST_CHARS: Final = 16 * 1024
"""Of one; of a longer one its end, where the raise is."""


MOST_OF_FINGERPRINT: Final = 64
"""Characters; a longer one is none."""


class Tracebacks:
    """The last that were told or asked for."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[str, str] = OrderedDict()

    def of(self, detail: Mapping[str, Any]) -> str:
        """The one of a record; "" where it has none, or it was told too long ago."""
        text, fingerprint = detail.get(TRACEBACK), fingerprint_of(detail)
        if type(text) is str and text:
            text = text[-MOST_CHARS:]
            if fingerprint:
                self._keep(fingerprint, text)
            return text
        if fingerprint not in self._known:
            return ""
        self._known.move_to_end(fingerprint)
        return self._known[fingerprint]

    def _keep(self, fingerprint: str, text: str) -> None:
        self._known[fingerprint] = text
        self._known.move_to_end(fingerprint)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def fingerprint_of(detail: Mapping[str, Any]) -> str:
    """What stands for the traceback of a record; "" where it has none."""
    value = detail.get(FINGERPRINT)
    return value if type(value) is str and len(value) <= MOST_OF_FINGERPRINT else ""
