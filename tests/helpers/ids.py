"""Names of parametrised tests that are the same in every process."""

from __future__ import annotations

import re


def shown(value: object) -> str:
    """The value's repr without what differs from run to run."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
