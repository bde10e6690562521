"""The examples of configs/frameworks, each in its own server, as its users run it."""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.peers import free_port
from tests.helpers.processes import PATIENCE, ROOT, Process, eventually, run
from tests.helpers.requirements import require_frameworks

FRAMEWORKS = ROOT / "configs" / "frameworks"


@pytest.fixture(autouse=True)
def _frameworks() -> None:
    require_frameworks()


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def env(ends: ExitStack, tmp_path: Path) -> dict[str, str]:
    """A server of users, and a registry that has it."""
    command = [sys.executable, "-m", "mesh.cli.main", "serve", "configs.frameworks.users:Users"]
    server = ends.enter_context(Process([*command, "--bind", "tcp://127.0.0.1:*"], cwd=ROOT))
    endpoint = server.wait_for(r"(tcp://127\.0\.0\.1:\d+)")[1]
    registry = tmp_path / "services.yml"
    registry.write_text(f"users: {endpoint}\n")
    return {"MESH_SERVICES": str(registry)}


Start = Callable[..., tuple[Process, str]]


@pytest.fixture
def start(ends: ExitStack, env: dict[str, str]) -> Start:
    """Runs a module that serves HTTP; gives its process and its address."""

    def begin(module: str, *arguments: str, bind: list[str]) -> tuple[Process, str]:
        port = free_port()
        command = [sys.executable, "-m", module, *arguments, *(one.format(port=port) for one in bind)]
        process = ends.enter_context(Process(command, cwd=FRAMEWORKS, env={**env, "PYTHONPATH": str(ROOT)}))
        return process, f"http://127.0.0.1:{port}"

    return begin


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def answers(url: str) -> bool:
    try:
        return get(f"{url}/users/42")[0] == 200
    except OSError:
        return False


def ends_well(process: Process) -> None:
    process.signal(signal.SIGTERM)
    process.wait()
    assert "Traceback" not in process.stderr, process.describe()


@pytest.mark.parametrize("options", ["", "--workers 2", "--loop uvloop"])
def test_fastapi_under_uvicorn(start: Start, options: str) -> None:
    process, url = start("uvicorn", "fastapi_app:app", *options.split(), bind=["--port", "{port}"])
    eventually(lambda: answers(url), what=process.describe)
    assert json.loads(get(f"{url}/users/42")[1]) == {"name": "Bob", "admin": False}
    assert get(f"{url}/users/7") == (404, '{"detail":"there is no user 7"}')
    lines = get(f"{url}/users")[1].splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["Ann", "Bob"]
    ends_well(process)
    assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.parametrize("app", ["flask_app:app", "django_app:application"])
@pytest.mark.parametrize("workers", ["sync --workers 2 --preload", "gthread --threads 8", "gevent"])
def test_flask_and_django_under_gunicorn(start: Start, app: str, workers: str) -> None:
    arguments = ("--worker-class", *workers.split(), "--graceful-timeout", "5")
    process, url = start("gunicorn", app, *arguments, bind=["--bind", "127.0.0.1:{port}"])
    eventually(lambda: answers(url), what=process.describe)
    assert json.loads(get(f"{url}/users/41")[1]) == {"name": "Ann", "admin": True}
    status, text = get(f"{url}/users/7")
    assert status == 404 and "there is no user 7" in text
    assert get(f"{url}/users") == (200, "41 Ann\n42 Bob\n")
    ends_well(process)
    assert process.returncode == 0, process.describe()


def test_celery_s_forked_workers(ends: ExitStack, env: dict[str, str], tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("broker", "control", "results")}
    for folder in folders.values():
        folder.mkdir()
    variables = {
        **os.environ,
        **env,
        "BROKER": "filesystem://",
        "BROKER_FOLDER": str(folders["broker"]),
        "BACKEND": f"file://{folders['results']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{FRAMEWORKS}",
    }
    options = ["--pool", "prefork", "--concurrency", "2", "--without-gossip", "--without-mingle"]
    command = [sys.executable, "-m", "celery", "--app", "celery_app", "worker", *options]
    worker = ends.enter_context(Process(command, cwd=tmp_path, env=variables))
    ask = (
        "import os, celery_app\n"
        f"assert celery_app.name_of.delay(42).get({PATIENCE}) == 'Bob'\n"
        f"names = [celery_app.name_of.delay(41) for _ in range(20)]\n"
        f"assert [one.get({PATIENCE}) for one in names] == ['Ann'] * 20\n"
        f"assert celery_app.process.delay().get({PATIENCE}) != os.getpid()\n"
        "print('asked')\n"
    )
    asked = run([sys.executable, "-c", ask], env=variables)
    assert asked.stdout == "asked\n", f"{asked}\n{worker.describe()}"
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.describe()


def test_a_notebook_whose_loop_runs_already(env: dict[str, str], tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    cells = [
        "import mesh, mesh.aio\nusers = mesh.aio.connect('users', timeout=5)",
        "(await users.get(42))['name']",
        "[row['name'] async for row in users.export()]",
        "with mesh.connect('users', timeout=5) as blocking:\n    name = blocking.get(41)['name']\nname",
        "await users.get(7)",
        "users.close()\n'closed'",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(
        notebook, timeout=60, allow_errors=True, resources={"metadata": {"path": str(ROOT)}}
    )
    os.environ.update(env)
    try:
        client.execute()
    finally:
        for name in env:
            del os.environ[name]
    shown = [
        [one.get("data", {}).get("text/plain", one.get("ename")) for one in cell.outputs]
        for cell in notebook.cells
    ]
    assert shown[1] == ["'Bob'"] and shown[2] == ["['Ann', 'Bob']"] and shown[3] == ["'Ann'"], shown
    assert "KeyError" in shown[4][0] and shown[5] == ["'closed'"], shown


def test_with_pytest_asyncio_and_anyio(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        FRAMEWORKS / "test_users.py",
    ]
    tested = run(command, env={"PYTHONPATH": str(ROOT)})
    assert tested.returncode == 0 and "2 passed" in tested.stdout, tested
