"""Records anew what unchanged old peers say to each other: `python -m tests.conformance.record`.

A client and a server of the same language, with a tap between them, play each scenario. Tracebacks are
switched off in the server: they would hold the paths of the machine that recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.conformance import recordings
from tests.helpers.peers import LOCAL, SCRIPTS, Language, OldClient, Server, free_port
from tests.helpers.processes import eventually
from tests.helpers.tap import Tap

VALUES: list[Any] = [
    None,
    True,
    False,
    [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1],
    [-1, -32, -33, -128, -129, -32_768, -32_769, -(2**31)],
    [0.5, -1.25, 3.141592653589793, 1e300, 2.0**40],
    "plain",
    "Größe, 数, 🚀",
    "x" * 31 + "y" * 32,
    "long " * 60,
    b"",
    b"\x00\xff\xfe",
    bytes(range(256)),
    [],
    {},
    [1, [2, [3, [4, {"five": [6]}]]]],
    {"text": "t", "none": None, "list": [1, "2", 3.5], "map": {"é": b"\x01"}},
    list(range(20)),
    {f"key{number}": number for number in range(20)},
]
BIG: list[Any] = [2**32 - 1, 2**32, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, -(2**31) - 1, -(2**53)]

Scenario = Callable[[OldClient], Any]
SCENARIOS: dict[str, Scenario] = {
    "unary": lambda client: client.call("add", 1, 2),
    "no-arguments": lambda client: client.call("nothing"),
    "values": lambda client: client.call("echo", VALUES),
    "error": lambda client: client.call("fail", "Odd", "Größe"),
    "unknown-method": lambda client: client.call("no_such_method", 1),
    "ping": lambda client: client.call("_zerorpc_ping"),
    "stream": lambda client: client.stream("count", 60),
    "stream-empty": lambda client: client.stream("count", 0),
    "stream-values": lambda client: client.stream("items", VALUES),
    "stream-error": lambda client: client.stream("fail_after", 3),
    "heartbeat": lambda client: client.call("wait", 2.5),
}
PYTHON_ONLY: dict[str, Scenario] = {
    "big-integers": lambda client: client.call("echo", BIG),
    "name": lambda client: client.call("_zerorpc_name"),
    "help": lambda client: client.call("_zerorpc_help", "add"),
    "abandoned-stream": lambda client: client.stream("endless", take=1),
}
NODE_ONLY: dict[str, Scenario] = {"inspect": lambda client: client.call("_zerorpc_inspect")}

_WITHOUT_TRACEBACKS = (
    "import runpy, sys; sys.tracebacklimit = 0; del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def record(language: Language) -> None:
    script: list[str | Path]
    if language == "python":
        peer = f"zerorpc-python {version('zerorpc')}"
        script = [sys.executable, "-c", _WITHOUT_TRACEBACKS, SCRIPTS / "python_server.py", f"{LOCAL}:*"]
        scenarios = SCENARIOS | PYTHON_ONLY
    else:
        peer = "zerorpc-node 0.9.8"
        endpoint = f"{LOCAL}:{free_port()}"
        script = [
            "node",
            "--no-deprecation",
            "--stack-trace-limit=0",
            SCRIPTS / "node" / "server.js",
            endpoint,
        ]
        scenarios = SCENARIOS | NODE_ONLY
    with Server([*script, "1"]) as server:
        for name, play in scenarios.items():
            messages = _play(language, server.endpoint, play)
            recordings.save(f"{language}-{name}", peer, messages)
            print(f"{language}-{name}: {len(messages)} messages")


def _play(language: Language, endpoint: str, play: Scenario) -> list[Any]:
    with Tap(endpoint) as tap, OldClient(language, tap.endpoint, timeout=4) as client:
        play(client)
        eventually(lambda: tap.seen, what="the first message")
        return list(tap.seen)


if __name__ == "__main__":
    record("python")
    record("node")
