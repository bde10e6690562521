"""The names of services that are followed in DNS, by one native thread of the process.

The thread looks each name up, and again when mesh/names/dns_state.py says, as long as somebody follows it; it
ends when nobody follows any. Whoever asks here gets what is known at once, in any thread, and after a fork:
no loop ever waits.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Final
from weakref import ref

from mesh.errors import ServiceNotFound
from mesh.names.dns_lookup import Lookup, Negative, Unknown
from mesh.names.dns_messages import Question, Reply, ServerFailed, load
from mesh.names.dns_settings import DnsSettings, NameServer, read_settings
from mesh.names.dns_state import NameState
from mesh.names.model import Answer, Failed, Found, Missing, Service
from mesh.transport import native, process
from mesh.transport.dns_asker import DnsAsker

LIMIT: Final = 12.0
"""Seconds within which there is an answer of some kind."""
_NOT_AVAILABLE: Final = (
    "says by the target '.' that it is decidedly not available (RFC 2782): ask whoever keeps the zone, add "
    "it to a services.yml, or give an endpoint such as tcp://HOST:PORT"
)

log = logging.getLogger("mesh.names")

Key = tuple[str, DnsSettings]


class DnsName:
    """One name, as DNS has it. For any thread, but for what is the thread's own.

    answer: what is known now, None where no server has answered yet. version: grows with each change of it.
    """

    def __init__(self, service: str, settings: DnsSettings) -> None:
        self.service = service
        self.settings = settings
        self.answer: Answer | None = None
        self.whole = False
        """Whether a look has ended: until then there may be more to come."""
        self.version = 0
        self.wanted = False
        """Whether to look sooner; the thread takes it back."""
        self.followers: list[ref[DnsFollower]] = []
        self.servers = settings.servers
        """Those that were asked last."""
        self.trouble = ""
        """What has been wrong so far with the look that goes on, in words."""
        # The thread's own.
        self.state = NameState(random.random)
        self.lookup: Lookup | None = None
        self.owner_name = ""
        """The name whose records were found last."""

    @property
    def looked_in(self) -> str:
        """Where it is looked for, in words."""
        names = ", ".join(self.settings.owner_names(self.service))
        return f"DNS ({names} at {_at(self.servers)})"

    def publish(self) -> bool:
        """Make known what the state says; whether that is something new."""
        state = self.state
        new = state.version != self.version
        if new:
            self._take(state)
        self.whole = state.answered
        return new

    def _take(self, state: NameState) -> None:
        if state.endpoints:
            source = state.endpoints[0].source
            self.answer = Found(Service(self.service, state.endpoints, source=source))
        elif isinstance(state.missing, Unknown):
            self.answer = Failed(ServiceNotFound(f"{self.looked_in} can't tell: {state.missing.reason}"))
        elif isinstance(state.missing, Negative) and state.missing.decided:
            self.answer = Failed(ServiceNotFound(f"{self.looked_in} {_NOT_AVAILABLE}"))
        elif isinstance(state.missing, Negative):
            self.answer = Missing((self.looked_in,))
        self.version = state.version


class DnsFollower:
    """Somebody who follows a name. changed: called in the thread of names when there is a new answer."""

    def __init__(self, name: DnsName, changed: Callable[[], None]) -> None:
        self._name: DnsName | None = name
        self.changed = changed

    @property
    def answer(self) -> Answer | None:
        return None if self._name is None else self._name.answer

    @property
    def looked_in(self) -> str:
        """Where it is looked for, in words."""
        return "" if self._name is None else self._name.looked_in

    @property
    def trouble(self) -> str:
        """Why there is no answer yet, as far as is known."""
        return "" if self._name is None else self._name.trouble

    @property
    def version(self) -> int:
        """Grows with each new answer."""
        name = self._name
        if name is None:
            return 0
        if not _names.runs:
            _names.begin()  # this is the child of a fork
        return name.version

    def want(self) -> None:
        """A connection was lost, or a call has nowhere to go: look sooner."""
        name = self._name
        if name is not None and not name.wanted:
            name.wanted = True
            _names.begin()

    def wait(self) -> Answer | None:
        """Keep this native thread still until there is a whole answer; it has an end."""
        until = monotonic() + LIMIT
        while self._name is not None and not self._name.whole and monotonic() < until:
            native.sleep(0.005)
        return self.answer

    def close(self) -> None:
        """Follow it no more."""
        self._name = None


def follow(service: str, changed: Callable[[], None]) -> DnsFollower | None:
    """Follow a name in DNS from now on; None where DNS is not to be asked.

    Raises ConfigError for wrong settings.
    """
    settings = read_settings()
    return None if settings is None else _names.follow(service, settings, changed)


class DnsSource:
    """DNS for whoever can wait for it, as a command can: a look at a name takes seconds at the most.

    Names that were asked for are followed from then on.
    """

    def __init__(self) -> None:
        self._followed: dict[str, DnsFollower] = {}

    def lookup(self, name: str) -> Answer:
        follower = self._followed.get(name)
        if follower is None:
            follower = follow(name, lambda: None)
            if follower is None:
                return Missing(())
            self._followed[name] = follower
        return follower.wait() or Failed(ServiceNotFound("DNS has not answered in time"))


class _Names:
    """runs: whether the thread does."""

    def __init__(self) -> None:
        self.runs = False
        self._lock = native.allocate_lock()
        self._followed: dict[Key, DnsName] = {}
        self._asker: DnsAsker | None = None
        self._id = process.new_base()
        process.remember(self)

    def forked(self) -> None:
        self._lock = native.allocate_lock()
        self._id = process.new_base()
        if self._asker is not None:
            self._end(self._asker)

    def follow(self, service: str, settings: DnsSettings, changed: Callable[[], None]) -> DnsFollower:
        with self._lock:
            name = self._followed.get((service, settings))
            if name is None:
                name = self._followed[service, settings] = DnsName(service, settings)
            follower = DnsFollower(name, changed)
            name.followers.append(ref(follower))
        self.begin()
        return follower

    def begin(self) -> None:
        """Have the thread look at what there is to do; a new one, where none runs.

        Where there is none to be had, for lack of descriptors or threads, whoever asks next tries again.
        """
        with self._lock:
            if self._asker is not None:
                self._asker.wake()
                return
            try:
                asker = DnsAsker()
            except OSError:
                return
            try:
                process.start_thread(self._run, (asker,), "mesh names")
            except RuntimeError:
                asker.close()
                return
            self._asker, self.runs = asker, True

    # The thread

    def _run(self, asker: DnsAsker) -> None:
        try:
            with process.importing():
                load()
            while (names := self._still_followed(asker)) is not None:
                now = monotonic()
                for name in names:
                    self._tend(name, asker, now)
                asker.run(min([_wake_at(name) for name in names]))
                for name in names:
                    if name.answer is None:
                        name.trouble = asker.trouble(name.servers)
        except BaseException:
            log.exception("the thread that follows names in DNS has ended")
            with self._lock:
                self._end(asker)

    def _still_followed(self, asker: DnsAsker) -> list[DnsName] | None:
        """The names that somebody follows; None where there are none, and the thread is to end."""
        with self._lock:
            for key, name in list(self._followed.items()):
                name.followers = [one for one in name.followers if _follows(one(), name)]
                if not name.followers:
                    del self._followed[key]
            if self._asker is asker and self._followed:
                return list(self._followed.values())
            self._end(asker)
            return None

    def _end(self, asker: DnsAsker) -> None:
        """Leave what has begun; under the lock."""
        if self._asker is asker:
            self._asker, self.runs = None, False
            for name in self._followed.values():
                name.lookup = None
                name.state.interrupted()
        asker.close()

    def _tend(self, name: DnsName, asker: DnsAsker, now: float) -> None:
        state = name.state
        if name.wanted:
            name.wanted = False
            state.wanted(now)
        lookup = name.lookup
        if lookup is not None:
            if lookup.wake_at <= now:
                lookup.on_timer(now)
            self._go_on(name, lookup, asker, now)
        elif state.refresh_at <= now:
            state.began(now)
            settings = name.settings
            name.servers = settings.present_servers()
            owner_names = settings.owner_names(name.service)
            in_use = name.owner_name if state.in_use else ""
            name.lookup = lookup = Lookup(owner_names, _at(name.servers), now, self._id, in_use)
            self._go_on(name, lookup, asker, now)
        state.on_timer(now)
        self._publish(name)

    def _go_on(self, name: DnsName, lookup: Lookup, asker: DnsAsker, now: float) -> None:
        """Ask what there is to ask, and take in what has come of it."""
        questions, lookup.questions = lookup.questions, []
        for question in questions:
            asker.ask(question, name.servers, partial(self._answered, name, lookup, asker, question))
        if lookup.early is not None:
            name.state.early(lookup.early, now)
            lookup.early = None
        if lookup.owner_name:
            name.owner_name = lookup.owner_name
        if lookup.result is not None:
            name.lookup = None
            name.state.ended(lookup.result, now)

    def _answered(
        self, name: DnsName, lookup: Lookup, asker: DnsAsker, question: Question, reply: Reply | ServerFailed
    ) -> None:
        if name.lookup is lookup:
            now = monotonic()
            lookup.answered(question, reply, now)
            self._go_on(name, lookup, asker, now)

    def _publish(self, name: DnsName) -> None:
        if name.publish():
            for follower in [one() for one in name.followers]:
                if follower is not None:
                    with suppress(RuntimeError):  # its loop was closed in this moment
                        follower.changed()


def _at(servers: Sequence[NameServer]) -> str:
    return ", ".join(map(str, servers))


def _follows(follower: DnsFollower | None, name: DnsName) -> bool:
    return follower is not None and follower._name is name


def _wake_at(name: DnsName) -> float:
    return name.state.wake_at if name.lookup is None else min(name.lookup.wake_at, name.state.wake_at)


_names = _Names()
