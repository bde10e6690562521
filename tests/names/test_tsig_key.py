"""Key files as tsig-keygen writes them, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.errors import ConfigError
from mesh.names.tsig_key import parse_tsig_key, read_tsig_key

GENERATED = 'key "mesh" {\n\talgorithm hmac-sha256;\n\tsecret "c2VjcmV0Ly8jLyo=";\n};\n'


def test_what_tsig_keygen_writes_is_read() -> None:
    key = parse_tsig_key(GENERATED, "mesh.key")
    assert (key.name, key.algorithm, key.secret) == ("mesh", "hmac-sha256", b"secret//#/*")


@pytest.mark.parametrize(
    "text",
    [
        "// ours\n" + GENERATED,
        "/* two\nlines */ # and this\n" + GENERATED,
        "key mesh {algorithm HMAC-SHA256.; secret c2VjcmV0Ly8jLyo=;};",
        'options { directory "/var/cache/bind"; };\n' + GENERATED + 'zone "a" { type primary; };',
        GENERATED + 'key "other" { algorithm hmac-md5; secret "eA=="; };',
    ],
)
def test_other_ways_to_write_the_same(text: str) -> None:
    key = parse_tsig_key(text, "mesh.key")
    assert (key.name, key.algorithm, key.secret) == ("mesh", "hmac-sha256", b"secret//#/*")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no TSIG key"),
        ("Ppo7sGtfu4Kj0Kn4Pw==", "holds no TSIG key"),
        ('key "mesh" { algorithm hmac-sha256; };', "has no secret"),
        ('key "mesh" { secret "c2VjcmV0"; };', "has no algorithm"),
        ('key "mesh" { algorithm hmac-sha3; secret "c2VjcmV0"; };', "unknown algorithm 'hmac-sha3'"),
        ('key "mesh" { algorithm hmac-sha256; secret "not/base64!"; };', "is no base64"),
    ],
)
def test_what_is_wrong_is_told_without_the_secret(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_tsig_key(text, "mesh.key")
    assert str(caught.value).startswith("mesh.key: ") and problem in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value) and "not/base64!" not in str(caught.value)


def test_the_secret_is_not_shown() -> None:
    assert "secret" not in repr(parse_tsig_key(GENERATED, "mesh.key"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory: make one by `tsig-keygen mesh > "):
        read_tsig_key(str(tmp_path / "mesh.key"))
