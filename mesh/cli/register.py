"""The `mesh-register` command. Workers register with hubs, and this release has none."""

from __future__ import annotations

import sys


def main() -> int:
    """Say so on standard error; 2 is the exit code of a wrong usage."""
    print(
        "mesh-register: not in this release yet; serve code directly with: mesh serve TARGET",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
