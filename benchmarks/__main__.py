"""`python -m benchmarks`: measure, show, and keep what was asked to be kept."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks import machine, report
from benchmarks.harness import ROOT, Settings, run
from benchmarks.peers import PEERS
from benchmarks.summary import summarise
from benchmarks.workloads import WORKLOADS

PAGE = ROOT / "docs" / "benchmarks.md"


def main(argv: Sequence[str] | None = None) -> int:
    """0: all was measured. 1: a measurement failed. 2: wrong usage."""
    options = _parser().parse_args(argv)
    settings = _settings(options)
    if not settings.peers:
        return 2
    facts = machine.describe(PEERS[peer].distribution for peer in settings.peers)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    failures: list[str] = []
    measurements = run(settings, _progress, failures.append)
    rows = summarise(measurements)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(report.as_text(rows))
    for failure in failures:
        print(f"failed, so left out: {failure}", file=sys.stderr)
    if options.json:
        result = report.as_json(rows, measurements, settings, facts, date)
        _write(options.json, json.dumps(result, indent=2) + "\n")
    if options.write_docs:
        sections = [file.read_text() for file in options.sections]
        _write(options.write_docs, report.as_markdown(rows, settings, facts, date, sections))
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="mesh beside a floor and its peers"
    )
    parser.add_argument(
        "--only", type=_names(PEERS), default=tuple(PEERS), metavar="PEER,…", help=", ".join(PEERS)
    )
    parser.add_argument(
        "--workload",
        type=_names(WORKLOADS),
        default=tuple(WORKLOADS),
        metavar="NAME,…",
        help=", ".join(WORKLOADS),
    )
    parser.add_argument(
        "--hubs",
        action="store_true",
        help="only the hubs: the workloads that go through one, and the peers that have them",
    )
    parser.add_argument(
        "--rounds", type=_positive(int), help="rounds of all measurements (5; 1 with --quick)"
    )
    parser.add_argument("--seconds", type=_positive(float), help="of one measurement (1; 0.2 with --quick)")
    parser.add_argument("--quick", action="store_true", help="one short round: does it run at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows and measurements as JSON")
    parser.add_argument(
        "--write-docs", type=Path, nargs="?", const=PAGE, metavar="FILE", help=f"write {PAGE.name}"
    )
    parser.add_argument(
        "--sections",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="for --write-docs: what benchmarks.memory, names, values, paced, tracing and the others wrote",
    )
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    if options.hubs:
        options.workload = tuple(name for name in options.workload if WORKLOADS[name].server == "hub")
    able = [name for name in options.only if set(PEERS[name].workloads) & set(options.workload)]
    if not able:
        print(f"none of {', '.join(options.only)} has one of these workloads", file=sys.stderr)
    present = []
    for name in able:
        missing = PEERS[name].missing()
        if missing:
            print(missing, file=sys.stderr)
        else:
            present.append(name)
    rounds, seconds, warmup = (1, 0.2, 0.05) if options.quick else (5, 1.0, 0.2)
    return Settings(
        tuple(present), options.workload, options.rounds or rounds, options.seconds or seconds, warmup
    )


def _names(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(text.split(",")))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return names

    return parse


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = kind(text)
        if number <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return number

    return parse


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
