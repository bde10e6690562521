from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import ConfigError
from mesh.names.endpoints import check_endpoint, endpoint_problem, is_endpoint

TO_CONNECT = [
    "tcp://127.0.0.1:1",
    "tcp://10.0.0.5:65535",
    "tcp://localhost:4242",
    "tcp://db_1.prod-2.example.org:4242",
    "tcp://example.org.:4242",
    "tcp://[::1]:4242",
    "tcp://[2001:db8::7]:4242",
    "tcp://[fe80::1%eth0]:4242",
    "ipc:///run/users.ipc",
    "ipc://relative/with space.ipc",
    "ipc://@abstract",
    "ipc:///" + "x" * 106,
    "inproc://users",
    "inproc://" + "x" * 256,
]
TO_BIND = ["tcp://*:4242", "tcp://*:*", "tcp://127.0.0.1:*", "tcp://eth0:4242", "tcp://[::]:*", "ipc://*"]

# endpoint, what the error says
WRONG = [
    ("localhost:4242", "'localhost:4242' is no endpoint; did you mean 'tcp://localhost:4242'?"),
    ("users", "'users' is no endpoint: write tcp://HOST:PORT, ipc://PATH or inproc://NAME"),
    ("", "'' is no endpoint: write tcp://"),
    ("http://a:1", "unknown transport 'http': write tcp://HOST:PORT, ipc://PATH or inproc://NAME"),
    ("TCP://a:1", "unknown transport 'TCP'"),
    ("://a:1", "unknown transport ''"),
    (" tcp://a:1", "a space at an end"),
    ("tcp://a:1\n", "a space at an end or an unprintable character"),
    ("ipc:///a\0b", "an unprintable character: take it out"),
    ("tcp://", "has no host: write tcp://HOST:PORT"),
    ("tcp://:4242", "has no host: write tcp://HOST:PORT"),
    ("tcp://a", "has no port: write tcp://HOST:PORT"),
    ("tcp://a:", "has no port: write tcp://HOST:PORT"),
    ("tcp://a:0", "has '0' for a port: write a number from 1 to 65535"),
    ("tcp://a:65536", "has '65536' for a port"),
    ("tcp://a:-1", "has '-1' for a port"),
    ("tcp://a:http", "has 'http' for a port"),
    ("tcp://a:4242/", "has '4242/' for a port"),
    ("tcp://a:٣", "has '٣' for a port"),
    ("tcp://a:" + "9" * 5000, "for a port: write a number"),
    ("tcp://a b:1", "has 'a b' for a host: write a host name"),
    ("tcp://-a:1", "has '-a' for a host"),
    ("tcp://a..b:1", "has 'a..b' for a host"),
    ("tcp://é:1", "has 'é' for a host"),
    ("tcp://" + "a" * 64 + ":1", "for a host: write a host name"),
    ("tcp://" + "a." * 127 + ":1", "for a host: write a host name"),
    ("tcp://10.0.0.256:1", "has '10.0.0.256' for a host, which is no IPv4 address: write it as in 10.0.0.5"),
    ("tcp://10.0.0:1", "is no IPv4 address"),
    ("tcp://10.0.0.:1", "is no IPv4 address"),
    ("tcp://::1:4242", "has '::1' for a host: an IPv6 address stands in brackets, as in tcp://[::1]:4242"),
    ("tcp://[::1", "has no IPv6 address in its brackets"),
    ("tcp://[a]:1", "has no IPv6 address in its brackets: write it as in tcp://[::1]:4242"),
    ("tcp://[]:1", "has no IPv6 address in its brackets"),
    ("tcp://[::1]", "has no port"),
    ("tcp://[::1]4242", "has something between ']' and the port: write tcp://[IPv6]:PORT"),
    ("ipc://", "has no path: write ipc:///run/NAME.ipc"),
    ("ipc://@", "has no path"),
    ("ipc:///" + "é" * 54, "has a path of 109 bytes: write one of at most 107"),
    ("inproc://", "has no name: write inproc://NAME"),
    ("inproc://" + "x" * 257, "has a name of 257 characters: write one of at most 256"),
]
ONLY_TO_BIND = [
    ("tcp://*:4242", "has '*' for a host, which only a server can bind to: write the server's host"),
    ("tcp://a:*", "has '*' for a port, which only a server can bind to: write the server's port"),
    ("ipc://*", "has '*' for a path, which only a server can bind to: write the server's path"),
]


@pytest.mark.parametrize("endpoint", TO_CONNECT)
def test_right_for_both(endpoint: str) -> None:
    assert check_endpoint(endpoint) == endpoint
    assert check_endpoint(endpoint, bind=True) == endpoint


@pytest.mark.parametrize("endpoint", TO_BIND)
def test_right_to_bind(endpoint: str) -> None:
    assert endpoint_problem(endpoint, bind=True) is None


@pytest.mark.parametrize(("endpoint", "says"), WRONG + ONLY_TO_BIND)
def test_wrong_to_connect(endpoint: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_endpoint(endpoint)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("tcp://:4242", "has no host: write tcp://*:PORT"),
        ("tcp://*", "has no port: write tcp://HOST:PORT, or tcp://HOST:* for any free port"),
        ("tcp://*:0", "write a number from 1 to 65535, or * for any free port"),
        ("*:4242", "did you mean 'tcp://*:4242'?"),
        ("inproc://", "has no name"),
    ],
)
def test_wrong_to_bind(endpoint: str, says: str) -> None:
    assert says in str(endpoint_problem(endpoint, bind=True))


def test_an_endpoint_is_told_from_a_name() -> None:
    assert is_endpoint("tcp://a:1")
    assert is_endpoint("what://ever")
    assert not is_endpoint("users")
    assert not is_endpoint("localhost:4242")


@given(st.text() | st.from_regex(r"(tcp|ipc|inproc)://.*"), st.booleans())
def test_any_text_gets_an_answer(text: str, bind: bool) -> None:
    problem = endpoint_problem(text, bind=bind)
    assert problem is None or problem.isprintable()
