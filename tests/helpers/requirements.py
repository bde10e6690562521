"""What some tests need and a machine may lack. They are skipped with the reason then, and fail in CI."""

from __future__ import annotations

import os
import pty
import socket
from typing import NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """Skip the test that runs, or fail it in CI. reason: what is not there, and how one gets it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def require_terminals() -> None:
    """A chroot in a container often has none."""
    try:
        ends = pty.openpty()
    except OSError as error:
        lacking(f"no terminal can be opened ({error}): mount /dev/pts")
    for end in ends:
        os.close(end)


def require_localhost() -> None:
    """Its name, which has no address where there is no hosts file."""
    try:
        socket.getaddrinfo("localhost", None, socket.AF_INET)
    except socket.gaierror as error:
        lacking(f"localhost has no address ({error.strerror}): it belongs into /etc/hosts")
