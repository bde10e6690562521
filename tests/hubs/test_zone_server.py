"""What a hub writes into a zone of the real BIND, with its own clock, and what BIND says to wrong things."""

from __future__ import annotations

import dataclasses
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hubs.publisher import own_address
from hubs.zone_server import ZoneServer
from mesh.names.publication import (
    PERIOD,
    Key,
    Publication,
    PublishedEndpoint,
    Read,
    Record,
    Update,
    ZoneError,
)
from mesh.names.tsig_key import TsigKey, parse_tsig_key
from tests.helpers.dns_fixtures import dns
from tests.helpers.lying_dns import LyingServer
from tests.helpers.name_servers import CONFIGS, Bind, Nsd
from tests.helpers.peers import nobody
from tests.helpers.zone import run

__all__ = ["dns"]

ZONE = "mesh.test"
KEY = (CONFIGS / "mesh.key").read_text()
HUB, OTHER = (
    PublishedEndpoint("box.mesh.test.", 5555, hub=True),
    PublishedEndpoint("other.mesh.test.", 5555, hub=True),
)


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    with Bind(tmp_path_factory.mktemp("bind")) as one:
        yield one


def server(bind: Bind, key: TsigKey | None = None, zone: str = ZONE) -> ZoneServer:
    return ZoneServer(zone, ("127.0.0.1", bind.port), key or parse_tsig_key(KEY, "mesh.key"), 5)


def published(bind: Bind, name: str, hub_id: str, place: PublishedEndpoint, now: float = 0.0) -> Publication:
    publication = Publication(hub_id, f"r{now:g}", now)
    publication.want({name: [place, PublishedEndpoint("w1.mesh.test.", 4242)]})
    run(publication, server(bind), now, now + 1.0)
    return publication


def test_a_hub_is_found_and_withdrawn(bind: Bind) -> None:
    publication = published(bind, "found", "found-5555", HUB)
    assert bind.records("_found._tcp", "SRV") == {"10 1 5555 box.mesh.test.", "10 1 4242 w1.mesh.test."}
    assert bind.records("_found._tcp", "TXT") == {
        '"at=box.mesh.test:5555" "hub=1" "by=found-5555"',
        '"at=w1.mesh.test:4242" "by=found-5555"',
    }
    assert bind.records("found-5555._mesh", "TXT") == {'"lease=1" "period=10" "run=r0"'}
    run(publication, server(bind), 1.0, PERIOD)
    assert bind.records("found-5555._mesh", "TXT") == {'"lease=2" "period=10" "run=r0"'}
    publication.withdraw(12.0)
    run(publication, server(bind), 12.0, 14.0)
    assert publication.withdrawn
    for name, kind in (("_found._tcp", "SRV"), ("_found._tcp", "TXT"), ("found-5555._mesh", "TXT")):
        assert not bind.records(name, kind)


def test_a_crashed_hub_is_swept_by_another(bind: Bind) -> None:
    published(bind, "swept", "crashed-5555", HUB)
    other = published(bind, "swept", "other-5555", OTHER, 1_000.0)
    run(other, server(bind), 1_001.0, 1_000.0 + 3 * PERIOD - 1)
    assert len(bind.records("_swept._tcp", "SRV")) == 3
    run(other, server(bind), 1_000.0 + 3 * PERIOD - 1, 1_000.0 + 5 * PERIOD)
    # The worker of both is still the other's.
    assert bind.records("_swept._tcp", "SRV") == {"10 1 5555 other.mesh.test.", "10 1 4242 w1.mesh.test."}
    assert not bind.records("crashed-5555._mesh", "TXT")


def test_a_second_hub_of_the_same_id_is_found_out(bind: Bind) -> None:
    first = published(bind, "twice", "twice-5555", HUB)
    second = published(bind, "twice", "twice-5555", OTHER, 2.0)
    run(first, server(bind), 2.0, PERIOD + 3)
    assert first.doubled and not second.doubled


def test_an_update_that_requires_what_is_not_there_changes_nothing(bind: Bind) -> None:
    key, txt = Key("lease.required", "TXT"), Record(Key("added", "TXT"), ("a",))
    one = server(bind)
    assert one.carry_out(Update({key: frozenset({("lease=1",)})}, add=(txt,))) is False
    assert one.carry_out(Update({key: frozenset()}, add=(txt, Record(key, ("lease=1",))))) is True
    assert one.carry_out(Update({key: frozenset()}, delete=(txt,))) is False
    assert (
        one.carry_out(Update({key: frozenset({("lease=1",)})}, delete=(txt, Record(key, ("lease=1",)))))
        is True
    )
    assert one.carry_out(Read((txt.key, key))) == {}


def test_many_sets_are_read_at_once(bind: Bind) -> None:
    one = server(bind)
    records = [Record(Key(f"_many{number}._tcp", "TXT"), (f"at=b:{number}",)) for number in range(150)]
    assert one.carry_out(Update({}, add=tuple(records))) is True
    keys = [record.key for record in records]
    assert one.carry_out(Read((*keys, Key("none", "SRV")))) == {
        key: frozenset({data}) for key, data in records
    }


def test_strings_of_others_are_read_as_they_are(bind: Bind) -> None:
    one, record = server(bind), Record(Key("odd", "TXT"), ('quote " and \\', "\xe4\xff\0", ""))
    assert one.carry_out(Update({}, add=(record,))) is True
    assert one.carry_out(Read((record.key,))) == {record.key: frozenset({record.data})}


def problem(one: ZoneServer, *records: Record) -> str:
    with pytest.raises(ZoneError) as caught:
        one.carry_out(Update({}, add=records or (Record(Key("x", "TXT"), ("x",)),)))
    return str(caught.value)


def test_what_is_wrong_with_a_key_is_told(bind: Bind) -> None:
    key = parse_tsig_key(KEY, "mesh.key")
    wrong = dataclasses.replace(key, secret=b"another secret, as long as it is")
    assert "says BADSIG: it knows a key 'mesh.' with another secret" in problem(server(bind, wrong))
    unknown = dataclasses.replace(key, name="other.")
    assert "says BADKEY: it has no key 'other.'" in problem(server(bind, unknown))


def test_a_clock_that_is_wrong_is_told(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr("dns.message.time.time", lambda: real() - 3_600)
    assert "says BADTIME: its clock and this machine's are minutes apart" in problem(server(bind))


def test_a_zone_that_is_not_its_own_is_told(bind: Bind) -> None:
    assert "says NOTAUTH: it is not the primary of the zone other.test." in problem(
        server(bind, zone="other.test")
    )


def test_what_the_key_may_not_is_told(tmp_path: Path) -> None:
    with Bind(tmp_path, "grant mesh. zonesub A;") as bind:
        assert "says REFUSED: either it has no zone mesh.test., which" in problem(server(bind))


def test_more_records_than_it_takes_are_told(bind: Bind) -> None:
    records = [Record(Key("_full._tcp", "TXT"), (f"at=b:{number}",)) for number in range(120)]
    assert "says SERVFAIL: it could not carry it out" in problem(server(bind), *records)


def test_a_server_that_knows_no_updates_is_told(tmp_path: Path) -> None:
    with Nsd(tmp_path) as nsd:
        one = ZoneServer(ZONE, ("127.0.0.1", nsd.port), parse_tsig_key(KEY, "mesh.key"), 5)
        assert "says NOTIMP: it knows no dynamic updates (RFC 2136): name a server that does" in problem(one)


@contextmanager
def unsigned(code: int, id_shift: int = 0) -> Iterator[ZoneServer]:
    """A name server whose answer is a header with that code, without a signature."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer() -> None:
            with listener.accept()[0] as connection:
                id_ = struct.unpack("!HH", connection.recv(4, socket.MSG_WAITALL))[1]
                flags = 0x8000 | 5 << 11 | code
                header = struct.pack("!6H", (id_ + id_shift) & 0xFFFF, flags, 0, 0, 0, 0)
                connection.sendall(struct.pack("!H", len(header)) + header)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        yield ZoneServer(ZONE, ("127.0.0.1", port), parse_tsig_key(KEY, "mesh.key"), 5)
        thread.join(10)


@pytest.mark.parametrize(
    ("code", "says"), [(4, "NOTIMP: it knows"), (5, "REFUSED: either"), (8, "NXRRSET: its log")]
)
def test_an_error_that_is_not_signed_is_told_as_what_it_is(code: int, says: str) -> None:
    with unsigned(code) as one:
        assert f"says {says}" in problem(one)


@pytest.mark.parametrize(("code", "id_shift"), [(0, 0), (4, 1)])
def test_what_is_not_signed_is_no_consent_and_what_answers_another_update_no_answer(
    code: int, id_shift: int
) -> None:
    with unsigned(code, id_shift) as one:
        assert "requires a TSIG" in problem(one)


def test_a_name_server_that_is_away_is_told() -> None:
    _, port = nobody().rsplit(":", 1)
    one = ZoneServer(ZONE, ("127.0.0.1", int(port)), parse_tsig_key(KEY, "mesh.key"), 5)
    assert problem(one).startswith(
        f"the name server 127.0.0.1:{port} can't be reached by TCP: Connection refused; see whether it"
    )
    one = ZoneServer(ZONE, ("ns.invalid", 53), parse_tsig_key(KEY, "mesh.key"), 5)
    assert problem(one).startswith("the name server ns.invalid:53 has no address: ")


def test_a_connection_that_ends_is_told(bind: Bind) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]

        def hang_up() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        one = ZoneServer(ZONE, ("127.0.0.1", port), parse_tsig_key(KEY, "mesh.key"), 5)
        assert "has ended the connection" in problem(one)
        thread.join(10)


def test_without_a_route_to_others_a_hub_has_the_address_that_the_name_server_sees(
    bind: Bind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubs.publisher._address_outside", lambda: None)
    one = server(bind)
    assert own_address(["tcp://127.0.0.1:1"], one) == "127.0.0.1"
    # It listens everywhere, and others would find themselves by a loopback address.
    assert own_address(["tcp://*:1"], one) is None
    monkeypatch.setattr(one, "local_address", lambda: "10.0.0.7")
    assert own_address(["tcp://*:1"], one) == "10.0.0.7"
    away = ZoneServer(ZONE, ("127.0.0.1", int(nobody().rpartition(":")[2])), parse_tsig_key(KEY, "k"), 5)
    assert own_address(["tcp://*:1"], away) is None


@pytest.fixture
def of_primary(monkeypatch: pytest.MonkeyPatch) -> ZoneServer:
    """What writes to the zone's primary, whichever that is."""
    monkeypatch.setattr("hubs.zone_server.TIMEOUT", 0.5)
    return ZoneServer(ZONE, None, parse_tsig_key(KEY, "mesh.key"), 5)


def test_the_primary_is_found_by_the_servers_that_mesh_asks(
    bind: Bind, of_primary: ZoneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubs.zone_server.PORT", bind.port)
    away = nobody().removeprefix("tcp://")
    monkeypatch.setenv("MESH_DNS", f"tcp:{away}, tcp:127.0.0.1:{bind.port}")
    # Its name, ns.mesh.test, is known to them alone.
    record = Record(Key("primary", "TXT"), ("found",))
    assert of_primary.carry_out(Update({}, add=(record,))) is True
    assert of_primary.carry_out(Read((record.key,))) == {record.key: frozenset({record.data})}
    monkeypatch.setenv("MESH_DNS", f"tcp:{away}")
    assert f"can't be found (tcp:{away}: " in problem(of_primary)
    monkeypatch.setenv("MESH_DNS", "127.0.0.1:port")
    assert "can't be found (MESH_DNS has '127.0.0.1:port': write a name server as HOST:PORT" in problem(
        of_primary
    )


def primary_of(dns: LyingServer, name: str) -> None:
    dns.put(ZONE, "SOA", f"{name}. hostmaster.mesh.test. 1 60 30 600 1")


def test_the_primary_is_looked_for_by_ipv4_then_ipv6_then_by_the_system(
    dns: LyingServer, of_primary: ZoneServer
) -> None:
    primary_of(dns, "localhost")
    assert of_primary._primary().address in (("127.0.0.1", 53), ("::1", 53))
    primary_of(dns, "ns.mesh.test")
    dns.put("ns.mesh.test", "AAAA", "2001:db8::7")
    assert of_primary._primary().address == ("2001:db8::7", 53)
    dns.put("ns.mesh.test", "A", "10.0.0.7")
    assert of_primary._primary() == ("ns.mesh.test:53", ("10.0.0.7", 53))


def test_a_primary_that_is_nowhere_is_told_with_what_names_it(
    dns: LyingServer, of_primary: ZoneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary_of(dns, "ns.invalid")
    said = problem(of_primary)
    assert said.startswith("the name server ns.invalid, which the SOA record of the zone mesh.test. names as")
    assert f"has no address ({dns.address} and this machine know none: " in said
    assert said.endswith("): say `server: HOST:PORT` under `publish`")
    primary_of(dns, "a.mesh.test")
    port = int(nobody().rpartition(":")[2])
    monkeypatch.setattr("hubs.zone_server.PORT", port)
    assert (
        f"a.mesh.test:{port} can't be reached by TCP: Connection refused; see whether it runs there; "
        "the zone's SOA record names it; for another one say `server: HOST:PORT`"
    ) in problem(of_primary)
