"""`mesh-register NAME ENDPOINT`: servers that know nothing of hubs, old ones among them, behind real hubs."""

from __future__ import annotations

import json
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import pytest

import mesh
from mesh.core import majordomo as mdp
from mesh.green.sidecar import Sidecar
from tests.e2e.commands import environment
from tests.helpers.peers import OldClient, Server, mesh_server, nobody, old_server
from tests.helpers.processes import PATIENCE, Process, eventually
from tests.helpers.raw import RawClient, RawServer
from tests.hubs.commands import Shown, hub
from tests.hubs.wires import ANY

HEARTBEAT = 0.5
MESH_REGISTER = [sys.executable, "-m", "mesh.cli.register"]
WELL = "is well"
OUT = "is out for now"
KINDS = {"queue": "", "majordomo": "default: users\n"}


def register(
    endpoint: str,
    *hubs: str,
    pool_size: int | None = None,
    drain: float | None = None,
    heartbeat: float = HEARTBEAT,
) -> Process:
    """The command beside that server."""
    options = [part for one in hubs for part in ("--hub", one)]
    if pool_size is not None:
        options += ["--pool-size", str(pool_size)]
    if drain is not None:
        options += ["--drain", str(drain)]
    command = [*MESH_REGISTER, "users", endpoint, "--heartbeat", str(heartbeat), *options]
    return Process(command, env=environment())


@contextmanager
def a_hub(folder: Path, kind: str = "queue", heartbeat: float = HEARTBEAT) -> Iterator[tuple[Process, Shown]]:
    text = f"in: {ANY}\nout: {ANY}\ntype: {kind}\nheartbeat: {heartbeat}\n{KINDS[kind]}"
    with hub(text, folder) as running:
        yield running


def a_server(language: Any, endpoint: str | None = None, heartbeat: float = HEARTBEAT) -> Server:
    if language == "mesh":
        return mesh_server(heartbeat=heartbeat, endpoint=endpoint or ANY)
    return old_server(language, heartbeat=heartbeat, endpoint=endpoint)


def says(sidecar: Process, text: str, times: int = 1) -> None:
    eventually(
        lambda: sidecar.stderr.count(text) >= times,
        what=lambda: f"{text!r} {times} times from {sidecar.describe()}",
    )


@dataclass
class Stand:
    """A hub, a server and the sidecar between them. clients: where clients find the hub."""

    heartbeat: float
    clients: str
    workers: str
    language: str
    server: Server
    sidecar: Process

    def client(self, **options: Any) -> mesh.Client:
        return mesh.connect(self.clients, **{"timeout": 10.0, "heartbeat": self.heartbeat, **options})

    def start_server_again(self) -> None:
        self.server.close()
        self.server = a_server(self.language, self.server.endpoint, self.heartbeat)


@contextmanager
def standing(
    folder: Path,
    kind: str,
    language: str,
    pool_size: int | None = None,
    endpoint: str | None = None,
    drain: float | None = None,
    heartbeat: float = HEARTBEAT,
) -> Iterator[Stand]:
    with ExitStack() as stack:
        _, shown = stack.enter_context(a_hub(folder, kind, heartbeat))
        server = a_server(language, endpoint, heartbeat)
        stack.callback(lambda: stand.server.close())
        options = {"pool_size": pool_size, "drain": drain, "heartbeat": heartbeat}
        sidecar = stack.enter_context(register(server.endpoint, shown.out, **options))
        stand = Stand(heartbeat, shown.in_, shown.out, language, server, sidecar)
        says(sidecar, "has registered with")
        yield stand


@pytest.fixture(
    scope="class",
    params=[("queue", "python"), ("majordomo", "node")],
    ids=" ".join,
)
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    # 200 calls at once are more than a busy machine does between two heartbeats of half a second.
    with standing(tmp_path_factory.mktemp("hub"), *request.param, heartbeat=2 * HEARTBEAT) as made:
        yield made


@pytest.fixture
def client(stand: Stand) -> Iterator[mesh.Client]:
    with stand.client() as client:
        yield client


class TestAnOldServer:
    def test_calls(self, client: mesh.Client) -> None:
        value = {"text": "é", "bytes": b"\x00\xff", "list": [1, 2.5, None, True]}
        assert client.echo(value) == value
        calls = [client.add.future(number, 1) for number in range(200)]
        assert [call.result() for call in calls] == [number + 1 for number in range(200)]

    def test_a_large_value(self, client: mesh.Client) -> None:
        value = b"x" * 3_000_000
        assert client.echo(value) == value

    def test_the_error_of_a_handler(self, client: mesh.Client) -> None:
        with pytest.raises(mesh.RemoteError) as caught:
            client.fail("Odd", "no built-in")
        assert (caught.value.name, caught.value.msg) == ("Odd", "no built-in")
        assert caught.value.traceback

    def test_a_method_that_does_not_exist(self, stand: Stand, client: mesh.Client) -> None:
        if stand.language == "python":
            with pytest.raises(mesh.MethodNotFound, match="has no method 'no_such_method'") as caught:
                client.no_such_method()
            assert caught.value.refused
        else:  # zerorpc-node answers nothing
            with pytest.raises(mesh.TimeoutExpired):
                client.with_options(timeout=0.5).no_such_method()

    def test_a_stream_with_credit(self, client: mesh.Client) -> None:
        assert list(client.count(2_000)) == list(range(2_000))
        assert list(client.count(0)) == []

    def test_a_stream_that_fails(self, client: mesh.Client) -> None:
        stream = client.fail_after(5)
        assert [next(stream) for _ in range(5)] == list(range(5))
        with pytest.raises(mesh.RemoteError, match="after 5"):
            next(stream)

    def test_a_call_of_many_heartbeats(self, stand: Stand, client: mesh.Client) -> None:
        assert client.wait(5 * stand.heartbeat) == "waited"

    def test_keyword_arguments_are_refused_before_they_are_sent(self, client: mesh.Client) -> None:
        before = client.calls()
        with pytest.raises(TypeError, match="keyword arguments"):
            client.add(a=1, b=2)
        assert client.calls() == before

    def test_keyword_arguments_that_come_all_the_same_are_refused(self, stand: Stand) -> None:
        with RawClient(stand.clients) as raw:
            raw.send({"message_id": b"1", "v": 3, "kwargs": {"b": 2}}, "add", [1])
            header, name, args = raw.answer()
            assert (header["response_to"], name, args[0]) == (b"1", "ERR", "TypeError")
            assert args[1].startswith(f"the server at {stand.server.endpoint} is no mesh server")

    def test_whoever_asks_hears_that_it_is_an_old_server(self, stand: Stand) -> None:
        with RawClient(stand.clients) as raw:
            raw.send({"message_id": b"1", "v": 3, "mesh": 1}, "_zerorpc_ping", [])
            header, name, args = raw.answer()
            assert (name, args[0][0]) == ("OK", "pong")
            assert "mesh" not in header

    def test_a_cancelled_stream_ends_at_the_server(self, client: mesh.Client) -> None:
        for item in client.endless():
            if item == 300:
                break
        eventually(lambda: client.open_streams() == 0, what="the end of the stream")

    @pytest.mark.parametrize("language", ["python", "node"])
    def test_old_clients(self, stand: Stand, language: Any) -> None:
        with OldClient(language, stand.clients, heartbeat=stand.heartbeat) as old:
            assert old.call("add", 1, 2).value == 3
            if (stand.language, language) != ("python", "node"):
                # Node's credit that comes while the stream ends stops a zerorpc-python server for good.
                assert old.stream("count", 500).items == list(range(500))
            assert old.call("wait", 4 * stand.heartbeat).value == "waited"
            error = old.call("fail", "Odd", "told").error
            assert error is not None
            assert (error.name, error.message) == ("Odd", "told")

    @pytest.mark.parametrize(
        "header",
        [{"message_id": "one"}, {"message_id": "uno", "v": 1}, {"message_id": "two", "v": 2}],
        ids=["no version", "version 1", "version 2"],
    )
    def test_callers_of_any_version(self, stand: Stand, header: dict[str, Any]) -> None:
        with RawClient(stand.clients) as raw:
            raw.send(header, "add", [1, 2])
            answer, name, args = raw.answer()
            assert (name, args) == ("OK", [3])
            assert answer["response_to"] == header["message_id"]

    def test_nothing_was_dropped_and_nothing_was_ill(self, stand: Stand, client: mesh.Client) -> None:
        assert client.add(1, 1) == 2
        assert OUT not in stand.sidecar.stderr, stand.sidecar.stderr
        assert "dropped" not in stand.sidecar.stderr, stand.sidecar.stderr


# Calls that end early


def calls_of(direct: RawClient) -> int:
    direct.send({"message_id": b"calls", "v": 3}, "calls", [])
    count: int = direct.answer()[2][0]
    return count


@pytest.mark.parametrize("language", ["python", "node", "mesh"])
def test_a_place_is_free_again_at_once_after_a_cancel(tmp_path: Path, language: str) -> None:
    with standing(tmp_path, "queue", language, pool_size=1) as stand, stand.client() as client:
        for _ in range(3):
            for item in client.endless():
                if item == 200:
                    break
        hurried = client.with_options(timeout=0.2)
        for _ in range(3):
            with pytest.raises(mesh.TimeoutExpired):
                hurried.wait(3.0)
        began = time.monotonic()
        assert client.add(1, 2) == 3
        assert time.monotonic() - began < 10.0


def test_a_ping_passes_by_the_calls_of_an_old_server(tmp_path: Path) -> None:
    with standing(tmp_path, "queue", "python", pool_size=1) as stand, stand.client() as client:
        calls = [client.wait.future(1.0) for _ in range(2)]
        assert client("_zerorpc_ping") == ["pong", "old"]
        assert not any(call.done() for call in calls)


def test_a_place_is_free_again_when_an_old_client_has_left_a_stream(tmp_path: Path) -> None:
    """It does not say so; only its heartbeats end, and with them the server's."""
    with (
        standing(tmp_path, "queue", "python", pool_size=1) as stand,
        OldClient("python", stand.clients, heartbeat=HEARTBEAT) as old,
        stand.client() as client,
    ):
        assert old.stream("endless", take=20).items == list(range(20))
        assert client.add(1, 2) == 3, stand.sidecar.stderr


def test_a_client_that_is_gone_takes_its_call_along(tmp_path: Path) -> None:
    with (
        standing(tmp_path, "queue", "python", pool_size=1) as stand,
        OldClient("python", stand.clients, heartbeat=HEARTBEAT) as old,
        stand.client() as client,
    ):
        old.begin(do="call", method="wait", args=[60])
        with RawClient(stand.server.endpoint) as direct:
            eventually(lambda: calls_of(direct) == 1, what="the call")
        waiting = client.add.future(1, 2)
        old.kill()
        assert waiting.result() == 3


# Many at once


@pytest.mark.parametrize("language", ["python", "node", "mesh"])
def test_clients_that_count_their_calls_alike_do_not_meet(tmp_path: Path, language: str) -> None:
    with standing(tmp_path, "queue", language) as stand, ExitStack() as stack:
        clients = [stack.enter_context(RawClient(stand.clients)) for _ in range(5)]
        for number in range(3):
            for raw in clients:
                raw.send({"message_id": b"%d" % number, "v": 3}, "wait", [0.3])
            answers = [raw.answer() for raw in clients]
            assert [(header["response_to"], name, args) for header, name, args in answers] == [
                (b"%d" % number, "OK", ["waited"])
            ] * len(clients)


def test_a_client_that_starts_again_may_count_anew(tmp_path: Path) -> None:
    with standing(tmp_path, "queue", "python") as stand:
        for method, arguments in (("wait", [60]), ("add", [1, 2])):
            with RawClient(stand.clients) as raw:
                raw.send({"message_id": b"1", "v": 3}, method, arguments)
                if method == "wait":
                    with RawClient(stand.server.endpoint) as direct:
                        eventually(lambda direct=direct: calls_of(direct) == 1, what="the call")
                else:
                    assert raw.answer()[1:] == ("OK", [3])


@pytest.mark.parametrize(("language", "number"), [("node", 30), ("mesh", 70)])
def test_streams_at_the_same_time_lose_nothing(tmp_path: Path, language: str, number: int) -> None:
    """More than an old server keeps for one connection, and than a hub reads in the time."""
    with ExitStack() as stack:
        _, shown = stack.enter_context(a_hub(tmp_path))
        server = stack.enter_context(a_server(language, heartbeat=5.0))
        sidecar = stack.enter_context(register(server.endpoint, shown.out))
        says(sidecar, "has registered with")
        clients = [stack.enter_context(mesh.connect(shown.in_)) for _ in range(number)]
        readers = [gevent.spawn(lambda client=client: list(client.count(1_500))) for client in clients]
        gevent.joinall(readers, raise_error=True)
        assert all(reader.value == list(range(1_500)) for reader in readers)


# The server's health


def capacity(stand: Any) -> int:
    """What the hub knows of it, asked of the hub."""
    with RawClient(stand.clients) as raw:
        raw.socket.send_multipart(mdp.request(mdp.STATUS, [b""]))
        (service,) = json.loads(raw.socket.recv_multipart()[-1])["services"]
        return int(service["capacity"])


@pytest.mark.parametrize("language", ["python", "node"])
def test_a_frozen_server_is_taken_out_and_brought_back(tmp_path: Path, language: str) -> None:
    with standing(tmp_path, "queue", language) as stand, stand.client() as client:
        assert client.add(1, 2) == 3
        stand.server.signal(signal.SIGSTOP)
        began = time.monotonic()
        says(stand.sidecar, f"{stand.server.endpoint} is out for now: it has not answered for ")
        assert time.monotonic() - began < 3 * HEARTBEAT + 5.0
        eventually(lambda: capacity(stand) == 0, what="the hub to know")
        waiting = client.add.future(3, 4)
        gevent.sleep(2 * HEARTBEAT)
        assert not waiting.done(), "the hub keeps it for a worker that can take it"
        stand.server.signal(signal.SIGCONT)
        assert waiting.result() == 7
        says(stand.sidecar, WELL, times=2)


def test_a_call_that_a_frozen_server_has_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with standing(tmp_path, "queue", "python") as stand, stand.client(heartbeat=None) as client:
        slow = client.wait.future(1.0)
        eventually(lambda: client.calls() == 1)
        stand.server.signal(signal.SIGSTOP)
        says(stand.sidecar, OUT)
        stand.server.signal(signal.SIGCONT)
        assert slow.result() == "waited"


@pytest.mark.parametrize(("kind", "language"), [("majordomo", "python"), ("queue", "node")])
def test_a_server_that_dies_fails_its_calls_at_once_and_is_back_after_its_start(
    tmp_path: Path, kind: str, language: str
) -> None:
    with standing(tmp_path, kind, language, endpoint=nobody()) as stand, stand.client() as client:
        open_ones = [client.wait.future(60) for _ in range(5)]
        stream = client.slowly(1_000, 0.01)
        assert next(stream) == 0
        eventually(lambda: client.calls() >= 5)
        began = time.monotonic()
        stand.server.kill()
        for call in open_ones:
            with pytest.raises(mesh.LostRemote, match="is gone") as caught:
                call.result()
            assert not caught.value.refused
        with pytest.raises(mesh.LostRemote):
            list(stream)
        assert time.monotonic() - began < 10.0, "not when they would have ended"
        says(stand.sidecar, f"{stand.server.endpoint} is out for now: the connection broke")
        stand.start_server_again()
        assert client.add(1, 2) == 3


def test_nothing_is_registered_before_the_server_answers(tmp_path: Path) -> None:
    endpoint = nobody()
    with a_hub(tmp_path) as (_, shown), register(endpoint, shown.out) as sidecar:
        says(sidecar, f"{endpoint} is out for now: no connection yet; is a server running there?")
        with mesh.connect(shown.in_, timeout=10) as client:
            with pytest.raises(mesh.ServiceNotFound):
                client.add(1, 2)
            with a_server("python", endpoint):
                says(sidecar, "has registered with")
                assert client.add(1, 2) == 3


def test_a_server_that_answers_pings_with_errors_is_out_until_it_does_not(tmp_path: Path) -> None:
    with ExitStack() as stack:
        _, shown = stack.enter_context(a_hub(tmp_path))
        server = stack.enter_context(RawServer())
        sidecar = stack.enter_context(register(server.endpoint, shown.out))

        def answer_ping(name: str, args: Any) -> None:
            header, method, _ = server.receive()
            assert (method, header["mesh"]) == ("_zerorpc_ping", 1)
            server.send({"message_id": b"a", "v": 3, "response_to": header["message_id"]}, name, args)

        answer_ping("ERR", ["Full", "the disk is full", ""])
        says(
            sidecar,
            f"{server.endpoint} is out for now: it answers a ping with an error, Full: the disk is full",
        )
        assert "has registered" not in sidecar.stderr
        answer_ping("ERR", ["NameError", "_zerorpc_ping", ""])
        says(sidecar, "has registered with")


def test_a_listener_that_is_no_zeromq_program_is_told(tmp_path: Path) -> None:
    import socket

    with a_hub(tmp_path) as (_, shown), socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with register(endpoint, shown.out) as sidecar:
            connection, _ = listener.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            says(sidecar, f"{endpoint} is out for now: ")
            assert "has registered" not in sidecar.stderr


# Several hubs, and mesh servers


def test_a_server_of_mesh_takes_keyword_arguments(tmp_path: Path) -> None:
    with standing(tmp_path, "majordomo", "mesh") as stand, stand.client() as client:
        assert client.add(a=1, b=2) == 3
        assert list(client.count(number=2_000)) == list(range(2_000))
        with pytest.raises(mesh.MethodNotFound) as caught:
            client.no_such_method()
        assert caught.value.refused
        says(stand.sidecar, f"{stand.server.endpoint}, of mesh, is well")


@pytest.mark.parametrize("language", ["python", "mesh"])
def test_a_hub_that_dies_takes_only_its_own_calls_along(tmp_path: Path, language: str) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as stack:
        (one, first), (_, second) = [stack.enter_context(a_hub(folder)) for folder in folders]
        server = stack.enter_context(a_server(language))
        sidecar = stack.enter_context(register(server.endpoint, first.out, second.out))
        says(sidecar, "has registered with", times=2)
        lost, kept = [
            stack.enter_context(mesh.connect(shown.in_, timeout=10, heartbeat=HEARTBEAT))
            for shown in (first, second)
        ]
        left = lost.slowly(1_000, 0.02)
        slow = kept.slowly(50, 0.02)
        assert (next(left), next(slow)) == (0, 0)
        one.kill()
        with pytest.raises(mesh.LostRemote):
            list(left)
        assert list(slow) == list(range(1, 50))
        eventually(lambda: kept.open_streams() == 0, what="the end of the stream of the dead hub")


# The end


@pytest.mark.parametrize("language", ["python", "node"])
def test_sigterm_lets_the_calls_finish(tmp_path: Path, language: str) -> None:
    with standing(tmp_path, "queue", language) as stand, stand.client() as client:
        slow = client.wait.future(1.5)
        eventually(lambda: client.calls() == 1)
        stand.sidecar.signal(signal.SIGTERM)
        assert slow.result() == "waited"
        assert stand.sidecar.wait() == 0
        waiting = client.add.future(1, 2)
        with register(stand.server.endpoint, stand.workers):
            assert waiting.result() == 3


def test_calls_that_outlast_the_drain_are_named_and_tell_in_the_exit_code(tmp_path: Path) -> None:
    with standing(tmp_path, "queue", "mesh", drain=0.4) as stand, stand.client() as client:
        slow = client.wait.future(30)
        eventually(lambda: client.calls() == 1)
        stand.sidecar.signal(signal.SIGTERM)
        with pytest.raises(mesh.LostRemote):
            slow.result()
        assert stand.sidecar.wait() == 1
        log = stand.sidecar.stderr
        assert re.search(
            rf"users: waits for 1 calls, for at most 0.4 s: 'wait' .* through {stand.workers}", log
        )
        assert "users: 1 calls still ran after 0.4 s and are given up: 'wait' for" in log


# What the command refuses


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["users", "tcp://127.0.0.1", "--hub", "tcp://127.0.0.1:1"], "tcp://127.0.0.1"),
        (["users", "inproc://x", "--hub", "tcp://127.0.0.1:1"], "a sidecar's server is another process"),
        (["users", "tcp://127.0.0.1:1", "--hub", "inproc://x"], "a hub is never in the same process"),
        (["a b", "tcp://127.0.0.1:1", "--hub", "tcp://127.0.0.1:1"], "is no name of a service"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(arguments: list[str], line: str) -> None:
    with Process([*MESH_REGISTER, *arguments], env=environment()) as process:
        assert process.wait() == 2
        (said,) = process.stderr.splitlines()
        assert line in said


def test_a_sidecar_of_its_own_hub_ends_and_says_why(tmp_path: Path) -> None:
    with ExitStack() as stack:
        _, shown = stack.enter_context(a_hub(tmp_path))
        server = stack.enter_context(a_server("mesh"))
        # As long as somebody else answers, the hub's in side looks like a server.
        says(stack.enter_context(register(server.endpoint, shown.out)), WELL)
        looped = stack.enter_context(register(shown.in_, shown.out))
        assert looped.wait() == 2
        last = looped.stderr.splitlines()[-1]
        assert last.startswith(
            f"mesh-register: what is at {shown.in_} is a hub where this worker of users is "
        )
        with mesh.connect(shown.in_, timeout=10) as client:
            assert client.echo(1) == 1


# What is left


def test_nothing_is_left_of_calls_however_they_ended(tmp_path: Path) -> None:
    chance, heartbeat = random.Random(11), 10.0  # 300 callers and the sidecar have one loop here
    with ExitStack() as stack:
        _, shown = stack.enter_context(a_hub(tmp_path, heartbeat=heartbeat))
        server = stack.enter_context(a_server("mesh", heartbeat=heartbeat))
        sidecar = Sidecar("users", server.endpoint, shown.out, heartbeat=heartbeat, capacity=50)
        runner = gevent.spawn(sidecar.run)
        stack.callback(lambda: (sidecar.stop(0), runner.get()))
        clients = [stack.enter_context(mesh.connect(shown.in_, timeout=PATIENCE)) for _ in range(3)]
        assert clients[0].add(1, 2) == 3

        def one(client: mesh.Client) -> None:
            how = chance.randrange(5)
            if how == 0:
                assert client.add(1, 2) == 3
            elif how == 1:
                assert list(client.count(300)) == list(range(300))
            elif how == 2:
                for item in client.endless():
                    if item == 20:
                        break
            elif how == 3:
                with pytest.raises(ValueError, match="no"):
                    client.fail("ValueError", "no")
            else:
                with pytest.raises(mesh.TimeoutExpired):
                    client.with_options(timeout=0.05).wait(0.5)

        callers = [gevent.spawn(one, chance.choice(clients)) for _ in range(300)]
        gevent.joinall(callers, raise_error=True)
        session = sidecar._endpoint._session
        eventually(lambda: not session.channels, what="the end of all calls")
        assert (session.take_out(), session.take_for_server(), session._unanswered) == ([], [], 0)
        assert not any(connection.calls for connection in session.connections)
        assert session.dropped.keys() <= {"late"}
        assert clients[0].open_streams() == 0
