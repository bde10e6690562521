"""A name server on a port of loopback, for measurements: `python -m benchmarks.dns_server RECORDS PORT`.

It has one service of so many hosts, each with an address, in the zone mesh.test, and prints where it listens.
By TCP alone, for a set that is worth measuring fits no datagram; it is packed before it is asked for.
"""

from __future__ import annotations

import json
import socket
import sys
import threading

import dns.message
import dns.rrset

SERVICE = "_users._tcp.mesh.test."
TTL = 1


def packed(name: str, kind: str, rows: list[str]) -> bytes:
    reply = dns.message.make_response(dns.message.make_query(name, kind))
    reply.answer.append(dns.rrset.from_text_list(name, TTL, "IN", kind, rows))
    wire: bytes = reply.to_wire(max_size=65_535)
    return wire


def main(records: int, port: int) -> None:
    rows = [f"10 1 {port} h{number}.mesh.test." for number in range(records)]
    endpoints = packed(SERVICE, "SRV", rows)
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(json.dumps({"address": f"tcp:127.0.0.1:{server.getsockname()[1]}"}), flush=True)
        while True:
            threading.Thread(target=answer, args=(server.accept()[0], endpoints), daemon=True).start()


def answer(connection: socket.socket, endpoints: bytes) -> None:
    with connection, connection.makefile("rb") as stream:
        query = dns.message.from_wire(stream.read(int.from_bytes(stream.read(2))))
        name, kind = str(query.question[0].name), dns.rdatatype.to_text(query.question[0].rdtype)
        if (name, kind) == (SERVICE, "SRV"):
            payload = query.id.to_bytes(2) + endpoints[2:]
        elif kind == "A":
            reply = dns.message.make_response(query)
            reply.answer.append(dns.rrset.from_text(name, TTL, "IN", "A", "127.0.0.1"))
            payload = reply.to_wire()
        else:
            payload = dns.message.make_response(query).to_wire()
        connection.sendall(len(payload).to_bytes(2) + payload)
        stream.read(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
