"""Looks up the addresses of hosts in native threads, a few at a time, for all of a process.

A name server that is silent holds its asker for half a minute, and can't be told to stop. So each host has a
thread for as long as it is being looked up, their number is bounded, and hosts that were slow before leave
some of them to others. Whoever asks does not wait, and is woken in such a thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from socket import if_nameindex
from time import monotonic
from typing import Any, Final

from mesh.core.host_addresses import HostAnswer
from mesh.errors import ConfigError
from mesh.names.hosts import LOCALHOST, host_of, look_up, numeric
from mesh.transport import descriptors, native, process

FRESH: Final = 1.0
"""Seconds for which an answer is given to others who ask for the same host."""
MAX_THREADS: Final = 64
MAX_SLOW: Final = 48
"""Hosts that are being looked up at once; and of them, those that were slow the last time."""
SLOW: Final = 1.0
"""Seconds from which on a look-up was slow."""
MAX_KEPT: Final = 1_024
"""Hosts whose last answers are kept."""
BIND_PATIENCE: Final = 5.0
"""Seconds that whoever binds waits for the address of a name."""
_POLL: Final = 0.002
NO_THREAD: Final = "there is no thread to be had to look up its host"

# This runs outside of any loop.
getaddrinfo: Any = native.getaddrinfo


class HostQuestion:
    """Whoever waits for where a host is. answer: None until it has come; wake: called then, in any thread."""

    __slots__ = ("_wake", "answer", "whole")

    def __init__(self, wake: Callable[[], object], *, whole: bool) -> None:
        self.answer: HostAnswer | None = None
        self.whole = whole
        self._wake = wake

    def drop(self) -> None:
        """Nobody waits any more."""
        self._wake = lambda: None

    def _come(self, answer: HostAnswer) -> None:
        self.answer = answer
        self._wake()


class _Host:
    """What is known of a host. questions: of those who wait. known: addresses that it had, if ever. slow: the
    last look-up was.
    """

    __slots__ = ("answer", "answered", "known", "questions", "queued", "slow")

    def __init__(self) -> None:
        self.answer: HostAnswer | None = None
        self.answered = 0.0
        self.known: tuple[str, ...] = ()
        self.questions: list[HostQuestion] = []
        self.queued = False
        self.slow = False


class HostLookups:
    """Those of one process. For any thread; the lock is held for a moment only."""

    def __init__(self) -> None:
        self._begin()
        process.remember(self)

    def _begin(self) -> None:
        self._lock = native.allocate_lock()
        self._hosts: dict[str, _Host] = {}
        self._quick: deque[str] = deque()
        self._slow: deque[str] = deque()
        """The hosts that wait for a thread."""
        self._threads = 0
        self._slow_ones = 0
        """How many threads there are, and how many look up what was slow."""

    def forked(self) -> None:
        """In the child of a fork, which has none of the threads; who waits is the parent's."""
        self._begin()

    def known(self, host: str) -> tuple[str, ...]:
        """The addresses that a host had when they were last found; none where they never were."""
        with self._lock:
            one = self._hosts.get(host)
            return one.known if one is not None else ()

    def ask(self, host: str, wake: Callable[[], object], *, whole: bool = False) -> HostQuestion:
        """Where a host is; the answer may be there at once, and `wake` is not called then.

        whole: also its addresses of IPv6, where it has some of IPv4.
        """
        question = HostQuestion(wake, whole=whole)
        if host.lower().rstrip(".") == "localhost":
            question.answer = LOCALHOST
            return question
        with self._lock:
            one = self._hosts.pop(host, None) or _Host()
            self._hosts[host] = one
            if one.answer is not None and (one.answer.whole or not whole) and _is_fresh(one):
                question.answer = one.answer
                return question
            one.questions.append(question)
            needs_thread = self._enqueue(host, one)
            self._forget_oldest()
        if needs_thread:
            self._start_thread()
        return question

    def _enqueue(self, host: str, one: _Host) -> bool:
        """Whether there is to be another thread; under the lock."""
        if one.queued:
            return False
        one.queued = True
        (self._slow if one.slow else self._quick).append(host)
        if self._threads >= MAX_THREADS or (one.slow and self._slow_ones >= MAX_SLOW):
            return False
        self._threads += 1
        return True

    def _forget_oldest(self) -> None:
        """Under the lock."""
        if len(self._hosts) > MAX_KEPT:
            oldest = next((host for host, one in self._hosts.items() if not one.queued), None)
            if oldest is not None:
                del self._hosts[oldest]

    def _start_thread(self) -> None:
        try:
            process.start_thread(self._run, (), "mesh hosts")
        except RuntimeError:  # the system has none left, or the program ends
            with self._lock:
                self._threads -= 1
                while not self._threads and (host := self._take()) is not None:
                    # Those who ask see it as soon as they have asked.
                    one = self._hosts[host]
                    questions, one.questions, one.queued = one.questions, [], False
                    for question in questions:
                        question.answer = HostAnswer((), NO_THREAD)

    # In the threads

    def _run(self) -> None:
        with process.importing():
            import encodings.idna  # noqa: F401 - getaddrinfo would, in the midst of a look
        while True:
            with self._lock:
                host = self._take()
                if host is None:
                    self._threads -= 1
                    return
                one = self._hosts[host]
                whole = any(question.whole for question in one.questions)
                slow = one.slow
                self._slow_ones += slow
            began = monotonic()
            try:
                answer = _look(host, whole=whole)
            finally:
                with self._lock:
                    self._slow_ones -= slow
            self._answer(host, answer, monotonic() - began)

    def _take(self) -> str | None:
        """The next host that waits and may be looked up now; under the lock."""
        if self._quick:
            return self._quick.popleft()
        if self._slow and self._slow_ones < MAX_SLOW:
            return self._slow.popleft()
        return None

    def _answer(self, host: str, answer: HostAnswer, seconds: float) -> None:
        """Give it to all who wait for it, and look again where some want more."""
        with self._lock:
            one = self._hosts[host]
            one.queued = False
            one.answer, one.answered, one.slow = answer, monotonic(), seconds >= SLOW
            one.known = answer.addresses or one.known
            told = [each for each in one.questions if answer.whole or not each.whole]
            one.questions = [each for each in one.questions if each not in told]
            needs_thread = bool(one.questions) and self._enqueue(host, one)
        if needs_thread:
            self._start_thread()
        for question in told:
            with suppress(Exception):  # whoever asked is gone, and its loop with it
                question._come(answer)


def to_bind(endpoint: str) -> str:
    """An endpoint that is to be bound, in numbers; raises ConfigError where its host has none.

    Waits for that, and for BIND_PATIENCE seconds at the most. A name of a network interface stays as it is:
    libzmq asks nobody for it.
    """
    host = host_of(endpoint)
    if not host or host == "*" or host in (name for _, name in if_nameindex()):
        return endpoint
    question, give_up = lookups.ask(host, lambda: None), monotonic() + BIND_PATIENCE
    while question.answer is None and monotonic() < give_up:
        native.sleep(_POLL)
    if question.answer is None:
        raise ConfigError(f"its host {host!r} can't be resolved: nobody has answered for {BIND_PATIENCE:g} s")
    if not question.answer.addresses:
        raise ConfigError(f"no such host or network interface ({question.answer.problem})")
    return numeric(endpoint, question.answer.addresses[0])


def look_up_first(endpoint: str) -> None:
    """Look up what is about to be bound, where no lock is held and nobody waits; `to_bind` tells what is
    wrong with it.
    """
    with suppress(ConfigError):
        to_bind(endpoint)


def _is_fresh(one: _Host) -> bool:
    return monotonic() - one.answered < FRESH


def _look(host: str, *, whole: bool) -> HostAnswer:
    answer = look_up(host, getaddrinfo, whole=whole)
    if not answer.addresses and (short := descriptors.problem()):
        return HostAnswer((), short)  # without them there is no name server, and no hosts file
    return answer


lookups: Final = HostLookups()
