"""Publishers and subscribers, pushers and pullers: what arrives, and what is said where it can't."""

from __future__ import annotations

import functools
import logging
import re
import socket
import threading
import time
from collections import Counter
from typing import Any

import gevent
import msgpack
import pytest
import zmq

import mesh
from mesh.green.threads import loop_thread
from tests.green.events import ANY_PORT, PAIRS, PATIENCE, Ends, Heard, caught, ends, reaches, ready, received
from tests.helpers.peers import nobody
from tests.helpers.processes import eventually

__all__ = ["ends"]


@pytest.mark.parametrize(("emitter", "receiver"), PAIRS)
def test_an_event_is_an_attribute_or_a_name(ends: Ends, emitter: Any, receiver: Any) -> None:
    end, endpoint = ends.bound(emitter)
    heard = ends.heard(receiver, endpoint)
    ready(end)
    end.happened(1, "two", [3], None)
    end("with spaces", b"\x00")
    end("close")
    heard.wait(["happened", 1, "two", [3], None], ["with spaces", b"\x00"], ["close"])


@pytest.mark.parametrize(("emitter", "receiver"), PAIRS)
def test_the_receiver_may_be_the_one_that_binds(ends: Ends, emitter: Any, receiver: Any) -> None:
    heard = Heard()
    first = receiver(None, heard)
    endpoint = first.bind(ANY_PORT)
    with first, ends.emitter(emitter, endpoint) as end:
        ready(end)
        end.happened(1)
        heard.wait(["happened", 1])


@pytest.mark.parametrize(("emitter", "receiver"), PAIRS)
def test_an_endpoint_may_be_added_while_it_receives(ends: Ends, emitter: Any, receiver: Any) -> None:
    heard = Heard()
    late = ends.receiver(receiver, None, heard)
    for number in range(3):
        end, endpoint = ends.bound(emitter)
        late.connect(endpoint)
        ready(end)
        end.happened(number)
    eventually(lambda: len(heard) == 3, what="an event of each")
    assert sorted(heard) == [["happened", number] for number in range(3)]


@pytest.mark.parametrize(("emitter", "kind"), [(mesh.Publisher, zmq.SUB), (mesh.Pusher, zmq.PULL)])
def test_without_a_topic_it_is_one_frame_as_zerorpcs(ends: Ends, emitter: Any, kind: int) -> None:
    end, endpoint = ends.bound(emitter)
    far = ends.raw(kind)
    if kind == zmq.SUB:
        far.subscribe(b"")
    far.connect(endpoint)
    ready(end)
    end.happened(1, "ä", b"2")
    (frame,) = received(far)
    header, name, args = msgpack.unpackb(frame)
    assert (name, args) == ("happened", [1, "ä", b"2"])
    assert set(header) == {"message_id", "v"} and header["v"] == 3


def test_a_topic_is_a_frame_before_it(ends: Ends) -> None:
    publisher, endpoint = ends.bound(mesh.Publisher, topic="orders.eu")
    far = ends.raw(zmq.SUB)
    far.subscribe(b"orders.")
    far.connect(endpoint)
    publisher.wait_for_subscriber(PATIENCE)
    publisher.with_options(topic="other").happened(1)
    publisher.with_options(topic=None).happened(2)
    publisher.with_options(topic=b"orders.\xff").happened(3)
    publisher.happened(4)
    frames = [received(far), received(far)]
    assert [topic for topic, _ in frames] == [b"orders.\xff", b"orders.eu"]
    assert [msgpack.unpackb(event)[1:] for _, event in frames] == [["happened", [3]], ["happened", [4]]]


def test_a_subscriber_chooses_by_the_beginning_of_topics(ends: Ends) -> None:
    publisher, endpoint = ends.bound(mesh.Publisher)
    everything = ends.heard(mesh.Subscriber, endpoint)
    some = ends.heard(mesh.Subscriber, endpoint, topics=["orders.", "stock"])
    one = ends.heard(mesh.Subscriber, endpoint, topics="orders.eu")
    reaches(publisher, everything)
    for topic in ("orders.eu", "stock"):
        publisher.with_options(topic=topic).wait_for_subscriber(PATIENCE)
    topics = ["orders.eu.de", "orders.us", "order", "stock", None]
    for number, topic in enumerate(topics):
        publisher.with_options(topic=topic).happened(number)
    everything.wait(*(["happened", number] for number in range(5)))
    some.wait(["happened", 0], ["happened", 1], ["happened", 3])
    one.wait(["happened", 0])


def test_every_subscriber_gets_every_event_in_order(ends: Ends) -> None:
    publisher, endpoint = ends.bound(mesh.Publisher)
    all_heard = [ends.heard(mesh.Subscriber, endpoint) for _ in range(3)]
    reaches(publisher, *all_heard)
    for number in range(500):
        publisher.happened(number)
    for heard in all_heard:
        heard.wait(*(["happened", number] for number in range(500)))


def test_every_job_goes_to_one_puller(ends: Ends) -> None:
    pusher, endpoint = ends.bound(mesh.Pusher)
    each = [ends.heard(mesh.Puller, endpoint) for _ in range(3)]
    eventually(lambda: pusher._sender.connections == 3, what="three pullers")
    for number in range(900):
        pusher.job(number)
    eventually(lambda: sum(map(len, each)) == 900, what="all jobs")
    assert sorted(event[1] for heard in each for event in heard) == list(range(900))
    assert all(len(heard) > 100 for heard in each)


def test_handlers_are_exposed_as_a_servers(ends: Ends) -> None:
    seen: list[Any] = []

    class Log:
        def said(self, *what: Any) -> None:
            seen.append(what)

        def _hidden(self) -> None:
            seen.append("hidden")

    publisher, endpoint = ends.bound(mesh.Publisher)
    subscriber = ends.receiver(mesh.Subscriber, endpoint, Log)
    publisher.wait_for_subscriber(PATIENCE)
    publisher("_hidden")
    publisher.sad("unknown")
    publisher.said("hello", 1)
    eventually(lambda: seen, what="the event")
    assert seen == [("hello", 1)]
    assert subscriber.dropped == {"that nobody handles": 2}


def test_a_publisher_can_be_the_handler(ends: Ends) -> None:
    publisher, endpoint = ends.bound(mesh.Publisher)
    relay, second = ends.bound(mesh.Publisher)
    ends.receiver(mesh.Subscriber, endpoint, relay)
    heard = ends.heard(mesh.Subscriber, second)
    relay.wait_for_subscriber(PATIENCE)
    publisher.wait_for_subscriber(PATIENCE)
    publisher.happened(1)
    heard.wait(["happened", 1])


@pytest.mark.parametrize(("emitter", "receiver"), PAIRS)
def test_keyword_arguments_are_refused_until_all_receivers_are_mesh(
    ends: Ends, emitter: Any, receiver: Any
) -> None:
    end, endpoint = ends.bound(emitter)
    heard = ends.heard(receiver, endpoint)
    ready(end)
    text = caught(TypeError, lambda: end.happened(1, colour="red"))
    assert "'happened' can't take keyword arguments" in text and "keywords=True" in text
    end.with_options(keywords=True).happened(1, colour="red", event=2)
    heard.wait(["happened", 1, {"colour": "red", "event": 2}])


@pytest.mark.parametrize(("emitter", "receiver"), PAIRS)
def test_what_cannot_be_sent_is_said_at_once(ends: Ends, emitter: Any, receiver: Any) -> None:
    end, endpoint = ends.bound(emitter, max_message=1_000)
    heard = ends.heard(receiver, endpoint)
    ready(end)
    assert "args[1]['a'] is of type complex" in caught(TypeError, lambda: end.happened(1, {"a": 2j}))
    assert "the limit is 1000" in caught(mesh.WireError, lambda: end.happened(b"x" * 1_000))
    assert "must be str" in caught(TypeError, lambda: end(3))
    assert "_secret" in caught(AttributeError, lambda: end._secret)
    end.happened("fine")
    heard.wait(["happened", "fine"])


def test_wrong_options_are_refused() -> None:
    assert "too long" in caught(ValueError, lambda: mesh.Publisher(topic="x" * 1_001))
    assert "topic" in caught(TypeError, lambda: mesh.Pusher().with_options(topic="x"))
    assert "no public method" in caught(mesh.ConfigError, lambda: mesh.Subscriber(None, object()))
    assert "'*'" in caught(mesh.ConfigError, lambda: mesh.Publisher(ANY_PORT))


@pytest.mark.parametrize("receiver", [mesh.Subscriber, mesh.Puller])
def test_a_handler_of_which_nothing_would_run_is_refused_at_the_start(receiver: Any) -> None:
    for handler in (_never, functools.partial(_never), {"one": _never}):
        text = caught(mesh.ConfigError, lambda handler=handler: receiver(None, handler))
        assert (
            "can't handle events: it is a generator" in text and "write a plain function without one" in text
        )
    text = caught(mesh.ConfigError, lambda: receiver(None, {"job": _awaited_never}))
    assert "'job' can't handle events: it is a coroutine function" in text and "mesh.aio" in text


# Receivers don't end


class Fragile:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def note(self, value: Any) -> None:
        self.seen.append(value)

    def fail(self, kind: str) -> None:
        raise {"KeyError": KeyError(kind), "Exit": SystemExit(kind), "Timeout": gevent.Timeout()}[kind]

    def generator(self) -> Any:
        return _never()

    def coroutine(self) -> Any:
        return _awaited_never()


def _never() -> Any:
    yield 1


async def _awaited_never() -> None: ...


@pytest.mark.parametrize(("emitter", "receiver"), PAIRS)
@pytest.mark.parametrize("pool_size", [1, 5])
def test_what_handlers_raise_is_logged_and_ends_nothing(
    ends: Ends, emitter: Any, receiver: Any, pool_size: int, caplog: pytest.LogCaptureFixture
) -> None:
    end, endpoint = ends.bound(emitter)
    handler = Fragile()
    ends.receiver(receiver, endpoint, handler, pool_size=pool_size)
    ready(end)
    for kind in ("KeyError", "Exit", "Timeout"):
        end.fail(kind)
    end.generator()
    end.coroutine()
    end.fail(1, 2, 3)
    end.note("alive")
    eventually(lambda: handler.seen, what="the event behind")
    eventually(lambda: len(caplog.records) == 6, what="six records")
    assert handler.seen == ["alive"]
    assert all(record.levelno == logging.ERROR for record in caplog.records)
    assert caplog.text.count("Traceback (most recent call last)") == 3
    assert caplog.text.count("the handler of 'fail' raised") == 4
    assert (
        "KeyError: 'KeyError'" in caplog.text and "'generator' gave a value of type generator" in caplog.text
    )
    assert "'coroutine' gave a value of type coroutine" in caplog.text and "take mesh.aio" in caplog.text


def test_a_handler_that_always_raises_does_not_fill_the_log(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    pusher, endpoint = ends.bound(mesh.Pusher)
    handler = Fragile()
    ends.receiver(mesh.Puller, endpoint, handler)
    for _ in range(200):
        pusher.fail("KeyError")
    pusher.note("last")
    eventually(lambda: handler.seen, what="the event behind")
    assert 1 <= caplog.text.count("the handler of 'fail' raised") < 10


@pytest.mark.parametrize(("kind", "receiver"), [(zmq.PUB, mesh.Subscriber), (zmq.PUSH, mesh.Puller)])
def test_rubbish_is_counted_and_told_at_most_once_a_second(
    ends: Ends, kind: int, receiver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Fragile()
    end = receiver(None, handler)
    endpoint = end.bind(ANY_PORT)
    sender = ends.raw(kind)
    sender.connect(endpoint)
    good = msgpack.packb([{"v": 3}, "note", [1]])
    with end:

        def arrives() -> list[Any]:
            sender.send(good)
            return handler.seen

        eventually(arrives, timeout=PATIENCE, what="the connection")
        for rubbish in (b"", b"\xc1", b"\x93\x80", msgpack.packb([{}, "note", 3])):
            for _ in range(100):
                sender.send_multipart([b"topic", rubbish])
        for _ in range(100):
            sender.send(msgpack.packb([{}, "unknown", []]))
        sender.send_multipart([b"a", b"b", b"c", msgpack.packb([{}, "note", ["last"]])])
        eventually(lambda: handler.seen[-1] == "last", what="what comes behind the rubbish")
        assert end.dropped == {"malformed": 400, "that nobody handles": 100}
        assert 1 <= len(caplog.records) <= 5
    assert "malformed (" in caplog.text and "no method 'unknown'" in caplog.text
    told = sum(int(number) for number in re.findall(r"(\d+) (?:malformed|that nobody)", caplog.text))
    assert told == 500, caplog.text


# What is slow, or not there


def test_waiting_for_a_subscriber(ends: Ends) -> None:
    publisher, endpoint = ends.bound(mesh.Publisher)
    text = caught(mesh.TimeoutExpired, lambda: publisher.wait_for_subscriber(0.05))
    assert (
        text
        == f"nobody has subscribed to events without a topic within 0.05 s: nobody has come to {endpoint}"
    )
    ends.heard(mesh.Subscriber, endpoint, topics="orders")
    orders = publisher.with_options(topic="orders.eu")
    orders.wait_for_subscriber(PATIENCE)
    text = caught(mesh.TimeoutExpired, lambda: publisher.wait_for_subscriber(0.05))
    assert f"1 connected at {endpoint}" in text
    lost = ends.emitter(mesh.Publisher, nobody(), topic="x")
    text = caught(TimeoutError, lambda: lost.wait_for_subscriber(0.05))
    assert "topic 'x'" in text and "there is no connection to tcp://127.0.0.1:" in text
    none = ends.emitter(mesh.Publisher, None)
    assert "bind or connect it first" in caught(TimeoutError, lambda: none.wait_for_subscriber(0.0))


def test_a_subscriber_that_leaves_is_noticed(ends: Ends) -> None:
    publisher, endpoint = ends.bound(mesh.Publisher)
    with mesh.Subscriber(endpoint, print):
        publisher.wait_for_subscriber(PATIENCE)
        assert publisher.dropped == {}

    def dropped() -> int:
        publisher.happened()
        return publisher.dropped["nobody had subscribed"]

    eventually(dropped, timeout=PATIENCE, what="the end of the subscription")


def test_a_subscriber_that_is_too_slow_is_told_of_and_harms_nobody(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    publisher, endpoint = ends.bound(mesh.Publisher, queue_size=200)
    slow = ends.raw(zmq.SUB, rcvhwm=1, rcvbuf=4_096)
    slow.subscribe(b"")
    slow.connect(endpoint)
    publisher.wait_for_subscriber(PATIENCE)
    heard = ends.heard(mesh.Subscriber, endpoint)
    reaches(publisher, heard)
    number = 0

    def fell_behind() -> int:
        nonlocal number
        for _ in range(50):
            publisher.happened(number, b"x" * 20_000)
            number += 1
        eventually(lambda: len(heard) == number, what="what the quick one gets")
        return publisher.dropped["a subscriber fell behind and loses events"]

    eventually(fell_behind, timeout=30.0, what="the slow one to fall behind")
    for _ in range(50):
        publisher.happened(number, b"x")
        number += 1
    eventually(lambda: len(heard) == number, what="what the quick one gets")
    assert [event[1] for event in heard] == list(range(number))
    eventually(lambda: "fell behind" in caplog.text, what="a line in the log")


def test_nobody_takes_a_job(ends: Ends) -> None:
    pusher, endpoint = ends.bound(mesh.Pusher, timeout=0.05)
    with pytest.raises(mesh.TimeoutExpired) as info:
        pusher.job()
    assert str(info.value) == f"nobody took 'job' within 0.05 s: nobody has come to {endpoint}"
    assert info.value.refused
    assert "within 0 s" in caught(mesh.TimeoutExpired, pusher.with_options(timeout=0).job)
    heard = ends.heard(mesh.Puller, endpoint)
    pusher.with_options(timeout=PATIENCE).job("now")
    heard.wait(["job", "now"])


BIG = b"x" * 20_000


def filled(ends: Ends) -> tuple[mesh.Pusher, zmq.Socket[bytes], int]:
    """A pusher and a puller that doesn't read, with full queues; and how many jobs that took."""
    puller, endpoint = ends.raw_bound(zmq.PULL, rcvhwm=1, rcvbuf=4_096)
    pusher = ends.emitter(mesh.Pusher, endpoint, queue_size=2)
    other, there = ends.raw_bound(zmq.PULL)
    beside = ends.emitter(mesh.Pusher, there)
    pusher.job(0, BIG)
    quick = pusher.with_options(timeout=0.2)
    number, refused = 1, 0
    while refused < 3:
        try:
            quick.job(number, BIG)
            number, refused = number + 1, 0
        except mesh.Overloaded as error:
            assert error.refused and f"1 connected at {endpoint}" in str(error)
            refused += 1
            # The threads that move jobs have had the processor since, also on a busy machine.
            beside.job(number)
            taken(other)
    return pusher, puller, number


def taken(puller: zmq.Socket[bytes]) -> int:
    number: int = msgpack.unpackb(received(puller)[0])[2][0]
    return number


def test_a_pusher_waits_while_the_queue_is_full(ends: Ends) -> None:
    pusher, puller, full = filled(ends)
    waiting = [gevent.spawn(pusher.job, full + n, BIG) for n in range(5)]
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(pusher.job(full + 5, BIG)), daemon=True)
    gevent.sleep(0)
    thread.start()
    turns = 0
    eventually(lambda: len(pusher._sender._waiters) == 6, what="six that wait")
    for _ in range(10):
        gevent.sleep(0)
        turns += 1
    assert turns == 10 and not any(one.ready() for one in waiting)
    assert sorted(taken(puller) for _ in range(full + 6)) == list(range(full + 6))
    gevent.joinall(waiting, timeout=PATIENCE, raise_error=True)
    thread.join(PATIENCE)
    assert outcome == [None]
    pusher.job("after")


def test_a_job_that_was_given_up_is_not_sent(ends: Ends) -> None:
    pusher, puller, full = filled(ends)
    killed = gevent.spawn(pusher.job, "killed", BIG)
    gevent.sleep(0)
    killed.kill()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        pusher.job("timed out", BIG)
    last = gevent.spawn(pusher.job, "last", BIG)
    assert [taken(puller) for _ in range(full + 1)] == [*range(full), "last"]
    last.get(timeout=PATIENCE)
    gevent.sleep(0.05)
    assert not puller.poll(0)


def test_closing_ends_who_waits(ends: Ends) -> None:
    pusher, _ = ends.bound(mesh.Pusher, timeout=None)
    waiting = gevent.spawn(caught, mesh.MeshError, pusher.job)
    gevent.sleep(0)
    pusher.close(0)
    assert "was closed" in waiting.get(timeout=PATIENCE)
    assert "is closed; make a new one" in caught(mesh.MeshError, pusher.job)
    pusher.close()


def test_nothing_that_would_cut_off_a_slow_receiver_is_on(ends: Ends) -> None:
    pusher, endpoint = ends.bound(mesh.Pusher)
    puller = ends.receiver(mesh.Puller, endpoint, print)
    for one in (pusher._sender.ends.socket, puller._receiver.ends.socket):
        assert one.get(zmq.HEARTBEAT_IVL) == 0 and one.get(zmq.TCP_MAXRT) == 0
        assert one.get(zmq.TCP_KEEPALIVE) == 1


@pytest.mark.soak
def test_a_puller_that_does_not_read_for_long_loses_nothing(ends: Ends) -> None:
    pusher, puller, full = filled(ends)
    for _ in range(15):
        gevent.sleep(1.0)
        assert pusher._sender.connections == 1
    assert [taken(puller) for _ in range(full)] == list(range(full))


def test_strangers_that_come_and_go_stop_nothing_while_the_loop_thread_is_busy(ends: Ends) -> None:
    publisher, endpoint = ends.bound(mesh.Publisher)
    heard = ends.heard(mesh.Subscriber, endpoint)
    publisher.wait_for_subscriber(PATIENCE)
    port = int(endpoint.rpartition(":")[2])
    over = threading.Event()
    loop_thread.submit(over.wait, 40.0)
    try:
        for _ in range(1_200):
            socket.create_connection(("127.0.0.1", port)).close()
        publisher.happened()
        heard.wait(["happened"])
    finally:
        over.set()
    eventually(lambda: publisher._sender.connections == 1, what="the count of connections")


def test_counting_what_was_dropped_has_no_end(ends: Ends) -> None:
    publisher, _ = ends.bound(mesh.Publisher)
    for _ in range(100):
        publisher.happened()
    assert publisher.dropped == Counter({"nobody had subscribed": 100})
    began = time.monotonic()
    publisher.close()
    assert time.monotonic() - began < 5
