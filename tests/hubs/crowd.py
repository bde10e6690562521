"""Many workers, or many clients, by one socket with a connection for each, which costs the machine little.

Arguments: `workers`, how many, of how many services, the hub's endpoint: prints `registered` when the hub has
taken all. Or `clients`, and behind these the calls a second of all together, and for how many seconds: prints
what came of it. A call is made when it is due, whether those of before have an answer or not.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from typing import Any

import zmq

from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD, Command, FromWorker

BEAT = 2.0
PATIENCE = 30.0
"""Seconds after the last call for answers to come."""


def connected(number: int, endpoint: str) -> tuple[zmq.Socket[bytes], list[bytes]]:
    """A socket with that many connections, and what each is called here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    context = zmq.Context()
    # Of its types the one that may have several connections to one endpoint, and says by which to send.
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = 0
    names = [b"%d" % one for one in range(number)]
    for name in names:
        socket.setsockopt(zmq.CONNECT_ROUTING_ID, name)
        socket.connect(endpoint)
    return socket, names


def be_workers(number: int, services: int, endpoint: str) -> None:
    socket, names = connected(number, endpoint)
    about = {"capacity": 10, "heartbeat": int(BEAT * 1000)}
    for one, name in enumerate(names):
        socket.send_multipart([name, *mdp.ready(f"s{one % services}", about)])
    start, beats, taken = time.monotonic(), 0, 0
    while True:
        # One worker after the other, as programs that were started at different times.
        due = start + beats * BEAT / number - time.monotonic()
        if due <= 0:
            socket.send_multipart([names[beats % number], *mdp.heartbeat()])
            beats += 1
        elif socket.poll(due * 1000):
            taken += answer(socket)
            if taken == number:
                taken += 1
                print("registered", flush=True)


def answer(socket: zmq.Socket[bytes]) -> bool:
    """Take a message; whether it was the hub's word that it has taken a worker."""
    name, *frames = socket.recv_multipart()
    message = mdp.read(frames)
    assert isinstance(message, FromWorker) and message.command is not Command.DISCONNECT, frames
    if message.command is Command.REQUEST:
        header, _, args = wire.unpack(message.body[0])
        reply: wire.Header = {"message_id": b"w", "v": 3, "response_to": header["message_id"]}
        event = wire.pack(reply, wire.OK, args)
        socket.send_multipart([name, *mdp.carried(STANDARD[2], Command.FINAL, message.address, [event])])
    return message.about is not None


def be_clients(number: int, services: int, endpoint: str, rate: float, seconds: float) -> None:
    socket, names = connected(number, endpoint)
    began: dict[bytes, float] = {}
    took: list[float] = []
    errors: Counter[str] = Counter()
    made, start = 0, time.monotonic()
    end = start + seconds
    while (now := time.monotonic()) < end or (began and now < end + PATIENCE):
        while now < end and start + made / rate <= now:
            call, name = b"%d" % made, names[made % number]
            header = {"message_id": call, "v": 3, "service": f"s{made % number % services}"}
            socket.send_multipart([name, b"", wire.pack(header, "echo", [made])])
            began[call] = time.monotonic()
            made += 1
        due = start + made / rate - time.monotonic() if now < end else 0.05
        if not socket.poll(max(0.0, due * 1000)):
            continue
        header, event, args = wire.unpack(socket.recv_multipart()[-1])
        if event != wire.BEAT:
            call = header["response_to"]
            took.append(time.monotonic() - began.pop(call))
            if event != wire.OK or args != [int(call)]:
                errors[f"{event} {args}"] += 1
    errors["no answer"] += len(began)
    tell(made, errors, sorted(took))


def tell(made: int, errors: Counter[str], took: list[float]) -> None:
    half, most, slowest = (1000 * took[int(share * (len(took) - 1))] for share in (0.5, 0.99, 1.0))
    times = f"half below {half:.2f} ms, 99 % below {most:.2f} ms, the slowest {slowest:.2f} ms"
    print(f"made {made}, errors {errors.total()}, {times} {str(+errors)[:500]}", flush=True)


def main(role: str, number: str, services: str, endpoint: str, *pace: Any) -> None:
    if role == "workers":
        be_workers(int(number), int(services), endpoint)
    else:
        be_clients(int(number), int(services), endpoint, *map(float, pace))


if __name__ == "__main__":
    main(*sys.argv[1:])
