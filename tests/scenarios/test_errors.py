"""What is raised at the caller, whichever driver it has."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import mesh
from mesh.core.server_session import Limits
from tests.scenarios.conftest import Pair, Served

Start = Callable[..., Served]


def test_a_built_in_exception_comes_as_itself_and_as_a_remote_error(served: Start) -> None:
    client, *_ = served()
    with pytest.raises(KeyError) as caught:
        client.call("fail", "KeyError", "tea")
    error = caught.value
    assert isinstance(error, mesh.RemoteError)
    assert (error.name, error.msg) == ("KeyError", "'tea'")
    assert "in fail" in error.traceback and "/mesh/" not in error.traceback
    with pytest.raises(ValueError, match="tea"):
        client.call("fail", "ValueError", "tea")
    with pytest.raises(OSError, match="tea"):
        client.call("fail", "OSError", "tea")


def test_one_of_the_program_s_own_comes_by_name(served: Start) -> None:
    client, *_ = served()
    with pytest.raises(mesh.RemoteError, match="salt") as caught:
        client.call("fail", "Refused", "salt")
    assert caught.value.name == "Refused"
    assert not isinstance(caught.value, mesh.LostRemote)


def test_a_method_that_does_not_exist(served: Start) -> None:
    client, *_ = served()
    with pytest.raises(mesh.MethodNotFound, match="nothing") as caught:
        client.call("nothing")
    assert isinstance(caught.value, NameError) and caught.value.refused
    with pytest.raises(mesh.MethodNotFound):
        client.call("_private")


def test_arguments_that_do_not_fit(served: Start) -> None:
    client, *_ = served()
    with pytest.raises(TypeError, match="argument"):
        client.call("echo")


def test_nobody_there_is_told_in_time(pair: Pair) -> None:
    client = pair.near.connect("tcp://127.0.0.1:9", timeout=0.3)
    with pytest.raises(mesh.TimeoutExpired, match=r"127\.0\.0\.1:9") as caught:
        client.call("echo", 1)
    assert caught.value.refused, "no server has seen it"


def test_a_server_that_is_full_says_so(served: Start) -> None:
    client, *_ = served({"pool_size": 1, "limits": Limits(queue=2)})
    begun = [client.begin("nap", 0.5) for _ in range(12)]
    outcomes = []
    for one in begun:
        try:
            outcomes.append(one.result(30))
        except mesh.Overloaded as exc:
            outcomes.append(exc)
    assert any(isinstance(one, mesh.Overloaded) and one.refused for one in outcomes)
    assert 0.5 in outcomes


def test_a_message_over_the_limit(served: Start) -> None:
    client, *_ = served({"max_message": 10_000})
    with pytest.raises(mesh.MeshError, match=r"max_message|10,?000"):
        client.call("echo", b"x" * 20_000)
    assert client.call("echo", 1) == 1


@pytest.mark.parametrize("options", [{"timeout": -1}, {"retries": 1.5}, {"idempotent": "yes"}])
def test_odd_options_are_told_at_once(served: Start, options: dict[str, object]) -> None:
    client, *_ = served()
    with pytest.raises(mesh.ConfigError, match=next(iter(options))):
        client.with_options(**options)


def test_names_that_are_unknown(pair: Pair, tmp_path: object) -> None:
    services = f"{tmp_path}/services.yml"
    with open(services, "w") as file:
        file.write("users: tcp://127.0.0.1:9\n")
    with pytest.raises(mesh.ServiceNotFound, match="usres"):
        pair.near.connect("usres", services=services)
