"""A trace as lines to read."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mesh.core.trace_record import Kind
from mesh.tracing import critical, talk, views
from mesh.tracing.tree import Tree
from tests.tracing.batches import Program, read, record

CLIENT, SERVER, LOCAL = Kind.CLIENT, Kind.SERVER, Kind.LOCAL
AT = 4589.759738  # what NOW lacks of 23:56:29.759738
BOX = {"host": "box", "boot": "one"}


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        talk._second.cache_clear()
        yield
    time.tzset()
    talk._second.cache_clear()


def test_the_original_form() -> None:
    api, worker = Program("uwsgi", "api", "one"), Program("api_00", "zeroworkers", "one")
    told = [
        api.batch(record(CLIENT, "a", call="zeroworkers.run_command", began=AT, ended=AT + 0.1)),
        worker.batch(
            record(SERVER, "a", call="zeroworkers.run_command", began=AT + 0.001, ended=AT + 0.099),
            record(
                CLIENT, "b", "a", "formation-in.info", AT + 0.015, AT + 60, outcome="pending",
                detail={"open": True},
            ),
        ),
    ]  # fmt: skip
    assert talk.lines(Tree(read(*told))) == [
        "[2012-03-07 23:56:29.759738] uwsgi@api --- run_command ---> api_00@zeroworkers "
        "(lag: 1ms | exec: 98ms)",
        "[2012-03-07 23:56:29.774738] api_00@zeroworkers --- info (pending) ---> formation-in [Not Received]",
        "[2012-03-07 23:56:29.859738] api_00@zeroworkers --- OK ---> uwsgi@api (lag: 1ms | exec: 98ms)",
    ]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("'jam'", "KeyError: 'jam'"),
        ("KeyError: KeyError: 'jam'", "KeyError: 'jam'"),
        ("KeyError: KeyError", "KeyError"),
        ("", "KeyError"),
        ("KeyErrors", "KeyError: KeyErrors"),
    ],
)
def test_an_error_that_was_passed_on_has_its_name_once(message: str, shown: str) -> None:
    detail = {"message": message}
    tree = Tree(read(Program("web").batch(record(CLIENT, "a", outcome="KeyError", detail=detail))))
    (line,) = views.tree_lines(tree)
    assert line.endswith(f"  1.0 s  {shown}")


def test_an_event_whose_handler_has_raised() -> None:
    web, mail = Program("web", **BOX), Program("mail", **BOX)
    detail = {"message": "'jam'", "traceback": "Traceback"}
    told = [
        web.batch(record(Kind.SENT, "a", call="mail.placed", began=AT, ended=AT)),
        mail.batch(
            record(
                Kind.RECEIVED, "a", call="mail.placed", began=AT + 0.002, ended=AT + 0.012,
                outcome="KeyError", detail=detail,
            )
        ),
    ]  # fmt: skip
    tree = Tree(read(*told))
    assert talk.lines(tree) == [
        "[2012-03-07 23:56:29.759738] web@box --- placed (KeyError) ---> mail@box (lag: 2ms | exec: 10ms)"
    ]
    assert list(views.tree_lines(tree)) == ["mail.placed  web@box → mail@box  0.0 ms  KeyError: 'jam'"]
    (span,) = views.jsonable(tree)["spans"]
    assert (span["outcome"], span["detail"]) == ("KeyError", detail)
    assert set(span["parts"]) == {"hold", "lag", "queue", "handler", "doubt"}, "nothing comes back"
    assert min(span["parts"].values()) >= 0


def test_how_sure_a_lag_is() -> None:
    web, orders = Program("web"), Program("orders", ahead=7.0)
    told = [
        web.batch(record(CLIENT, "a", ended=0.1, began=0.0)),
        orders.batch(record(SERVER, "a", began=0.001, ended=0.0994)),
    ]
    first, last = talk.lines(Tree(read(*told)))
    assert first.endswith("--- place ---> orders@orders (lag: 1ms ±0.8 | exec: 98ms)")
    assert last.endswith("orders@orders --- OK ---> web@web (lag: 1ms ±0.8 | exec: 98ms)")
    raw = talk.lines(Tree(read(*told), raw=True), raw=True)
    assert raw[0].endswith("(lag: 7001ms | exec: 98ms)")


def test_only_one_side_has_told() -> None:
    lines = talk.lines(Tree(read(Program("web").batch(record(CLIENT, "a")))))
    said = [line.partition("] ")[2] for line in lines]
    assert said == ["web@web --- place ---> orders", "orders --- OK ---> web@web"]
    (request, reply) = talk.lines(Tree(read(Program("orders").batch(record(SERVER, "a", peer="10.0.0.1:5")))))
    assert request.endswith("10.0.0.1:5 --- place ---> orders@orders (lag: ? | exec: 1000ms)")
    assert reply.endswith("orders@orders --- OK ---> 10.0.0.1:5 (lag: ? | exec: 1000ms)")


def loop(number: int) -> list[bytes]:
    """A handler that calls `charge` so many times, one after the other, and each makes a call of its own."""
    web, stock = Program("web", **BOX), Program("stock", **BOX)
    calls = [
        record(CLIENT, f"c{n}", "a", "stock.charge", n / 10, n / 10 + (0.09 if n == 3 else 0.05))
        for n in range(number)
    ]
    inner = [
        record(LOCAL, f"i{n}", f"c{n}", "stock.check", n / 10 + 0.01, n / 10 + 0.02) for n in range(number)
    ]
    whole = record(CLIENT, "a", began=0.0, ended=number / 10)
    told = [*calls, whole]
    return [
        *(web.batch(*told[at : at + 1_000]) for at in range(0, len(told), 1_000)),
        *(stock.batch(*inner[at : at + 1_000]) for at in range(0, len(inner), 1_000)),
    ]


def test_equal_siblings_are_one_line_and_so_is_what_they_cause() -> None:
    tree = Tree(read(*loop(4_812)))
    lines = [line.partition("] ")[2] for line in talk.lines(tree)]
    assert lines == [
        "web@box --- place ---> orders",
        f"web@box --- charge {talk.TIMES}4,812, max 90 ms ---> stock",
        f"stock@box --- check {talk.TIMES}4,812, max 10 ms",
        "orders --- OK ---> web@box",
    ]
    assert list(views.tree_lines(tree)) == [
        "orders.place  web@box → orders  481.2 s",
        f"└─ stock.charge {talk.TIMES}4,812, max 90 ms, 240.6 s in all",
        f"   └─ check {talk.TIMES}4,812, max 10 ms, 48.1 s in all",
    ]


def test_the_critical_path_leads_through_what_ended_last() -> None:
    web = Program("web")
    told = web.batch(
        record(CLIENT, "a", call="s.root", began=0.0, ended=1.0),
        record(CLIENT, "b", "a", "s.first", 0.1, 0.4),
        record(CLIENT, "c", "a", "s.beside", 0.15, 0.45),
        record(CLIENT, "d", "a", "s.last", 0.5, 0.9),
        record(CLIENT, "e", "d", "s.deep", 0.6, 0.8),
    )
    tree = Tree(read(told))
    steps = [(step.span.method, round(step.own, 3)) for step in critical.path(tree)]
    assert steps == [("root", 0.3), ("beside", 0.3), ("last", 0.2), ("deep", 0.2)]
    own = {span.method: round(critical.own_time(span), 3) for span in tree.spans}
    assert own == {"root": 0.25, "first": 0.3, "beside": 0.3, "last": 0.2, "deep": 0.2}


def test_calls_in_turn_and_the_same_call_again_and_again() -> None:
    tree = Tree(read(*loop(5)))
    (run,) = critical.in_turn(tree)
    assert ([call.method for call in run.calls], round(run.saved, 3)) == (["charge"] * 5, 0.2)
    (again,) = critical.repeated(tree)
    assert (again.parent.method, len(again.calls), round(again.took, 3)) == ("place", 5, 0.29)


def test_a_deep_tree_is_not_indented_for_ever() -> None:
    chain = [record(CLIENT, f"{n:x}", f"{n - 1:x}" if n else "", "s.m", n / 1e4, 9.0) for n in range(900)]
    lines = list(views.tree_lines(Tree(read(Program("web").batch(*chain)))))
    assert lines[-1].startswith("… 899 levels down: s.m")
    assert max(map(len, lines)) < 200


def test_what_json_has() -> None:
    tree = Tree(read(*loop(2)))
    told = views.jsonable(tree)
    first = told["spans"][0]
    assert (first["method"], first["parent"], first["outcome"]) == ("place", None, "OK")
    assert first["took"] == pytest.approx(0.2, abs=1e-4)
    assert [one["label"] for one in told["processes"]] == ["web@box", "stock@box"]
    assert {one["parent"] for one in told["spans"][1:3]} == {first["span"], told["spans"][1]["span"]}


def test_a_part_of_a_program_s_own_work_is_one_line() -> None:
    web = Program("web")
    batch = web.batch(
        record(LOCAL, "a", call="web.trace", began=0.0, ended=0.25),
        record(LOCAL, "b", "a", call="web.render", began=0.1, ended=0.2, outcome="KeyError"),
    )
    first, second = (line.split("] ")[1] for line in talk.lines(Tree(read(batch))))
    assert (first, second) == (
        "web@web --- trace (exec: 250ms)",
        "web@web --- render (KeyError) (exec: 100ms)",
    )
