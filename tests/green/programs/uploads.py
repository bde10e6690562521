"""A client that opens a stream and then sends one large value. Arguments: endpoint, heartbeat, bytes."""

from __future__ import annotations

import sys

import mesh


def main(endpoint: str, heartbeat: str, size: str) -> None:
    client = mesh.connect(endpoint, heartbeat=float(heartbeat), timeout=None)
    stream = client.plain_ticks()
    next(stream)
    client.echo.future(1).result()
    print("uploading", flush=True)
    client.echo(b"x" * int(size))


if __name__ == "__main__":
    main(*sys.argv[1:])
