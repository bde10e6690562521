"""Events in memory: frames, handlers, subscriptions, and what is said of what was dropped."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mesh.core.events import MAX_TOPIC, EventHandlers, Packer, Subscribed, prefixes_of, topic_bytes, unpack
from mesh.errors import WireError

BASE = b"0123456789abcdef01234567"


def packed(name: str, *args: Any, **kwargs: Any) -> bytes:
    return Packer(BASE, 10_000).pack(name, args, kwargs)


def test_an_event_is_what_zerorpc_sends() -> None:
    header, name, args = msgpack.unpackb(packed("happened", 1, "two", b"3"))
    assert (name, args) == ("happened", [1, "two", b"3"])
    assert header == {"message_id": b"00000001" + BASE, "v": 3}


def test_it_comes_back_as_it_went() -> None:
    assert unpack(packed("happened", 1, (2,), colour="red")) == (
        "happened",
        [1, [2]],
        {"colour": "red"},
        None,
    )


def test_what_cannot_travel_is_named() -> None:
    with pytest.raises(TypeError, match=r"args\[1\]\['a'\]\[0\] is of type complex"):
        packed("happened", 1, {"a": {2j}})
    with pytest.raises(TypeError, match=r"kwargs\['a'\] is of type complex"):
        packed("happened", a=1j)
    with pytest.raises(WireError, match="'happened' takes 20063 bytes, the limit is 10000"):
        packed("happened", b"x" * 20_000)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b"", "not MessagePack"),
        (b"\xc1", "not MessagePack"),
        (msgpack.packb([{}, "a"]), "array of header, name and arguments"),
        (msgpack.packb([{}, 1, []]), "name of an event must be text"),
        (msgpack.packb([{}, "a", {}]), "arguments of 'a' must be an array, not dict"),
        (msgpack.packb([{"kwargs": [1]}, "a", []]), "keyword arguments of 'a' must be a map"),
        (msgpack.packb([{"kwargs": {1: 2}}, "a", []]), "keyword arguments of 'a' must be a map"),
    ],
)
def test_what_is_no_event_is_told_apart(event: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        unpack(event)


def test_a_header_that_is_none_counts_as_empty() -> None:
    assert unpack(msgpack.packb([None, "a", [1]])) == ("a", [1], {}, None)


class Log:
    level = 3

    def said(self, text: str) -> str:
        return text

    def _hidden(self) -> None: ...


def found(target: Any, event: str, *args: Any) -> Any:
    function = EventHandlers(target, coroutines=False).find(event)
    return None if function is None else function(*args)


def test_the_methods_of_an_object_get_the_events_of_their_name() -> None:
    for target in (Log, Log(), {"said": lambda text: text}):
        assert found(target, "said", "hello") == "hello"
        for name in ("_hidden", "level", "_zerorpc_list", "unknown", ""):
            assert found(target, name) is None


def test_something_callable_gets_every_event_with_its_name() -> None:
    class Any_:
        def __call__(self, name: str, *args: Any) -> list[Any]:
            return [name, *args]

        def said(self) -> None:
            raise AssertionError("not asked for")

    for target in (Any_, Any_(), lambda *args: list(args)):
        assert found(target, "said", 1) == ["said", 1]
        assert found(target, "_hidden") == ["_hidden"]


def test_an_unknown_event_is_told_with_a_suggestion() -> None:
    assert "no method 'sad'; did you mean 'said'?" in EventHandlers(Log(), coroutines=False).unknown("sad")


@pytest.mark.parametrize("target", [object(), {}, {"a": 1}, None])
def test_what_handles_nothing_is_refused(target: Any) -> None:
    with pytest.raises(ValueError, match=r"method|callable|value"):
        EventHandlers(target, coroutines=False)


def test_topics() -> None:
    assert prefixes_of(None) == [b""]
    assert prefixes_of("orders") == prefixes_of([b"orders", "orders"]) == [b"orders"]
    assert prefixes_of(iter(["ä", b"\xff"])) == ["ä".encode(), b"\xff"]
    assert topic_bytes("x" * MAX_TOPIC)
    for wrong in ("x" * (MAX_TOPIC + 1), "\ud800"):
        with pytest.raises(ValueError, match="topic"):
            topic_bytes(wrong)
    for number in (1, [2], None):
        with pytest.raises(TypeError, match="must be str or bytes"):
            topic_bytes(number)  # type: ignore[arg-type]


def test_who_has_subscribed() -> None:
    subscribed = Subscribed()
    assert not subscribed.match(b"orders")
    for message in (b"\x01ord", b"\x01orders.eu", b"\x01ord", b"\x02what", b""):
        subscribed.take(message)
    assert subscribed.match(b"orders") and subscribed.match(b"ord") and not subscribed.match(b"or")
    subscribed.take(b"\x00ord")
    assert not subscribed.match(b"orders") and subscribed.match(b"orders.eu.de")
    subscribed.take(b"\x00never")
    subscribed.take(b"\x00orders.eu")
    assert not subscribed.match(b"orders.eu")
    subscribed.take(b"\x01")
    assert subscribed.match(b"") and subscribed.match(b"\x93anything")
