"""What pages are told once a second."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest

from mesh.errors import Overloaded, TimeoutExpired
from mesh.tracing.dashboard import feeds
from mesh.tracing.dashboard.feeds import Feeds, History


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "INTERVAL", 0.01)


def value_of(event: bytes) -> Any:
    _, data, *_ = event.split(b"\n")
    return json.loads(data.removeprefix(b"data: "))


def test_many_pages_ask_once() -> None:
    asked = []

    def ask() -> int:
        asked.append(1)
        gevent.sleep(0.05)
        return len(asked)

    topics = Feeds({"rates": ask, "open": lambda: pytest.fail("nobody looks at this")})
    pages = [topics.page(["rates"]) for _ in range(5)]
    with gevent.Timeout(10):
        assert [next(page) for page in pages] == [b": hello\n\n"] * 5
        first = [next(page) for page in pages]
    assert len({*first}) == 1 and value_of(first[0])["value"] == 1
    assert first[0].startswith(b"event: rates\n") and first[0].endswith(b"\n\n")
    for page in pages:
        page.close()


def test_nobody_is_asked_once_all_have_gone() -> None:
    asked = []
    topics = Feeds({"rates": lambda: asked.append(1)})
    page = topics.page(["rates"])
    with gevent.Timeout(10):
        next(page), next(page)
        page.close()
        gevent.sleep(0.1)
        before = len(asked)
        gevent.sleep(0.1)
    assert len(asked) == before


def test_an_error_is_told_and_the_next_answer_after_it() -> None:
    answers = iter([TimeoutExpired("nobody there"), KeyError("rate"), 7])

    def ask() -> object:
        answer = next(answers, 7)
        if isinstance(answer, Exception):
            raise answer
        return answer

    page = Feeds({"rates": ask}).page(["rates"])
    with gevent.Timeout(10):
        next(page)
        told = [value_of(next(page)) for _ in range(3)]
    assert told[0]["error"] == "nobody there"
    assert "makes no sense" in told[1]["error"]
    assert told[2]["value"] == 7
    page.close()


def test_pages_are_bounded_and_give_their_place_back() -> None:
    topics = Feeds({"rates": lambda: 1})
    pages = [topics.page(["rates"]) for _ in range(feeds.MOST_PAGES)]
    with pytest.raises(Overloaded, match="32 pages"):
        topics.page(["rates"])
    # One that nobody has begun to read has a place, too, and gives it back.
    pages.pop().close()
    pages.append(topics.page(["rates"]))
    with gevent.Timeout(10):
        next(pages[0])
    for page in pages:
        page.close()
    topics.page(["rates"]).close()


def test_the_history_is_bounded() -> None:
    history = History()
    row = {
        "side": "server",
        "caller": "",
        "service": "a",
        "errors": 0.0,
        "p50": 0.1,
        "p95": 0.1,
        "p99": 0.123456789,
    }
    for second in range(feeds.POINTS + 5):
        rows = [{**row, "method": f"m{number}", "rate": float(number)} for number in range(100)]
        at, point = history.add(float(second), rows)
    assert len(history.all()) == feeds.POINTS and at == feeds.POINTS + 4
    assert len(point) == feeds.ROWS
    assert point["server||a|m99"] == [99.0, 0.0, 0.1, 0.1, 0.12346]
