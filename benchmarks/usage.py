"""What a process uses, read from Linux's /proc. Must not know what the process does."""

from __future__ import annotations

import os
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all the threads of a process, in steps of 1/100 s (proc_pid_stat(5))."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    # The name in parentheses may hold spaces; what follows the last one is fields 3 and on.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_rss(pid: int) -> int:
    """The most memory that a process has had resident, in bytes."""
    return _status(pid, "VmHWM")


def rss(pid: int) -> int:
    """The memory that a process has resident, in bytes."""
    return _status(pid, "VmRSS")


def open_files(pid: int) -> int:
    """How many file descriptors a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * KIB
    raise LookupError(f"/proc/{pid}/status has no {key}; has process {pid} ended?")
