"""Errors for Sentry: what events say, to a real receiver, and how many there are of them."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesh.core.trace_batch import unpack
from mesh.core.trace_record import Kind, Record
from mesh.errors import ConfigError
from mesh.tracing.exports.frames import MOST_FRAMES, raised_in
from mesh.tracing.exports.meter import Meter
from mesh.tracing.exports.otlp_spans import request_of
from mesh.tracing.exports.sentry import Sentry
from mesh.tracing.exports.sentry_events import event_of
from mesh.tracing.exports.tracebacks import MOST, Tracebacks
from tests.helpers.processes import eventually
from tests.tracing.batches import NOW, TRACE, Program, as_span, record
from tests.tracing.exports.receivers import Receiver, receiver

SERVER, RECEIVED, CLIENT = Kind.SERVER, Kind.RECEIVED, Kind.CLIENT


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def text_of(raises: Callable[[], object]) -> str:
    try:
        raises()
    except Exception:  # noqa: BLE001 - whichever the test raises
        return traceback.format_exc()
    raise AssertionError


def look_up() -> None:
    {}["tea"]


def take_from_stock() -> None:
    try:
        look_up()
    except KeyError as error:
        raise ValueError("no tea: none left") from error


FAILED = {"message": "no tea: none left", "traceback": text_of(take_from_stock), "fingerprint": "ab" * 8}


def failing(span: str, outcome: str = "ValueError", **more: Any) -> Record:
    return record(SERVER, span, outcome=outcome, **{"detail": FAILED, **more})


def give(export: Sentry, program: Program, *records: Record) -> None:
    payload = program.batch(*records)
    export.take(unpack(payload), payload)


def sent(there: Receiver, *records: Record) -> list[dict[str, Any]]:
    program = Program("stockd", host="box-7", pid=77)
    program.about = program.about._replace(release="v7")
    export = Sentry(there.dsn)
    give(export, program, *records)
    export.close(10.0)
    return there.events()


def test_an_error_with_its_frames_and_its_trace(there: Receiver) -> None:
    (event,) = sent(
        there,
        failing("a", detail={**FAILED, "tags": {"user": 42}}, call="stock.take"),
        record(CLIENT, "a", call="stock.take", outcome="ValueError", detail={"message": "no tea"}),
    )
    assert event["fingerprint"] == ["ValueError", "stock.take"]
    assert (event["transaction"], event["server_name"], event["release"]) == ("stock.take", "box-7", "v7")
    trace = event["contexts"]["trace"]
    assert (trace["trace_id"], trace["span_id"]) == (TRACE, as_span("a"))
    tags = {"trace_id": TRACE, "service": "stock", "method": "take", "host": "box-7", "process": "stockd"}
    assert tags.items() <= event["tags"].items()
    assert event["extra"]["tag user"] == 42
    cause, last = event["exception"]["values"]
    assert (cause["type"], cause["value"]) == ("KeyError", "'tea'")
    assert (last["type"], last["value"]) == ("ValueError", "no tea: none left")
    frame = last["stacktrace"]["frames"][-1]
    assert (frame["function"], frame["context_line"]) == (
        "take_from_stock",
        'raise ValueError("no tea: none left") from error',
    )
    assert (frame["abs_path"], frame["in_app"]) == (__file__, True)
    assert cause["stacktrace"]["frames"][-1]["function"] == "look_up"


def test_a_span_and_an_error_have_the_same_ids() -> None:
    foreign = failing("a", trace="<8F3A2C>")
    batch = unpack(Program("stockd").batch(foreign))
    with receiver() as there:
        body, _ = request_of([batch], Tracebacks())
        there.requests.append(("/v1/traces", {"content-type": "application/x-protobuf"}, body))
        ((_, span),) = there.spans()
    event = event_of(batch.records[0], batch.about, NOW, "", 0)
    trace = event["contexts"]["trace"]
    assert (trace["trace_id"], trace["span_id"]) == (span.trace_id.hex(), span.span_id.hex())
    assert trace["parent_span_id"] == span.parent_span_id.hex()
    assert event["tags"]["trace_id"] == "<8F3A2C>"
    assert event["tags"]["trace_id_sent"] == span.trace_id.hex()


def test_what_is_no_handlers_error_is_not_sent(there: Receiver) -> None:
    assert not sent(
        there,
        record(SERVER, "a"),
        record(SERVER, "b", outcome="cancelled"),
        record(SERVER, "c", outcome="pending", detail={"open": True}),
        record(SERVER, "d", outcome="Overloaded"),
        record(CLIENT, "e", outcome="TimeoutExpired", detail={"message": "late"}),
    )
    (event,) = sent(there, record(RECEIVED, "f", outcome="KeyError", call="news.said"))
    assert event["exception"]["values"][0]["type"] == "KeyError"
    assert "stacktrace" not in event["exception"]["values"][0]


def test_other_languages_tracebacks_are_kept_as_they_are(there: Receiver) -> None:
    text = "Error: no tea\n    at take (/srv/stock.js:3:7)"
    (event,) = sent(there, failing("a", detail={"message": "no tea", "traceback": text}))
    assert event["extra"]["traceback"] == text


def test_a_traceback_that_was_told_before(there: Receiver) -> None:
    again = {"message": "no tea", "fingerprint": FAILED["fingerprint"]}
    first, second = sent(there, failing("a"), failing("b", detail=again))
    assert first["exception"]["values"][-1]["stacktrace"] == second["exception"]["values"][-1]["stacktrace"]


def test_ten_thousand_errors_a_second_are_ten_events_a_minute(there: Receiver) -> None:
    clock, program = Clock(), Program("stockd")
    export = Sentry(there.dsn, clock)
    batch = unpack(program.batch(*(failing(f"{number}") for number in range(1_000))))
    begun = time.monotonic()
    for _ in range(10):
        export.take(batch, b"")
    assert time.monotonic() - begun < 5.0
    eventually(lambda: export.told()["sent"] == 10)
    assert export.told()["held_back"] == 9_990
    clock.now = 60.0
    give(export, program, failing("x"))
    give(export, program, failing("y", outcome="KeyError"))
    export.close(10.0)
    events = there.events()
    assert len(events) == 12
    held = [event["extra"].get("not sent before this one") for event in events]
    assert held == [None] * 10 + [9_990, None]


def test_many_kinds_of_errors_are_bounded_together() -> None:
    meter = Meter(of_kind=2, most=5)
    assert [meter.passes(number, 0.0) for number in range(7)] == [0] * 5 + [None] * 2
    assert [meter.passes(5, now) for now in (59.9, 60.0, 60.0, 60.0)] == [None, 2, 0, None]
    for number in range(10_000):
        meter.passes(f"made up {number}", 61.0)
    assert len(meter._kinds) <= 2_000


def test_sentry_away_is_felt_by_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with caplog.at_level(logging.ERROR, "mesh.collect"):
        export = Sentry(f"http://public@127.0.0.1:{port}/42")
        begun = time.monotonic()
        give(export, Program("stockd"), *(failing(f"{number}") for number in range(5)))
        assert time.monotonic() - begun < 1.0
        eventually(lambda: export.told()["dropped"] == 5)
    assert [line.getMessage() for line in caplog.records] == [
        "errors can't be sent to Sentry: network (1 are lost so far)"
    ]
    begun = time.monotonic()
    export.close(1.0)
    assert time.monotonic() - begun < 5.0


def test_what_sentry_refuses_is_counted_until_it_takes_them_again(
    there: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    there.answers = [(400, {}, b"\x1b[31mno"), (503, {}, b"")]
    export, program = Sentry(there.dsn), Program("stockd")
    give(export, program, failing("a"), failing("b"))
    eventually(lambda: export.told()["dropped"] == 2)
    assert (export.told()["sent"], export.trouble) == (0, "status_503")
    give(export, program, failing("c"))
    export.close(10.0)
    assert (export.told()["sent"], export.told()["dropped"], export.trouble) == (1, 2, "")
    assert [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING] == [
        "errors can't be sent to Sentry: status_400 (1 are lost so far)",
        "errors are sent to Sentry again; 2 are lost in all",
    ]


def test_odd_values_spoil_nothing(there: Receiver) -> None:
    odd = {"message": 42, "traceback": 7, "fingerprint": True, "tags": {"": float("nan"), "\x00": None}}
    program = Program("\x1b[31m", ahead=9e10 - NOW, pid=2**63)
    export = Sentry(there.dsn)
    give(export, program, failing("a", outcome="", detail=odd, trace="<\U0001f600>"))
    export.close(10.0)
    (event,) = there.events()
    assert event["exception"]["values"][0]["value"] == "42"


def test_what_is_no_dsn() -> None:
    for wrong in ("nonsense", "http://host/42", "http://public@host/"):
        with pytest.raises(ConfigError, match="--sentry, or SENTRY_DSN, is no DSN"):
            Sentry(wrong)


# Frames


def test_frames_of_what_python_prints() -> None:
    def deeper(number: int) -> int:
        return deeper(number - 1) if number else 1 // 0

    (raised,) = raised_in(text_of(lambda: deeper(30)))
    # Python 3.14 has it shorter.
    assert raised.name == "ZeroDivisionError"
    assert raised.message in ("integer division or modulo by zero", "division by zero")
    assert raised.frames[-1].function.endswith("deeper")
    context = raised_in(text_of(lambda: take_from_stock()))
    assert [one.name for one in context] == ["KeyError", "ValueError"]
    library = raised_in(
        'Traceback (most recent call last):\n  File "/x/site-packages/flask/app.py", line 3, in run\n'
        '  File "/srv/shop.py", line 4\n    x = = 1\n        ^\nSyntaxError: invalid syntax\n'
    )
    (lib, own) = library[0].frames
    assert (lib.in_library, lib.short, lib.code) == (True, "flask/app.py", "")
    assert (own.in_library, own.function, own.code) == (False, "", "x = = 1")


def test_frames_of_a_group_are_those_of_who_raised_it() -> None:
    def raises() -> None:
        raise ExceptionGroup("both", [ValueError("one"), KeyError("two")])

    (raised,) = raised_in(text_of(raises))
    assert raised.name == "ExceptionGroup"
    assert raised.frames[-1].function == "raises"
    assert raised.frames[-1].code.startswith("raise ExceptionGroup")


PASSED_ON = """Traceback (most recent call last):
  File "/srv/orders.py", line 6, in place
    return self.stock.take(item)
           ^^^^^^^^^^^^^^^^^^^^^
mesh.errors.KeyError: KeyError: 'tea'
The remote traceback:
Traceback (most recent call last):
  File "/srv/stock.py", line 3, in take
    raise KeyError(item)
KeyError: 'tea'

TraceID: ec3883264dc702bca9f57de6e6e75c52
"""


def test_an_error_that_a_call_has_raised_begins_at_its_server(there: Receiver) -> None:
    detail = {"message": "KeyError: 'tea'", "traceback": PASSED_ON}
    (event,) = sent(there, failing("a", outcome="KeyError", detail=detail))
    remote, local = event["exception"]["values"]
    assert [one["stacktrace"]["frames"][0]["function"] for one in (remote, local)] == ["take", "place"]
    assert (remote["type"], remote["value"]) == ("KeyError", "'tea'")
    assert event["tags"]["passed_on"] == "yes"
    (event, _) = sent(there, failing("b"))[::-1]
    assert "passed_on" not in event["tags"]


def test_rubbish_has_no_frames() -> None:
    for text in ("", "no tea", "\x00" * 1_000, 'File "', "Traceback (most recent call last):\nKeyError: 1"):
        assert raised_in(text) == []
    many = raised_in('  File "a.py", line 1, in f\n' * 5_000)
    assert len(many[0].frames) == MOST_FRAMES
    begun = time.monotonic()
    raised_in('  File "' * 8_000)
    raised_in("| " * 8_000 + 'File "a", line 1')
    raised_in(" " * 16_000 + "x")
    assert time.monotonic() - begun < 2.0


def test_few_tracebacks_are_remembered() -> None:
    known = Tracebacks()
    for number in range(MOST + 1):
        known.of({"traceback": f"text {number}", "fingerprint": f"{number}"})
    assert known.of({"fingerprint": "0"}) == ""
    assert known.of({"fingerprint": "1"}) == "text 1"
    assert known.of({"fingerprint": "x" * 10_000}) == known.of({"fingerprint": 42}) == known.of({}) == ""
