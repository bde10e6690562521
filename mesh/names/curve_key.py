"""The text of a CURVE public key: is it one, and what would be right where it is not."""

from __future__ import annotations

import re
from typing import Final

KEY_CHARS: Final = 40  # 32 bytes in Z85
KEY_RULE: Final = f"must be a CURVE public key, {KEY_CHARS} characters of Z85"
_Z85 = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]+")


def key_problem(text: str) -> str:
    """Why it is none, after KEY_RULE; "" where it is one. None of it is shown: it may be secret."""
    if len(text) != KEY_CHARS:
        return f"has {len(text)} characters"
    return "" if _Z85.fullmatch(text) else "has a character that Z85 lacks"
