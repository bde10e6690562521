"""What begins a trace, binds one and tells of it; without a call."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

import mesh
from mesh.core.span import MOST_CHARS, Span, current_span, in_this_context, span_in, within
from mesh.transport.tracing import log_trace_ids

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def here() -> str:
    span = current_span()
    return "" if span is None else span.trace_id


def test_a_trace_is_there_within_and_nowhere_else() -> None:
    assert current_span() is None
    with mesh.trace() as span:
        assert re.fullmatch("[0-9a-f]{32}", span.trace_id) and re.fullmatch("[0-9a-f]{16}", span.span_id)
        assert current_span() is span
    assert current_span() is None
    with mesh.trace() as other:
        assert other.trace_id != span.trace_id


def test_ids_differ_whatever_a_program_does_to_random() -> None:
    ids = set()
    for _ in range(600):
        random.seed(42)
        with mesh.trace() as span:
            ids |= {span.trace_id, span.span_id}
    assert len(ids) == 1_200


def test_one_within_another_is_the_same_unless_it_has_an_id() -> None:
    with mesh.trace() as outer:
        with mesh.trace() as same:
            assert same is outer
        with mesh.trace("<8F3A2C>") as inner:
            assert (here(), inner.traceparent) == ("<8F3A2C>", "")
        assert here() == outer.trace_id


def test_a_function_may_be_traced() -> None:
    @mesh.trace()
    def work(depth: int) -> list[str]:
        return [here(), *(work(depth - 1) if depth else [])]

    first, second = work(2), work(0)
    assert len(set(first)) == 1 and first[0] != second[0]


def test_a_coroutine_is_traced_until_its_end() -> None:
    @mesh.trace()
    async def work() -> list[str]:
        first = here()
        await asyncio.sleep(0)
        return [first, here()]

    async def main() -> list[list[str]]:
        return await asyncio.gather(work(), work())

    (one, other), (another, last) = asyncio.run(main())
    assert one == other != another == last and one and another
    assert current_span() is None


def test_what_yields_is_refused() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, later):
        with pytest.raises(TypeError, match=r"has `yield`: write `with mesh.trace\(\):` within it"):
            mesh.trace()(function)


@pytest.mark.parametrize("wrong", ["", "a\nb", "\x1b[31m", "x" * (MOST_CHARS + 1), b"bytes", 5])
def test_what_is_no_id(wrong: object) -> None:
    with pytest.raises(ValueError, match="is no id of a trace: it has to be text of 1 to 128 characters"):
        mesh.trace(wrong)  # type: ignore[arg-type]


def test_the_header_of_w3c_goes_in_and_out() -> None:
    with mesh.trace(traceparent=PARENT) as span:
        assert (span.trace_id, span.span_id) == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
        assert span.traceparent == PARENT[:-2] + "03"
    with mesh.trace(traceparent=f" {PARENT.replace('00-4', 'cc-4')}-more of later versions") as span:
        assert span.span_id == "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "",
        "nonsense",
        PARENT.upper(),
        "ff" + PARENT[2:],
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
        PARENT[:-3],
    ],
)
def test_a_header_that_makes_no_sense_begins_a_new_trace(wrong: str | None) -> None:
    with mesh.trace(traceparent=wrong) as span:
        assert len(span.trace_id) == 32 and span.trace_id not in PARENT


def test_a_generator_that_is_left_elsewhere() -> None:
    def numbers() -> Iterator[int]:
        with mesh.trace():
            yield 1
            yield 2

    left = within(None).run(lambda: (one := numbers(), next(one))[0])
    left.close()
    assert current_span() is None


def test_native_threads_have_it_by_fork() -> None:
    seen: ContextVar[int] = ContextVar("seen", default=0)

    def work(value: int) -> tuple[str, int, int]:
        before = seen.get()
        seen.set(value)
        return here(), before, value

    seen.set(7)
    with ThreadPoolExecutor(4) as pool, mesh.trace() as span:
        assert pool.submit(work, 1).result() == ("", 0, 1)
        forked = mesh.fork(work)
        assert list(pool.map(forked, range(20))) == [(span.trace_id, 7, number) for number in range(20)]
        assert forked.__name__ == "work"
        assert in_this_context(here)() == span.trace_id
    assert in_this_context(here) is here


@pytest.mark.parametrize(
    ("header", "ids"),
    [
        ({"trace_id": "a", "span_id": "b"}, ("a", "b")),
        ({"trace_id": b"a"}, ("a", "")),
        ({"trace_id": "a", "span_id": "\x1b"}, ("a", "")),
        ({"trace_id": "a", "span_id": 5}, ("a", "")),
        ({"trace_id": "a\r\nb"}, None),
        ({"trace_id": ["a"]}, None),
        ({"trace_id": b"a" * 200}, None),
        ({"trace_id": ""}, None),
        ({"span_id": "b"}, None),
    ],
)
def test_what_a_header_tells(header: dict[str, object], ids: tuple[str, str] | None) -> None:
    span = span_in(header)
    assert (span and (span.trace_id, span.span_id)) == ids


def test_records_of_the_log_have_the_ids(caplog: pytest.LogCaptureFixture) -> None:
    before = logging.getLogRecordFactory()
    try:
        log_trace_ids()
        log_trace_ids()
        assert logging.getLogRecordFactory() is not before
        formatter = logging.Formatter("%(trace_id)s/%(span_id)s %(message)s")
        with mesh.trace("abc") as span:
            logging.getLogger("any").warning("within")
        logging.getLogger("any").warning("outside")
        assert [formatter.format(record) for record in caplog.records] == [
            f"abc/{span.span_id} within",
            "/ outside",
        ]
    finally:
        logging.setLogRecordFactory(before)


def test_what_a_span_looks_like() -> None:
    assert repr(Span("abc", "12")) == "<span 12 of trace abc>"


class TestSpan:
    def test_what_is_within_belongs_to_it(self) -> None:
        with mesh.trace() as outer, mesh.span("render", page=3) as inner:
            assert (inner.trace_id, inner.parent_id) == (outer.trace_id, outer.span_id)
            assert current_span() is inner and inner.tags == {"page": 3}
        assert current_span() is None

    def test_outside_of_a_trace_it_does_nothing(self) -> None:
        with mesh.span("render") as span:
            assert current_span() is None
            span.tags["page"] = 3

    def test_around_functions(self) -> None:
        @mesh.span("render")
        def render() -> str:
            return here()

        @mesh.span("render")
        async def later() -> str:
            await asyncio.sleep(0)
            return here()

        with mesh.trace() as span:
            assert render() == asyncio.run(later()) == span.trace_id

        def numbers() -> Iterator[int]:
            yield 1

        with pytest.raises(TypeError, match=r"has `yield`: write `with mesh.span\('render'\):` within it"):
            mesh.span("render")(numbers)

    def test_wrong_use(self) -> None:
        with pytest.raises(TypeError, match="a name that is text, not 7"):
            mesh.span(7)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="65 tags are too many"):
            mesh.trace(**{f"tag{number}": number for number in range(65)})


def test_a_trace_with_tags_within_another_is_a_span_of_its_own() -> None:
    with mesh.trace() as outer, mesh.trace(user=42) as inner:
        assert inner.trace_id == outer.trace_id and inner.parent_id == outer.span_id


def test_the_name_of_a_tag_may_be_any() -> None:
    with mesh.trace(name="Ann", kind="big") as span:
        assert getattr(span, "tags") == {"name": "Ann", "kind": "big"}  # noqa: B009 - of a trace that it began


def test_one_that_goes_on_within_another_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once, by whoever began it."""
    told: list[str] = []
    monkeypatch.setattr("mesh.transport.tracing._Timed.record", lambda self, exc: told.append(self.name))

    @mesh.trace()
    def deeper() -> None:
        pass

    with mesh.trace():
        with mesh.trace():
            deeper()
        with mesh.span("render"), mesh.trace():
            pass
        assert told == ["render"]
    assert told == ["render", "trace"]
