"""Which name servers are asked, and for which names."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.errors import ConfigError
from mesh.names.dns_settings import DnsSettings, NameServer, dns_settings, read_settings

LOCAL = NameServer("127.0.0.1")
OFFICE = """\
# written by hand
nameserver 10.0.0.53  # the one in the cellar
nameserver not-an-address
nameserver fe80::1%eth0
nameserver 10.0.0.54
nameserver 10.0.0.55
domain example.org
search example.com. eu.example.com
options ndots:5
"""
SERVERS = (NameServer("10.0.0.53"), NameServer("fe80::1%eth0"), NameServer("10.0.0.54"))


def test_without_a_domain_nobody_is_asked() -> None:
    assert dns_settings({}, "nameserver 10.0.0.53\n") is None
    assert dns_settings({"MESH_DNS": "127.0.0.1:5300"}, "") is None


def test_resolv_conf_has_servers_and_domains() -> None:
    found = dns_settings({}, OFFICE)
    assert found == DnsSettings(SERVERS, ("example.com", "eu.example.com"), of_system=True)


def test_the_last_of_its_lines_with_domains_counts() -> None:
    found = dns_settings({}, "search a.example b.example\ndomain c.example d.example\n")
    assert found == DnsSettings((LOCAL,), ("c.example",), of_system=True)


@pytest.mark.parametrize("search", ["search .", "search", "search -x- a..b", "search " + "x" * 300])
def test_what_makes_no_sense_in_resolv_conf_is_passed_over(search: str) -> None:
    assert dns_settings({}, f"nameserver\n\n;\n{search}\n") is None


def test_variables_go_before_resolv_conf() -> None:
    found = dns_settings({"MESH_DOMAIN": "mesh.test.", "MESH_DNS": "127.0.0.1:5300"}, OFFICE)
    assert found == DnsSettings((NameServer("127.0.0.1", 5300),), ("mesh.test",))
    found = dns_settings({"MESH_DOMAIN": "mesh.test"}, OFFICE)
    assert found == DnsSettings(SERVERS, ("mesh.test",), of_system=True)


def test_a_domain_that_is_set_to_nothing_turns_dns_off() -> None:
    assert dns_settings({"MESH_DOMAIN": ""}, OFFICE) is None


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("10.0.0.53", (NameServer("10.0.0.53"),)),
        ("localhost:5300", (NameServer("localhost", 5300),)),
        ("tcp:127.0.0.1:5300", (NameServer("127.0.0.1", 5300, tcp=True),)),
        ("[::1]:53, tcp:[fe80::1%eth0]", (NameServer("::1"), NameServer("fe80::1%eth0", tcp=True))),
    ],
)
def test_name_servers(text: str, servers: tuple[NameServer, ...]) -> None:
    found = dns_settings({"MESH_DOMAIN": "a b", "MESH_DNS": text}, "")
    assert found == DnsSettings(servers, ("a", "b"))
    assert dns_settings({"MESH_DOMAIN": "a", "MESH_DNS": " ".join(map(str, servers))}, "") == DnsSettings(
        servers, ("a",)
    )


@pytest.mark.parametrize("text", ["127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "::1", "udp:a:1", "a b:c"])
def test_a_wrong_name_server_is_said_to_be_wrong(text: str) -> None:
    with pytest.raises(ConfigError, match=r"MESH_DNS has '.*': write a name server as HOST:PORT"):
        dns_settings({"MESH_DOMAIN": "a", "MESH_DNS": text}, "")


@pytest.mark.parametrize(
    "text", ["a..b", "-a", "a b:c", "a." + "b" * 64, ".".join(["x" * 60] * 5), "{name}.a"]
)
def test_a_wrong_domain_is_said_to_be_wrong(text: str) -> None:
    with pytest.raises(ConfigError, match=r"MESH_DOMAIN has '.*', which is no domain"):
        dns_settings({"MESH_DOMAIN": text}, "")


@pytest.mark.parametrize(
    ("domains", "service", "names"),
    [
        (("example.com",), "users", ("_users._tcp.example.com",)),
        (("a.example", "b.example"), "Users", ("_users._tcp.a.example", "_users._tcp.b.example")),
        (("a.example", "b.example"), "users.c.example", ("_users._tcp.c.example",)),
        (("{service}.shop.svc.cluster.local",), "users", ("_users._tcp.users.shop.svc.cluster.local",)),
    ],
)
def test_the_names_of_a_service(domains: tuple[str, ...], service: str, names: tuple[str, ...]) -> None:
    assert DnsSettings((LOCAL,), domains).owner_names(service) == names


def test_the_file_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    found = read_settings({"MESH_DOMAIN": "a"}, str(path))
    assert found is not None and found == DnsSettings((LOCAL,), ("a",), of_system=True)
    path.write_bytes(b"search caf\xe9 \nnameserver 10.0.0.53\nsearch example.com\n")
    office = NameServer("10.0.0.53")
    assert read_settings({}, str(path)) == DnsSettings((office,), ("example.com",), of_system=True)
    assert found.present_servers(str(path)) == (office,), "the machine is in another network now"
    given = read_settings({"MESH_DOMAIN": "a", "MESH_DNS": "10.0.0.1"}, str(path))
    assert given is not None and given.present_servers(str(path)) == (NameServer("10.0.0.1"),)
