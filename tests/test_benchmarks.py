"""The benchmarks measure, add up and show; the figures themselves are nobody's business here."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest
import zmq

from benchmarks import (
    balance,
    balanced,
    dns_names,
    harness,
    memory,
    middleware,
    names,
    open_calls,
    paced,
    report,
    traced,
    tracing,
    usage,
    values,
)
from benchmarks.__main__ import main
from benchmarks.harness import BenchmarkError, Measurement, Settings
from benchmarks.peers import PEERS, Peer, relays
from benchmarks.summary import summarise, verdicts


def measurement(
    peer: str, turn: int, count: int, workload: str = "sequential", server_peak: int = 0
) -> Measurement:
    return Measurement(peer, workload, turn, count, 2.0, 0.5, 0.25, 0, server_peak)


def test_ratio_is_taken_round_by_round() -> None:
    counts = {"floor": (1000, 500, 2000), "mesh": (900, 500, 1000)}
    rows = summarise(measurement(peer, turn, counts[peer][turn]) for turn in range(3) for peer in counts)
    ratio = rows[1].ratio
    assert rows[1].peer == "mesh"
    assert rows[1].rate.median == 450
    assert ratio is not None
    assert (ratio.low, ratio.median, ratio.high) == (0.5, 0.9, 1.0)


def test_cpu_is_for_each_call_and_peak_is_the_highest() -> None:
    (row,) = summarise(
        [measurement("floor", 0, 1000, server_peak=7), measurement("floor", 1, 1000, server_peak=5)]
    )
    assert (row.client_cpu_us, row.server_cpu_us) == (500.0, 250.0)
    assert row.server_peak == 7


def test_no_ratio_without_its_reference() -> None:
    rows = summarise([measurement("mesh", 0, 100)])
    assert rows[0].ratio is None
    assert verdicts(rows) == []
    assert "One call at a time" in report.as_text(rows)


def test_streams_are_compared_with_zerorpc_and_a_missed_target_is_said() -> None:
    rows = summarise([measurement("zerorpc", 0, 100, "stream"), measurement("mesh", 0, 390, "stream")])
    assert "3.90 of zerorpc, at least 4 wanted: MISSED" in report.as_text(rows)


def test_peers_take_turns_and_a_broken_one_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []

    def measure(peer: str, workload: str, turn: int, settings: Settings) -> Measurement:
        asked.append((turn, peer))
        if peer == "rpyc" and turn == 1:
            raise BenchmarkError("its server ended")
        return measurement(peer, turn, 100)

    monkeypatch.setattr(harness, "measure", measure)
    failures: list[str] = []
    settings = Settings(("floor", "rpyc"), ("sequential",), rounds=3)
    taken = harness.run(settings, lambda line: None, failures.append)
    assert asked == [(0, "floor"), (0, "rpyc"), (1, "rpyc"), (1, "floor"), (2, "floor")]
    assert failures == ["rpyc, sequential: its server ended"]
    assert {one.peer for one in taken} == {"floor"}


def test_missing_package_costs_its_row_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PEERS, "ghost", Peer("ghost", "ghost", "no_such_package", "ghost-rpc"))
    assert main(["--only", "ghost"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "ghost: left out, for ghost-rpc is not installed; pip install 'zeromesh[bench]'\n"


def test_peer_that_breaks_is_named_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Known here but not in the processes that would have to play it.
    monkeypatch.setitem(PEERS, "ghost", Peer("ghost", "ghost", "zmq", "pyzmq"))
    assert main(["--quick", "--only", "ghost", "--workload", "sequential"]) == 1
    assert "failed, so left out: ghost, sequential:" in (shown := capsys.readouterr()).err
    assert "KeyError: 'ghost'" in shown.err


def test_unknown_names_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--only", "floor,flor"])
    assert caught.value.code == 2
    assert "'flor' is not one of floor, mesh" in capsys.readouterr().err


def test_real_run_writes_json_and_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    options = ["--only", "floor,mesh", "--workload", "sequential,concurrent", "--quick", "--seconds", "0.1"]
    assert main([*options, "--json", str(results), "--write-docs", str(page)]) == 0
    written = json.loads(results.read_text())
    rows = {(row["workload"], row["peer"]): row for row in written["rows"]}
    assert set(rows) == {(name, peer) for name in ("sequential", "concurrent") for peer in ("floor", "mesh")}
    for row in rows.values():
        assert row["rate"]["median"] > 0
        assert row["ratio"]["median"] > 0
        assert min(row["client_peak"], row["server_peak"]) > usage.MIB
    assert {one["at_least"] for one in written["targets"]} == {0.95, 1.0}
    assert written["machine"]["CPU"] in page.read_text()
    assert "100 concurrent callers" in capsys.readouterr().out


def test_hubs_are_measured_beside_proxies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.json"
    options = ["--hubs", "--only", "proxy,queue,job-proxy,streamer,mesh", "--workload", "hub,jobs,stream"]
    assert main([*options, "--quick", "--seconds", "0.1", "--json", str(results)]) == 0
    written = json.loads(results.read_text())
    rows = {(row["workload"], row["peer"]): row for row in written["rows"]}
    assert set(rows) == {("hub", "proxy"), ("hub", "queue"), ("jobs", "job-proxy"), ("jobs", "streamer")}
    assert all(row["ratio"]["median"] > 0 for row in rows.values())
    assert [one["peer"] for one in written["targets"]] == ["queue", "streamer"]
    assert [one["peer"] for one in written["ceilings"]] == ["queue"]
    assert "hub µs/call" in capsys.readouterr().out


def test_publisher_of_a_flow_drops_nothing() -> None:
    ends: list[str] = []
    known = threading.Event()

    def ready(in_: str, out: str) -> None:
        ends.extend((in_, out))
        known.set()

    threading.Thread(target=relays.Hub("forwarder").serve, args=[ready], daemon=True).start()
    assert known.wait(30)
    flow = relays.Flow(*ends, zmq.PUB, zmq.SUB)
    try:
        # At once more than a PUB keeps by itself, and less than the hub does.
        for _ in range(10):
            assert flow.concurrent(b"event", 5_000, 0.0) == 5_000
    finally:
        flow.close()


def test_what_a_hub_takes_for_each_call_has_a_ceiling() -> None:
    (row,) = rows = summarise([measurement("queue", 0, 5_000, "hub")])
    assert row.server_cpu_us == 50.0
    assert "queue: 50.0 µs of the hub's CPU for each call, at most 25 wanted: MISSED" in report.as_text(rows)


def test_peers_without_such_a_workload_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "mesh,floor", "--workload", "hub"]) == 2
    assert capsys.readouterr().err == "none of mesh, floor has one of these workloads\n"


def test_memory_run_sees_both_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = tmp_path / "memory.md"
    assert memory.main(["--calls", "2000", "--clients", "20", "--write", str(section)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 6
    assert all(line.endswith("within") for line in shown[1:])
    assert "20 clients come and gone: server" in section.read_text()


def test_growth_over_the_limit_is_said() -> None:
    before = memory.Usage(rss=50 * usage.MIB, files=20)
    grown = memory.Growth("server", before, memory.Usage(rss=61 * usage.MIB, files=20))
    leaked = memory.Growth("server", before, memory.Usage(rss=50 * usage.MIB, files=30))
    assert not grown.within
    assert not leaked.within
    assert memory.as_text([grown]).endswith("OVER")


def test_what_middleware_costs_a_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = tmp_path / "middleware.md"
    code = middleware.main(["--calls", "20", "--rounds", "1", "--write", str(section)])
    assert code in (0, 1)
    assert section.read_text() == f"## Middleware\n\n- {capsys.readouterr().out.strip()}\n"
    cost = middleware.Cost([50.0, 60.0, 50.0], [52.0, 61.0, 53.0], [51.0, 62.9, 50.0])
    assert cost.within and middleware.as_text(cost).endswith(
        "+2.0 µs at the client, +1.0 µs at the server, below 3 each wanted: within"
    )
    assert not middleware.Cost([50.0], [50.0], [53.5]).within


def test_latencies_of_paced_callers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = tmp_path / "paced.md"
    options = ["--rounds", "1", "--seconds", "0.2", "--only", "mesh", "mesh.aio", "--write", str(section)]
    assert paced.main(options) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split()[:4] == ["peer", "calls/s", "p50", "µs"]
    assert [row.split()[0] for row in rows] == ["mesh", "mesh.aio"]
    assert section.read_text().startswith("## 100 paced callers at half load")
    rounds = [paced.Latency(1000.0, 0.0002, 0.001), paced.Latency(2000.0, 0.0004, 0.003)]
    shown = paced.as_text({"mesh": rounds}).splitlines()[1]
    assert shown.split() == ["mesh", "1,500", "300", "200", "to", "400", "2,000", "1,000", "to", "3,000"]


def test_what_several_servers_cost_a_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = tmp_path / "balanced.md"
    code = balanced.main(["--calls", "100", "--rounds", "1", "--write", str(section)])
    assert capsys.readouterr().out.endswith((" wanted: within\n", " wanted: BELOW\n")[code])
    assert section.read_text().startswith("## Balancing\n\n- calls to 3 servers for each to one")
    costs = [balanced.Cost(1, [96.0, 90.0], [100.0, 90.0]), balanced.Cost(100, [6.0], [10.0])]
    assert balanced.as_text(costs).endswith(
        "0.98 with 1 at once, 0.60 with 100 at once; for a lone caller at least 0.95 wanted: within"
    )
    assert not balanced.within([balanced.Cost(1, [94.0], [100.0])])


def test_the_table_and_the_plot_of_the_balancing_experiment() -> None:
    calls = [(at / 10, 0.02, True) for at in range(99)] + [(9.9, 1.0, False)]
    runs = [balance.Run("peak_ewma", calls), balance.Run("round_robin", calls[::-1])]
    times = balance.Times(2.0, 6.0, 10.0)
    assert balance.table(runs, times).splitlines()[2:] == [
        f"| `{rule}` | 99.00 % | 20 ms | 1,000 ms | 1,000 ms | 20 ms |"
        for rule in ("peak_ewma", "round_robin")
    ]
    drawn = ElementTree.fromstring(balance.plot(runs, times))
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [10, 10]


def test_what_names_cost_a_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = tmp_path / "names.md"
    code = names.main(["--names", "10", "--rounds", "1", "--write", str(section)])
    said = (
        capsys.readouterr().out
    )  # one round is no measurement, and a busy machine may have it over the limit
    assert said.endswith(("below 0.5 wanted: within\n", "below 0.5 wanted: OVER\n")[code]), said
    assert names.Cost([1.0], [1.4]).within and not names.Cost([1.0], [1.6]).within
    assert section.read_text().startswith("## Names\n\n- mesh call with one name ")
    assert names.as_text(names.Cost([1.0, 2.0, 1.0], [1.6, 2.1, 1.5]), 9).endswith(
        "0.50 s more, below 0.5 wanted: OVER"
    )


def test_what_a_name_in_dns_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = tmp_path / "dns_names.md"
    arguments = ["--records", "50", "--seconds", "0.5", "--write", str(section)]
    assert dns_names.main(arguments) in (0, 1)  # a busy machine may have it over a limit
    cached, gap = capsys.readouterr().out.splitlines()
    assert cached.startswith("a name that is known costs a call ")
    assert gap.startswith("while a name of 50 records is looked up every second, the loop stands still for ")
    assert section.read_text() == f"## Names in DNS\n\n- {cached}\n- {gap}\n"
    assert dns_names.Cost(19e-6, 0.019, 0.0).within
    assert not dns_names.Cost(21e-6, 0.0, 0.0).within and not dns_names.Cost(0.0, 0.021, 0.0).within


def test_what_values_that_are_known_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = tmp_path / "values.md"
    assert values.main(["--rounds", "1", "--write", str(section)]) in (0, 1)  # one round is no measurement
    assert len(capsys.readouterr().out.splitlines()) == 8
    assert section.read_text().startswith("## Values that MessagePack knows\n\n- a row, packed: ")
    assert values.as_text(values.Cost("a row", [1.0], [1.3])).endswith("1.2 at most: OVER")


def test_usage_is_read_of_a_live_process() -> None:
    pid = os.getpid()
    assert 0 < usage.rss(pid) <= usage.peak_rss(pid)
    assert usage.open_files(pid) > 2
    assert usage.cpu_seconds(pid) > 0


def test_what_a_collector_takes_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = tmp_path / "tracing.md"
    assert (
        tracing.main(["--only", "memory", "--records", "10000", "--spans", "50", "--write", str(section)])
        == 0
    )
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "memory"
    assert section.read_text().startswith("## A collector of traces")
    taken = tracing.Intake(1_000_000, 10.0, 20.0, 0, 3, 12.5, 100 * usage.MIB, 150_000_000)
    shown = tracing.as_text({"sqlite": taken}, []).splitlines()[1].split()
    assert shown == ["sqlite", "100,000", "50,000", "0", "3", "100", "12.5", "150"]


def test_what_recording_costs_a_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = tmp_path / "traced.md"
    assert traced.main(["--calls", "200", "--rounds", "1", "--write", str(section)]) == 0
    assert section.read_text().startswith("## Tracing: what a call pays\n")
    came = re.search(r"([\d,]+) records came", capsys.readouterr().out)
    assert came and int(came[1].replace(",", "")) >= 400 / 2, "all of the warm-up at both ends, at the least"
    cost = traced.Cost({"off": [100.0], "1 %": [98.0]}, {"off": [20.0], "1 %": [20.5]}, {}, 0)
    assert (cost.share("1 %"), cost.more(cost.client, "1 %")) == (0.98, 0.5)


def test_how_soon_open_calls_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    section = tmp_path / "open_calls.md"
    options = ["--processes", "3", "--calls", "5", "--rounds", "1", "--write", str(section)]
    assert open_calls.main(options) == 0
    assert section.read_text().startswith("## Open calls: how soon they are listed\n")
    assert "| 3 | 15 | " in capsys.readouterr().out
