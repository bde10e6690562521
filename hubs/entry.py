"""Where `mesh-hub` begins: see mesh/cli/entry.py."""

from __future__ import annotations

from mesh.cli.entry import hold


def mesh_hub() -> int:
    """The `mesh-hub` command; gives the exit code."""
    hold()
    from hubs.command import main

    return main()
