"""The real BIND, with a zone that a key may update, on a loopback port of its own."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from tests.helpers.peers import free_port
from tests.helpers.processes import Process, eventually
from tests.helpers.requirements import lacking

ZONE = "mesh.test"
KEY = (
    'key "mesh." {\n\talgorithm hmac-sha256;\n\tsecret "bWVzaC10ZXN0LWtleS1ub3QtYS1zZWNyZXQtMDAwMDA=";\n};\n'
)
_CONFIGURATION = """\
options { directory "DIR"; listen-on port PORT { 127.0.0.1; }; listen-on-v6 { none; };
  pid-file "named.pid"; session-keyfile "session.key"; recursion no; dnssec-validation no; };
controls { };
zone "mesh.test" { type primary; file "mesh.test.zone"; update-policy { POLICY }; };
"""
_ZONE = """\
$ORIGIN mesh.test.
$TTL 5
@      SOA  ns hostmaster ( 1 60 30 600 2 )
@      NS   ns
ns     A    127.0.0.1
box    A    127.0.0.1
"""
POLICY = "grant mesh. zonesub SRV TXT A AAAA;"


@dataclass(slots=True)
class Bind:
    """port: on 127.0.0.1. key_file: of the key that may update the zone."""

    port: int
    folder: Path
    process: Process

    @property
    def key_file(self) -> Path:
        return self.folder / "mesh.key"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def records(self, name: str, kind: str) -> set[str]:
        """The data of a set of records; empty where it does not answer, too."""
        query = dns.message.make_query(f"{name}.{ZONE}" if name else ZONE, kind)
        try:
            answer = dns.query.udp(query, "127.0.0.1", 2, self.port)
        except (dns.exception.DNSException, OSError):
            return set()
        return {rdata.to_text() for one in answer.answer for rdata in one}


@contextmanager
def bind9(folder: Path, policy: str = POLICY) -> Iterator[Bind]:
    """named, once it answers."""
    program = shutil.which("named", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        lacking("BIND is not installed: on Debian, apt-get install bind9")
    folder.mkdir(exist_ok=True)
    port = free_port()
    text = KEY + _CONFIGURATION.replace("DIR", str(folder)).replace("PORT", str(port))
    (folder / "named.conf").write_text(text.replace("POLICY", policy))
    (folder / "mesh.test.zone").write_text(_ZONE)
    (folder / "mesh.key").write_text(KEY)
    with Process([program, "-g", "-n", "1", "-c", folder / "named.conf"]) as process:
        bind = Bind(port, folder, process)
        eventually(lambda: _listens(port) and bool(bind.records("", "SOA")))
        yield bind


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
