"""`mesh services check` and `mesh services export`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.commands import MESH, Terminal, failed, mesh
from tests.helpers.dns_fixtures import DOMAIN, NAME, dns
from tests.helpers.lying_dns import LyingServer
from tests.helpers.processes import Process

__all__ = ["dns"]

Served = tuple[Process, str]


def test_a_file_with_mistakes(folder: Path, served: Served) -> None:
    file = folder / "odd.yml"
    file.write_text(
        f"users: [{served[1]}, tcp://127.0.0.1:1]\n"
        "far: tcp://no-such-host.invalid:4242\n"
        "all: {split: {users: 1, nobody: 1}}\n"
    )
    result = mesh("services", "check", str(file), cwd=folder)
    assert result.returncode == 2 and result.stderr == ""
    lines = sorted(result.stdout.splitlines())
    assert len(lines) == 3
    assert lines[0].startswith(
        f"{file}:2: far: tcp://no-such-host.invalid:4242: its host 'no-such-host.invalid'"
    )
    assert lines[1].startswith(f"{file}:3: all.split: no service 'nobody' in {file}")
    assert lines[2] == f"note: {file}:1: users: tcp://127.0.0.1:1 does not answer: is its server running?"
    with Terminal([*MESH, "services", "check", "./odd.yml"], columns=60, cwd=folder) as terminal:
        assert terminal.wait() == 2
        assert max(map(len, terminal.shown.splitlines())) <= 60
    file.write_text("users: nowhere\n")
    assert f"{file}:1: users: 'nowhere' is no endpoint" in failed(
        mesh("services", "check", str(file), cwd=folder), 2
    )


def test_a_file_that_is_right(folder: Path, served: Served) -> None:
    file = folder / "right.yml"
    file.write_text(f"users: {served[1]}\ncheck: {served[1]}\n")
    result = mesh("services", "check", str(file), "users", "--services", str(file), cwd=folder)
    assert (result.returncode, result.stdout) == (0, "nothing is wrong\n")
    result = mesh("services", "--services", str(file), "--", "check", cwd=folder)
    assert result.returncode == 0 and result.stdout.splitlines()[1].startswith("check\tup\t")


def test_names_in_dns(dns: LyingServer, tmp_path: Path) -> None:
    (tmp_path / "services.yml").write_text("users: tcp://127.0.0.1:1\n")
    dns.service(NAME, "a.mesh.test:1", ttl=1)
    dns.service(f"_other._tcp.{DOMAIN}", "a.mesh.test:1", "alias.mesh.test:2", "nowhere.mesh.test:3", ttl=0)
    dns.put("alias.mesh.test", "CNAME", "a.mesh.test.")
    result = mesh("services", "check", "users", "other", "-j", cwd=tmp_path)
    assert result.returncode == 2, result
    found = {(one["where"], one["wrong"]): one["problem"] for one in json.loads(result.stdout)}
    both = found.pop((f"{tmp_path}/services.yml:1: users", False))
    assert "has the name as well: the file counts" in both or "does not answer" in both
    problems = [one["problem"] for one in json.loads(result.stdout) if one["where"].startswith("_other")]
    assert any("its TTL is 0" in one for one in problems)
    assert any("alias.mesh.test is an alias of a.mesh.test" in one for one in problems)
    assert any("nowhere.mesh.test has no address" in one for one in problems)
    silent = [one["problem"] for one in json.loads(result.stdout) if one["where"].startswith("DNS")]
    assert "tcp://a.mesh.test:1 does not answer: is its server running?" in silent
    result = mesh("services", "check", "nobody", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, f"_nobody._tcp.{DOMAIN} SRV: there is no such record\n")


def test_export(tmp_path: Path) -> None:
    (tmp_path / "services.yml").write_text("users: {address: tcp://10.0.0.5:4242, timeout: 5}\n")
    result = mesh("services", "export", "--zone", "mesh.test.", "--ttl", "9", cwd=tmp_path)
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[:2] == ["$ORIGIN mesh.test.", "$TTL 9"]
    assert lines[4:] == ["_users._tcp SRV 0 1 4242 ip-10-0-0-5", "ip-10-0-0-5 A 10.0.0.5"]
    left_out = f"left out: {tmp_path}/services.yml:1: users: timeout: a zone has no place for it\n"
    assert result.stderr == left_out
    wrong = mesh("services", "export", "--zone", "no domain", cwd=tmp_path)
    assert "is no domain" in failed(wrong, 2)
