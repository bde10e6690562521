"""A name that is followed through the registry file and DNS, as both change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.errors import ConfigError, ServiceNotFound
from mesh.names.catalog import Catalog
from mesh.names.followed import Followed
from mesh.names.model import Answer, Endpoint, Failed, Found, Missing
from tests.helpers.named import named

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
OF_DNS = named("users", ("tcp://dns:1",), source="DNS")
NOT_THERE = Missing(("DNS (mesh.test)",))
FAILED = Failed(ServiceNotFound("DNS (mesh.test) can't tell: nobody answers"))


class Dns:
    """What DNS says, which the test decides."""

    looked_in = "DNS (mesh.test)"
    trouble = ""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.version = 0
        self.wants = 0
        self.followed: list[str] = []
        self.closed = 0
        self._changed: Callable[[], None] = lambda: None

    def follow(self, name: str, changed: Callable[[], None]) -> Dns:
        self.followed.append(name)
        self._changed = changed
        return self

    def say(self, answer: Answer) -> None:
        self.answer = answer
        self.version += 1
        self._changed()

    def want(self) -> None:
        self.wants += 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def dns() -> Dns:
    return Dns()


class Registry:
    """A services.yml, with the name followed in it. now: the clock by which it is looked at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._time = 1
        self.now = 0.0
        self.write("other: tcp://o:1\n")

    def write(self, text: str) -> None:
        self._path.write_text(text)
        self._time += 1
        os.utime(self._path, (self._time, self._time))

    @property
    def catalog(self) -> Catalog:
        return Catalog(self._path)

    def addresses(self, followed: Followed) -> tuple[str, ...]:
        self.now += 10.0
        followed.refresh(1e9 + self.now)
        return followed.service.addresses


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "services.yml")


def refuse_keys(name: str, endpoint: Endpoint) -> None:
    if endpoint.key:
        raise ConfigError(f"{name} has a key ({endpoint.source})")


def test_dns_is_not_asked_for_a_name_that_the_file_has(registry: Registry, dns: Dns) -> None:
    registry.write("users: tcp://file:1\n")
    followed = Followed("users", registry.catalog, dns=dns.follow)
    assert registry.addresses(followed) == ("tcp://file:1",) and dns.followed == []


def test_a_name_that_the_file_lacks_waits_for_dns(registry: Registry, dns: Dns) -> None:
    told: list[int] = []
    followed = Followed("users", registry.catalog, dns=dns.follow)
    followed.on_change = lambda: told.append(1)
    assert registry.addresses(followed) == () and followed.absence is None
    assert followed.awaited == "DNS (mesh.test) has given no answer"
    before = followed.refresh(registry.now)
    dns.say(Found(OF_DNS))
    assert told == [1]
    assert registry.addresses(followed) == ("tcp://dns:1",) and followed.awaited == ""
    assert followed.refresh(registry.now) == before + 1
    followed.want()
    assert dns.wants == 1
    followed.close()
    assert dns.closed == 1


def test_a_name_that_nobody_has(registry: Registry, dns: Dns) -> None:
    followed = Followed("users", registry.catalog, dns=dns.follow)
    dns.say(NOT_THERE)
    assert registry.addresses(followed) == ()
    assert isinstance(followed.absence, ServiceNotFound)
    assert str(followed.absence).endswith(
        "services.yml, DNS (mesh.test): add it to a services.yml, or give an endpoint such as tcp://HOST:PORT"
    )
    dns.say(Found(OF_DNS))
    assert registry.addresses(followed) == ("tcp://dns:1",) and followed.absence is None
    dns.say(NOT_THERE)
    assert registry.addresses(followed) == () and followed.absence is not None


def test_a_name_that_dns_cannot_tell_of_names_both_places(registry: Registry, dns: Dns) -> None:
    followed = Followed("users", registry.catalog, dns=dns.follow)
    dns.say(FAILED)
    assert registry.addresses(followed) == ()
    assert isinstance(followed.absence, ServiceNotFound)
    assert str(followed.absence).startswith("no service 'users' in /")
    assert str(followed.absence).endswith("services.yml, and DNS (mesh.test) can't tell: nobody answers")


def test_without_dns_a_name_that_the_file_lacks_fails_at_once(registry: Registry) -> None:
    for dns in (None, lambda name, changed: None):
        with pytest.raises(ServiceNotFound, match="no service 'users' in"):
            Followed("users", registry.catalog, dns=dns)


def test_names_for_anchors_are_not_asked_for(registry: Registry, dns: Dns) -> None:
    with pytest.raises(ServiceNotFound, match="hold YAML anchors"):
        Followed("x-users", registry.catalog, dns=dns.follow)
    assert dns.followed == []


def test_the_file_takes_over_when_it_has_the_name(registry: Registry, dns: Dns) -> None:
    followed = Followed("users", registry.catalog, dns=dns.follow)
    dns.say(Found(OF_DNS))
    registry.write("users: tcp://file:1\n")
    assert registry.addresses(followed) == ("tcp://file:1",) and dns.closed == 1
    dns.say(Found(named("users", ("tcp://dns:2",))))
    assert registry.addresses(followed) == ("tcp://file:1",)


def test_dns_takes_over_when_the_file_lacks_the_name(registry: Registry, dns: Dns) -> None:
    registry.write("users: tcp://file:1\n")
    followed = Followed("users", registry.catalog, dns=dns.follow)
    registry.write("other: tcp://o:1\n")
    assert registry.addresses(followed) == ("tcp://file:1",), "until DNS has answered"
    dns.say(Found(OF_DNS))
    assert registry.addresses(followed) == ("tcp://dns:1",)


@pytest.mark.parametrize("answer", [NOT_THERE, FAILED])
def test_what_the_file_had_stays_where_dns_has_nothing(
    registry: Registry, dns: Dns, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    registry.write("users: tcp://file:1\n")
    followed = Followed("users", registry.catalog, dns=dns.follow)
    registry.write("other: tcp://o:1\n")
    registry.addresses(followed)
    dns.say(answer)
    assert registry.addresses(followed) == ("tcp://file:1",)
    assert caplog.text.count("its last endpoints are kept") == 1


def test_a_second_incident_is_told_as_the_first_was(
    registry: Registry, dns: Dns, caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed("users", registry.catalog, refuse_keys, dns.follow)
    keyed = Found(named("users", ("tcp://dns:1",), key=KEY, source="DNS"))
    for incident in (1, 2):
        dns.say(Found(OF_DNS))
        registry.addresses(followed)
        for _ in range(3):
            dns.say(keyed)
            assert registry.addresses(followed) == ("tcp://dns:1",)
        assert caplog.text.count("users has a key (DNS); its last endpoints are kept") == incident


def test_an_endpoint_of_no_use_drops_itself_alone(
    registry: Registry, dns: Dns, caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed("users", registry.catalog, refuse_keys, dns.follow)
    keyed = Endpoint("tcp://k:1", key=KEY, source="DNS")
    mixed = named("users", ("tcp://dns:1",))
    service = type(mixed)("users", (*mixed.endpoints, keyed))
    for _ in range(3):
        dns.say(Found(service))
        assert registry.addresses(followed) == ("tcp://dns:1",)
    assert caplog.text.count("users has a key (DNS); its other endpoints are used") == 1
    dns.say(Found(type(mixed)("users", (keyed,))))
    assert registry.addresses(followed) == ("tcp://dns:1",)
    assert "users has a key (DNS); its last endpoints are kept" in caplog.text


def test_a_name_of_which_nothing_is_of_use(registry: Registry, dns: Dns) -> None:
    followed = Followed("users", registry.catalog, refuse_keys, dns.follow)
    dns.say(Found(named("users", ("tcp://k:1",), key=KEY, source="DNS")))
    assert registry.addresses(followed) == ()
    assert isinstance(followed.absence, ConfigError) and "has a key" in str(followed.absence)


def test_a_key_of_the_file_is_not_weakened_by_dns(registry: Registry, dns: Dns) -> None:
    """The entry counts as a whole: DNS is not even asked, and refused is what this release can't encrypt."""
    registry.write(f"users: {{address: tcp://file:1, key: '{KEY}'}}\n")
    dns.say(Found(OF_DNS))
    with pytest.raises(ConfigError, match="users has a key"):
        Followed("users", registry.catalog, refuse_keys, dns.follow)
    assert dns.followed == []


def test_a_wrong_file_is_told_and_dns_not_asked(registry: Registry, dns: Dns) -> None:
    registry.write("users: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        Followed("users", registry.catalog, dns=dns.follow)
    assert dns.followed == []


def test_what_is_no_name_is_told_at_once(registry: Registry, dns: Dns) -> None:
    with pytest.raises(ConfigError, match="neither a service name nor an endpoint"):
        Followed("us ers", registry.catalog, dns=dns.follow)
