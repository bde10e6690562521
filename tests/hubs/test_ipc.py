"""Hubs at paths of ipc: who may connect, and what is left at the end."""

from __future__ import annotations

import os
import signal
import socket
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hubs import sockets
from hubs.broker import Broker
from hubs.devices import Device
from hubs.files import parse_all
from hubs.hub_types import make_hub
from hubs.spec import HubSpec, Side
from mesh.errors import ConfigError
from mesh.transport.ipc import Access
from tests.helpers.processes import eventually
from tests.hubs.commands import mesh_hub, start
from tests.hubs.wires import ANY, spec


def failed(folder: Path, *arguments: str) -> str:
    """What a `mesh-hub` that can't begin says."""
    result = mesh_hub(*arguments, cwd=folder)
    assert result.returncode == 2, result
    return result.stderr.removeprefix("mesh-hub: ").removesuffix("\n")


OURS = Access(0o660, str(os.getegid()))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make(one: HubSpec) -> Device | Broker:
    return make_hub(one)


@pytest.mark.parametrize("kind", ["queue", "majordomo", "forwarder", "streamer"])
def test_the_mode_of_both_sides_and_of_a_reload(tmp_path: Path, kind: str) -> None:
    paths = [tmp_path / "in", tmp_path / "out"]
    sides = [Side((f"ipc://{path}",), access=OURS) for path in paths]
    one = replace(spec("streamer"), type=kind, in_=sides[0], out=sides[1])
    hub = make(one)
    hub.start()
    try:
        assert [mode_of(path) for path in paths] == [0o660, 0o660]
        tighter = Access(0o600)
        more = tmp_path / "more"
        after = replace(
            one,
            in_=Side((f"ipc://{paths[0]}", f"ipc://{more}"), access=tighter),
            out=replace(sides[1], access=tighter),
        )
        assert hub.reconfigure(after) is not None
        assert [mode_of(path) for path in (*paths, more)] == [0o600] * 3
        hub.reconfigure(replace(after, in_=replace(after.in_, bind=(f"ipc://{more}",))))
        assert not paths[0].exists()
    finally:
        hub.stop(0)
    assert list(tmp_path.iterdir()) == []


def test_what_can_t_be_given_leaves_the_endpoints_of_before(tmp_path: Path) -> None:
    path = tmp_path / "in"
    one = spec("streamer", in_=Side((f"ipc://{path}",), access=OURS))
    device = make_hub(one)
    device.start()
    try:
        wrong = replace(one.in_, access=Access(group="no-such-group"))
        with pytest.raises(ConfigError, match=r"can't set the mode of 'ipc://.*no group 'no-such-group'"):
            device.reconfigure(replace(one, in_=wrong))
        assert mode_of(path) == 0o660
    finally:
        device.stop(0)


def test_the_log_tells_what_a_hub_connects_to_in_vain(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "NOTICE", 0.1)
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(tmp_path / "stale"))
    device = make_hub(spec("forwarder", in_=Side(connect=(f"ipc://{tmp_path}/stale",))))
    device.start()
    try:
        eventually(lambda: f"nobody listens at the socket {tmp_path}/stale any more" in caplog.text)
    finally:
        device.stop(0)


# In the file

SIDES = "in: ipc:///a\nout: tcp://*:2\n"


@pytest.mark.parametrize(
    ("more", "access"),
    [
        ("mode: 0660", Access(0o660)),
        ("mode: 660", Access(0o660)),
        ("mode: '0600'", Access(0o600)),
        ("mode: 0o666", Access(0o666)),
        ("group: www", Access(group="www")),
        ("group: 33", Access(group="33")),
        ("mode: 0660\ngroup: www", Access(0o660, "www")),
        ("", None),
    ],
)
def test_what_is_right(more: str, access: Access | None) -> None:
    (one,) = parse_all([("hub.yml", SIDES + more)])
    assert one.in_.access == one.out.access == access


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{SIDES}mode: 0668", "hub.yml:3: mode: must be the permissions of a file as chmod takes them"),
        (f"{SIDES}mode: 0060", "hub.yml:3: mode: must be the permissions"),
        (f"{SIDES}mode: rw", "hub.yml:3: mode: must be the permissions of a file .* not the text 'rw'"),
        (f"{SIDES}mode: [0660]", "hub.yml:3: mode: must be the permissions of a file .* not a list"),
        (f"{SIDES}group: ''", "hub.yml:3: group: must be the name of a group"),
        (f"{SIDES}group: [a]", "hub.yml:3: group: must be the name of a group"),
        (
            "in: tcp://*:1\nout: ipc://@x\nmode: 0660",
            "hub.yml:3: mode: is for the ipc:// paths that the hub binds",
        ),
        ("in: tcp://*:1\nout: {connect: ipc:///x}\ngroup: www", "hub.yml:3: group: is for the ipc:// paths"),
    ],
)
def test_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_all([("hub.yml", text)])


@pytest.mark.parametrize("check", [(), ("--check",)])
def test_a_folder_that_is_not_there_is_told(tmp_path: Path, check: tuple[str, ...]) -> None:
    (tmp_path / "hub.yml").write_text(f"in: {ANY}\nout:\n  - ipc://run/out.ipc\n")
    assert failed(tmp_path, *check, "hub.yml") == (
        f"hub.yml:3: out: there is no folder {tmp_path}/run: make it, or take another path"
    )


def test_check_looks_for_the_group(tmp_path: Path) -> None:
    (tmp_path / "hub.yml").write_text("in: ipc://in.ipc\nout: ipc://out.ipc\ngroup: no-such-group\n")
    assert failed(tmp_path, "--check", "hub.yml") == (
        "hub.yml:1: hub hub: there is no group 'no-such-group' on this machine"
    )


def test_a_hub_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "hub.yml").write_text("in: ipc://in.ipc\nout: ipc://out.ipc\nmode: 0600\n")
    with start("hub.yml", cwd=tmp_path) as process:
        process.wait_for("hub hub")
        assert mode_of(tmp_path / "in.ipc") == 0o600
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert {one.name for one in tmp_path.iterdir()} == {"hub.yml"}
