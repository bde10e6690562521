"""A program that floods a hub through many short-lived sockets on both of its sides.

Arguments: the hub's in and out endpoints, how many sockets. Closes all of them once its standard input gives
a line, and prints `flooded` then.
"""

from __future__ import annotations

import resource
import sys

import zmq

from mesh.core import majordomo as mdp
from mesh.core import wire

MESSAGES = 8
SIZES = (10, 1_000, 20_000)


def main(in_: str, out: str, number: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, number + 10)
    sockets = []
    for one in range(number):
        socket = context.socket(zmq.DEALER)
        socket.connect(out if one % 2 else in_)
        sockets.append(socket)
    for turn in range(MESSAGES):
        for one, socket in enumerate(sockets):
            if one % 2:
                socket.send_multipart(mdp.heartbeat() if turn else mdp.ready(f"service{one % 50}", {}))
            else:
                header = {"message_id": f"{one}.{turn}", "v": 3, "service": f"service{one % 60}"}
                socket.send_multipart([b"", wire.pack(header, "echo", [b"x" * SIZES[turn % 3]])])
    sys.stdin.readline()  # the hub takes them in meanwhile
    for socket in sockets:
        socket.close(0)
    context.term()
    print("flooded", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
