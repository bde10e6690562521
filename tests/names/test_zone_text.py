"""Services as a zone: BIND loads it, and mesh finds the same endpoints in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dns.rdatatype
import dns.zone
import pytest

from mesh.names.entries import parse_services
from mesh.names.model import Endpoint, Found
from mesh.names.zone_text import ZoneText, zone_text
from mesh.transport.dns_names import DnsSource
from tests.helpers.dns_fixtures import dns as name_server
from tests.helpers.lying_dns import LyingServer
from tests.helpers.name_servers import program

__all__ = ["name_server"]

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
TEXT = f"""
users:
  - {{address: tcp://10.0.0.5:4242, weight: 3, version: "2", zone: 'a "b" \\ ü'}}
  - tcp://box:4242
  - {{hub: "tcp://[2001:db8::5]:5555", priority: 10}}
  - {{address: tcp://a.mesh.test:1, key: '{KEY}'}}
events: {{address: tcp://10.0.0.5:7002, type: pub}}
plain: tcp://10.0.0.6:1
"""
BOX = ["10.0.0.9", "2001:db8::9"]


def written(text: str) -> ZoneText:
    services = parse_services(text, "services.yml", {}).values()
    return zone_text(services, "mesh.test", lambda host: BOX if host == "box" else [], serial=1, ttl=7)


def put(server: LyingServer, zone: str) -> None:
    records = dns.zone.from_text(zone, "mesh.test.", relativize=False)
    for name, rdataset in records.iterate_rdatasets():
        kind = dns.rdatatype.to_text(rdataset.rdtype)
        if kind not in ("SOA", "NS"):
            server.put(name.to_text(True), kind, *(one.to_text() for one in rdataset), ttl=rdataset.ttl)


def likeness(endpoint: Endpoint) -> tuple[object, ...]:
    """All but where it is."""
    port = endpoint.address.rpartition(":")[2]
    return (
        endpoint.priority,
        endpoint.weight,
        port,
        endpoint.hub,
        endpoint.type,
        endpoint.key,
        endpoint.labels,
    )


def test_mesh_finds_the_same_in_it(name_server: LyingServer) -> None:
    made = written(TEXT)
    assert not made.left_out
    put(name_server, made.text)
    source = DnsSource()
    hosts: dict[str, tuple[str, ...]] = {}
    for name, service in parse_services(TEXT, "services.yml", {}).items():
        answer = source.lookup(name)
        assert isinstance(answer, Found), answer
        found = answer.service.endpoints
        assert sorted(map(likeness, found)) == sorted(map(likeness, service.endpoints))
        assert {one.ttl for one in found} == {7.0}
        hosts |= {one.address: one.hosts for one in found}
    assert hosts["tcp://ip-10-0-0-5.mesh.test:4242"] == ("10.0.0.5",)
    assert hosts["tcp://box.mesh.test:4242"] == tuple(BOX)
    assert hosts["tcp://ip-20010db8000000000000000000000005.mesh.test:5555"] == ("2001:db8::5",)


def test_bind_loads_it(tmp_path: Path) -> None:
    program("named")
    (tmp_path / "zone").write_text(written(TEXT).text + "a A 127.0.0.1\n")
    command = [program("named").replace("sbin/named", "bin/named-checkzone"), "mesh.test", "zone"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0 and result.stdout.endswith("OK\n"), result


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: ipc:///run/a.ipc", ":1: a: ipc:///run/a.ipc: only tcp:// endpoints can be in a zone"),
        ("a: tcp://nobox:1", ":1: a: tcp://nobox:1: its host 'nobox' has no domain and no address"),
        ("a: {address: tcp://box:1, timeout: 5}", ":1: a: timeout: a zone has no place for it"),
        ("a: {split: {b: 1}}", ":1: a: its calls are split, which a zone can't say"),
        ("a.b: tcp://box:1", ":1: a.b: a name with a dot names its domain itself, which is not mesh.test"),
        ("a: tcp://box:1\nA: tcp://box:2", ":2: A: DNS knows no upper and lower case, and there is 'a'"),
        (f"a: {{address: tcp://box:1, zone: {'ü' * 150}}}", ":1: a: zone: more than 255 bytes"),
    ],
)
def test_what_a_zone_can_not_say(text: str, said: str) -> None:
    assert written(text).left_out == [f"services.yml{said}"]
