"""No service is exposed by another that has a client of it, wherever that one keeps it."""

from __future__ import annotations

import logging
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import mesh
from mesh.green.sidecar import Sidecar
from tests.green.conftest import Connect, Serve
from tests.helpers.peers import nobody


class Users:
    def __init__(self) -> None:
        self.deleted = 0

    def get(self, number: int) -> str:
        return f"user {number}"

    def delete_all(self) -> None:
        self.deleted += 1

    def rows(self) -> Iterator[int]:
        yield 1


class Front:
    def __init__(self, users: mesh.Client) -> None:
        self.users = users
        self.quick = users.with_options(timeout=1)
        self.delete_all = users.delete_all
        self.delete_later = partial(users.delete_all)
        self.close = users.close
        self.pending = users.get.future(1)
        self.result = self.pending.result
        self.stream = users.rows()
        self.next = self.stream.__next__
        self.publisher = mesh.Publisher()
        self.event = self.publisher.event
        self.pusher = mesh.Pusher()
        self.subscriber = mesh.Subscriber(None, print)
        self.puller = mesh.Puller(None, print)
        self.server = mesh.Server(Users())
        self.stop = self.server.stop
        self.sidecar = Sidecar("users", nobody(), [nobody()])

    def name(self, number: int) -> str:
        return str(self.users.get(number)).upper()

    def free(self) -> None:
        self.stream.close()
        self.pending.result(5)
        for one in (self.publisher, self.pusher):
            one.close()
        for other in (self.server, self.sidecar, self.subscriber, self.puller):
            other.stop(0)


@pytest.fixture
def users() -> Users:
    return Users()


@pytest.fixture
def front(users: Users, client_of: Callable[..., mesh.Client]) -> Iterator[Front]:
    made = Front(client_of(users))
    yield made
    made.free()


def test_what_an_object_keeps_of_others_is_not_to_be_called(
    users: Users, front: Front, client_of: Callable[..., mesh.Client], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mesh.server")
    client = client_of(front, name="front")
    assert client.name(5) == "USER 5"
    assert set(client._zerorpc_list()) == {"name", "free"}
    for name in ("users", "delete_all", "delete_later"):
        with pytest.raises(NameError, match=f"front has no method '{name}'"):
            client(name, "delete_all")
    assert not users.deleted
    left_out = client._zerorpc_inspect()["left_out"]
    assert set(left_out) == set(vars(front))
    assert left_out["users"] == left_out["quick"] == "is a client of another service"
    assert left_out["server"] == "is a server" and left_out["stop"] == "calls a server"
    (line,) = [line for line in caplog.messages if line.startswith("front does not expose: ")]
    assert "'close' calls a client of another service" in line and line.endswith("; and 7 more")


@pytest.mark.parametrize("name", ["users", "delete_all", "event", "stop"])
def test_in_a_dict_it_is_a_mistake(front: Front, name: str) -> None:
    with pytest.raises(mesh.ConfigError, match=f"{name!r} (is|calls) a .*, and that is never exposed"):
        mesh.Server({"own": len, name: getattr(front, name)})


def test_nor_is_what_a_module_names(front: Front, client_of: Callable[..., mesh.Client]) -> None:
    module: Any = types.ModuleType("front")
    module.__file__ = "front.py"
    module.__all__ = ["get", "users", "delete_all"]
    module.get, module.users, module.delete_all = front.users.get, front.users, front.delete_all
    with pytest.raises(mesh.ConfigError, match="'get' is a method of another service"):
        mesh.Server(module)
    module.get = lambda number: module.users.get(number)
    assert client_of(module)._zerorpc_list() == ["get"]


def test_events_reach_none_of_it_either(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mesh.events")
    mesh.Subscriber(None, front).stop(0)
    assert "handles no events: 'close' calls a client of another service" in caplog.text


def test_every_class_that_mesh_gives_a_program_is_marked(connect: Connect, serve: Serve) -> None:
    """A new one that is not would be exposed by whoever keeps one."""
    given = [getattr(mesh, name) for name in mesh.__all__]
    classes = [one for one in given if isinstance(one, type) and not issubclass(one, Exception)]
    assert {mesh.Client, mesh.Server, mesh.Publisher, mesh.Puller} <= set(classes)
    for cls in classes:
        with pytest.raises(mesh.ConfigError, match="never exposed"):
            mesh.Server({"kept": cls})
