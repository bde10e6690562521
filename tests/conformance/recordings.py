"""The recorded conversations of old peers: how they are kept in golden/*.json, and read again.

A file holds one scenario: the peer, and every message that passed, in order, with its sender, its frames
as hexadecimal text, and its event decoded for the reader. Bytes within it stand as {"ascii": text} or
{"bytes": hexadecimal}.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers.tap import Sent

GOLDEN = Path(__file__).parent / "golden"


class Recording(NamedTuple):
    scenario: str
    peer: str
    messages: list[Sent]
    events: list[list[Any]]
    """The decoded form of each message, as it stands in the file."""

    def by(self, sender: str) -> list[list[Any]]:
        return [
            event for sent, event in zip(self.messages, self.events, strict=True) if sent.sender == sender
        ]


def save(scenario: str, peer: str, messages: list[Sent]) -> None:
    lines = [
        {
            "from": one.sender,
            "event": _readable(one.event),
            "frames": [frame.hex() for frame in one.frames],
        }
        for one in messages
    ]
    body = ",\n".join("    " + json.dumps(line, ensure_ascii=False) for line in lines)
    text = f'{{\n  "peer": {json.dumps(peer)},\n  "messages": [\n{body}\n  ]\n}}\n'
    (GOLDEN / f"{scenario}.json").write_text(text, encoding="utf-8")


def load(path: Path) -> Recording:
    content = json.loads(path.read_text(encoding="utf-8"))
    messages = [
        Sent(one["from"], [bytes.fromhex(frame) for frame in one["frames"]]) for one in content["messages"]
    ]
    events = [_original(one["event"]) for one in content["messages"]]
    return Recording(path.stem, content["peer"], messages, events)


def load_all() -> list[Recording]:
    return [load(path) for path in sorted(GOLDEN.glob("*.json"))]


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        plain = value.isascii() and value.decode().isprintable()
        return {"ascii": value.decode()} if plain else {"bytes": value.hex()}
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value


def _original(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"bytes"}:
            return bytes.fromhex(value["bytes"])
        if set(value) == {"ascii"}:
            return value["ascii"].encode()
        return {key: _original(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_original(item) for item in value]
    return value
