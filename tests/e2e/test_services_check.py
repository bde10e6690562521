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


THREE = (
    "users: localhost:4242\n"
    "bar: {adress: tcp://127.0.0.1:1}\n"
    "baz: {address: tcp://h:1, timeout: 5s}\n"
)  # fmt: skip


def test_all_mistakes_of_a_file_are_told(tmp_path: Path) -> None:
    file = tmp_path / "services.yml"
    file.write_text(THREE)
    result = mesh("services", "check", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (2, "")
    assert result.stdout.splitlines() == [
        f"{file}:1: users: 'localhost:4242' is no endpoint; did you mean 'tcp://localhost:4242'?",
        f"{file}:2: bar.adress: unknown key; did you mean 'address'?",
        f"{file}:3: baz.timeout: must be a number of seconds above 0, such as 5 or 0.5, not the text '5s'",
    ]
    as_json = mesh("services", "check", "-j", cwd=tmp_path)
    assert (as_json.returncode, as_json.stderr) == (2, "")
    lines = [f"{one['where']}: {one['problem']}" for one in json.loads(as_json.stdout)]
    assert lines == result.stdout.splitlines()
    of_name = mesh("services", "check", "users", "-j", cwd=tmp_path)
    assert (of_name.returncode, of_name.stdout) == (2, as_json.stdout)
    assert "users: 'localhost:4242' is no" in failed(mesh("call", "baz", "get", cwd=tmp_path), 2)


def test_files_after_one_with_mistakes_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text(THREE)
    (tmp_path / "two.yml").write_text("far: tcp://no-such-host.invalid:4242\nnear: nowhere\n")
    (tmp_path / "three.yml").write_text("a: [\nb: [\n")
    files = ("one.yml", "./one.yml", "absent.yml", "two.yml", "three.yml", "one.yml")
    result = mesh("services", "check", *files, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (2, "")
    places = [line.removeprefix(f"{tmp_path}/").split(": ")[0] for line in result.stdout.splitlines()]
    assert places == [
        "one.yml:1",
        "one.yml:2",
        "one.yml:3",
        "absent.yml",
        "two.yml:2",
        "two.yml:1",
        "three.yml:2",
    ]


def test_a_setting_that_is_wrong_hides_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "services.yml").write_text(THREE)
    result = mesh("services", "check", "-j", cwd=tmp_path, MESH_DOMAIN="a..b")
    found = json.loads(result.stdout)
    assert (result.returncode, len(found)) == (2, 4)
    assert found[-1]["problem"].startswith("MESH_DOMAIN has 'a..b', which is no domain")


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
