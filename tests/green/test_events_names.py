"""Publishers, subscribers, pushers and pullers by name: who binds, who connects, and devices between them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import zmq

import mesh
from tests.green.events import ANY_PORT, PAIRS, PATIENCE, Ends, Heard, caught, ends, reaches, ready
from tests.helpers.peers import nobody
from tests.helpers.processes import eventually

__all__ = ["ends"]


def registry(folder: Path, **services: str) -> str:
    file = folder / "services.yml"
    file.write_text("".join(f"{name}: {entry}\n" for name, entry in services.items()))
    return str(file)


@pytest.mark.parametrize(("emitter", "receiver"), PAIRS)
@pytest.mark.parametrize("binds", ["emitter", "receiver"])
def test_one_name_for_both_ends(ends: Ends, tmp_path: Path, emitter: Any, receiver: Any, binds: str) -> None:
    types = {"emitter": ("pub", "push"), "receiver": ("sub", "pull")}[binds]
    kind = types[emitter is mesh.Pusher]
    services = registry(tmp_path, both=f"{{address: {nobody()}, type: {kind}}}")
    heard = ends.heard(receiver, "both", services=services)
    end = ends.emitter(emitter, "both", services=services)
    ready(end)
    end.happened(1)
    heard.wait(["happened", 1])
    assert "the p" in repr(end) and repr(end).endswith("of both>")


def test_through_a_forwarder_and_a_streamer(ends: Ends, tmp_path: Path) -> None:
    fronts = [ends.raw_bound(zmq.XSUB), ends.raw_bound(zmq.PULL)]
    backs = [ends.raw_bound(zmq.XPUB), ends.raw_bound(zmq.PUSH)]
    for (front, _), (back, _) in zip(fronts, backs, strict=True):
        threading.Thread(target=proxy, args=(front, back), daemon=True).start()
    entries = [
        f"{{address: {endpoint}, type: {kind}}}"
        for (_, endpoint), kind in zip([*fronts, *backs], ["xsub", "pull", "xpub", "push"], strict=True)
    ]
    services = registry(tmp_path, news_in=entries[0], jobs_in=entries[1], news=entries[2], jobs=entries[3])
    publisher = ends.emitter(mesh.Publisher, "news_in", services=services)
    all_heard = [ends.heard(mesh.Subscriber, "news", services=services) for _ in range(2)]
    publisher.wait_for_subscriber(PATIENCE)
    reaches(publisher, *all_heard)
    publisher.happened(1)
    for heard in all_heard:
        heard.wait(["happened", 1])
    jobs = ends.heard(mesh.Puller, "jobs", services=services)
    ends.emitter(mesh.Pusher, "jobs_in", services=services).job(2)
    jobs.wait(["job", 2])


def proxy(front: zmq.Socket[bytes], back: zmq.Socket[bytes]) -> None:
    try:
        zmq.proxy(front, back)
    except zmq.ZMQError:
        pass  # closed with the test


def test_a_name_of_the_wrong_type_says_what_is_right(tmp_path: Path) -> None:
    here = "tcp://127.0.0.1:1"
    services = registry(
        tmp_path,
        calls=here,
        hub=f"{{hub: {here}}}",
        news=f"{{address: {here}, type: xpub}}",
        away="{address: [tcp://a.invalid:7002, tcp://b.invalid:7002], type: pub}",
        secret=f"{{address: {here}, type: sub, key: '{'a' * 40}'}}",
    )

    def says(name: str) -> str:
        return caught(mesh.ConfigError, lambda: mesh.Publisher(name, services=services))

    right = "a publisher connects to sub or xsub, or binds where the type is pub"
    assert f"calls is of type router ({services}:1): {right}" in says("calls")
    assert f"hub leads to a hub for calls ({services}:2): {right}" in says("hub")
    assert f"news is of type xpub ({services}:3): {right}" in says("news")
    text = says("away")
    assert (
        "so that its publisher binds: can't bind to 'tcp://a.invalid:7002': no such host or network interface"
        in text
    )
    assert "'tcp://b.invalid:7002'" in text and "name its side of type xsub" in text
    assert "can't encrypt yet" in says("secret")
    with pytest.raises(mesh.ServiceNotFound, match="did you mean 'news'"):
        mesh.Subscriber("new", print, services=services)


def test_an_address_in_use_is_not_taken_away(ends: Ends, tmp_path: Path) -> None:
    services = registry(tmp_path, news=f"{{address: 'ipc://{tmp_path}/news', type: pub}}")
    publisher = ends.emitter(mesh.Publisher, "news", services=services)
    heard = ends.heard(mesh.Subscriber, "news", services=services)
    publisher.wait_for_subscriber(PATIENCE)
    assert "in use already" in caught(mesh.ConfigError, lambda: mesh.Publisher("news", services=services))
    reaches(publisher, heard)


@pytest.mark.parametrize(("emitter", "receiver"), PAIRS)
def test_a_name_is_followed_when_its_registry_changes(
    ends: Ends, tmp_path: Path, emitter: Any, receiver: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kind = "sub" if emitter is mesh.Publisher else "pull"
    all_heard = [Heard(), Heard()]
    endpoints = []
    for heard in all_heard:
        each = receiver(None, heard)
        endpoints.append(each.bind(ANY_PORT))
        ends._stack.enter_context(each)
    services = registry(tmp_path, both=f"{{address: {endpoints[0]}, type: {kind}}}")
    end = ends.emitter(emitter, "both", services=services)
    ready(end)
    end.happened(1)
    all_heard[0].wait(["happened", 1])
    registry(tmp_path, both=f"{{address: {endpoints[1]}, type: {kind}}}")

    def moved() -> bool:
        end.happened(2)
        return bool(all_heard[1])

    eventually(moved, timeout=PATIENCE, what="the new address")
    before = len(all_heard[0])
    end.happened(3)
    eventually(lambda: all_heard[1][-1] == ["happened", 3], what="the last event")
    assert len(all_heard[0]) == before
    registry(tmp_path, both="{address: tcp://127.0.0.1:1, type: router}")
    eventually(lambda: "its last endpoints are kept" in caplog.text, what="a line in the log")


def test_a_subscriber_follows_its_name(ends: Ends, tmp_path: Path) -> None:
    (first, one), (second, two) = (ends.bound(mesh.Publisher) for _ in range(2))
    services = registry(tmp_path, news=f"{{address: {one}, type: pub}}")
    heard = ends.heard(mesh.Subscriber, "news", services=services)
    reaches(first, heard)
    registry(tmp_path, news=f"{{address: {two}, type: pub}}")
    reaches(second, heard)
    first.happened("not any more")
    second.happened("now")
    heard.wait(["happened", "now"])
