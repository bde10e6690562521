"""The thread that follows names in DNS: when it lives, whom it tells, and what it does without means."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mesh.errors import ConfigError
from mesh.names.dns_messages import Question, Reply, ServerFailed
from mesh.names.dns_settings import NameServer
from mesh.names.model import Failed, Found, Missing
from mesh.transport import dns_asker, dns_names, process
from mesh.transport.dns_asker import AT_ONCE, DnsAsker
from mesh.transport.dns_names import DnsFollower, DnsSource
from tests.helpers.dns_fixtures import NAME, dns
from tests.helpers.lying_dns import LyingServer
from tests.helpers.processes import eventually

__all__ = ["dns"]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dns_names._Names:
    """A thread of names of its own, which has not begun."""
    own = dns_names._Names()
    monkeypatch.setattr(dns_names, "_names", own)
    return own


def follow(told: list[int] | None = None) -> DnsFollower:
    follower = dns_names.follow("users", lambda: (told if told is not None else []).append(1))
    assert follower is not None
    return follower


def test_whoever_follows_is_told_of_what_changes(dns: LyingServer, names: dns_names._Names) -> None:
    dns.service(NAME, "a.mesh.test:4242")
    told: list[int] = []
    follower = follow(told)
    eventually(lambda: follower.answer, what="an answer")
    answer, version = follower.answer, follower.version
    assert isinstance(answer, Found)
    assert [(one.address, one.hosts) for one in answer.service.endpoints] == [
        ("tcp://a.mesh.test:4242", ("127.0.0.1",))
    ]
    assert len(told) == 1
    dns.service(NAME, "a.mesh.test:4243")
    eventually(lambda: follower.version > version, what="the change")
    eventually(lambda: len(told) == 2, what="the news of it")


def test_the_thread_ends_when_nobody_follows(dns: LyingServer, names: dns_names._Names) -> None:
    dns.service(NAME, "a.mesh.test:4242")
    first, others = follow(), [follow()]
    eventually(lambda: first.answer and others[0].answer, what="an answer")
    first.close()
    assert first.answer is None and first.version == 0
    dns.service(NAME, "a.mesh.test:4243")
    version = others[0].version
    eventually(lambda: others[0].version > version, what="the change for the other")
    others.clear()
    gc.collect()
    eventually(lambda: not names.runs, what="the end of the thread")
    eventually(lambda: all(one.name != "mesh names" for one in threading.enumerate()), what="it to be gone")
    third = follow()
    eventually(lambda: third.answer, what="an answer from a new one")


def test_without_descriptors_or_threads_it_is_tried_again(
    dns: LyingServer, names: dns_names._Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns.service(NAME, "a.mesh.test:4242")

    def none_left(*_: Any) -> Any:
        raise OSError(24, "Too many open files")

    def no_thread(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(dns_asker.os, "pipe", none_left)
        follower = follow()
    with monkeypatch.context() as patch:
        patch.setattr(process, "start_thread", no_thread)
        assert follower.version == 0 and not names.runs
    eventually(lambda: follower.version, what="an answer")


def test_what_goes_wrong_in_the_thread_is_told_and_it_begins_anew(
    dns: LyingServer,
    names: dns_names._Names,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dns.service(NAME, "a.mesh.test:4242")
    with monkeypatch.context() as patch:
        patch.setattr(dns_names, "Lookup", lambda *_: 1 / 0)
        follower = follow()
        eventually(lambda: "has ended" in caplog.text and not names.runs, what="the end of the thread")
    assert "ZeroDivisionError" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR
    eventually(lambda: follower.version and follower.answer, what="an answer")


def test_a_source_for_those_who_wait(dns: LyingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    dns.service(NAME, "a.mesh.test:4242", "nowhere.mesh.test:1", ttl=300)
    source = DnsSource()
    found = source.lookup("users")
    assert isinstance(found, Found) and found.service.addresses == ("tcp://a.mesh.test:4242",)
    asked = len(dns.asked)
    assert source.lookup("users") == found and len(dns.asked) == asked
    assert isinstance(source.lookup("nobody"), Missing)
    dns.code = "REFUSED"
    failed = DnsSource().lookup("others")
    assert isinstance(failed, Failed) and "answers REFUSED (it may not have this domain" in str(failed.error)
    monkeypatch.setenv("MESH_DOMAIN", "")
    assert DnsSource().lookup("users") == Missing(())
    monkeypatch.setenv("MESH_DOMAIN", "a..b")
    with pytest.raises(ConfigError, match="no domain"):
        DnsSource().lookup("users")


# The sockets


@pytest.fixture
def asker() -> Iterator[DnsAsker]:
    one = DnsAsker()
    yield one
    one.close()


def ask(asker: DnsAsker, *servers: NameServer, question: Question | None = None) -> Any:
    """What comes of a question."""
    told: list[Any] = []
    asker.ask(question or Question(NAME, "SRV"), servers, told.append)
    end = time.monotonic() + 20
    while not told:
        assert time.monotonic() < end
        asker.run(end)
    return told[0]


def test_one_that_is_named_by_its_name(asker: DnsAsker, dns: LyingServer) -> None:
    dns.service(NAME, "a.mesh.test:4242")
    assert isinstance(ask(asker, NameServer("localhost", dns.port)), Reply)
    failed = ask(asker, NameServer("nowhere.invalid", dns.port))
    assert isinstance(failed, ServerFailed) and "nowhere.invalid" in str(failed)


def test_a_server_that_breaks_off_by_tcp(asker: DnsAsker, dns: LyingServer) -> None:
    def break_off(query: Any, by_tcp: bool) -> list[bytes]:
        raise OSError("closed")

    dns.lie = break_off
    failed = ask(asker, NameServer(dns.host, dns.port, tcp=True))
    assert str(failed).endswith("breaks the connection off")


def test_answers_by_tcp_in_any_pieces(asker: DnsAsker, dns: LyingServer) -> None:
    """One that is another's comes before, in the same segment."""
    dns.service(NAME, "a.mesh.test:4242")

    def twice(query: Any, by_tcp: bool) -> list[bytes]:
        reply = dns.answer(query).to_wire()
        return [b"\0\0" + reply[2:], reply]

    dns.lie = twice
    assert isinstance(ask(asker, NameServer(dns.host, dns.port, tcp=True)), Reply)


def test_very_many_questions_wait_for_their_turn(asker: DnsAsker, dns: LyingServer) -> None:
    told: list[Any] = []
    before = len(os.listdir("/proc/self/fd"))
    server = NameServer(dns.host, dns.port)
    for number in range(5 * AT_ONCE):
        asker.ask(Question(f"h{number}.mesh.test", "A"), (server,), told.append)
    most, end = 0, time.monotonic() + 30
    while len(told) < 5 * AT_ONCE and time.monotonic() < end:
        asker.run(end)
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert len(told) == 5 * AT_ONCE and all(isinstance(one, Reply) for one in told)
    assert most <= before + AT_ONCE + 1


def test_without_descriptors_a_question_fails(
    asker: DnsAsker, dns: LyingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: Any) -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(dns_asker, "open_socket", none_left)
    failed = ask(asker, NameServer(dns.host, dns.port))
    assert "can't be reached (Too many open files)" in str(failed)


def test_a_wake_that_comes_again_and_again_is_one(asker: DnsAsker) -> None:
    for _ in range(100_000):
        asker.wake()
    began = time.monotonic()
    for _ in range(20):
        asker.run(time.monotonic() + 0.01)
    assert time.monotonic() - began < 5


def test_a_name_that_dns_can_not_have_ends_its_own_look_alone(
    dns: LyingServer,
    names: dns_names._Names,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    dns.service("_users._tcp.users.users", "a.mesh.test:4242")
    monkeypatch.setenv("MESH_DOMAIN", "{service}.{service}")
    long = dns_names.follow("u" * 61 + "..x", lambda: None)
    follower = follow()
    eventually(lambda: follower.answer and long and long.answer, what="an answer for each")
    assert isinstance(follower.answer, Found)
    assert long is not None and isinstance(long.answer, Failed)
    assert "can't be a name in DNS" in str(long.answer.error)
    assert caplog.text == ""


def test_a_silent_name_server_costs_its_second_once(
    dns: LyingServer, names: dns_names._Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns.service(NAME, "a.mesh.test:4242")
    dns.service("_orders._tcp.mesh.test", "a.mesh.test:4243")
    with LyingServer() as silent:
        silent.silent = True
        monkeypatch.setenv("MESH_DNS", f"{silent.address} {dns.address}")
        first = follow()
        eventually(lambda: first.answer, what="an answer")
        assert [one[:2] for one in silent.asked] == [(NAME, "SRV")]
        other = dns_names.follow("orders", lambda: None)
        eventually(lambda: other and other.answer, what="an answer for the other")
        assert len(silent.asked) == 1
