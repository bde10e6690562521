"""`mesh collect` with other systems beside it, as real processes."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

import mesh as library
from mesh.core.trace_record import Kind
from tests.e2e.commands import ANY_PORT, failed, mesh, start
from tests.helpers.processes import ROOT, eventually
from tests.tracing.batches import TRACE, Program, rate, record
from tests.tracing.exports.receivers import receiver

CLIENT, SERVER = Kind.CLIENT, Kind.SERVER
FAILED = {"message": "no tea", "traceback": '  File "/srv/stock.py", line 3, in take\n    raise KeyError'}


def samples(url: str) -> dict[tuple[str, ...], float]:
    with urlopen(url, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_a_collector_tells_all_of_them(tmp_path: Path) -> None:
    with receiver() as otlp, receiver() as sentry:
        environment = {"SENTRY_DSN": sentry.dsn, "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=shop"}
        arguments = ["--store", "memory", "--otlp", otlp.url, "--metrics", "127.0.0.1:*"]
        with start("collect", "--bind", ANY_PORT, *arguments, cwd=tmp_path, **environment) as process:
            endpoint = process.wait_for(r"^collecting on (\S+) into ")[1]
            metrics = process.wait_for(r"metrics at (http\S+/metrics)$")[1]
            assert f"spans go to {otlp.url}/v1/traces\n" in process.stderr
            assert f"Sentry at {sentry.url}/42\n" in process.stderr
            assert "public" not in process.stderr  # the key of the DSN
            with library.connect(endpoint) as client:
                batch = Program("stock").batch(
                    record(CLIENT, "a"),
                    record(SERVER, "a", outcome="KeyError", detail=FAILED),
                    rates=[rate(SERVER, "", "stock.take", [0.1])],
                )
                client.records(batch)
                client.records(batch)
                numbers = eventually(
                    lambda: (
                        one if (one := samples(metrics))["mesh_collector_export_sent_total", "otlp"] else None
                    )
                )
                assert numbers["mesh_calls_total", "server", "stock", "take"] == 1
                exports = client.status()["exports"]
                assert (exports["otlp"]["sent"], exports["metrics"]["rows"]) == (2, 1)
                client.records(Program("stock").batch(record(CLIENT, "last")))
            with pytest.raises(HTTPError, match="404"):
                urlopen(metrics.removesuffix("metrics"), timeout=10)
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
        assert len(otlp.spans()) == 3  # also what came last
        assert {headers["x-tenant"] for _, headers, _ in otlp.requests} == {"shop"}
        assert {span.trace_id.hex() for _, span in otlp.spans()} == {TRACE}
        (event,) = sentry.events()
        assert event["fingerprint"] == ["KeyError", "orders.place"]


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    without = tmp_path / "without"
    for name in ("sentry_sdk", "opentelemetry"):
        (without / name).mkdir(parents=True)
        (without / name / "__init__.py").write_text("raise ImportError")
    path = os.pathsep.join([str(without), str(ROOT)])
    begin = ["collect", "--store", "memory", "--bind", ANY_PORT]
    for arguments, package, extra in (
        (["--sentry", "http://public@127.0.0.1/42"], "sentry-sdk", "sentry"),
        (["--otlp", "http://127.0.0.1:1"], "opentelemetry-proto", "otel"),
    ):
        line = failed(mesh(*begin, *arguments, cwd=tmp_path, PYTHONPATH=path), 2)
        assert f"needs {package}, which is an extra: pip install 'zeromesh[{extra}]'" in line
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = failed(mesh(*begin, "--metrics", str(port), cwd=tmp_path), 2)
    assert f"--metrics: can't listen at 127.0.0.1:{port}: Address already in use; take another port" in line
    assert "no endpoint of OTLP" in failed(mesh(*begin, "--otlp", "localhost", cwd=tmp_path), 2)
    assert "is no DSN" in failed(mesh(*begin, cwd=tmp_path, SENTRY_DSN="x"), 2)
