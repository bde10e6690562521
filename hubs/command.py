"""The `mesh-hub` command. This release has no hubs yet."""

from __future__ import annotations

import sys


def main() -> int:
    """Say so on standard error; 2 is the exit code of a wrong usage."""
    print(
        "mesh-hub: this release has no hubs yet; list a service's addresses in services.yml instead "
        "(NAME: [tcp://HOST:PORT, …]), the clients balance over them",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
