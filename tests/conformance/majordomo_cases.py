"""The cases of the Majordomo suite: what the RFCs ask of a broker, and what peers should not do and will."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.conformance.majordomo import (
    CLIENT,
    CODES,
    DISCONNECT,
    HEARTBEAT,
    PARTIAL,
    PATIENCE,
    READY,
    REPLY,
    REQUEST,
    WORKER,
    Bench,
    Case,
    check,
)

CASES: list[tuple[str, int, Case]] = []


def case(text: str, *versions: int) -> Callable[[Case], Case]:
    def add(one: Case) -> Case:
        CASES.extend((text, version, one) for version in versions or (1, 2))
        return one

    return add


# What the RFCs ask


@case("a request reaches its worker with all frames, and the answer its client")
def round_trip(bench: Bench) -> None:
    worker, client = bench.worker(), bench.client()
    client.ask(bench.service, b"a", b"", b"c")
    request = worker.request()
    check(request[2:] == [b"a", b"", b"c"], f"the body became {request[2:]}")
    worker.reply(request, b"", b"d")
    check(client.answer(bench.service) == [b"", b"d"], "the answer has other frames")


@case("clients and workers of the two versions get on")
def mixed(bench: Bench) -> None:
    worker, client = bench.worker(), bench.client(3 - bench.version)
    client.ask(bench.service, b"a")
    worker.reply(worker.request(), b"b")
    check(client.answer(bench.service) == [b"b"], "another answer")


@case("a REQ socket without the frames that it adds itself is a client", 1)
def leading_empty_frame(bench: Bench) -> None:
    worker, client = bench.worker(), bench.client()
    client.send(b"MDPC01", bench.service, b"a")
    worker.reply(worker.request(), b"b")
    frames = client.next(PATIENCE)
    check(frames and frames[-1] == b"b", f"it got {frames}")


@case("a leading empty frame is taken, and answered in kind", 2)
def empty_frame_of_02(bench: Bench) -> None:
    worker, client = bench.worker(), bench.client()
    client.send(b"", *CLIENT[2], bench.service, b"a")
    worker.reply(worker.request(), b"b")
    frames = client.next(PATIENCE)
    check(frames == [b"", b"MDPC02", b"\x03", bench.service, b"b"], f"it got {frames}")


@case("parts of an answer come in order before its end", 2)
def partial(bench: Bench) -> None:
    worker, client = bench.worker(), bench.client()
    client.ask(bench.service, b"a")
    request = worker.request()
    for number in range(20):
        worker.reply(request, b"%d" % number, command=PARTIAL)
    worker.reply(request, b"end")
    got = [client.answer(bench.service, b"\x02") for _ in range(20)]
    check(got == [[b"%d" % number] for number in range(20)], "the parts are others, or in another order")
    check(client.answer(bench.service) == [b"end"], "the end is another")


@case("a request waits for a worker")
def early(bench: Bench) -> None:
    client = bench.client()
    client.ask(bench.service, b"a")
    worker = bench.worker()
    worker.reply(worker.request(), b"b")
    check(client.answer(bench.service) == [b"b"], "another answer")


@case("a worker has one request at a time, and the next after its answer")
def one_at_a_time(bench: Bench) -> None:
    worker, client = bench.worker(), bench.client()
    client.ask(bench.service, b"1")
    client.ask(bench.service, b"2")
    first = worker.request()
    worker.nothing()
    worker.reply(first, b"b")
    check(worker.request()[2:] == [b"2"], "the second request came changed")


@case("requests are spread over the workers")
def spread(bench: Bench) -> None:
    workers, client = [bench.worker(), bench.worker()], bench.client()
    for worker in workers:
        worker.say(HEARTBEAT)
    bench.registered(bench.service)
    client.ask(bench.service, b"1")
    client.ask(bench.service, b"2")
    check({worker.request()[2] for worker in workers} == {b"1", b"2"}, "one worker got both")


@case("the answers of one client's requests go by their own address")
def two_clients(bench: Bench) -> None:
    workers, clients = [bench.worker(), bench.worker()], [bench.client(), bench.client()]
    for number, client in enumerate(clients):
        client.ask(bench.service, b"%d" % number)
    for worker in workers:
        request = worker.request()
        worker.reply(request, request[2])
    for number, client in enumerate(clients):
        check(client.answer(bench.service) == [b"%d" % number], "a client got the answer of another")


@case("workers get heartbeats")
def heartbeats(bench: Bench) -> None:
    worker = bench.worker()
    check(worker.command(HEARTBEAT) == [], "a heartbeat has no further frames")


@case("a worker that sends no heartbeats gets no requests any more")
def silent(bench: Bench) -> None:
    bench.worker()
    bench.registered(bench.service)
    client, end = bench.client(), time.monotonic() + 4 * PATIENCE
    code = [b"200"]
    while code != [b"404"]:
        check(time.monotonic() < end, "it is still there")
        time.sleep(0.05)
        client.ask(b"mmi.service", bench.service)
        code = client.answer(b"mmi.service")


@case("a worker that leaves gets no requests any more")
def leaves(bench: Bench) -> None:
    worker = bench.worker()
    bench.registered(bench.service)
    worker.say(DISCONNECT)
    bench.registered(bench.service, b"404")
    worker.nothing()


@case("an unknown worker that speaks is told to begin anew")
def unknown_worker(bench: Bench) -> None:
    worker = bench.stranger()
    worker.say(HEARTBEAT)
    worker.command(DISCONNECT)
    worker.say(READY, bench.service)
    bench.registered(bench.service)


@case("mmi.service knows 200 and 404, other mmi names are 501")
def management(bench: Bench) -> None:
    client = bench.client()
    bench.worker()
    bench.registered(bench.service)
    for service, body, code in (
        (b"mmi.service", b"nobody", b"404"),
        (b"mmi.service", b"", b"404"),
        (b"mmi.service", b"\xff\xfe", b"404"),
        (b"mmi.unheard-of", b"x", b"501"),
    ):
        client.ask(service, body)
        got = client.answer(service)
        check(got == [code], f"{service!r} of {body!r} is {got}, not {code!r}")


@case("mmi.service takes the name from the first frame of the body")
def management_with_more(bench: Bench) -> None:
    bench.worker()
    bench.registered(bench.service)
    client = bench.client()
    for body, code in (((bench.service, b"nobody"), b"200"), ((b"nobody", bench.service), b"404")):
        client.ask(b"mmi.service", *body)
        got = client.answer(b"mmi.service")
        check(got == [code], f"mmi.service of {body} is {got}, not {code!r}")


# What peers should not do


@case("a message that lacks frames is thrown away")
def short(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker()
    for head in (CLIENT[bench.version], WORKER[bench.version]):
        whole = [*head, b"\x01", b"\x01", b"\x01"]
        for length in range(1, len(whole)):
            client.send(*whole[:length])
    for command in CODES[bench.version].values():
        for rest in ([], [b""], [b"x"], [b"x", b""], [b"x", b"y"], [b"", b"", b""]):
            bench.stranger().send(*WORKER[bench.version], command, *rest)
    worker.say(DISCONNECT)


@case("frames beyond what a command has do no harm")
def long(bench: Bench) -> None:
    worker = bench.stranger()
    worker.say(READY, bench.service, b"more", b"and more")
    worker.say(HEARTBEAT, *[b"x"] * 500)
    client = bench.client()
    client.ask(bench.service, b"a")
    worker.reply(worker.request(), b"b")
    check(client.answer(bench.service) == [b"b"], "another answer")
    client.ask(bench.service, *[b"x"] * 20_000)
    bench.stranger().say(DISCONNECT, *[b"x"] * 500)


@case("other versions and commands are not mistaken for these")
def versions(bench: Bench) -> None:
    client, worker = bench.client(), bench.stranger()
    for head in (b"MDPC00", b"MDPC03", b"MDPCxx", b"MDPW00", b"MDPW03", b"MDPW1", b"", b"mdpw01", b"XXX"):
        client.send(head, bench.service, b"a")
        client.send(b"", head, b"\x01", bench.service)
        worker.send(head, b"\x01", bench.service)
    for code in (b"", b"\x00", b"\x07", b"\xff", b"\x01\x01", b"READY"):
        worker.send(*WORKER[bench.version], code, bench.service)
    bench.registered(bench.service, b"404")


@case("a registration by what is no name is answered with a goodbye")
def wrong_names(bench: Bench) -> None:
    for name in (b"", b"\xff\xfe", b"x" * 256):
        worker = bench.stranger()
        worker.say(READY, name)
        worker.command(DISCONNECT)


@case("an unknown command of one that has not registered is answered with a goodbye")
def unknown_command(bench: Bench) -> None:
    for code in (b"", b"\x00", b"\x09", b"READY"):
        worker = bench.stranger()
        worker.send(*WORKER[bench.version], code, bench.service)
        worker.command(DISCONNECT)
        worker.say(READY, bench.service)
        bench.registered(bench.service)
        worker.say(DISCONNECT)


@case("a worker of a version to come is answered with a goodbye", 2)
def later_version(bench: Bench) -> None:
    worker = bench.stranger()
    worker.send(b"MDPW03", CODES[2][READY], bench.service)
    worker.command(DISCONNECT)


@case("a client may send nothing but requests", 2)
def client_commands(bench: Bench) -> None:
    worker, client = bench.worker(), bench.client()
    for code in (b"\x00", b"\x02", b"\x03", b"\x04", b""):
        client.send(b"MDPC02", code, bench.service, b"a")
    worker.nothing()


@case("a worker that says READY twice is sent away")
def ready_twice(bench: Bench) -> None:
    worker = bench.worker()
    worker.say(READY, bench.service)
    worker.command(DISCONNECT)
    bench.registered(bench.service, b"404")
    worker.say(READY, bench.service)
    bench.registered(bench.service)


@case("answers before READY reach nobody")
def before_ready(bench: Bench) -> None:
    real, client, forger = bench.worker(), bench.client(), bench.stranger()
    client.ask(bench.service, b"a")
    request = real.request()
    forger.reply(request, b"forged")
    forger.command(DISCONNECT)
    client.nothing()
    real.reply(request, b"b")
    check(client.answer(bench.service) == [b"b"], "another answer")


@case("a worker can't answer the call of another worker")
def forged(bench: Bench) -> None:
    real, client = bench.worker(), bench.client()
    client.ask(bench.service, b"a")
    request = real.request()
    forger = bench.worker(b"forger-" + bench.service)
    forger.reply(request, b"forged")
    client.nothing()
    real.reply(request, b"b")
    check(client.answer(bench.service) == [b"b"], "another answer")


@case("an answer to a client that never was is thrown away")
def no_such_client(bench: Bench) -> None:
    worker = bench.worker()
    for address in (b"nobody", b"\x00kE\x8bg", b"x" * 300):
        worker.say(REPLY, address, b"", b"b")
    client = bench.client()
    client.ask(bench.service, b"a")
    client.nothing()


@case("a worker that answers twice is heard once")
def answers_twice(bench: Bench) -> None:
    worker, client = bench.worker(), bench.client()
    client.ask(bench.service, b"a")
    request = worker.request()
    worker.reply(request, b"b")
    worker.reply(request, b"again")
    check(client.answer(bench.service) == [b"b"], "another answer")
    client.nothing()


@case("an answer to a client that has gone does no harm")
def client_gone(bench: Bench) -> None:
    worker, client = bench.worker(), bench.client()
    client.ask(bench.service, b"a")
    request = worker.request()
    client.socket.close()
    worker.reply(request, b"b")
    other = bench.client()
    other.ask(bench.service, b"c")
    worker.reply(worker.request(), b"d")
    check(other.answer(bench.service) == [b"d"], "another answer")


@case("a busy worker may leave")
def busy_leaves(bench: Bench) -> None:
    worker, client = bench.worker(), bench.client()
    client.ask(bench.service, b"a")
    worker.request()
    worker.say(DISCONNECT)
    bench.registered(bench.service, b"404")


@case("a worker may not send what only a broker sends")
def worker_requests(bench: Bench) -> None:
    worker = bench.worker()
    bench.registered(bench.service)
    worker.say(REQUEST, b"x", b"", b"a")
    bench.registered(bench.service, b"404")


@case("nobody else may serve a name of the broker's own")
def reserved(bench: Bench) -> None:
    worker, client = bench.stranger(), bench.client()
    worker.say(READY, b"mmi.service")
    client.ask(b"mmi.service", b"nobody")
    check(client.answer(b"mmi.service") == [b"404"], "the worker has taken the broker's place")


@case("service names of any bytes and lengths do no harm")
def names(bench: Bench) -> None:
    client = bench.client()
    for name in (
        b"",
        b"\x00",
        b"\xff\xfe",
        b"x" * 256,
        b"x" * 1_000_000,
        b"a\nb",
        b"\x1b[2J",
        b"../../x",
        b"*",
    ):
        bench.stranger().say(READY, name)
        client.ask(name, b"a")
    bench.works()


@case("a flood of one client leaves room for another")
def flood(bench: Bench) -> None:
    bad, good = bench.client(), bench.client()
    for _ in range(5_000):
        bad.ask(bench.service, b"flood")
    good.ask(bench.service, b"mine")
    worker = bench.worker()  # not before: a worker that said nothing for so long would be lost
    end = time.monotonic() + PATIENCE
    while (request := worker.request())[2] != b"mine":
        check(time.monotonic() < end, "it waits behind the flood")
        worker.reply(request, b"b")


@case("random messages do no harm")
def rubbish(bench: Bench) -> None:
    words = [b"", b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", bench.service, b"mmi.service", b"x" * 1_000]
    words += [bytes([number]) for number in range(8)]
    for _ in range(20):
        peer = bench.stranger()
        for _ in range(200):
            peer.send(*bench.chance.choices(words, k=bench.chance.randrange(1, 9)))


@case("workers and clients that come and go in masses do no harm")
def herd(bench: Bench) -> None:
    for _ in range(100):
        worker = bench.worker()
        client = bench.client()
        client.ask(bench.service, b"a")
        for peer in (worker, client):
            peer.socket.close()
