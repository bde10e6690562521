"""What some tests need and a machine may lack. They are skipped with the reason then, and fail in CI."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
from contextlib import suppress
from importlib.util import find_spec
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


def unshared() -> list[str]:
    """What a command begins with that is to be root of a network and a file system of its own."""
    for options in ("-mn", "-rmn"):
        command = ["unshare", options]
        with suppress(OSError):
            if not subprocess.run(
                [*command, "ip", "link", "set", "lo", "up"], capture_output=True
            ).returncode:
                return command
    lacking("no namespaces can be had (`unshare -rmn ip link set lo up`): allow them, and install iproute2")


def require_localhost() -> None:
    """Its name, which has no address where there is no hosts file."""
    try:
        socket.getaddrinfo("localhost", None, socket.AF_INET)
    except socket.gaierror as error:
        lacking(f"localhost has no address ({error.strerror}): it belongs into /etc/hosts")


def require_textual() -> None:
    """What the live screen of `mesh top` is made with."""
    if find_spec("textual") is None:
        lacking("there is no textual: pip install 'zeromesh[top]'")


def require_frameworks() -> None:
    """Those of other people that the examples are for."""
    for module in ("celery", "django", "fastapi", "flask", "gunicorn", "nbclient", "nbformat", "uvicorn"):
        if find_spec(module) is None:
            lacking(f"there is no {module}: pip install 'zeromesh[frameworks]'")
