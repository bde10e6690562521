"""A name server, as what writes into one of its zones speaks to it: reads sets of records, and updates them.

Over TCP, for an update may be large; each exchange has an end. Blocks, and so is for a thread of its own.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, time
from typing import Final, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
import dns.tsig
import dns.update
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV

from mesh.errors import ConfigError
from mesh.names.dns_settings import NameServer, read_servers
from mesh.names.publication import Data, Key, Read, Update, ZoneError
from mesh.names.tsig_key import TsigKey

PORT: Final = 53
TIMEOUT: Final = 3.0
"""Seconds for one exchange, and for the connection."""
AT_ONCE: Final = 50
"""Questions that are asked before the first answer is read (RFC 7766, section 6.2.1.1)."""
_SAY: Final = "say `server: HOST:PORT` under `publish`"

Address = tuple[str, int]


class UpdateServer(NamedTuple):
    """The name server that takes the updates of a zone. name: as people know it."""

    name: str
    address: Address


def _resolver(server: NameServer) -> dns.resolver.Resolver:
    """What asks this server alone. Raises OSError where it is given by a name that has no address."""
    resolver = dns.resolver.Resolver(configure=False)
    found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
    resolver.nameservers = [str(found[0][4][0])]
    resolver.port = server.port
    return resolver


def _look_up(server: NameServer, name: dns.name.Name, kind: str) -> dns.resolver.Answer:
    """Raises DNSException, OSError and UnicodeError."""
    return _resolver(server).resolve(name, kind, tcp=server.tcp, lifetime=2 * TIMEOUT)


def _address_by(servers: Iterable[NameServer], host: dns.name.Name) -> str | None:
    """An address of the host, as the first of these servers has it that has one."""
    for server in servers:
        for kind in ("A", "AAAA"):
            with suppress(dns.exception.DNSException, OSError, UnicodeError):
                return str(_look_up(server, host, kind)[0].address)
    return None


def _system_address(host: str) -> str:
    """Raises OSError and UnicodeError."""
    return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])


class ZoneServer:
    """zone: its name. server: host and port; None for the zone's primary. ttl: seconds, of all records."""

    def __init__(self, zone: str, server: Address | None, key: TsigKey, ttl: int) -> None:
        self._zone = dns.name.from_text(zone)
        self._server = server
        self._ttl = ttl
        name = dns.name.from_text(key.name)
        self._key = key
        self._keyring = {name: dns.tsig.Key(name, key.secret, key.algorithm)}

    def carry_out(self, step: Read | Update) -> Mapping[Key, frozenset[Data]] | bool:
        """As Publication.turn wants it. Raises ZoneError."""
        with self._connected() as (connection, peer), _worded(self._zone, self._key.name, peer):
            if isinstance(step, Read):
                return self._read(connection, step)
            return self._update(connection, step)

    def local_address(self) -> str:
        """The address of this machine that the name server sees. Raises ZoneError."""
        with self._connected() as (connection, _):
            return str(connection.getsockname()[0])

    # The exchange

    @contextmanager
    def _connected(self) -> Iterator[tuple[socket.socket, UpdateServer]]:
        if self._server is None:
            peer, advice = self._primary(), f"; the zone's SOA record names it; for another one {_SAY}"
        else:
            peer, advice = self._given(*self._server), ", and look at `server` under `publish`"
        what = f"the name server {peer.name}"
        try:
            connection = socket.create_connection(peer.address, TIMEOUT)
        except OSError as error:
            reason = "it does not answer" if isinstance(error, TimeoutError) else error.strerror
            raise ZoneError(
                f"{what} can't be reached by TCP: {reason}; see whether it runs there{advice}. It is tried "
                "again"
            ) from None
        with connection:
            yield connection, peer

    def _given(self, host: str, port: int) -> UpdateServer:
        """The server that the file names."""
        try:
            return UpdateServer(f"{host}:{port}", (_system_address(host), port))
        except (OSError, UnicodeError) as error:
            raise ZoneError(
                f"the name server {host}:{port} has no address: {getattr(error, 'strerror', error)}; look at "
                "`server` under `publish`. It is tried again"
            ) from None

    def _primary(self) -> UpdateServer:
        """The server that the zone's SOA record names."""
        reasons = []
        try:
            servers = read_servers()
            for number, server in enumerate(servers):
                try:
                    host = _look_up(server, self._zone, "SOA")[0].mname
                except (dns.exception.DNSException, OSError, UnicodeError) as error:
                    reasons.append(f"{server}: {error}")
                else:
                    # Those before it have just failed.
                    return self._at_address(host, servers[number:])
        except ConfigError as error:
            reasons.append(str(error))
        raise ZoneError(
            f"the primary name server of the zone {self._zone} can't be found ({'; '.join(reasons)}): {_SAY}"
        )

    def _at_address(self, host: dns.name.Name, servers: Sequence[NameServer]) -> UpdateServer:
        """The primary of this name, by the address that these servers have of it, else the system."""
        name = host.to_text(omit_final_dot=True)
        address = _address_by(servers, host)
        try:
            return UpdateServer(f"{name}:{PORT}", (address or _system_address(name), PORT))
        except (OSError, UnicodeError) as error:
            asked = ", ".join(map(str, servers))
            raise ZoneError(
                f"the name server {name}, which the SOA record of the zone {self._zone} names as its "
                f"primary, has no address ({asked} and this machine know none: "
                f"{getattr(error, 'strerror', error)}): {_SAY}"
            ) from None

    def _read(self, connection: socket.socket, step: Read) -> dict[Key, frozenset[Data]]:
        found: dict[Key, frozenset[Data]] = {}
        for start in range(0, len(step.keys), AT_ONCE):
            found |= self._ask(connection, step.keys[start : start + AT_ONCE])
        return found

    def _ask(self, connection: socket.socket, keys: Sequence[Key]) -> dict[Key, frozenset[Data]]:
        until = monotonic() + TIMEOUT
        asked: dict[int, tuple[Key, dns.message.Message]] = {}
        for key in keys:
            query: dns.message.Message = dns.message.make_query(self._name(key.owner), key.type)
            query.flags &= ~dns.flags.RD
            while query.id in asked:
                query.id = (query.id + 1) & 0xFFFF
            asked[query.id] = (key, query)
            dns.query.send_tcp(connection, query, _wall(until))
        found: dict[Key, frozenset[Data]] = {}
        while asked:
            answer, _ = dns.query.receive_tcp(connection, _wall(until))
            if answer.id not in asked:
                continue
            key, query = asked.pop(answer.id)
            if not query.is_response(answer):
                raise ZoneError("the name server answers another question than was asked")
            if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                raise _Refused(answer.rcode())
            name, kind = self._name(key.owner), dns.rdatatype.from_text(key.type)
            sets = [one for one in answer.answer if one.name == name and one.rdtype == kind]
            if data := frozenset(_data(rdata) for one in sets for rdata in one):
                found[key] = data
        return found

    def _update(self, connection: socket.socket, step: Update) -> bool:
        update = dns.update.UpdateMessage(self._zone, keyring=self._keyring)
        for key, data in step.require.items():
            if data:
                update.present(self._name(key.owner), *(_rdata(key.type, one) for one in sorted(data)))
            else:
                update.absent(self._name(key.owner), key.type)
        for key, one in step.delete:
            update.delete(self._name(key.owner), _rdata(key.type, one))
        for key, one in step.add:
            update.add(self._name(key.owner), self._ttl, _rdata(key.type, one))
        code = self._answer_to(update, connection)
        if code in (dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN):
            return False
        if code != dns.rcode.NOERROR:
            raise _Refused(code)
        return True

    def _answer_to(self, update: dns.update.UpdateMessage, connection: socket.socket) -> dns.rcode.Rcode:
        """What the server says of an update. Raises what dnspython does where it is not signed."""
        until = monotonic() + TIMEOUT
        dns.query.send_tcp(connection, update, _wall(until))
        wire = _next_message(connection, until)
        try:
            answer = dns.message.from_wire(wire, keyring=self._keyring, request_mac=update.mac)
        except dns.exception.FormError:
            # A server that knows no updates knows no signatures either. It may refuse without one, not agree.
            if code := _refusal(wire, update.id):
                raise _Refused(code) from None
            raise
        if not update.is_response(answer):
            raise ZoneError("the name server answers another update than was sent")
        return answer.rcode()

    def _name(self, owner: str) -> dns.name.Name:
        return dns.name.from_text(owner, self._zone)


def _next_message(connection: socket.socket, until: float) -> bytes:
    """With its length before it, as it comes by TCP (RFC 1035, section 4.2.2)."""
    (length,) = struct.unpack("!H", _exactly(connection, 2, until))
    return _exactly(connection, length, until)


def _exactly(connection: socket.socket, size: int, until: float) -> bytes:
    data = b""
    while len(data) < size:
        connection.settimeout(max(until - monotonic(), 0.001))
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError("EOF")
        data += part
    return data


def _refusal(wire: bytes, id_: int) -> dns.rcode.Rcode | None:
    """The error that the header of an answer to the message of this id has, None where it has none."""
    if len(wire) < 4:
        return None
    answered, flags = struct.unpack("!HH", wire[:4])
    code = dns.rcode.from_flags(flags, 0)
    return code if answered == id_ and flags & dns.flags.QR and code != dns.rcode.NOERROR else None


class _Refused(Exception):
    """code: what the answer has."""

    def __init__(self, code: dns.rcode.Rcode) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def _worded(zone: dns.name.Name, key: str, peer: UpdateServer) -> Iterator[None]:
    """Have what goes wrong say what to do about it."""
    what = f"the name server {peer.name}"
    try:
        yield
    except dns.tsig.PeerBadTime:
        raise ZoneError(
            f"{what} says BADTIME: its clock and this machine's are minutes apart: set both by NTP"
        ) from None
    except (dns.tsig.PeerBadSignature, dns.tsig.BadSignature):
        raise ZoneError(
            f"{what} says BADSIG: it knows a key {key!r} with another secret: copy its file anew"
        ) from None
    except (dns.tsig.PeerBadKey, dns.message.UnknownTSIGKey):
        raise ZoneError(
            f"{what} says BADKEY: it has no key {key!r}, or lets it update nothing so: put the key into its "
            f"configuration and grant it the zone {zone}"
        ) from None
    except _Refused as error:
        text = dns.rcode.to_text(error.code)
        raise ZoneError(
            f"{what} says {text}: {_ADVICE.get(text, _OTHER).format(zone=zone, key=key)}"
        ) from None
    except (dns.exception.Timeout, TimeoutError):
        raise ZoneError(f"{what} has not answered within {TIMEOUT:g} s; it is tried again") from None
    except dns.exception.DNSException as error:
        raise ZoneError(f"{what} has answered what can't be read: {type(error).__name__} {error}") from None
    except (OSError, EOFError) as error:
        raise ZoneError(f"{what} has ended the connection: {error or type(error).__name__}") from None


_OTHER = "its log says more"
_ADVICE = {
    "REFUSED": "either it has no zone {zone}, which `zone` under `publish` names, or the key {key!r} may not "
    "do this there: grant it that, as in BIND by update-policy {{ grant {key} zonesub SRV TXT A AAAA; }};",
    "NOTIMP": "it knows no dynamic updates (RFC 2136): name a server that does by `server` under `publish`, "
    "such as BIND or Knot",
    "NOTAUTH": "it is not the primary of the zone {zone}: name the primary by `server` under `publish`",
    "NOTZONE": "a record lies outside of the zone {zone}: look at `zone` and `as` under `publish`",
    "SERVFAIL": "it could not carry it out: can it write into its zone's folder, and has no name more than "
    "the 100 records that it takes?",
    "FORMERR": "it does not understand the message",
}


def _wall(until: float) -> float:
    """dnspython counts by the wall clock."""
    return time() + max(0.0, until - monotonic())


def _rdata(kind: str, data: Data) -> dns.rdata.Rdata:
    in_ = dns.rdataclass.IN
    if kind == "TXT":
        return TXT(in_, dns.rdatatype.TXT, [one.encode("latin-1") for one in data])
    if kind == "SRV":
        return dns.rdata.from_text(in_, dns.rdatatype.SRV, " ".join(data))
    return dns.rdata.from_text(in_, dns.rdatatype.from_text(kind), data[0])


def _data(rdata: dns.rdata.Rdata) -> Data:
    if isinstance(rdata, TXT):
        return tuple(one.decode("latin-1") for one in rdata.strings)
    if isinstance(rdata, SRV):
        target = rdata.target.to_text().lower()
        return str(rdata.priority), str(rdata.weight), str(rdata.port), target
    if isinstance(rdata, (A, AAAA)):
        return (str(rdata.address),)
    return (rdata.to_text(),)
