"""Spans joined from their sides, and who has caused whom."""

from __future__ import annotations

from mesh.core.trace_record import Kind
from mesh.tracing.tree import Tree
from tests.tracing.batches import NOW, Program, as_span, read, record

CLIENT, SERVER, HUB, SENT, RECEIVED = Kind.CLIENT, Kind.SERVER, Kind.HUB, Kind.SENT, Kind.RECEIVED


def names(tree: Tree) -> dict[str, list[str]]:
    return {span.method: [child.method for child in span.children] for span in tree.spans}


def test_both_sides_are_one_span_whatever_order_they_come_in() -> None:
    web, orders = Program("web"), Program("orders")
    told = [
        orders.batch(record(CLIENT, "b", "a", "stock.take", 0.3, 0.6)),
        orders.batch(record(SERVER, "a", began=0.1, started=0.2, ended=0.9)),
        web.batch(record(CLIENT, "a", began=0.0, ended=1.0)),
    ]
    for order in (told, told[::-1]):
        tree = Tree(read(*order))
        assert names(tree) == {"place": ["take"], "take": []}
        (root,) = tree.roots
        assert root.caller is not None and root.callee is not None
        assert (root.began, round(root.took, 6)) == (NOW, 1.0)


def test_a_record_that_comes_twice_is_one() -> None:
    web, orders, hub = Program("web"), Program("orders"), Program("hub")
    told = [
        web.batch(record(CLIENT, "a")),
        orders.batch(record(SERVER, "a")),
        hub.batch(record(HUB, "a")),
    ]
    (span,) = Tree(read(*told, *told)).spans
    assert (len(span.hubs), span.others) == (1, ())


def test_what_has_ended_takes_the_place_of_what_was_open() -> None:
    web = Program("web")
    still = web.batch(record(CLIENT, "a", ended=5.0, outcome="pending", detail={"open": True}))
    done = web.batch(record(CLIENT, "a", ended=3.0))
    for told in ((still, done), (done, still)):
        (span,) = Tree(read(*told)).spans
        assert (span.is_open, span.outcome, round(span.took, 6)) == (False, "OK", 3.0)
    (span,) = Tree(read(still)).spans
    assert (span.is_open, span.outcome) == (True, "pending")


def test_a_span_whose_parent_nobody_told_of_is_a_root() -> None:
    tree = Tree(read(Program("web").batch(record(CLIENT, "b", "a"), record(CLIENT, "c"))))
    assert {span.span_id: span.lost_parent for span in tree.roots} == {
        as_span("b"): True,
        as_span("c"): False,
    }


def test_an_event_has_failed_where_one_of_its_receivers_has() -> None:
    sent = Program("web").batch(record(SENT, "a", call="news.out", ended=0.0))
    failed, *good = (
        Program(name).batch(
            record(RECEIVED, "a", call="mail.out", began=0.1 + at, ended=0.2 + at, outcome=outcome)
        )
        for name, at, outcome in (("mail", 0.0, "KeyError"), ("log", 0.1, "OK"), ("wall", -0.05, "OK"))
    )
    for told in ((sent, failed, *good), (*good, sent, failed), (*good, failed)):
        (span,) = Tree(read(*told)).spans
        assert (span.outcome, span.is_open, len(span.others)) == ("KeyError", False, 2)
        assert span.callee is not None and span.callee.outcome == "KeyError"


def test_a_loop_of_parents_is_cut_in_front_of_what_began_first() -> None:
    web = Program("web")
    loop = [record(CLIENT, one, parent, f"s.{one}", at) for one, parent, at in
            (("a", "c", 0.1), ("b", "a", 0.2), ("c", "b", 0.3), ("d", "c", 0.05))]  # fmt: skip
    own = record(CLIENT, "e", "e", "s.e", 0.4)
    tree = Tree(read(web.batch(*loop, own)))
    assert [span.method for span in tree.roots] == ["a", "e"]
    assert names(tree) == {"d": [], "a": ["b"], "b": ["c"], "c": ["d"], "e": []}


def test_many_loops_are_cut_one_by_one() -> None:
    pairs = [record(CLIENT, f"{n:x}", f"{n ^ 1:x}", "s.m", n / 1e4) for n in range(6_000)]
    told = [Program("web", boot="b").batch(*pairs[at : at + 1_000]) for at in range(0, 6_000, 1_000)]
    tree = Tree(read(*told))
    assert len(tree.roots) == 3_000 and all(len(root.children) == 1 for root in tree.roots)


def test_a_long_chain_is_no_matter() -> None:
    chain = [record(CLIENT, f"{n:x}", f"{n - 1:x}" if n else "", "s.m", n / 1e4) for n in range(5_000)]
    told = [Program("web", boot="b").batch(*chain[at : at + 1_000]) for at in range(0, 5_000, 1_000)]
    (root,) = Tree(read(*told)).roots
    assert root.span_id == as_span("0")


def test_containers_of_one_host_name_and_pid_are_told_apart() -> None:
    first, second, third = Program("web", "box"), Program("web", "box"), Program("web", "box", pid=2)
    told = [one.batch(record(CLIENT, str(n))) for n, one in enumerate((first, second, third))]
    assert Tree(read(*told)).labels == ["web@box:1#1", "web@box:1#2", "web@box:2"]


def test_an_event_with_several_subscribers() -> None:
    told = [Program("web").batch(record(SENT, "a", call="news.out"))]
    told += [Program(f"s{n}").batch(record(RECEIVED, "a", call="news.out", ended=n)) for n in range(1, 4)]
    (span,) = Tree(read(*told)).spans
    assert span.callee is not None
    assert len(span.others) == 2


def test_only_the_callee_has_told() -> None:
    (span,) = Tree(read(Program("orders").batch(record(SERVER, "a", peer="tcp://10.0.0.1:5")))).spans
    assert (span.caller, span.service, span.outcome) == (None, "orders", "OK")


def test_attempts_of_a_call_are_one_span_from_the_first_to_the_last() -> None:
    web, orders = Program("web"), Program("orders")
    told = [
        web.batch(record(CLIENT, "a", began=0.0, ended=1.0, outcome="LostRemote")),
        web.batch(record(CLIENT, "a", began=1.5, ended=2.0)),
        orders.batch(record(SERVER, "a", began=1.6, ended=1.9)),
    ]
    for order in (told, told[::-1]):
        [span] = Tree(read(*order)).spans
        assert (span.outcome, round(span.took, 3)) == ("OK", 2.0)
        assert span.caller is not None and span.caller.detail == {"attempts": 2}


def test_the_end_of_what_was_told_of_as_open_is_no_other_attempt() -> None:
    web = Program("web")
    open_call = record(CLIENT, "a", began=0.0, ended=1.0, outcome="pending", detail={"open": True})
    [span] = Tree(read(web.batch(open_call), web.batch(record(CLIENT, "a", began=0.0002, ended=2.0)))).spans
    assert span.caller is not None and not span.is_open and span.caller.detail is None
