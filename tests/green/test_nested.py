"""Calls that a handler makes: they have no more time than its own caller, and end with the call."""

from __future__ import annotations

import time
from contextvars import copy_context
from threading import Thread
from typing import Any

import gevent
import pytest

import mesh
from tests.green.conftest import Connect, Serve
from tests.helpers.processes import eventually

FOR_EVER = 60.0


class Back:
    """The service behind."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []
        self.open = 0

    def left(self) -> None:
        call = mesh.current_call()
        assert call is not None
        self.timeouts.append(call.timeout)

    def ticks(self) -> Any:
        self.open += 1
        try:
            while True:
                yield self.open
                gevent.sleep(FOR_EVER)
        finally:
            self.open -= 1


class Front:
    """The service in front, whose handlers call the one behind."""

    def __init__(self, back: mesh.Client) -> None:
        self.back = back
        self.ended: list[BaseException | str] = []

    def left(self) -> None:
        self.back.left()
        self.back.with_options(timeout=0.5).left()
        self.back.left.future().result()

    def wait(self) -> None:
        try:
            for _ in self.back.ticks():
                pass
        except BaseException as exc:
            self.ended.append(exc)
            raise

    def go_on(self) -> str:
        def later() -> None:
            time.sleep(0.3)
            self.back.left()
            self.ended.append("called")

        Thread(target=copy_context().run, args=(later,), daemon=True).start()
        return "answered"

    def too_late(self) -> None:
        gevent.sleep(0.3)
        try:
            self.back.left()
        except (mesh.TimeoutExpired, mesh.LostRemote) as exc:
            self.ended.append(exc)
            raise


@pytest.fixture
def back() -> Back:
    return Back()


@pytest.fixture(params=[{}, {"threads": 2}], ids=["greenlets", "threads"])
def front(
    request: pytest.FixtureRequest, back: Back, serve: Serve, connect: Connect
) -> tuple[Front, mesh.Client]:
    target = Front(connect(serve(back)))
    return target, connect(serve(target, **request.param))


def test_they_have_what_is_left_of_the_time(back: Back, front: tuple[Front, mesh.Client]) -> None:
    _, client = front
    client.with_options(timeout=5.0).left()
    first, shorter, later = back.timeouts
    assert first is not None and 4.0 < first <= 5.0
    assert shorter is not None and shorter <= 0.5, "it has asked for less"
    assert later is not None and later <= first
    client.with_options(timeout=None).left()
    assert back.timeouts[3] is not None and back.timeouts[3] > 5.0, "their client's own"


def test_they_end_with_the_call(back: Back, front: tuple[Front, mesh.Client]) -> None:
    target, client = front
    waiting = client.with_options(timeout=FOR_EVER).wait.future()
    eventually(lambda: back.open == 1, what="the call behind")
    waiting.cancel()
    eventually(lambda: target.ended, what="the handler's end")
    assert isinstance(target.ended[0], mesh.LostRemote)
    assert str(target.ended[0]) == "'ticks' was given up: the caller of 'wait' is gone, or has cancelled"
    eventually(lambda: back.open == 0, what="the end of the call behind")


def test_what_goes_on_after_the_answer_has_its_own_time(front: tuple[Front, mesh.Client]) -> None:
    target, client = front
    assert client.with_options(timeout=0.2).go_on() == "answered"
    eventually(lambda: target.ended == ["called"], what="the call of later")


def test_nothing_is_sent_that_nobody_waits_for(back: Back, front: tuple[Front, mesh.Client]) -> None:
    target, client = front
    with pytest.raises(mesh.TimeoutExpired):
        client.with_options(timeout=0.1).too_late()
    eventually(lambda: target.ended, what="the handler's end")
    assert not back.timeouts
