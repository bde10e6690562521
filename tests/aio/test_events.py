"""Publishers, subscribers, pushers and pullers on asyncio: what arrives, and what is said where it can't."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import time
import warnings
from collections import Counter
from contextvars import ContextVar
from typing import Any

import msgpack
import pytest
import zmq

import mesh
from mesh.aio.events import Publisher, Pusher
from mesh.aio.receivers import Puller, Subscriber
from tests.aio.events import (
    ANY_PORT,
    PAIRS,
    Ends,
    Heard,
    caught,
    in_each_loop,
    reaches,
    ready,
    received,
    run,
    until,
)
from tests.helpers.peers import nobody
from tests.helpers.processes import PATIENCE

pairs = pytest.mark.parametrize(("sender", "receiver"), PAIRS)


@pairs
@in_each_loop
async def test_an_event_is_an_attribute_or_a_name(ends: Ends, sender: Any, receiver: Any) -> None:
    end, endpoint = ends.bound(sender)
    heard = ends.heard(receiver, endpoint)
    await ready(end)
    assert await end.happened(1, "two", [3], None) is None
    await end("with spaces", b"\x00")
    await end("close")
    await heard.wait(["happened", 1, "two", [3], None], ["with spaces", b"\x00"], ["close"])


@pairs
@in_each_loop
async def test_the_receiver_may_be_the_one_that_binds(ends: Ends, sender: Any, receiver: Any) -> None:
    heard = Heard()
    first = receiver(None, heard)
    endpoint = first.bind(ANY_PORT)
    async with first, sender(endpoint) as end:
        await ready(end)
        await end.happened(1)
        await heard.wait(["happened", 1])


@pairs
@in_each_loop
async def test_an_endpoint_may_be_added_while_it_receives(ends: Ends, sender: Any, receiver: Any) -> None:
    heard = Heard()
    late = ends.receiver(receiver, None, heard)
    for number in range(3):
        end, endpoint = ends.bound(sender)
        late.connect(endpoint)
        await ready(end)
        await end.happened(number)
    await until(lambda: len(heard) == 3, "an event of each")
    assert sorted(heard) == [["happened", number] for number in range(3)]


@pytest.mark.parametrize(("sender", "kind"), [(Publisher, zmq.SUB), (Pusher, zmq.PULL)])
@in_each_loop
async def test_without_a_topic_it_is_one_frame_as_zerorpcs(ends: Ends, sender: Any, kind: int) -> None:
    end, endpoint = ends.bound(sender)
    far = ends.raw(kind)
    if kind == zmq.SUB:
        far.subscribe(b"")
    far.connect(endpoint)
    await ready(end)
    await end.happened(1, "ä", b"2")
    (frame,) = await received(far)
    header, name, args = msgpack.unpackb(frame)
    assert (name, args) == ("happened", [1, "ä", b"2"])
    assert set(header) == {"message_id", "v"} and header["v"] == 3


@in_each_loop
async def test_a_topic_is_a_frame_before_it(ends: Ends) -> None:
    publisher, endpoint = ends.bound(Publisher, topic="orders.eu")
    far = ends.raw(zmq.SUB)
    far.subscribe(b"orders.")
    far.connect(endpoint)
    await publisher.wait_for_subscriber(PATIENCE)
    await publisher.with_options(topic="other").happened(1)
    await publisher.with_options(topic=None).happened(2)
    await publisher.with_options(topic=b"orders.\xff").happened(3)
    await publisher.happened(4)
    frames = [await received(far), await received(far)]
    assert [topic for topic, _ in frames] == [b"orders.\xff", b"orders.eu"]
    assert [msgpack.unpackb(event)[1:] for _, event in frames] == [["happened", [3]], ["happened", [4]]]


@in_each_loop
async def test_a_subscriber_chooses_by_the_beginning_of_topics(ends: Ends) -> None:
    publisher, endpoint = ends.bound(Publisher)
    everything = ends.heard(Subscriber, endpoint)
    some = ends.heard(Subscriber, endpoint, topics=["orders.", "stock"])
    one = ends.heard(Subscriber, endpoint, topics="orders.eu")
    await reaches(publisher, everything)
    for topic in ("orders.eu", "stock"):
        await publisher.with_options(topic=topic).wait_for_subscriber(PATIENCE)
    topics = ["orders.eu.de", "orders.us", "order", "stock", None]
    for number, topic in enumerate(topics):
        await publisher.with_options(topic=topic).happened(number)
    await everything.wait(*(["happened", number] for number in range(5)))
    await some.wait(["happened", 0], ["happened", 1], ["happened", 3])
    await one.wait(["happened", 0])


@in_each_loop
async def test_every_subscriber_gets_every_event_in_order(ends: Ends) -> None:
    publisher, endpoint = ends.bound(Publisher)
    all_heard = [ends.heard(Subscriber, endpoint) for _ in range(3)]
    await reaches(publisher, *all_heard)
    for number in range(500):
        await publisher.happened(number)
    for heard in all_heard:
        await heard.wait(*(["happened", number] for number in range(500)))


@in_each_loop
async def test_every_job_goes_to_one_puller(ends: Ends) -> None:
    pusher, endpoint = ends.bound(Pusher)
    each = [ends.heard(Puller, endpoint) for _ in range(3)]
    await until(lambda: pusher._sender.connections == 3, "three pullers")
    for number in range(900):
        await pusher.job(number)
    await until(lambda: sum(map(len, each)) == 900, "all jobs")
    assert sorted(event[1] for heard in each for event in heard) == list(range(900))
    assert all(len(heard) > 100 for heard in each)


@in_each_loop
async def test_handlers_are_exposed_as_a_servers(ends: Ends) -> None:
    seen: list[Any] = []

    class Log:
        async def said(self, *what: Any) -> None:
            await asyncio.sleep(0)
            seen.append(what)

        def _hidden(self) -> None:
            seen.append("hidden")

    publisher, endpoint = ends.bound(Publisher)
    subscriber = ends.receiver(Subscriber, endpoint, Log)
    await publisher.wait_for_subscriber(PATIENCE)
    await publisher("_hidden")
    await publisher.sad("unknown")
    await publisher.said("hello", 1)
    await until(lambda: seen, "the event")
    assert seen == [("hello", 1)]
    assert subscriber.dropped == {"that nobody handles": 2}


@in_each_loop
async def test_a_publisher_can_be_the_handler(ends: Ends) -> None:
    publisher, endpoint = ends.bound(Publisher)
    relay, second = ends.bound(Publisher)
    ends.receiver(Subscriber, endpoint, relay)
    heard = ends.heard(Subscriber, second)
    await relay.wait_for_subscriber(PATIENCE)
    await publisher.wait_for_subscriber(PATIENCE)
    await publisher.happened(1)
    await heard.wait(["happened", 1])


@pairs
@in_each_loop
async def test_keyword_arguments_are_refused_until_all_receivers_are_mesh(
    ends: Ends, sender: Any, receiver: Any
) -> None:
    end, endpoint = ends.bound(sender)
    heard = ends.heard(receiver, endpoint)
    await ready(end)
    with pytest.raises(TypeError, match=r"'happened' can't take keyword arguments.*keywords=True"):
        await end.happened(1, colour="red")
    await end.with_options(keywords=True).happened(1, colour="red", event=2)
    await heard.wait(["happened", 1, {"colour": "red", "event": 2}])


@pairs
@in_each_loop
async def test_what_cannot_be_sent_is_said_at_once(ends: Ends, sender: Any, receiver: Any) -> None:
    end, endpoint = ends.bound(sender, max_message=1_000)
    heard = ends.heard(receiver, endpoint)
    await ready(end)
    assert "args[1]['a'] is of type complex" in await caught(TypeError, end.happened(1, {"a": 2j}))
    assert "the limit is 1000" in await caught(mesh.WireError, end.happened(b"x" * 1_000))
    with pytest.raises(TypeError, match="must be str"):
        end(3)
    with pytest.raises(AttributeError, match="_secret"):
        _ = end._secret
    await end.happened("fine")
    await heard.wait(["happened", "fine"])


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        Publisher(topic="x" * 1_001)
    with pytest.raises(TypeError, match="topic"):
        Pusher().with_options(topic="x")
    with pytest.raises(mesh.ConfigError, match="no public method"):
        Subscriber(None, object())
    with pytest.raises(mesh.ConfigError, match=r"'\*'"):
        Publisher(ANY_PORT)
    with pytest.raises(mesh.ConfigError, match="pool_size"):
        Puller(None, print, pool_size=0)


class Rows:
    def note(self, value: Any) -> None: ...

    async def rows(self) -> Any:
        yield 1


@pytest.mark.parametrize("receiver", [Subscriber, Puller])
def test_a_handler_of_which_nothing_would_run_is_refused_at_the_start(receiver: Any) -> None:
    for handler, name in ((Rows(), "rows"), (Rows, "rows"), ({"one": _never}, "one"), (_never, "_never")):
        with pytest.raises(mesh.ConfigError, match=f"'{name}' can't handle events: it is a generator"):
            receiver(None, handler)


# Handlers


class Fragile:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def note(self, value: Any) -> None:
        self.seen.append(value)

    def fail(self, kind: str) -> None:
        raise {"KeyError": KeyError(kind), "Exit": SystemExit(kind)}[kind]

    async def fail_later(self, kind: str) -> None:
        await asyncio.sleep(0.001)
        self.fail(kind)

    async def cancels_itself(self) -> None:
        raise asyncio.CancelledError

    def generator(self) -> Any:
        return _never()

    def asynchronous_generator(self) -> Any:
        return _never_either()


def _never() -> Any:
    yield 1


async def _never_either() -> Any:
    yield 1


@pairs
@pytest.mark.parametrize("pool_size", [1, 5])
@in_each_loop
async def test_what_handlers_raise_is_logged_and_ends_nothing(
    ends: Ends, sender: Any, receiver: Any, pool_size: int, caplog: pytest.LogCaptureFixture
) -> None:
    end, endpoint = ends.bound(sender)
    handler = Fragile()
    ends.receiver(receiver, endpoint, handler, pool_size=pool_size)
    await ready(end)
    for kind in ("KeyError", "Exit"):
        await end.fail(kind)
        await end.fail_later(kind)
    await end.cancels_itself()
    await end.generator()
    await end.asynchronous_generator()
    await end.fail(1, 2, 3)
    await end.note("alive")
    await until(lambda: handler.seen, "the event behind")
    await until(lambda: len(caplog.records) == 8, lambda: f"eight records, not {caplog.text}")
    assert handler.seen == ["alive"]
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert caplog.text.count("the handler of 'fail' raised") == 3
    assert caplog.text.count("the handler of 'fail_later' raised") == 2
    assert (
        "KeyError: 'KeyError'" in caplog.text and "'generator' gave a value of type generator" in caplog.text
    )
    assert "'asynchronous_generator' gave a value of type async_generator" in caplog.text
    assert "mesh/aio/" not in caplog.text.replace("\\", "/"), "frames of mesh itself say nothing"


@in_each_loop
async def test_a_handler_that_always_raises_does_not_fill_the_log(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    pusher, endpoint = ends.bound(Pusher)
    handler = Fragile()
    ends.receiver(Puller, endpoint, handler)
    for _ in range(200):
        await pusher.fail("KeyError")
    await pusher.note("last")
    await until(lambda: handler.seen, "the event behind")
    assert 1 <= caplog.text.count("the handler of 'fail' raised") < 10


VARIABLE: ContextVar[str] = ContextVar("variable", default="fresh")


@pytest.mark.parametrize("plain", [True, False])
@in_each_loop
async def test_each_event_has_a_context_of_its_own(ends: Ends, plain: bool) -> None:
    seen: list[str] = []

    def plain_handler(name: str) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set(name)

    async def handler(name: str) -> None:
        plain_handler(name)
        await asyncio.sleep(0)
        assert VARIABLE.get() == name

    VARIABLE.set("of the test")
    pusher, endpoint = ends.bound(Pusher)
    ends.receiver(Puller, endpoint, plain_handler if plain else handler)
    for _ in range(3):
        await pusher.job()
    await until(lambda: len(seen) == 3, "three jobs")
    assert seen == ["fresh"] * 3


@in_each_loop
async def test_a_handler_may_give_a_future(ends: Ends) -> None:
    futures: list[asyncio.Future[None]] = []

    def handler(name: str) -> asyncio.Future[None]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    pusher, endpoint = ends.bound(Pusher)
    ends.receiver(Puller, endpoint, handler)
    await pusher.one()
    await pusher.two()
    await until(lambda: futures, "the first")
    await asyncio.sleep(0.05)
    assert len(futures) == 1
    futures[0].set_result(None)
    await until(lambda: len(futures) == 2, "the second")
    futures[1].set_result(None)


@pytest.mark.parametrize(("kind", "receiver"), [(zmq.PUB, Subscriber), (zmq.PUSH, Puller)])
@in_each_loop
async def test_rubbish_is_counted_and_told_at_most_once_a_second(
    ends: Ends, kind: int, receiver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Fragile()
    end = receiver(None, handler)
    endpoint = end.bind(ANY_PORT)
    far = ends.raw(kind)
    far.connect(endpoint)
    good = msgpack.packb([{"v": 3}, "note", [1]])
    async with end:

        def arrives() -> list[Any]:
            far.send(good)
            return handler.seen

        await until(arrives, "the connection")
        for rubbish in (b"", b"\xc1", b"\x93\x80", msgpack.packb([{}, "note", 3])):
            for _ in range(100):
                far.send_multipart([b"topic", rubbish])
        for _ in range(100):
            far.send(msgpack.packb([{}, "unknown", []]))
        far.send_multipart([b"a", b"b", b"c", msgpack.packb([{}, "note", ["last"]])])
        await until(lambda: handler.seen[-1] == "last", "what comes behind the rubbish")
        assert end.dropped == {"malformed": 400, "that nobody handles": 100}
        assert 1 <= len(caplog.records) <= 5
    assert "malformed (" in caplog.text and "no method 'unknown'" in caplog.text
    told = sum(int(number) for number in re.findall(r"(\d+) (?:malformed|that nobody)", caplog.text))
    assert told == 500, caplog.text


# What is slow, or not there


@in_each_loop
async def test_waiting_for_a_subscriber(ends: Ends) -> None:
    publisher, endpoint = ends.bound(Publisher)
    text = await caught(mesh.TimeoutExpired, publisher.wait_for_subscriber(0.05))
    assert (
        text
        == f"nobody has subscribed to events without a topic within 0.05 s: nobody has come to {endpoint}"
    )
    ends.heard(Subscriber, endpoint, topics="orders")
    orders = publisher.with_options(topic="orders.eu")
    await orders.wait_for_subscriber(PATIENCE)
    text = await caught(mesh.TimeoutExpired, publisher.wait_for_subscriber(0.05))
    assert f"1 connected at {endpoint}" in text
    lost = ends.sender(Publisher, nobody(), topic="x")
    text = await caught(TimeoutError, lost.wait_for_subscriber(0.05))
    assert "topic 'x'" in text and "there is no connection to tcp://127.0.0.1:" in text
    none = ends.sender(Publisher, None)
    assert "bind or connect it first" in await caught(TimeoutError, none.wait_for_subscriber(0.0))


@in_each_loop
async def test_a_subscriber_that_leaves_is_noticed(ends: Ends) -> None:
    publisher, endpoint = ends.bound(Publisher)
    async with Subscriber(endpoint, print):
        await publisher.wait_for_subscriber(PATIENCE)
        assert publisher.dropped == {}
    deadline = time.monotonic() + PATIENCE
    while not publisher.dropped["nobody had subscribed"]:
        await publisher.happened()
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@in_each_loop
async def test_a_subscriber_that_is_too_slow_is_told_of_and_harms_nobody(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    publisher, endpoint = ends.bound(Publisher, queue_size=200)
    slow = ends.raw(zmq.SUB, rcvhwm=1, rcvbuf=4_096)
    slow.subscribe(b"")
    slow.connect(endpoint)
    await publisher.wait_for_subscriber(PATIENCE)
    heard = ends.heard(Subscriber, endpoint)
    await reaches(publisher, heard)
    number = 0
    while not publisher.dropped["a subscriber fell behind and loses events"]:
        for _ in range(50):
            await publisher.happened(number, b"x" * 20_000)
            number += 1
        await until(lambda: len(heard) == number, "what the quick one gets")  # noqa: B023
        assert number < 20_000
    for _ in range(50):
        await publisher.happened(number, b"x")
        number += 1
    await until(lambda: len(heard) == number, "what the quick one gets")
    assert [event[1] for event in heard] == list(range(number))
    await until(lambda: "fell behind" in caplog.text, "a line in the log")


@in_each_loop
async def test_nobody_takes_a_job(ends: Ends) -> None:
    pusher, endpoint = ends.bound(Pusher, timeout=0.05)
    with pytest.raises(mesh.TimeoutExpired) as info:
        await pusher.job()
    assert str(info.value) == f"nobody took 'job' within 0.05 s: nobody has come to {endpoint}"
    assert info.value.refused
    assert "within 0 s" in await caught(mesh.TimeoutExpired, pusher.with_options(timeout=0).job())
    heard = ends.heard(Puller, endpoint)
    await pusher.with_options(timeout=PATIENCE).job("now")
    await heard.wait(["job", "now"])


BIG = b"x" * 20_000


async def filled(ends: Ends) -> tuple[Pusher, zmq.Socket[bytes], int]:
    """A pusher and a puller that doesn't read, with full queues; and how many jobs that took."""
    puller, endpoint = ends.raw_bound(zmq.PULL, rcvhwm=1, rcvbuf=4_096)
    pusher = ends.sender(Pusher, endpoint, queue_size=2)
    other, there = ends.raw_bound(zmq.PULL)
    beside = ends.sender(Pusher, there)
    await pusher.job(0, BIG)
    quick = pusher.with_options(timeout=0.2)
    number, refused = 1, 0
    while refused < 3:
        try:
            await quick.job(number, BIG)
            number, refused = number + 1, 0
        except mesh.Overloaded as error:
            assert error.refused and f"1 connected at {endpoint}" in str(error)
            refused += 1
            # The threads that move jobs have had the processor since, also on a busy machine.
            await beside.job(number)
            await taken(other)
    return pusher, puller, number


async def taken(puller: zmq.Socket[bytes]) -> Any:
    return msgpack.unpackb((await received(puller))[0])[2][0]


@in_each_loop
async def test_a_pusher_waits_while_the_queue_is_full(ends: Ends) -> None:
    pusher, puller, full = await filled(ends)
    waiting = [asyncio.create_task(pusher.job(full + n, BIG)) for n in range(6)]
    await until(lambda: len(pusher._sender._waiters) == 6, "six that wait")
    turns = 0
    for _ in range(10):
        await asyncio.sleep(0)
        turns += 1
    assert turns == 10 and not any(one.done() for one in waiting)
    assert sorted([await taken(puller) for _ in range(full + 6)]) == list(range(full + 6))
    await asyncio.gather(*waiting)
    await pusher.job("after")


@in_each_loop
async def test_a_job_that_was_given_up_is_not_sent(ends: Ends) -> None:
    pusher, puller, full = await filled(ends)
    cancelled = asyncio.create_task(pusher.job("cancelled", BIG))
    await asyncio.sleep(0)
    cancelled.cancel()
    await caught(asyncio.CancelledError, cancelled)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await pusher.job("timed out", BIG)
    thrown_away = pusher.job("thrown away", BIG)
    future = thrown_away.send(None)
    assert future is not None
    thrown_away.close()
    last = asyncio.create_task(pusher.job("last", BIG))
    await until(lambda: len(pusher._sender._waiters) == 2, "the last, and the one thrown away")
    assert [await taken(puller) for _ in range(full + 1)] == [*range(full), "last"]
    await last
    await asyncio.sleep(0.05)
    assert not puller.poll(0)
    assert not pusher._sender._waiters


@in_each_loop
async def test_jobs_of_a_task_group(ends: Ends) -> None:
    pusher, endpoint = ends.bound(Pusher)
    heard = ends.heard(Puller, endpoint)
    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(pusher.job(number))
    await until(lambda: len(heard) == 100, "all jobs")
    assert sorted(number for _, number in heard) == list(range(100))


@in_each_loop
async def test_closing_ends_who_waits(ends: Ends) -> None:
    pusher, _ = ends.bound(Pusher, timeout=None)
    waiting = asyncio.create_task(pusher.job())
    await asyncio.sleep(0)
    await pusher.close(0)
    assert "was closed" in await caught(mesh.MeshError, waiting)
    assert "is closed; make a new one" in await caught(mesh.MeshError, pusher.job())
    await pusher.close()


@in_each_loop
async def test_counting_what_was_dropped_has_no_end(ends: Ends) -> None:
    publisher, _ = ends.bound(Publisher)
    for _ in range(100):
        await publisher.happened()
    assert publisher.dropped == Counter({"nobody had subscribed": 100})
    began = time.monotonic()
    await publisher.close()
    assert time.monotonic() - began < 5


# Wrong use


def test_one_that_is_never_awaited_is_named() -> None:
    publisher = Publisher()
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        publisher.happened(1)
        gc.collect()
    assert "coroutine 'happened' was never awaited" in str(caught_warnings[-1].message)
    run(publisher.close(0))


def test_without_a_loop_it_says_what_to_do() -> None:
    pusher = Pusher(nobody())
    coroutine = pusher.job()
    with pytest.raises(RuntimeError, match="no event loop of asyncio runs: await it in a coroutine"):
        coroutine.send(None)
    run(pusher.close(0))
    puller = Puller(None, print)
    with pytest.raises(mesh.MeshError, match="no event loop runs here"):
        puller.start()
    puller.stop()


def test_with_is_an_error_that_says_what_to_do() -> None:
    publisher, puller = Publisher(), Puller(None, print)
    with pytest.raises(TypeError, match="`async with`"), publisher:
        pass
    with pytest.raises(TypeError, match="`async with`"), puller:
        pass
    run(publisher.close(0))
    puller.stop()


def test_one_that_lives_in_another_loop_says_so() -> None:
    puller = Puller(None, print)

    async def in_vain() -> None:
        with pytest.raises(mesh.MeshError, match="another event loop"):
            await puller.serve()

    async def main() -> None:
        async with puller:
            await asyncio.to_thread(run, in_vain())

    run(main())
