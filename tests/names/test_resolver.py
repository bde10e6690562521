from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mesh.errors import ConfigError, LostRemote, ServiceNotFound
from mesh.names.catalog import Catalog
from mesh.names.model import Answer, Failed, Found, Missing
from mesh.names.resolver import resolve
from tests.helpers.named import named


class Fixed:
    """A source with one answer, which counts the questions."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def lookup(self, name: str) -> Answer:
        self.asked.append(name)
        return self.answer


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    path = tmp_path / "services.yml"
    path.write_text("users: tcp://a:1\norders: {hub: [tcp://h:1, tcp://h:2], timeout: 5}\n")
    return Catalog(path)


def test_a_name(catalog: Catalog) -> None:
    assert resolve("users", catalog) == named("users", ("tcp://a:1",))
    assert resolve("orders", catalog) == named("orders", ("tcp://h:1", "tcp://h:2"), hub=True, timeout=5.0)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:4242", "ipc:///run/users.ipc", "inproc://users"])
def test_an_endpoint_is_its_own_service_and_asks_nobody(endpoint: str) -> None:
    source = Fixed(Failed(ConfigError("broken")))
    assert resolve(endpoint, source) == named(endpoint, (endpoint,))
    assert source.asked == []


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_endpoints(kind: Any) -> None:
    service = resolve(kind(["tcp://a:1", "tcp://b:1"]))
    assert service == named("tcp://a:1, tcp://b:1", ("tcp://a:1", "tcp://b:1"))


def test_an_unknown_name_names_the_file_the_nearest_and_the_remedy(catalog: Catalog) -> None:
    with pytest.raises(ServiceNotFound) as caught:
        resolve("user", catalog)
    assert str(caught.value) == (
        f"no service 'user' in {catalog.path}; did you mean 'users'? If not, "
        "add it to a services.yml, or give an endpoint such as tcp://HOST:PORT"
    )


def test_an_unknown_name_near_to_nothing(catalog: Catalog) -> None:
    with pytest.raises(
        LookupError, match=f"^no service 'thumbs' in {catalog.path}: add it to a services.yml"
    ):
        resolve("thumbs", catalog)


def test_a_name_that_is_for_anchors_alone(tmp_path: Path) -> None:
    path = tmp_path / "services.yml"
    path.write_text("x-ray: tcp://a:1\n")
    with pytest.raises(
        ServiceNotFound,
        match=f"^no service 'x-ray': names that begin with 'x-' hold YAML anchors in {path}",
    ):
        resolve("x-ray", Catalog(path))


def test_a_name_without_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESH_SERVICES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    with pytest.raises(ServiceNotFound) as caught:
        resolve("users", Catalog())
    assert (
        f"in {tmp_path}/services.yml (no such file), {tmp_path}/home/mesh/services.yml (no such file), "
        in str(caught.value)
    )


def test_a_wrong_file_is_told_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "services.yml"
    path.write_text("users: [")
    with pytest.raises(ConfigError, match=f"^{path}:1: not valid YAML"):
        resolve("users", Catalog(path))


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("", "'' is neither a service name nor an endpoint: a name is 1 to 62 letters, digits"),
        ("users.mesh.test.", "has each '.' between two others of these: leave the last dot out"),
        ("a b", "'a b' is neither a service name nor an endpoint: a name is"),
        ("localhost:4242", "neither a service name nor an endpoint; did you mean 'tcp://localhost:4242'?"),
        ("[::1]:4242", "did you mean 'tcp://[::1]:4242'?"),
        ("x" * 5000, "is neither a service name nor an endpoint: a name is"),
        ("tcp://a", "'tcp://a' has no port: write tcp://HOST:PORT"),
        ("tcp://*:4242", "which only a server can bind to"),
        ("http://a:1", "unknown transport 'http'"),
        ([], "the list of endpoints is empty: give at least one"),
        (["tcp://a:1", "users"], "'users' is no endpoint"),
        (["tcp://a:1", "tcp://a:1"], "'tcp://a:1' stands twice in the list of endpoints: give it once"),
        (["tcp://a:1", 5], "is no target: give a service name, an endpoint, or a list of endpoints"),
        (None, "None is no target"),
        (b"users", "b'users' is no target"),
        ({"tcp://a:1": 1}, "is no target"),
    ],
)
def test_a_wrong_target(catalog: Catalog, target: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(target, catalog)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_next_source_is_asked_where_the_first_lacks_the_name(catalog: Catalog) -> None:
    dns = Fixed(Found(named("thumbs", ("tcp://t:1",))))
    assert resolve("thumbs", catalog, dns).addresses == ("tcp://t:1",)
    assert dns.asked == ["thumbs"]


def test_the_next_source_is_not_asked_where_the_first_has_the_name(catalog: Catalog) -> None:
    dns = Fixed(Found(named("users", ("tcp://t:1",))))
    assert resolve("users", catalog, dns).addresses == ("tcp://a:1",)
    assert dns.asked == []


def test_the_next_source_is_not_asked_where_the_first_cannot_tell() -> None:
    first, second = Fixed(Failed(LostRemote("no name server"))), Fixed(Found(named("u", ("tcp://t:1",))))
    with pytest.raises(LostRemote, match="no name server"):
        resolve("users", first, second)
    assert second.asked == []


def test_all_places_that_were_looked_in_are_named() -> None:
    with pytest.raises(ServiceNotFound) as caught:
        resolve("users", Fixed(Missing(("a.yml",), ("usrs",))), Fixed(Missing(("DNS example.org",))))
    assert str(caught.value).startswith("no service 'users' in a.yml, DNS example.org; did you mean 'usrs'?")
