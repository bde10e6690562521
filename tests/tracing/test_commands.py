"""`mesh collect`, `mesh trace` and `mesh traces` as real processes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest

import mesh as library
from mesh.core.trace_record import Kind
from tests.e2e.commands import ANY_PORT, MESH, SERVICE, Terminal, environment, failed, mesh, serving, start
from tests.helpers import redis_server
from tests.helpers.peers import free_port, nobody
from tests.helpers.processes import Process, eventually, python
from tests.helpers.requirements import unshared
from tests.tracing.batches import TRACE, Program, rate, record

CLIENT, SERVER = Kind.CLIENT, Kind.SERVER


@contextmanager
def collecting(*arguments: str, cwd: Path, bind: str = ANY_PORT) -> Iterator[tuple[Process, str]]:
    """A running `mesh collect`, and its endpoint."""
    with start("collect", "--bind", bind, *arguments, cwd=cwd) as process:
        yield process, process.wait_for(r"^collecting on (\S+) into ")[1]


def tell(endpoint: str, *batches: bytes) -> None:
    with library.connect(endpoint) as client:
        for batch in batches:
            client.records(batch)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A collector that knows three traces, and the folder in which it was started."""
    folder = tmp_path_factory.mktemp("collector")
    web, orders = Program("web"), Program("orders")
    with collecting(cwd=folder) as (_, endpoint):
        tell(
            endpoint,
            web.batch(
                record(CLIENT, "a", began=0.0, ended=1.0, detail={"tags": {"user": 42}}),
                record(CLIENT, "b", call="stock.take", outcome="KeyError", trace="8f3b" * 8),
                record(CLIENT, "c", call="\x1b[31mred.m", trace="<8F3A2C>"),
            ),
            orders.batch(record(SERVER, "a", began=0.01, ended=0.99)),
        )
        (folder / "services.yml").write_text(f"collector: {endpoint}\n")
        yield folder, endpoint


def test_one_trace(collector: tuple[Path, str]) -> None:
    folder, endpoint = collector
    result = mesh("trace", TRACE, "--collector", endpoint, cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    request, reply = result.stdout.splitlines()
    assert "web@web --- place ---> orders@orders (lag: 10ms ±10 | exec: 980ms)" in request
    assert "orders@orders --- OK ---> web@web" in reply
    tree = mesh("trace", TRACE, "--tree", "--critical", cwd=folder, MESH_TRACE=endpoint)
    assert tree.stdout.startswith("orders.place  web@web → orders@orders  1.0 s\ncritical path")
    (line,) = mesh("trace", TRACE, "-j", cwd=folder).stdout.splitlines()  # as services.yml has it
    assert [span["method"] for span in json.loads(line)["spans"]] == ["place"]
    assert "critical" not in json.loads(line)
    slow = json.loads(mesh("trace", TRACE, "-j", "--critical", cwd=folder).stdout)
    assert slow["critical"] == {
        "path": [{"span": slow["spans"][0]["span"], "depth": 0, "own": pytest.approx(1.0)}],
        "own": [{"span": slow["spans"][0]["span"], "own": pytest.approx(1.0)}],
        "in_turn": [],
        "repeated": [],
    }
    raw = mesh("trace", TRACE, "--raw", cwd=folder)
    assert "(lag: 10ms | exec: 980ms)" in raw.stdout


def test_the_beginning_of_an_id(collector: tuple[Path, str]) -> None:
    folder, _ = collector
    assert "place" in mesh("trace", "8f3a", cwd=folder).stdout
    line = failed(mesh("trace", "8f3", cwd=folder), 2)
    assert TRACE in line and "8f3b" * 8 in line
    line = failed(mesh("trace", "77", cwd=folder), 3)
    assert line.startswith("mesh: the collector has no trace '77'")


def test_a_trace_of_which_records_may_have_been_dropped(collector: tuple[Path, str]) -> None:
    folder, endpoint = collector
    program = Program("busy\x1b")
    calls = [record(CLIENT, name, call="mill.grind", trace="dd" * 16) for name in "ab"]
    tell(endpoint, program.batch(calls[0], ahead=0.5), program.batch(calls[1], ahead=0.6, dropped=1_234))
    for options in ([], ["-j"]):
        result = mesh("trace", "dd" * 16, *options, cwd=folder)
        assert "grind" in result.stdout
        told = "this trace may not be whole: records were dropped while it ran, by busy"
        assert result.stderr.startswith(told) and result.stderr.endswith(" 1,234\n")
        assert "\x1b" not in result.stderr
    assert list(json.loads(result.stdout)["dropped"].values()) == [1_234]
    found = mesh("traces", "--limit", "1", cwd=folder)
    assert "programs dropped 1,234 records in that time" in found.stderr


def test_a_call_whose_lag_other_traces_tell(tmp_path: Path) -> None:
    """The clocks are half a second apart, which the slow call alone does not say."""
    near, far = Program("near"), Program("far", ahead=0.5)
    with collecting("--store", "memory", cwd=tmp_path) as (_, endpoint):
        for number in range(1, 5):
            name, trace, at = f"{number:04d}", f"{number:032x}", number / 10
            tell(
                endpoint,
                near.batch(record(CLIENT, name, trace=trace, began=at, ended=at + 0.012)),
                far.batch(record(SERVER, name, trace=trace, began=at + 0.001, ended=at + 0.011)),
            )
        tell(
            endpoint,
            near.batch(record(CLIENT, "slow", began=2.0, ended=9.0)),
            far.batch(record(SERVER, "slow", began=4.0, ended=6.0)),
        )
        request, _ = mesh("trace", TRACE, "--collector", endpoint, cwd=tmp_path).stdout.splitlines()
        assert (
            "(lag: 2000ms ±1.1 | exec: 2000ms)" in request
        )  # of which a tenth the clocks may have drifted since


def test_search(collector: tuple[Path, str]) -> None:
    folder, endpoint = collector
    result = mesh("traces", cwd=folder)
    head, *rows = (line.split("\t") for line in result.stdout.splitlines())
    assert head[0] == "ID"
    assert {row[0] for row in rows} >= {TRACE, "8f3b" * 8, "<8F3A2C>"}
    for options, found in (
        (["--service", "orders", "--method", "place"], [TRACE]),
        (["--error"], ["8f3b" * 8]),
        (["--error", "KeyError"], ["8f3b" * 8]),
        (["--tag", "user=42"], [TRACE]),
        (["--slower", "5"], []),
        (["--since", "10m"], []),
        (["--since", "2012-01-01", "--slower", "0.1", "--service", "stock"], ["8f3b" * 8]),
    ):
        result = mesh("traces", "-j", *options, "--collector", endpoint, cwd=folder)
        assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == found, options
    assert mesh("traces", "--slower", "5", cwd=folder).stderr == "no trace is like that\n"
    assert "neither a time ago" in failed(mesh("traces", "--since", "soon", cwd=folder), 2)


def test_where_there_are_no_calls_to_show(tmp_path: Path) -> None:
    with collecting("--store", "memory", cwd=tmp_path) as (_, endpoint):

        def says(*command: str) -> str:
            result = mesh(*command, "--collector", endpoint, cwd=tmp_path)
            assert (result.returncode, result.stdout) == (0, "")
            return result.stderr

        assert says("top", "--once") == says("graph") == "nobody has told of calls: see MESH_TRACE\n"
        tell(endpoint, Program("web").batch())
        known = "by the one program that the collector knows\n"
        assert says("top", "--once", "--seconds", "60") == f"no calls in the last 60 s {known}"
        tell(endpoint, Program("orders").batch())
        known = "by the 2 programs that the collector knows\n"
        assert says("top", "--once") == f"no calls in the last 10 s {known}"
        assert says("graph") == f"no calls in the last 5 min {known}"
        assert says("top", "--once", "-j") == ""


def test_ps_waits_for_the_collector_as_long_as_for_the_others(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stands_still:
        where = f"tcp://127.0.0.1:{stands_still.getsockname()[1]}"
        result = mesh("ps", nobody(), "--timeout", "0.7", cwd=tmp_path, MESH_TRACE=where)
    assert result.returncode == 3
    line, _ = result.stderr.splitlines()
    assert line.startswith("mesh: calls that no server tells of are not shown: ")
    assert "after 0.7 s" in line


def test_what_others_have_named_is_not_obeyed_by_a_terminal(collector: tuple[Path, str]) -> None:
    folder, _ = collector
    for arguments in (["trace", "<8F3A2C>"], ["trace", "<8F3A2C>", "--tree"], ["traces"]):
        with Terminal([*MESH, *arguments], 160, folder, NO_COLOR="1") as terminal:
            assert terminal.wait() == 0
            assert "[31mred" in terminal.shown
            assert "\x1b" not in terminal.shown


def test_where_nothing_says_where_it_is(tmp_path: Path) -> None:
    line = failed(mesh("trace", "8f", cwd=tmp_path), 2)
    assert "give --collector EP, set MESH_TRACE=EP, or add `collector` to services.yml" in line
    failed(mesh("traces", "--collector", nobody(), "--timeout", "0.3", cwd=tmp_path), 3)


def test_off_is_for_programs_and_no_collector(collector: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = collector
    for off in ("off", "OFF", "0", ""):
        assert "place" in mesh("trace", TRACE, cwd=folder, MESH_TRACE=off).stdout, off
    line = failed(mesh("traces", cwd=tmp_path, MESH_TRACE="off"), 2)
    assert line.startswith("mesh: nothing says where the collector is")
    line = failed(mesh("traces", cwd=folder, MESH_TRACE="of"), 3)
    assert line.startswith("mesh: MESH_TRACE is 'of': no service 'of' in ")
    # Where nobody else answers, what is said of the collector comes first.
    first, *others = mesh("ps", nobody(), cwd=folder, MESH_TRACE="of").stderr.splitlines()
    assert first.startswith(
        "mesh: calls that no server tells of are not shown: MESH_TRACE is 'of': no service"
    )
    assert len(others) == 1
    assert len(mesh("ps", nobody(), cwd=folder, MESH_TRACE="OFF").stderr.splitlines()) == 1


def test_it_ends_with_all_written_and_its_file_is_there_again(tmp_path: Path) -> None:
    port = f"tcp://127.0.0.1:{free_port()}"
    for number, (end, code) in enumerate(((signal.SIGTERM, 0), (signal.SIGKILL, -9), (signal.SIGINT, 130))):
        with collecting("--store", "kept.db", bind=port, cwd=tmp_path) as (process, endpoint):
            assert process.stdout.strip() == f"collecting on {port} into kept.db"
            tell(endpoint, Program("web").batch(record(CLIENT, "a", trace=f"{number}" * 32)))
            found = mesh("traces", "-j", "--collector", endpoint, cwd=tmp_path).stdout.splitlines()
            assert len(found) == number + 1
            process.signal(end)
            assert process.wait() == code


def test_it_ends_while_programs_wait_for_questions_and_people_look_on(tmp_path: Path) -> None:
    web = Program("web")
    with ExitStack() as stack:
        process, endpoint = stack.enter_context(collecting("--store", "memory", cwd=tmp_path))
        client = stack.enter_context(library.connect(endpoint))
        asked = [gevent.spawn(client.question, web.identity, list(web.about)) for _ in range(3)]
        looks_on = gevent.spawn(lambda: list(client.tap()))
        gevent.sleep(0.3)
        process.signal(signal.SIGTERM)
        gevent.joinall([*asked, looks_on], timeout=10, raise_error=True)
        assert ([one.value for one in asked], looks_on.value) == ([None] * 3, [])
        assert process.wait() == 0


def test_a_port_in_use_is_named(collector: tuple[Path, str]) -> None:
    folder, endpoint = collector
    line = failed(mesh("collect", "--bind", endpoint, "--store", "memory", cwd=folder), 2)
    assert endpoint in line and "in use" in line
    assert "--store http://x" in failed(mesh("collect", "--store", "http://x", cwd=folder), 2)
    assert "--store '': give the path of a file" in failed(mesh("collect", "--store", "", cwd=folder), 2)


def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    """A disk of 1 MiB, in namespaces of its own; the socket is a file."""
    script = f'mount -t tmpfs -o size=1m none "{tmp_path}/disk" && exec "$@"'
    (tmp_path / "disk").mkdir()
    command = [*unshared(), "sh", "-c", script, "sh", *MESH, "collect"]
    if subprocess.run([*unshared(), "sh", "-c", script, "sh", "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    endpoint = f"ipc://{tmp_path}/collector.ipc"
    web = Program("web")
    with Process(
        [*command, "--bind", endpoint, "--store", "disk/traces.db"], cwd=tmp_path, env=environment()
    ) as process:
        process.wait_for("^collecting on ")
        with library.connect(endpoint) as client:

            def lost() -> int:
                client.records(
                    web.batch(*(record(CLIENT, f"{n}", trace=f"{time.time()}{n}") for n in range(500)))
                )
                gevent.sleep(0.05)
                return int(client.status()["lost"])

            assert eventually(lost) % 500 == 0
            assert "the disk is full: free some of it" in client.status()["trouble"]
            assert client.traces(limit=1)["traces"]
        assert "the disk is full" in process.stderr
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_several_collectors_on_one_redis_which_goes_away_and_comes_back(tmp_path: Path) -> None:
    web, orders = Program("web"), Program("orders")
    with ExitStack() as stack:
        redis, port = stack.enter_context(redis_server.running(tmp_path))
        url = f"redis://127.0.0.1:{port}/0"
        first, second = (stack.enter_context(collecting("--store", url, cwd=tmp_path)) for _ in range(2))
        tell(first[1], web.batch(record(CLIENT, "a", ended=1.0)))
        tell(second[1], orders.batch(record(SERVER, "a", began=0.01, ended=0.99)))

        def both() -> bool:
            return (
                "place ---> orders@orders"
                in mesh("trace", "8f3a", "--collector", first[1], cwd=tmp_path).stdout
            )

        eventually(both)
        redis.kill()
        tell(first[1], web.batch(record(CLIENT, "b", call="s.meanwhile", trace="f" * 32)))
        first[0].wait_for(r"traces can't be written: Redis at 127\.0\.0\.1")
        stack.enter_context(redis_server.running(tmp_path, port))
        first[0].wait_for("traces are written again; 0 records are lost")
        result = mesh("trace", "ffff", "--collector", second[1], cwd=tmp_path)
        assert "meanwhile" in result.stdout


def test_ps_shows_what_a_program_waits_for_that_serves_nothing(collector: tuple[Path, str]) -> None:
    _, endpoint = collector
    away = nobody()
    folder = Path(__file__).parent
    env = {**environment(), "MESH_TRACE": endpoint}
    with python(folder / "programs" / "shop.py", "lonely", away, env=env) as program:
        program.wait_for("calls")

        def row() -> str:
            result = mesh("ps", endpoint, away, MESH_TRACE=endpoint, cwd=folder)
            assert result.returncode == 0, result.stderr
            return next((line for line in result.stdout.splitlines() if "send" in line), "")

        line = eventually(row)
    assert f":{program.pid}" in line and "a connection" in line


def test_what_servers_carry_out_is_told_to_who_asks_the_collector_for_it(tmp_path: Path) -> None:
    """As the dashboard does, which need not reach the servers."""
    (tmp_path / "users.py").write_text(SERVICE)
    with ExitStack() as stack:
        _, where = stack.enter_context(collecting("--store", "memory", cwd=tmp_path))
        serve = ("users:Users", "--bind", ANY_PORT)
        server, endpoint = stack.enter_context(serving(*serve, cwd=tmp_path, MESH_TRACE=where))
        stack.enter_context(start("call", endpoint, "nap", "60", cwd=tmp_path))
        server.wait_for("napping")

        def rows(*arguments: str) -> list[dict[str, Any]]:
            said = mesh("call", where, "open_calls", "-j", *arguments, cwd=tmp_path).stdout
            found: list[dict[str, Any]] = [one for one in json.loads(said)["calls"] if not one.get("told")]
            return found

        [row] = eventually(lambda: rows("null", "true"))
        assert (row["service"], row["method"], row["pid"]) == ("Users", "nap", server.pid)
        assert row["waits_for"]["kind"] == "line" and "users.py" in row["waits_for"]["line"]
        assert rows() == []


def test_programs_that_tell_another_collector_are_asked_and_tapped_too(tmp_path: Path) -> None:
    """And one collector that is away is told of, while the others have their say."""
    program, away = Path(__file__).parent / "programs" / "shop.py", nobody()
    with ExitStack() as stack:
        collectors = [stack.enter_context(collecting("--store", "memory", cwd=tmp_path))[1] for _ in range(2)]
        lonely, busy = (
            stack.enter_context(python(program, name, away, env={**environment(), "MESH_TRACE": endpoint}))
            for name, endpoint in zip(("lonely", "goes_on"), collectors, strict=True)
        )
        (tmp_path / "services.yml").write_text(f"collector: [{', '.join([*collectors, nobody()])}]\n")

        def rows() -> str:
            said = mesh("ps", collectors[0], away, cwd=tmp_path)
            assert "calls that no server tells of are not shown: " in said.stderr
            return said.stdout

        eventually(lambda: f":{lonely.pid}" in rows())
        said = mesh("tap", "stock", "--limit", "3", cwd=tmp_path)
        assert (said.returncode, said.stderr) == (0, "")
        assert said.stdout.count(f":{busy.pid}") == 3  # a client of an endpoint knows no name
        short = mesh("tap", "nix", "--seconds", "0.5", "--timeout", "0.4", cwd=tmp_path)
        assert short.returncode == 0
        lost, nothing = short.stderr.splitlines()
        assert "after 0.4 s" in lost and nothing == "no recorded call of nix passed in 0.5 s"


def test_rates_are_known_to_the_collector_that_comes_after(tmp_path: Path) -> None:
    calls = [rate(CLIENT, "web", "orders.place", [0.1] * 50)]
    for told in (True, False):
        with collecting("--store", "kept.db", cwd=tmp_path) as (process, endpoint):
            if told:
                tell(endpoint, Program("web").batch(rates=calls))

            def rows(where: str = endpoint) -> str:
                return mesh("top", "--once", "--collector", where, cwd=tmp_path).stdout

            eventually(lambda rows=rows: "orders.place" in rows())  # type: ignore[misc]
            process.signal(signal.SIGTERM)
            assert process.wait() == 0


def test_of_several_collectors_on_one_redis_each_knows_all_rates(tmp_path: Path) -> None:
    with ExitStack() as stack:
        _, port = stack.enter_context(redis_server.running(tmp_path))
        store = ("--store", f"redis://127.0.0.1:{port}/0")
        one, other = (stack.enter_context(collecting(*store, cwd=tmp_path))[1] for _ in range(2))
        web = Program("web")

        client = stack.enter_context(library.connect(other))

        def known() -> bool:
            gevent.sleep(0.5)
            tell(one, web.batch(rates=[rate(CLIENT, "web", "orders.place", [0.1], still=3)]))
            return any(row["open"] == 3 for row in client.rates())

        eventually(known)
