"""How open calls are put together from what servers and hubs tell, and how they are shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.cli.open_calls import OpenCall, gathered, stuck
from mesh.cli.open_calls_table import show_calls
from mesh.cli.open_calls_told import Told
from mesh.cli.output import Printer
from mesh.core.wire import OPEN_CALLS
from mesh.errors import TimeoutExpired


def row(number: str, method: str, age: float, **more: Any) -> dict[str, Any]:
    waits_for = more.pop("waits_for", {"kind": "line", "line": "shop.py:7 in work"})
    return {
        "id": number, "method": method, "age": age, "trace_id": "", "span_id": "", "caller": "",
        "program": "", "hub": "", "wanted": True, "state": "running", "at": "",
        "waits_for": waits_for, **more,
    }  # fmt: skip


def server(name: str, pid: int, *rows: dict[str, Any], **about: Any) -> Told:
    values = {
        "server": name, "instance": f"{name} {pid}", "host": "box", "pid": pid, "total": len(rows),
        "calls": [*rows],
    }  # fmt: skip
    return Told(f"ipc://{name}", values=values, **about)


def hub(*rows: dict[str, Any], workers: Any = ()) -> Told:
    return Told(
        "ipc://hub", values={"hub": "pay", "calls": [*rows], "workers": [*workers], "total": len(rows)}
    )


def worker(number: int, pid: int, **more: Any) -> dict[str, Any]:
    return {"number": number, "service": "payments", "host": "box", "pid": pid, "mesh": True, **more}


PLACE: dict[str, Any] = {"kind": "calls", "more": 0, "calls": [
    {"id": "2", "service": "payments", "method": "charge", "to": "ipc://hub", "hub": True, "age": 12.6,
     "state": "sent", "trace_id": "48ac", "span_id": "b"},
]}  # fmt: skip
WORKER = {"kind": "worker", "running": 2, "most": 2, "waiting": 31}
SHOP = [
    server("orders", 77, row("1", "place", 12.7, caller="api-1:312", trace_id="48ac" * 8, waits_for=PLACE)),
    hub(row("2", "charge", 12.6, service="payments", worker=0, waits_for=WORKER, caller="box:77")),
    server(
        "users", 402,
        row("3", "export", 41.2, caller="web-2:811", waits_for={"kind": "credit", "seconds": 39.8}),
    ),
    server(
        "thumbs", 13,
        row("4", "make", 9.0, waits_for={"kind": "nothing", "blocks": "x.py:8 in resize", "seconds": 8}),
        row("5", "look", 8.0, waits_for={"kind": "loop", "method": "make", "at": "x.py:1 in f"}),
        row("6", "read", 0.5),
    ),
]  # fmt: skip


def shown(calls: list[OpenCall], capsys: pytest.CaptureFixture[str], **printer: Any) -> list[str]:
    one = Printer(printer.pop("as_json", False))
    for name, value in printer.items():
        setattr(one, name, value)
    show_calls(one, calls)
    return capsys.readouterr().out.splitlines()


def test_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(gathered(SHOP), capsys, tty=True, width=95) == [
        "41.2s  users.export              web-2:811  → users@box:402  its client reads nothing (39.8s)",
        "12.7s  orders.place       48ac…  api-1:312  → orders@box:77  payments.charge",
        "12.6s  └ payments.charge                    → hub pay        a worker: 0 of 2 free, 31 wait",
        " 9.0s  thumbs.make               -          → thumbs@box:13  blocks its loop, x.py:8 in resize",
        " 8.0s  thumbs.look               -          → thumbs@box:13  its loop, which thumbs.make block…",
        " 0.5s  thumbs.read               -          → thumbs@box:13  shop.py:7 in work",
    ]  # fmt: skip


def test_a_narrow_terminal_and_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    narrow = shown(gathered(SHOP), capsys, tty=True, width=60)
    assert narrow[2] == "12.6s  └ payments.charge  a worker: 0 of 2 free, 31 wait"
    assert max(map(len, narrow)) <= 60
    assert "48ac" * 8 in shown(gathered(SHOP), capsys, tty=False)[1], "in a pipe nothing is cut short"
    assert shown([], capsys) == []


def test_stuck() -> None:
    assert [call.method for call in stuck(gathered(SHOP))] == [
        "users.export", "orders.place", "thumbs.make", "thumbs.look",
    ]  # fmt: skip
    young = [server("a", 1, row("1", "f", 5.0, waits_for={"kind": "credit", "seconds": 0.2}))]
    assert not stuck(gathered(young)), "its client has read of late"
    unwanted = [server("a", 1, row("1", "f", 5.0, wanted=False))]
    assert stuck(gathered(unwanted))[0].waits == "for nobody: shop.py:7 in work"


def test_a_call_that_hub_and_worker_tell_is_one() -> None:
    """The hub knows the caller, and the worker what it does."""
    answers = [
        hub(
            row("1", "charge", 3.0, service="payments", worker=4, given=1.0, caller="web:1"),
            workers=[worker(4, 9)],
        ),
        server(
            "Pay", 9, row("1", "charge", 1.0, hub="ipc://out"), service="payments", hub="ipc://hub", number=4
        ),
    ]
    (call,) = gathered(answers)
    assert (call.method, call.caller, call.age, call.to) == ("payments.charge", "web:1", 3.0, "Pay@box:9")
    assert call.waits == "shop.py:7 in work"


def test_one_that_two_hubs_lead_to_is_told_once() -> None:
    one = server("a", 1, row("1", "f", 5.0))
    assert len(gathered([one, one])) == 1


@pytest.mark.parametrize(
    ("told", "waits", "kind"),
    [
        (Told("w", error=TimeoutExpired(""), hub="ipc://hub", number=4, heard=4.25, silent=True),
         "its worker is silent, last heard 4.2s ago", "silent"),
        (Told("w", error=TimeoutExpired(""), hub="ipc://hub", number=4),
         "its worker does not tell", "unknown"),
    ],
)  # fmt: skip
def test_what_a_worker_has_that_does_not_tell(told: Told, waits: str, kind: str) -> None:
    given = row("1", "charge", 3.0, service="payments", worker=4, given=2.5, waits_for={"kind": "unknown"})
    (call,) = gathered([hub(given, workers=[worker(4, 9)]), told])
    assert (call.waits, call.kind, call.to, call.waited) == (waits, kind, "payments@box:9", 2.5)


def test_a_call_that_only_its_maker_tells_of() -> None:
    (call,) = gathered(SHOP[:1])
    (made,) = call.made
    assert (made.method, made.to) == ("payments.charge", "hub ipc://hub")
    assert made.waits == "who has it was not asked, or does not tell" and made.is_stuck


def test_where_no_id_fits_the_span_does() -> None:
    told = server("Pay", 9, row("another", "charge", 12.0, trace_id="48ac", span_id="b"))
    (call,) = gathered([SHOP[0], told])
    assert call.made[0].waits == "shop.py:7 in work"


def test_our_own_question_is_no_call() -> None:
    assert not gathered([hub(row("q", OPEN_CALLS, 0.1, service="payments", worker=4))])


def test_calls_that_make_each_other_as_only_liars_tell() -> None:
    def makes(number: str, other: str) -> dict[str, Any]:
        return row(number, "f", 1.0, waits_for={"kind": "calls", "calls": [{"id": other}]})

    calls = gathered([server("a", 1, makes("1", "2"), makes("2", "1"), makes("3", "3"))])
    assert len(calls) == 2


@pytest.mark.parametrize(
    "values",
    [
        {"calls": [1, None, {"id": 5, "method": [], "age": "x", "waits_for": 3}, {}]},
        {"calls": [{"waits_for": {"kind": "calls", "calls": "x", "more": None}, "age": float("nan")}]},
        {"calls": [row("1", "f", 1.0, worker="x")], "workers": [1, {}]},
        {"calls": [row("1", "f", 1.0, worker=5, waits_for=None)], "workers": None, "hub": 7},
    ],
)
def test_whatever_is_told_it_can_be_shown(values: Any, capsys: pytest.CaptureFixture[str]) -> None:
    calls = gathered([Told("tcp://a:1", values=values)])
    shown(calls, capsys, tty=True, width=60)
    for line in shown(calls, capsys, as_json=True):
        json.loads(line)


def test_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "a\x1b[2J\nb\x9b"
    told = server(
        nasty,
        1,
        row("1", nasty, 1.0, caller=nasty, trace_id=nasty, waits_for={"kind": "line", "line": nasty}),
    )
    for tty in (True, False):
        lines = shown(gathered([told]), capsys, tty=tty, width=200)
        assert len(lines) == 1 and lines[0].isprintable()


def test_json_has_a_line_for_each_and_which_makes_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.loads(line) for line in shown(gathered(SHOP), capsys, as_json=True)]
    assert len(lines) == 6
    assert (lines[2]["id"], lines[2]["parent"], lines[2]["kind"], lines[2]["stuck"]) == (
        "2",
        "1",
        "worker",
        True,
    )


def test_what_only_a_client_knows_of() -> None:
    """A call that waits for a connection; and one of which its server has told, but not who makes it."""
    told = {"host": "box", "pid": 9, "name": "cron", "trace_id": "48ac", "span_id": "b", "hub": False}
    unsent = {**told, "id": "8", "service": "mail", "method": "send", "to": "", "age": 3.0, "state": "unsent"}
    sent = {**told, "id": "9", "service": "users", "method": "get", "to": "", "age": 2.0, "state": "sent"}
    calls = gathered([server("users", 402, row("9", "get", 2.0))], [unsent, sent, {"id": 7, "age": "old"}])
    assert [(call.method, call.caller, call.waits) for call in calls][:2] == [
        ("mail.send", "box:9", "a connection"),
        ("users.get", "box:9", "shop.py:7 in work"),
    ]
    assert [call.program for call in stuck(calls)] == ["cron"]
