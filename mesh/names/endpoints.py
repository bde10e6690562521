"""The text of a ZeroMQ endpoint: is it one, and what would be right where it is not.

Looks at the text alone: resolves no host and opens nothing.
"""

from __future__ import annotations

import re

from mesh.errors import ConfigError

# sun_path has 108 bytes on Linux, one of which ends it.
IPC_PATH_BYTES = 107
INPROC_NAME_CHARS = 256
TRANSPORTS = "tcp://HOST:PORT, ipc://PATH or inproc://NAME"

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_IPV4 = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")


def is_endpoint(text: str) -> bool:
    """Whether `text` is meant as an endpoint, right or wrong, rather than as a service name."""
    return "://" in text


def check_endpoint(text: str, *, bind: bool = False) -> str:
    """`text` itself where it is an endpoint to connect to, or to bind to; else ConfigError."""
    if not isinstance(text, str):
        raise ConfigError(f"{text!r:.80} is no endpoint: write {TRANSPORTS}")
    problem = endpoint_problem(text, bind=bind)
    if problem:
        raise ConfigError(problem)
    return text


def endpoint_problem(text: str, *, bind: bool = False) -> str | None:
    """What is wrong with the endpoint and what would be right, or None.

    bind: wildcards are allowed, for the host and port of tcp and for the path of ipc.
    """
    transport, mark, address = text.partition("://")
    if not mark:
        without_transport = _tcp_problem(text, bind) is None
        right = f"; did you mean 'tcp://{text}'?" if without_transport else f": write {TRANSPORTS}"
        return f"{text!r} is no endpoint{right}"
    if not text.isprintable() or text != text.strip():
        return f"{text!r} has a space at an end or an unprintable character: take it out"
    check = {"tcp": _tcp_problem, "ipc": _ipc_problem, "inproc": _inproc_problem}.get(transport)
    if check is None:
        return f"{text!r} has the unknown transport {transport!r}: write {TRANSPORTS}"
    problem = check(address, bind)
    return f"{text!r} {problem}" if problem else None


def _tcp_problem(address: str, bind: bool) -> str | None:
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket or not _is_ipv6(host):
            return "has no IPv6 address in its brackets: write it as in tcp://[::1]:4242"
        mark, port = rest[:1], rest[1:]
        problem = (
            None if mark in ("", ":") else "has something between ']' and the port: write tcp://[IPv6]:PORT"
        )
    else:
        host, mark, port = address.rpartition(":")
        host = host if mark else address
        problem = _host_problem(host, bind)
    if problem:
        return problem
    if not mark or not port:
        return f"has no port: write tcp://HOST:PORT{', or tcp://HOST:* for any free port' if bind else ''}"
    return _port_problem(port, bind)


def _host_problem(host: str, bind: bool) -> str | None:
    if host == "*":
        return (
            None if bind else "has '*' for a host, which only a server can bind to: write the server's host"
        )
    if not host:
        return f"has no host: write tcp://{'*' if bind else 'HOST'}:PORT"
    if ":" in host:
        return f"has {host!r} for a host: an IPv6 address stands in brackets, as in tcp://[::1]:4242"
    if not host.strip("0123456789."):
        right = _IPV4.fullmatch(host)
        return (
            None if right else f"has {host!r} for a host, which is no IPv4 address: write it as in 10.0.0.5"
        )
    if len(host) > 253 or not _HOST.fullmatch(host):
        return f"has {host!r} for a host: write a host name of letters, digits, '.' and '-', or an IP address"
    return None


def _port_problem(port: str, bind: bool) -> str | None:
    if port == "*":
        return (
            None if bind else "has '*' for a port, which only a server can bind to: write the server's port"
        )
    if port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535:
        return None
    return (
        f"has {port!r} for a port: write a number from 1 to 65535{', or * for any free port' if bind else ''}"
    )


def _ipc_problem(address: str, bind: bool) -> str | None:
    if not address or address == "@":
        return "has no path: write ipc:///run/NAME.ipc"
    if address == "*" and not bind:
        return "has '*' for a path, which only a server can bind to: write the server's path"
    length = len(address.encode())
    if length > IPC_PATH_BYTES:
        return f"has a path of {length} bytes: write one of at most {IPC_PATH_BYTES}, as the system wants it"
    return None


def _inproc_problem(address: str, bind: bool) -> str | None:
    if not address:
        return "has no name: write inproc://NAME"
    if len(address) > INPROC_NAME_CHARS:
        return f"has a name of {len(address)} characters: write one of at most {INPROC_NAME_CHARS}"
    return None


def _is_ipv6(text: str) -> bool:
    from ipaddress import AddressValueError, IPv6Address

    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True
