"""What is found out about a server's methods, from new servers and from old ones."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.cli.describe import Description, describe
from mesh.cli.inspection import known_methods, show_method
from mesh.cli.output import Printer
from mesh.errors import LostRemote, MeshError, RemoteError, TimeoutExpired


class Peer:
    """A server in memory: what it answers to each question; an exception is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {f"_zerorpc_{name}": answer for name, answer in answers.items()}
        self.asked: list[str] = []

    def __call__(self, method: str, *args: Any) -> Any:
        self.asked.append(method)
        answer = self.answers.get(method, RemoteError("NameError", method))
        if isinstance(answer, Exception):
            raise answer
        return answer(*args) if callable(answer) else answer


def test_a_mesh_server() -> None:
    found = {"args": [{"name": "a"}], "doc": "Get.", "signature": "(a, *, c)"}
    description = describe(Peer(inspect={"name": "users", "methods": {"get": found}}))
    method = description.method("get")
    assert description.name == "users"
    assert method and (method.signature, method.doc, method.args) == ("(a, *, c)", "Get.", [{"name": "a"}])


def test_a_server_without_signatures() -> None:
    args = [{"name": "self"}, {"name": "a"}, {"name": "b", "default": "x"}]
    methods = {"b": {"args": args, "doc": None}, "a": {"args": None, "doc": ""}}
    description = describe(Peer(inspect={"name": "old", "methods": methods}))
    assert [(m.name, m.signature, m.doc) for m in description.methods or ()] == [
        ("a", "(…)", ""),
        ("b", "(a, b='x')", ""),
    ]


def test_defaults_are_shown_without_their_address() -> None:
    lies = "<function f at 0x7fb1a0>"
    found = {
        "signature": f"(f={lies}, m=<bound method A.m of <a.A object at 0x7F01>>, t='at 0x7')",
        "args": [{"name": "f", "default": lies}, {"name": "n", "default": 0}, {"name": "m"}],
    }
    method = describe(Peer(inspect={"name": "x", "methods": {"get": found}})).method("get")
    assert method and method.args == [{"name": "f", "default": "<function f>"}, *found["args"][1:]]
    assert method.signature == "(f=<function f>, m=<bound method A.m of <a.A object>>, t='at 0x7')"


def test_a_server_whose_inspect_raises() -> None:
    peer = Peer(
        inspect=RemoteError("AttributeError", "getargspec"),
        list=["add", "fail"],
        help=lambda name: "Add." if name == "add" else None,
        args=RemoteError("AttributeError", "getargspec"),
        name="old",
    )
    description = describe(peer)
    assert description.name == "old"
    assert [(m.name, m.signature, m.doc) for m in description.methods or ()] == [
        ("add", "(…)", "Add."),
        ("fail", "(…)", ""),
    ]
    assert peer.asked.count("_zerorpc_args") == 1


def test_the_arguments_of_an_old_server() -> None:
    peer = Peer(list=["add"], help="Add.", args=[["self", "a", "b"], None, None, [2]], name="old")
    method = describe(peer).method("add")
    assert method and method.signature == "(a, b=2)"


def test_a_server_that_answers_only_a_ping() -> None:
    description = describe(Peer(ping=["pong", "bare"]))
    assert (description.name, description.methods) == ("bare", None)


def test_a_server_that_is_silent_about_what_it_lacks() -> None:
    peer = Peer(inspect=TimeoutExpired("no answer"), ping=["pong", "bare"])
    assert describe(peer).methods is None


@pytest.mark.parametrize("answer", [None, 3, {"methods": []}, {"name": "x"}])
def test_an_odd_answer_is_asked_for_again_in_the_old_way(answer: Any) -> None:
    method = describe(Peer(inspect=answer, list=["add"])).method("add")
    assert method and method.signature == "(…)"


@pytest.mark.parametrize(
    "found",
    [None, [], {"args": 3, "doc": 3, "signature": 3}, {"args": [3, {"name": 3}, {}]}],
)
def test_an_odd_method_is_still_listed(found: Any) -> None:
    assert describe(Peer(inspect={"name": 3, "methods": {"add": found}})).method("add")


def test_nobody_there_is_asked_once() -> None:
    refused = TimeoutExpired("not connected")
    refused.refused = True
    peer = Peer(inspect=refused)
    with pytest.raises(TimeoutExpired):
        describe(peer)
    assert peer.asked == ["_zerorpc_inspect"]


def test_silence_is_reported_as_it_was() -> None:
    with pytest.raises(TimeoutExpired, match="no answer to inspect"):
        describe(Peer(inspect=TimeoutExpired("no answer to inspect"), ping=TimeoutExpired("no pong")))
    with pytest.raises(LostRemote):
        describe(Peer(inspect=LostRemote("gone")))


def test_what_to_type_is_quoted_for_a_shell() -> None:
    with pytest.raises(MeshError, match=r"call one: mesh call 'ipc:///a b' METHOD$"):
        known_methods("ipc:///a b", Description("", None))
    with pytest.raises(MeshError, match=r"see mesh inspect 'tcp://\[::1\]:4242'$"):
        show_method(Printer(), "tcp://[::1]:4242", Description("users", []), "get")
    with pytest.raises(MeshError, match=r"see mesh inspect users$"):
        show_method(Printer(), "users", Description("users", []), "get")
