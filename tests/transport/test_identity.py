"""What a worker tells a hub of its methods fits in what the hub reads."""

from __future__ import annotations

import msgpack

from mesh.core.majordomo import MAX_ABOUT
from mesh.transport.identity import MAX_NAMES, myself, serves


def test_as_many_names_as_fit() -> None:
    names = [f"m\u00e9thod{number:03}" for number in range(MAX_NAMES // 14)]
    told = serves(names)
    assert told == {"methods": names}
    assert len(msgpack.packb(told | myself() | {"address": "ipc://" + "x" * 108})) < MAX_ABOUT
    assert serves([*names, "x" * 200]) == {}


def test_a_name_that_can_not_travel() -> None:
    assert serves({"get": len, "a\ud800": len}) == {}
