"""A TSIG key from a file as BIND's tsig-keygen writes it, and as named.conf holds it.

Pure apart from the reading. The secret never stands in an error.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass, field

from mesh.errors import ConfigError
from mesh.names.textfile import decoded, open_at_once, problem_of

ALGORITHMS = ("hmac-md5", "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
"""Those of RFC 8945, section 6."""

_FORM = 'key "NAME" { algorithm hmac-sha256; secret "…"; };, as `tsig-keygen NAME` writes it'
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|#[^\n]*", re.DOTALL)
_KEY = re.compile(r'key\s+("[^"]+"|[^\s"{]+)\s*\{([^}]*)\}\s*;?', re.DOTALL)
_CLAUSE = re.compile(r'\s*(\w+)\s+("[^"]*"|[^\s;"]+)\s*;')


@dataclass(frozen=True, slots=True)
class TsigKey:
    """name: as the name server knows it. algorithm: one of ALGORITHMS."""

    name: str
    algorithm: str
    secret: bytes = field(repr=False)


def read_tsig_key(path: str) -> TsigKey:
    """The first key in the file. Raises ConfigError."""
    try:
        with open_at_once(path) as file:
            if problem := problem_of(os.fstat(file.fileno()), path, "key file"):
                raise ConfigError(problem)
            data = file.read()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}: make one by `tsig-keygen mesh > {path}`"
        ) from None
    return parse_tsig_key(decoded(data, path), path)


def parse_tsig_key(text: str, path: str) -> TsigKey:
    """The first key in the text. path: for the errors, all ConfigError."""
    # An opening quote would hide what follows "//" in a secret, which base64 may hold.
    parts = re.split(r'("[^"\n]*")', text)
    text = "".join(part if part.startswith('"') else _COMMENT.sub(" ", part) for part in parts)
    found = _KEY.search(text)
    if found is None:
        raise ConfigError(f"{path}: holds no TSIG key: it is to be {_FORM}")
    clauses = {name: value.strip('"') for name, value in _CLAUSE.findall(found[2])}
    name = found[1].strip('"')
    for clause in ("algorithm", "secret"):
        if not clauses.get(clause):
            raise ConfigError(f"{path}: the key {name!r:.80} has no {clause}: it is to be {_FORM}")
    algorithm = clauses["algorithm"].lower().rstrip(".").removesuffix(".sig-alg.reg.int")
    if algorithm not in ALGORITHMS:
        raise ConfigError(
            f"{path}: the key {name!r:.80} has the unknown algorithm {algorithm!r:.80}: it is one of "
            f"{', '.join(ALGORITHMS)}"
        )
    try:
        secret = base64.b64decode(clauses["secret"], validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{path}: the secret of the key {name!r:.80} is no base64") from None
    return TsigKey(name, algorithm, secret)
