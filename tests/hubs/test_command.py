"""The real `mesh-hub`: what it prints, its signals, and how it ends."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
import zmq

import mesh
from hubs import command
from hubs.spec import HubSpec
from mesh.errors import ConfigError
from mesh.transport import descriptors
from tests.e2e.commands import BROKEN, Terminal, environment, shell
from tests.helpers.peers import free_port, nobody
from tests.helpers.processes import DIES_WITH_PARENT, PATIENCE, ROOT, Process, eventually, python, run
from tests.hubs.commands import MESH_HUB, full_pipe, hub, mesh_hub, reload, shown, start
from tests.hubs.wires import ANY, Wires

WORKER = Path(__file__).with_name("worker.py")
STREAMER = f"in: {ANY}\nout: {ANY}\ntype: streamer\n"


def failed(folder: Path, *arguments: str) -> str:
    """The one line on standard error of a command that had to end with 2."""
    result = mesh_hub(*arguments, cwd=folder)
    assert (result.returncode, result.stdout) == (2, ""), result
    (line,) = result.stderr.splitlines()
    assert line.startswith("mesh-hub: ")
    return line.removeprefix("mesh-hub: ")


# Help and files


def test_the_help_fits_and_loads_nothing(tmp_path: Path) -> None:
    with Terminal([*MESH_HUB, "--help"], columns=60, cwd=tmp_path) as terminal:
        assert terminal.wait() == 0
        assert terminal.shown.startswith("Usage: mesh-hub [OPTIONS] HUB.yml")
        assert max(map(len, terminal.shown.splitlines())) <= 60
    code = (
        "import sys; from hubs.command import mesh_hub; from mesh.cli.reporting import run; "
        "run(mesh_hub, 'mesh-hub', ['--help']); "
        "print(sorted({'gevent', 'zmq', 'yaml', 'asyncio', 'msgpack'} & set(sys.modules)))"
    )
    result = run([*MESH_HUB[:1], "-c", code], env=environment())
    assert result.stdout.endswith("\n[]\n"), result


def test_a_full_collection_of_garbage_leaves_the_modules_out(tmp_path: Path) -> None:
    """And no hub: one that a reload removes must be garbage."""
    (tmp_path / "hub.yml").write_text(STREAMER)
    code = (
        "import gc, sys; from hubs import runner; from hubs.command import main; "
        "told = lambda self: print(gc.get_freeze_count() > 10 * len(gc.get_objects()), gc.is_tracked(self)"
        ", any(one is self for one in gc.get_objects())) or sys.exit(); "
        "runner.Runner.start = told; sys.exit(main())"
    )
    result = run([*MESH_HUB[:1], "-c", code, str(tmp_path / "hub.yml")], env=environment())
    assert result.stdout == "True True True\n", result


def test_the_process_has_no_gevent(tmp_path: Path) -> None:
    code = "import sys, hubs.runner, hubs.files; print('gevent' in sys.modules)"
    assert run([*MESH_HUB[:1], "-c", code], env=environment()).stdout == "False\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("in: [\n", "hub.yml:1: not valid YAML: "),
        (f"in: {ANY}\n", "hub.yml:1: lacks 'out'"),
        (f"{STREAMER}heartbaet: 1\n", "hub.yml:4: heartbaet: unknown key; did you mean 'heartbeat'?"),
        ("", "hub.yml: is empty"),
    ],
)
@pytest.mark.parametrize("check", [(), ("--check",)])
def test_a_wrong_file(tmp_path: Path, text: str, line: str, check: tuple[str, ...]) -> None:
    (tmp_path / "hub.yml").write_text(text)
    assert failed(tmp_path, *check, "hub.yml").startswith(line)


def test_wrong_usage(tmp_path: Path) -> None:
    assert "Missing argument 'HUB.yml...'" in failed(tmp_path)
    assert "--check" in failed(tmp_path, "--chek", "hub.yml")
    assert "none.yml: cannot be read: No such file or directory" in failed(tmp_path, "none.yml")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = mesh_hub("none.yml", "--debug", cwd=tmp_path)
    assert result.returncode == 2 and "Traceback" in result.stderr


def test_check_shows_the_hubs_and_binds_nothing(tmp_path: Path, wires: Wires) -> None:
    taken = wires(zmq.PULL, bind=ANY).get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    (tmp_path / "hub.yml").write_text(
        f"hubs:\n  jobs: {{in: {taken}, out: {{connect: [tcp://a:1, tcp://b:2]}}, type: streamer}}\n"
        "  all: {in: 'tcp://*:1', out: 'tcp://*:1', type: majordomo}\n"
    )
    result = mesh_hub("--check", "hub.yml", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (
        f"hub jobs (streamer) in {taken} out tcp://a:1 tcp://b:2\n"
        "hub all (majordomo) in tcp://*:1 out tcp://*:1\n"
    )


@pytest.mark.parametrize(("end", "reason"), BROKEN)
def test_check_says_that_it_can_t_print(tmp_path: Path, end: str, reason: str) -> None:
    (tmp_path / "hub.yml").write_text(STREAMER)
    result = shell([*MESH_HUB, "--check", "hub.yml"], end, tmp_path)
    assert result.returncode == 2
    assert result.stderr == f"mesh-hub: standard output can't be written: {reason}\n"


@pytest.mark.parametrize(("end", "reason"), BROKEN)
def test_hubs_run_on_without_output_and_say_so(tmp_path: Path, wires: Wires, end: str, reason: str) -> None:
    in_, out = nobody(), nobody()
    (tmp_path / "hub.yml").write_text(f"in: {in_}\nout: {out}\ntype: streamer\n")
    with Process(["sh", "-c", f'exec "$@" {end}', "sh", *MESH_HUB, "hub.yml"], cwd=tmp_path) as process:
        wires(zmq.PUSH, in_).send(b"job")
        assert wires(zmq.PULL, out).recv() == b"job"
        process.wait_for(f"standard output can't be written: {reason}; serving without it$")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, process.describe()


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yml")), ids=lambda file: file.name)
def test_the_examples_are_right(file: Path, tmp_path: Path) -> None:
    result = mesh_hub("--check", file, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, ""), result


def test_a_port_in_use(tmp_path: Path, wires: Wires) -> None:
    taken = wires(zmq.PULL, bind=ANY).get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    (tmp_path / "hub.yml").write_text(f"in: {ANY}\nout: {taken}\ntype: streamer\n")
    assert failed(tmp_path, "hub.yml") == (
        f"hub.yml:2: out: can't bind to '{taken}': the address is in use already; "
        "stop the other program or take another port"
    )


def test_a_metrics_port_in_use_is_told_with_its_line(tmp_path: Path, wires: Wires) -> None:
    taken = wires(zmq.PULL, bind=ANY).get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    port = taken.rpartition(":")[2]
    (tmp_path / "hub.yml").write_text(f"hubs:\n  a: {{in: {ANY}, out: {ANY},\n      prometheus: {port}}}\n")
    line = failed(tmp_path, "hub.yml")
    assert line.startswith(f"hub.yml:3: hubs.a.prometheus: can't listen at '{taken}': ")


@pytest.mark.parametrize("check", [(), ("--check",)])
def test_a_file_at_an_ipc_path_is_left_alone(tmp_path: Path, check: tuple[str, ...]) -> None:
    precious = tmp_path / "precious"
    precious.write_text("gold")
    (tmp_path / "hub.yml").write_text(f"in:\n  - {ANY}\n  - ipc://precious\nout: {ANY}\n")
    assert failed(tmp_path, *check, "hub.yml") == (
        f"hub.yml:3: in: '{precious}' is a file, not a socket: take another path or remove it"
    )
    assert precious.read_text() == "gold"


def test_the_version(tmp_path: Path) -> None:
    result = mesh_hub("--version", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(r"mesh-hub \S+\n", result.stdout), result


# Running


def test_several_hubs_of_several_files(tmp_path: Path, wires: Wires) -> None:
    sides = f"in: {ANY}, out: {ANY}"
    (tmp_path / "jobs.yml").write_text(STREAMER)
    (tmp_path / "more.yml").write_text(
        f"hubs: {{news: {{{sides}, type: forwarder}}, old: {{{sides}, workers: anonymous}}}}"
    )
    with start("jobs.yml", "more.yml", cwd=tmp_path) as process:
        hubs = shown(process, 3)
        assert [(name, one.type) for name, one in hubs.items()] == [
            ("jobs", "streamer"),
            ("news", "forwarder"),
            ("old", "queue"),
        ]
        push, pull = wires(zmq.PUSH, hubs["jobs"].in_), wires(zmq.PULL, hubs["jobs"].out)
        push.send(b"job")
        assert pull.recv() == b"job"
        subscriber = wires(zmq.SUB, hubs["news"].out, subscribe=b"n")
        publisher = wires(zmq.XPUB, hubs["news"].in_)
        assert publisher.recv() == b"\x01n"
        publisher.send(b"news")
        assert subscriber.recv() == b"news"
        client, worker = wires(zmq.REQ, hubs["old"].in_), wires(zmq.REP, hubs["old"].out)
        client.send(b"call")
        assert worker.recv() == b"call"
        worker.send(b"answer")
        assert client.recv() == b"answer"


def test_a_thousand_connections_do_not_meet_the_limit_of_open_files(tmp_path: Path) -> None:
    with hub(STREAMER, tmp_path) as (process, _):
        limits = Path(f"/proc/{process.pid}/limits")
        if limits.exists():
            (line,) = [line for line in limits.read_text().splitlines() if line.startswith("Max open files")]
            soft, hard = line.split()[3:5]
            assert soft == hard or int(soft) >= 65_536


# The end


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_an_idle_hub_ends_at_once(tmp_path: Path, number: int, code: int) -> None:
    with hub(STREAMER, tmp_path) as (process, _):
        process.signal(number)
        assert process.wait() == code


def test_sigterm_delivers_what_was_pushed(tmp_path: Path, wires: Wires) -> None:
    with hub(STREAMER, tmp_path) as (process, (_, in_, out)):
        push = wires(zmq.PUSH, in_)
        for number in range(2_000):
            push.send(b"%d" % number)
        pull = wires(zmq.PULL, out)
        seen = [int(pull.recv())]
        process.signal(signal.SIGTERM)
        seen += [int(pull.recv()) for _ in range(1_999)]
        assert seen == list(range(2_000))
        assert process.wait() == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path, wires: Wires, first: int) -> None:
    with hub(STREAMER, tmp_path) as (process, (_, in_, _out)):
        push = wires(zmq.PUSH, in_)
        push.send(b"for nobody")
        process.signal(first)
        process.wait_for("Ctrl-C stops at once")
        process.signal(signal.SIGINT)
        assert process.wait() == 130


def test_drain_bounds_the_end(tmp_path: Path, wires: Wires) -> None:
    with hub(f"{STREAMER}drain: 0.5\n", tmp_path) as (process, (_, in_, _out)):
        push = wires(zmq.PUSH, in_)
        push.send(b"for nobody")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_its_endpoints_are_free_for_the_next(tmp_path: Path) -> None:
    with hub(STREAMER, tmp_path) as (process, (_, in_, out)):
        process.signal(signal.SIGTERM)
        process.wait()
    for _ in range(3):
        with hub(f"in: {in_}\nout: {out}\ntype: streamer\n", tmp_path) as (process, one):
            assert (one.in_, one.out) == (in_, out)
            process.kill()


# Reload


def test_a_reload_keeps_the_traffic_of_what_stays(tmp_path: Path, wires: Wires) -> None:
    kept, gone = free_port(), free_port()
    sides = "in: 'tcp://127.0.0.1:{}', out: '" + ANY + "', type: streamer"
    before = f"hubs:\n  kept: {{{sides.format(kept)}}}\n  gone: {{{sides.format(gone)}, drain: 1}}\n"
    after = f"hubs:\n  new: {{{sides.format(gone)}}}\n  kept: {{{sides.format(kept)}}}\n"
    (tmp_path / "hub.yml").write_text(before)
    with start("hub.yml", cwd=tmp_path) as process:
        one = shown(process, 2)["kept"]
        push, pull = wires(zmq.PUSH, one.in_), wires(zmq.PULL, one.out)
        sent, ended = 0, threading.Event()

        def go_on() -> None:
            nonlocal sent
            while not ended.wait(0.0005):
                push.send(b"%d" % sent)
                sent += 1

        thread = threading.Thread(target=go_on)
        thread.start()
        reload(process, after, tmp_path, says="reloaded: started new; stopped gone; unchanged kept")
        ended.set()
        thread.join()
        assert [int(pull.recv()) for _ in range(sent)] == list(range(sent))
        new = shown(process, 3)["new"]
        assert new.in_ == f"tcp://127.0.0.1:{gone}"
        wires(zmq.PUSH, new.in_).send(b"x")
        assert wires(zmq.PULL, new.out).recv() == b"x"


SIGNAL_FIRST = """
import os, signal, sys
from hubs import command

run = command.run

def run_after_a_signal(*arguments):
    os.kill(os.getpid(), int(os.environ["NUMBER"]))
    return run(*arguments)

command.run = run_after_a_signal
sys.exit(command.main())
"""


def test_a_reload_that_is_asked_for_at_the_start_comes_after_it(tmp_path: Path) -> None:
    (tmp_path / "hub.yml").write_text(STREAMER)
    command = [*MESH_HUB[:1], "-c", SIGNAL_FIRST, "hub.yml"]
    with Process(command, cwd=tmp_path, env={**environment(), "NUMBER": "1"}) as process:
        process.wait_for("INFO hubs: reloaded: unchanged hub")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_an_end_that_is_asked_for_at_the_start_comes_after_it(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "hub.yml").write_text(STREAMER)
    command = [*MESH_HUB[:1], "-c", SIGNAL_FIRST, "hub.yml"]
    with Process(command, cwd=tmp_path, env={**environment(), "NUMBER": str(int(number))}) as process:
        assert process.wait() == code
        assert "finishing what is under way" in process.stderr


def test_a_file_with_an_error_changes_nothing_and_is_told_in_the_log(tmp_path: Path, wires: Wires) -> None:
    with hub(STREAMER, tmp_path) as (process, (_, in_, out)):
        says = "ERROR hubs: not reloaded, all goes on as before: hub.yml:4: drian: unknown key; did you mean"
        reload(process, f"{STREAMER}drian: 5\n", tmp_path, says=says)
        (tmp_path / "hub.yml").unlink()
        process.signal(signal.SIGHUP)
        process.wait_for("hub.yml: cannot be read: No such file")
        wires(zmq.PUSH, in_).send(b"x")
        assert wires(zmq.PULL, out).recv() == b"x"


def test_a_port_in_use_leaves_the_hub_as_it_was(tmp_path: Path, wires: Wires) -> None:
    taken = wires(zmq.PULL, bind=ANY).get_string(zmq.LAST_ENDPOINT).rstrip("\0")
    with hub(STREAMER, tmp_path) as (process, (_, in_, out)):
        wrong = f"in: {ANY}\nout: {taken}\ntype: streamer\n"
        reload(process, wrong, tmp_path, says=f"ERROR hubs: hub hub is as before: .*can't bind to '{taken}'")
        wires(zmq.PUSH, in_).send(b"x")
        assert wires(zmq.PULL, out).recv() == b"x"


def test_another_type_on_the_same_endpoints(tmp_path: Path, wires: Wires) -> None:
    with hub(STREAMER, tmp_path) as (process, (_, in_, out)):
        text = f"in: {in_}\nout: {out}\ntype: forwarder\n"
        reload(process, text, tmp_path, says="reloaded: changed hub")
        publisher, subscriber = wires(zmq.XPUB, in_), wires(zmq.SUB, out, subscribe=b"")
        assert publisher.recv() == b"\x01"
        publisher.send(b"x")
        assert subscriber.recv() == b"x"


KINDS = ["type: queue", "type: queue, workers: anonymous", "type: majordomo", "type: streamer"]


@pytest.mark.parametrize("kind", KINDS)
def test_endpoints_may_change_places(tmp_path: Path, wires: Wires, kind: str) -> None:
    ports = [f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}", "ipc://c", "ipc://d"]

    def text(one: str, other: str, *sides: int) -> str:
        """in and out of two hubs, each a number of a port."""
        ins, outs = [ports[side] for side in sides[::2]], [ports[side] for side in sides[1::2]]
        keys = [f"{{in: '{in_}', out: '{out}', {kind}}}" for in_, out in zip(ins, outs, strict=True)]
        return f"hubs:\n  {one}: {keys[0]}\n  {other}: {keys[1]}\n"

    (tmp_path / "hub.yml").write_text(text("a", "b", 0, 2, 1, 3))
    with start("hub.yml", cwd=tmp_path) as process:
        shown(process, 2)
        for names, sides in [
            ("ab", (1, 2, 0, 3)),  # the ins of two hubs
            ("ba", (1, 2, 0, 3)),  # their names
            ("ba", (2, 1, 0, 3)),  # in and out of one
            ("ba", (0, 3, 2, 1)),  # all at once
        ]:
            file = text(*names, *sides)
            count = process.stderr.count("reloaded: ")
            reload(process, file, tmp_path, says="reloaded: ")
            eventually(lambda before=count: process.stderr.count("reloaded: ") > before)
            wanted = {
                names[0]: (ports[sides[0]], ports[sides[1]]),
                names[1]: (ports[sides[2]], ports[sides[3]]),
            }
            eventually(
                lambda wanted=wanted: {name: one[1:] for name, one in shown(process, 2).items()} == wanted
            )
            assert "ERROR" not in process.stderr, process.describe()
        if kind == "type: streamer":
            for in_, out in wanted.values():
                in_, out = (end.replace("ipc://", f"ipc://{tmp_path}/") for end in (in_, out))
                wires(zmq.PUSH, in_).send(b"job")
                assert wires(zmq.PULL, out).recv() == b"job"


def test_an_endpoint_may_go_to_the_other_side(tmp_path: Path, wires: Wires) -> None:
    one, two, three = (f"tcp://127.0.0.1:{free_port()}" for _ in range(3))
    with hub(f"in: [{one}, {two}]\nout: {three}\ntype: streamer\n", tmp_path) as (process, _):
        after = f"in: {one}\nout: [{three}, {two}]\ntype: streamer\n"
        reload(process, after, tmp_path, says="reloaded: changed hub")
        wires(zmq.PUSH, one).send(b"job")
        assert wires(zmq.PULL, two).recv() == b"job"


def test_many_reloads_leak_nothing(tmp_path: Path) -> None:
    with hub(STREAMER, tmp_path) as (process, _):
        files = Path(f"/proc/{process.pid}/fd")
        threads = Path(f"/proc/{process.pid}/task")
        if not files.exists():
            pytest.skip("no /proc here")

        def turn() -> tuple[int, int]:
            for kind in ("forwarder", "streamer"):
                count = process.stderr.count("reloaded:")
                reload(process, STREAMER.replace("streamer", kind), tmp_path, says="reloaded: changed hub")
                eventually(lambda before=count: process.stderr.count("reloaded:") > before)
            return len(list(files.iterdir())), len(list(threads.iterdir()))

        turn()
        first = turn()
        for _ in range(4):
            last = turn()
        assert last == first


def test_it_goes_on_when_nobody_reads_its_output_any_more(tmp_path: Path) -> None:
    file = tmp_path / "hub.yml"
    file.write_text(STREAMER)
    env = {**os.environ, **environment()}
    with Popen(
        [*DIES_WITH_PARENT, *MESH_HUB, "hub.yml"], cwd=tmp_path, env=env, stdout=PIPE, stderr=PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline().startswith("hub hub (streamer)")
        process.stdout.close()
        said = []
        for drain in (1, 2):
            file.write_text(f"{STREAMER}drain: {drain}\n")
            process.send_signal(signal.SIGHUP)
            while not said or "reloaded: changed hub" not in said[-1]:
                said.append(process.stderr.readline())
            said.append("")
        process.send_signal(signal.SIGTERM)
        said += process.stderr
        assert process.wait(PATIENCE) == 0
        problem = "standard output can't be written: Broken pipe; serving without it\n"
        assert sum(line.endswith(problem) for line in said) == 1


@contextmanager
def unread(text: str, folder: Path) -> Iterator[tuple[Popen[bytes], int]]:
    """A hub whose standard output and error nobody reads, and the pipe of both."""
    (folder / "hub.yml").write_text(text)
    reader, writer = full_pipe()
    env = {**os.environ, **environment()}
    with Popen(
        [*DIES_WITH_PARENT, *MESH_HUB, "hub.yml"], cwd=folder, env=env, stdout=writer, stderr=writer
    ) as process:
        os.close(writer)
        try:
            yield process, reader
        finally:
            process.kill()
            os.close(reader)


@pytest.mark.parametrize("kind", ["queue", "streamer"])
def test_it_serves_and_ends_though_nobody_reads_what_it_says(tmp_path: Path, wires: Wires, kind: str) -> None:
    in_, out = nobody(), nobody()
    with unread(f"in: {in_}\nout: {out}\ntype: {kind}\n", tmp_path) as (process, _):
        if kind == "queue":
            with (
                python(Path(__file__).with_name("worker.py"), out, "users", "7"),
                mesh.connect(in_) as client,
            ):
                # The worker's registration is a line in the log.
                assert client.with_options(retries=100).echo("x") == "x"
        else:
            wires(zmq.PUSH, in_).send(b"job")
            assert wires(zmq.PULL, out).recv() == b"job"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_the_signals_end_what_can_t_start_while_nobody_reads_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong() -> list[HubSpec]:
        assert signal.getsignal(signal.SIGTERM) is not before
        raise ConfigError("hub.yml: is wrong")

    monkeypatch.setattr(descriptors, "raise_limit", lambda: True)
    monkeypatch.setattr(gc, "freeze", lambda: None)  # it would keep what garbage there is of other tests
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ConfigError, match="is wrong"):
        command._run(wrong, lambda line: None)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_was_said_meanwhile_is_there_when_somebody_reads_again(tmp_path: Path, wires: Wires) -> None:
    in_, out = nobody(), nobody()
    with unread(f"in: {in_}\nout: {out}\ntype: streamer\n", tmp_path) as (process, reader):
        wires(zmq.PUSH, in_).send(b"job")
        assert wires(zmq.PULL, out).recv() == b"job"
        os.set_blocking(reader, False)
        said = b""

        def told() -> bool:
            nonlocal said
            with suppress(BlockingIOError):
                said += os.read(reader, 65536)
            return f"hub hub (streamer) in {in_} out {out}\n".encode() in said

        eventually(told)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_sigterm_does_not_wait_for_a_reload_that_drains(tmp_path: Path, wires: Wires) -> None:
    text = f"in: {ANY}\nout: {ANY}\nworkers: anonymous\ndrain: 60\nheartbeat: 1\n"
    with hub(text, tmp_path) as (process, (_, in_, out)):
        worker = wires(zmq.REP, out)
        client = wires(zmq.REQ, in_)
        client.send(b"call")
        worker.recv()
        other = f"in: {in_}\nout: {out}\ntype: forwarder\n"
        reload(process, other, tmp_path, says="INFO hubs: reloading: hub hub drains, at most 60 s")
        process.wait_for("hub hub waits until what drains has ended: .*in use")
        process.signal(signal.SIGTERM)
        process.wait_for("finishing what is under way")
        worker.send(b"answer")
        assert client.recv() == b"answer"
        assert process.wait() == 0
