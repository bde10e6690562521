"""Hosts are looked up in threads of their own: how many, for whom, and what of answers is kept."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesh.core.host_addresses import HostAnswer
from mesh.errors import ConfigError
from mesh.transport import descriptors, host_lookup, process
from mesh.transport.host_lookup import NO_THREAD, HostLookups, HostQuestion, to_bind
from tests.helpers.processes import eventually

FOUR, SIX = socket.AF_INET, socket.AF_INET6


class Names:
    """Stands in for the name servers. silent: the hosts that they are silent of, until they are let `go`."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], list[str]] = {}
        self.silent: set[str] = set()
        self.go = threading.Event()
        self.asked: list[tuple[str, int]] = []
        self.open = 0
        self.most = 0

    def __call__(self, host: str, _port: None, family: int, _kind: int) -> list[Any]:
        self.asked.append((host, family))
        if host in self.silent:
            self.open += 1
            self.most = max(self.most, self.open)
            assert self.go.wait(30)
            self.open -= 1
        found = self.known.get((host, family))
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (family, socket.SOCK_STREAM, 6, "", (one, 0, 0, 3)[: 4 if family == SIX else 2]) for one in found
        ]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    one = Names()
    monkeypatch.setattr(host_lookup, "getaddrinfo", one)
    yield one
    one.go.set()


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> HostLookups:
    one = HostLookups()
    monkeypatch.setattr(host_lookup, "lookups", one)
    return one


def answer(question: HostQuestion) -> HostAnswer:
    return eventually(lambda: question.answer)


def ask(lookups: HostLookups, host: str, *, whole: bool = False) -> HostAnswer:
    return answer(lookups.ask(host, lambda: None, whole=whole))


def test_ipv4_does_where_there_is_some_and_ipv6_is_asked_for_where_it_is_wanted_or_all(
    names: Names, lookups: HostLookups
) -> None:
    names.known = {("a", FOUR): ["10.0.0.1", "10.0.0.2"], ("a", SIX): ["fd00::1"], ("b", SIX): ["fe80::1"]}
    assert ask(lookups, "a") == HostAnswer(("10.0.0.1", "10.0.0.2"), whole=False)
    assert names.asked == [("a", FOUR)]
    assert ask(lookups, "a", whole=True) == HostAnswer(("10.0.0.1", "fd00::1%3", "10.0.0.2"))
    assert ask(lookups, "b") == HostAnswer(("fe80::1%3",))


def test_an_answer_is_given_to_others_for_a_moment(
    names: Names, lookups: HostLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.known = {("a", FOUR): ["10.0.0.1"]}
    ask(lookups, "a")
    assert lookups.ask("a", lambda: None).answer == HostAnswer(("10.0.0.1",), whole=False), "at once"
    assert len(names.asked) == 1
    monkeypatch.setattr(host_lookup, "FRESH", 0.0)
    names.known = {}
    assert "Name or service not known" in ask(lookups, "a").problem
    assert lookups.known("a") == ("10.0.0.1",), "it had that once"
    assert lookups.known("b") == ()


def test_localhost_needs_no_look_up(names: Names, lookups: HostLookups) -> None:
    for name in ("localhost", "LocalHost", "localhost."):
        assert lookups.ask(name, lambda: None).answer == HostAnswer(("127.0.0.1", "::1"))
    assert not names.asked


def test_a_silent_name_server_holds_nobody_else_up_and_few_threads(
    names: Names, lookups: HostLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_lookup, "MAX_THREADS", 8)
    monkeypatch.setattr(host_lookup, "MAX_SLOW", 5)
    monkeypatch.setattr(host_lookup, "SLOW", 0.0)
    monkeypatch.setattr(host_lookup, "FRESH", 0.0)
    hosts = [f"silent-{number}" for number in range(100)]
    names.known = {("good", FOUR): ["10.0.0.1"]}
    for host in hosts:
        ask(lookups, host)
    names.silent = set(hosts)
    questions = [lookups.ask(host, lambda: None) for host in hosts]
    for _ in range(5):
        monkeypatch.setattr(host_lookup, "SLOW", 60.0)
        assert ask(lookups, "good").addresses == ("10.0.0.1",)
    assert 1 <= names.most <= 5
    assert not any(question.answer for question in questions)
    names.go.set()
    for question in questions:
        assert answer(question).problem
    assert names.most <= 8


def test_hosts_that_were_never_asked_for_have_a_bound_too(
    names: Names, lookups: HostLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_lookup, "MAX_THREADS", 8)
    hosts = [f"silent-{number}" for number in range(100)]
    names.silent = set(hosts)
    questions = [lookups.ask(host, lambda: None) for host in hosts]
    eventually(lambda: names.open == 8)
    names.go.set()
    for question in questions:
        assert answer(question).problem
    assert names.most == 8


def test_who_asks_for_the_same_host_meanwhile_has_the_same_answer(names: Names, lookups: HostLookups) -> None:
    names.silent, woken = {"a"}, []
    names.known = {("a", FOUR): ["10.0.0.1"], ("a", SIX): ["fd00::1"]}
    first, second = (lookups.ask("a", lambda: woken.append(1)) for _ in range(2))
    dropped = lookups.ask("a", lambda: woken.append("dropped"))
    dropped.drop()
    eventually(lambda: names.asked)
    whole = lookups.ask("a", lambda: woken.append("whole"), whole=True)
    names.go.set()
    assert answer(first) is answer(second)
    assert answer(whole) == HostAnswer(("10.0.0.1", "fd00::1%3"))
    eventually(lambda: len(woken) == 3)
    assert sorted(map(str, woken)) == ["1", "1", "whole"]
    assert names.asked == [("a", FOUR), ("a", FOUR), ("a", SIX)]


def test_who_is_woken_and_fails_keeps_no_answer_from_the_others(names: Names, lookups: HostLookups) -> None:
    names.silent = {"a"}
    first, second = lookups.ask("a", lambda: 1 // 0), lookups.ask("a", lambda: None)
    names.go.set()
    assert answer(first).problem and answer(second).problem
    assert ask(lookups, "b").problem


def test_without_descriptors_that_is_the_reason(
    names: Names, lookups: HostLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "problem", lambda: "this process has no file descriptors left")
    assert ask(lookups, "a") == HostAnswer((), "this process has no file descriptors left")


def test_without_threads_that_is_the_reason(
    names: Names, lookups: HostLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(process, "start_thread", no_more)
        for _ in range(2):
            assert lookups.ask("a", lambda: None).answer == HostAnswer((), NO_THREAD)
    assert "Name or service" in ask(lookups, "a").problem


def test_no_more_hosts_are_kept_than_some(
    names: Names, lookups: HostLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_lookup, "MAX_KEPT", 10)
    for number in range(50):
        ask(lookups, f"host-{number}")
    assert len(lookups._hosts) == 10 and "host-49" in lookups._hosts


def in_child(check: Callable[[], bool]) -> bool:
    """Whether the check is true in the child of a fork."""
    child = os.fork()
    if not child:
        code = 2
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def test_after_a_fork_in_the_midst_the_child_looks_up_by_itself(names: Names, lookups: HostLookups) -> None:
    names.silent = {"a"}
    names.known = {("a", FOUR): ["10.0.0.1"], ("b", FOUR): ["10.0.0.2"]}
    question = lookups.ask("a", lambda: None)
    eventually(lambda: names.asked)

    def child() -> bool:
        names.silent = set()
        return all(ask(lookups, host).addresses for host in "ab") and question.answer is None

    assert in_child(child)
    names.go.set()
    assert answer(question).addresses == ("10.0.0.1",)


# Endpoints that are bound


def test_what_is_bound_has_numbers(names: Names, lookups: HostLookups) -> None:
    names.known = {("here", FOUR): ["127.0.0.1"], ("six", SIX): ["::1"]}
    for given, real in {
        "tcp://here:5": "tcp://127.0.0.1:5",
        "tcp://six:5": "tcp://[::1%3]:5",
        "tcp://localhost:*": "tcp://127.0.0.1:*",
        "tcp://*:5": "tcp://*:5",
        "tcp://lo:5": "tcp://lo:5",
        "tcp://[::1]:5": "tcp://[::1]:5",
        "ipc:///run/one": "ipc:///run/one",
    }.items():
        assert to_bind(given) == real


def test_who_binds_does_not_wait_for_ever(
    names: Names, lookups: HostLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no such host or network interface"):
        to_bind("tcp://nobody:5")
    monkeypatch.setattr(host_lookup, "BIND_PATIENCE", 0.05)
    names.silent = {"silent"}
    with pytest.raises(
        ConfigError, match=r"its host 'silent' can't be resolved: nobody has answered for 0\.05 s"
    ):
        to_bind("tcp://silent:5")
