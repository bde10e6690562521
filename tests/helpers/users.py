"""What another user than root may do: root may open everything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def unprivileged() -> Iterator[None]:
    """As nobody inside the block, all threads of the process; as who runs it where that is not root."""
    if os.geteuid() != 0:
        yield
        return
    group = os.getegid()
    try:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    except OSError as exc:
        pytest.skip(f"this root may not become nobody: {exc}")
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter and list, as pytest's own are not; it belongs to who runs it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            for path, folders, _ in os.walk(name):
                for one in folders:
                    os.chmod(os.path.join(path, one), 0o700)
