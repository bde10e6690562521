"""`${NAME}` and `${NAME:-default}` in a text, as in a shell; `$${` stands for `${` itself.

Pure: whoever calls brings the variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

BEGIN: Final = "${"
MOST_CHARS: Final = 65_536
"""Characters that a text may have with its variables put in."""

_FORMS = "write ${NAME} or ${NAME:-DEFAULT}, or $${ for '${' itself"
_PART = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\})?")


def expand(text: str, variables: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """The text with its variables put in, once: what a value says is never looked at again.

    The second is the names of the variables. A default counts for a variable that is empty, too. Raises
    ValueError, without the text itself, for one that is not set, and for a `${` that begins none.
    """
    parts: list[str] = []
    names: list[str] = []
    end = size = 0
    for match in _PART.finditer(text):
        part = BEGIN if match[0] == "$${" else _value(match, text, variables)
        parts += (text[end : match.start()], part)
        size += match.start() - end + len(part)
        if size > MOST_CHARS:
            raise ValueError(f"has over {MOST_CHARS} characters with its variables put in: shorten them")
        end = match.end()
        if match[1]:
            names.append(match[1])
    return "".join((*parts, text[end:])), tuple(names)


def _value(match: re.Match[str], text: str, variables: Mapping[str, str]) -> str:
    name, default = match[1], match[2]
    if name is None:
        raise ValueError(_misuse(text[match.end() :]))
    value = variables.get(name)
    if default is not None:
        return value or default
    if value is None:
        right = f"set it, or write ${{{name}:-DEFAULT}}"
        raise ValueError(f"the variable {name} is not set: {right}")
    return value


def _misuse(rest: str) -> str:
    """What is wrong where `rest` follows on a `${` that begins no variable."""
    inner, closed, _ = rest.partition("}")
    if not closed:
        return f"'${{' has no '}}' that ends it: {_FORMS}"
    if BEGIN in inner:
        return f"a variable stands within another: {_FORMS}; a default is plain text without braces"
    return f"what stands between '${{' and '}}' is no variable: {_FORMS}; a name has letters, digits and '_'"
