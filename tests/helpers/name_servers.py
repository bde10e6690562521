"""Real name servers on ports of loopback: BIND, NSD, Unbound and dnsmasq, each with the zone mesh.test.

A test whose server is not installed is skipped, and fails where CI is set. Knows nothing of mesh.
"""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update

from tests.helpers.peers import free_port
from tests.helpers.processes import ROOT, Process, eventually
from tests.helpers.requirements import lacking

CONFIGS = ROOT / "configs" / "dns"
PACKAGES = {"named": "bind9", "nsd": "nsd", "unbound": "unbound", "dnsmasq": "dnsmasq-base"}
_SECRET = re.compile(r'key "(.*)" \{.*secret "(.*)";', re.S)


def program(name: str) -> str:
    """Where it is. Debian has name servers in /usr/sbin, which is not in every PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        lacking(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return found


class NameServer:
    """One that runs. address: as MESH_DNS has it."""

    def __init__(self, command: Sequence[str | Path], folder: Path, port: int, ask_for: str) -> None:
        self.address = f"127.0.0.1:{port}"
        self.port = port
        self.process = Process(command, cwd=folder)
        try:
            eventually(lambda: self._answers(ask_for), what=self.process.describe)
        except BaseException:
            self.close()
            raise

    def _answers(self, name: str) -> bool:
        assert self.process.returncode is None, self.process.describe()
        try:
            return self.ask(name, "SRV").rcode() == dns.rcode.NOERROR
        except (dns.exception.DNSException, OSError):
            return False

    def ask(self, name: str, kind: str) -> Any:
        return dns.query.udp(
            dns.message.make_query(name, kind), "127.0.0.1", 0.5, self.port, ignore_trailing=True
        )

    def records(self, name: str, kind: str) -> set[str]:
        """What it has of that name of mesh.test and kind; nothing where it does not answer, either."""
        try:
            answer = self.ask(f"{name}.mesh.test", kind)
        except (dns.exception.DNSException, OSError):
            return set()
        return {rdata.to_text() for one in answer.answer for rdata in one}

    def close(self) -> None:
        self.process.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Bind(NameServer):
    """named with configs/dns, which takes dynamic updates that are signed with its key.

    grant: what the key may do, in place of what the file says.
    """

    def __init__(self, folder: Path, grant: str = "grant mesh. zonesub SRV TXT A AAAA;") -> None:
        named = program("named")
        port = free_port()
        shutil.copytree(CONFIGS, folder, dirs_exist_ok=True)
        text = (CONFIGS / "named.conf").read_text()
        assert "port 5300" in text
        text = re.sub(r"grant mesh\..*?;", grant, text.replace("port 5300", f"port {port}"))
        (folder / "named.conf").write_text(text)
        self.key_file = folder / "mesh.key"
        match = _SECRET.search(self.key_file.read_text())
        assert match is not None
        self._keys = dns.tsigkeyring.from_text({match[1]: match[2]})
        command = [named, "-f", "-n", "1", "-c", "named.conf"]
        super().__init__(command, folder, port, "_users._tcp.mesh.test")

    def put(self, name: str, kind: str, *data: str, ttl: int = 1) -> None:
        """These are the records of that name of the zone and kind, from now on."""
        update = self._update()
        update.delete(name, kind)
        for one in data:
            update.add(name, ttl, kind, one)
        self._send(update)

    def service(self, name: str, *ports: str, ttl: int = 1) -> None:
        """It is at these ports of the host a."""
        self.put(f"_{name}._tcp", "SRV", *(f"10 1 {port} a" for port in ports), ttl=ttl)

    def _update(self) -> Any:
        return dns.update.UpdateMessage("mesh.test", keyring=self._keys, keyalgorithm=dns.tsig.HMAC_SHA256)

    def _send(self, update: Any) -> None:
        reply = dns.query.tcp(update, "127.0.0.1", 5, self.port)
        assert reply.rcode() == dns.rcode.NOERROR, reply


class Nsd(NameServer):
    """A static zone, which is read again after `write`."""

    def __init__(self, folder: Path) -> None:
        nsd = program("nsd")
        port = free_port()
        self._zone = folder / "mesh.test.zone"
        shutil.copy(CONFIGS / "mesh.test.zone", self._zone)
        (folder / "nsd.conf").write_text(f"""\
server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  pidfile: ""
  xfrdir: "{folder}"
  xfrdfile: ""
  zonelistfile: "{folder}/zone.list"
remote-control:
  control-enable: no
zone:
  name: mesh.test
  zonefile: mesh.test.zone
""")
        super().__init__([nsd, "-d", "-c", "nsd.conf"], folder, port, "_users._tcp.mesh.test")

    def write(self, *records: str, ttl: int = 1) -> None:
        """The zone's own records and these. Of a later serial, without which nobody would look."""
        text = (CONFIGS / "mesh.test.zone").read_text()
        serial = int(re.findall(r"hostmaster \( (\d+)", self._zone.read_text())[0]) + 1
        text = text.replace("$TTL 5", f"$TTL {ttl}").replace("hostmaster ( 1", f"hostmaster ( {serial}")
        self._zone.write_text(text + "\n".join(records) + "\n")
        self.process.signal(signal.SIGHUP)


class Unbound(NameServer):
    """A resolver that asks another server for mesh.test, and keeps what it has said."""

    def __init__(self, folder: Path, behind: NameServer) -> None:
        unbound = program("unbound")
        port = free_port()
        (folder / "unbound.conf").write_text(f"""\
server:
  interface: 127.0.0.1@{port}
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  num-threads: 1
  module-config: "iterator"
  do-not-query-localhost: no
  local-zone: "test." nodefault
remote-control:
  control-enable: no
stub-zone:
  name: mesh.test
  stub-addr: 127.0.0.1@{behind.port}
""")
        super().__init__([unbound, "-d", "-c", "unbound.conf"], folder, port, "_users._tcp.mesh.test")


class Dnsmasq(NameServer):
    """As Consul answers: in the domain service.consul, with TTL 0 and targets of hexadecimal addresses."""

    def __init__(self, folder: Path, port_of_users: str) -> None:
        dnsmasq = program("dnsmasq")
        port = free_port()
        target = "7f000001.addr.dc1.consul"
        name = "_users._tcp.service.consul"
        command: list[str] = [
            dnsmasq,
            "-k",
            "--conf-file=/dev/null",
            f"--port={port}",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--pid-file",
            "--local=/consul/",
            f"--srv-host={name},{target},{port_of_users},1,1",
            f"--host-record={target},127.0.0.1",
        ]
        super().__init__(command, folder, port, name)
