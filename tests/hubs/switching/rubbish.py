"""A program that says to a hub, through many sockets on both of its sides, what no sane peer says.

Arguments: the hub's in and out endpoints, how many messages, a seed. All commands of Majordomo and all
events of zerorpc are among them, most of them damaged; answers have tokens that the hub has given out.
Prints `sent N`.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque
from typing import Any

import msgpack
import zmq

from mesh.core import majordomo as mdp
from mesh.core import wire
from mesh.core.majordomo import STANDARD, Command, FromWorker
from mesh.errors import WireError

SOCKETS = 24
SERVICES = ["echo", "other", "mmi.service", "mmi.status", "mmi.x", "ä", ""]
IDS = [b"1", b"2", "3", 4, None]
WORDS = [b"", b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", b"MDPW03", b"\x00", b"\x01", b"\x05", b"\xff" * 9]
LARGE = b"x" * 1_000_000
OVER = [b"", b"MDPC01", b"mmi.over", b""]
PATIENCE = 20.0

Frames = list[bytes]


class Rubbish:
    """Makes messages. tokens: of calls that the hub has given to one of our workers."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.tokens: deque[bytes] = deque([b"t"], maxlen=1000)
        self._kinds = [self.request, self.request, self.follow_up, self.of_client, self.ready, self.beat]
        self._kinds += [self.answer, self.answer, self.leave, self.batch, self.batch, self.events]

    def message(self) -> Frames:
        frames = self._dice.choice(self._kinds)()
        for _ in range(self._dice.choice((0, 0, 1, 1, 2, 5))):
            self.damage(frames)
        return frames or [b""]

    def maybe(self, **values: Any) -> dict[str, Any]:
        return {name: value for name, value in values.items() if self._dice.random() < 0.5}

    def event(self, header: dict[str, Any]) -> bytes:
        names = ["echo", wire.BEAT, wire.MORE, wire.OK, wire.ERR, wire.STREAM, wire.STREAM_DONE, 5]
        args: list[Any] = [[1], [], None, "text", [2**60], [-1], [["x"] * 20]]
        header = {"v": 3, **header}
        return bytes(msgpack.packb([header, self._dice.choice(names), self._dice.choice(args)]))

    def request(self) -> Frames:
        dice = self._dice
        header = {"message_id": dice.choice(IDS), "service": dice.choice([*SERVICES, 5, None])}
        more = self.maybe(
            deadline=dice.choice((0, 50, 2**63, "soon", -1)), idempotent=True, kwargs=[], batch=1
        )
        return [b"", self.event(header | more)]

    def follow_up(self) -> Frames:
        header = {"message_id": self._dice.choice(IDS), "response_to": self._dice.choice([*IDS, [1]])}
        return [b"", self.event(header | self.maybe(cancel=self._dice.random() < 0.5))]

    def of_client(self) -> Frames:
        dice = self._dice
        service = dice.choice(SERVICES).encode()
        if dice.random() < 0.5:
            return [b"", b"MDPC01", service, b"echo"]
        return [b"MDPC02", b"\x01", service, b"echo", b"more"]

    def style(self) -> mdp.Style:
        return STANDARD[self._dice.choice((1, 2, 2))]

    def about(self) -> dict[str, Any]:
        dice = self._dice
        capacity = dice.choice((0, 1, 3, 10**6, 2**63, -1, "many"))
        return self.maybe(
            capacity=capacity,
            heartbeat=dice.choice((1, 200, 10**9, 0, "x")),
            batch=dice.choice((65536, 65536, 100, 1, 0, -5, "x")),
        )

    def ready(self) -> Frames:
        about = self.about() if self._dice.random() < 0.7 else None
        return mdp.ready(self._dice.choice(SERVICES), about, self.style())

    def beat(self) -> Frames:
        return mdp.heartbeat(self.style(), self.about() if self._dice.random() < 0.5 else None)

    def answer(self) -> Frames:
        dice = self._dice
        command = dice.choice((Command.PARTIAL, Command.FINAL, Command.FINAL, Command.REQUEST))
        style = STANDARD[1 if command is Command.FINAL and dice.random() < 0.3 else 2]
        body = self.event({"response_to": dice.choice(IDS)}) if dice.random() < 0.8 else dice.randbytes(20)
        return mdp.carried(style, command, dice.choice(self.tokens), [body])

    def leave(self) -> Frames:
        return mdp.disconnect(self.style(), "bye" if self._dice.random() < 0.3 else "")

    def events(self) -> Frames:
        """Of a client, in one frame."""
        made = [
            self._dice.choice((self.request, self.follow_up))()
            for _ in range(self._dice.choice((0, 1, 3, 40)))
        ]
        return [bytes(msgpack.packb([frames[-1] for frames in made]))]

    def batch(self) -> Frames:
        dice = self._dice
        items: list[Any] = []
        for _ in range(dice.randrange(4)):
            code: Any = dice.choice((2, 3, 4, 4, 7, -1, "x", b"\x04", [], None))
            items += [code, dice.choice(self.tokens), self.event({"response_to": dice.choice(IDS)})]
        if dice.random() < 0.2:
            items.append(dice.choice((4, b"t", "text", {}, [4, b"t", b"event"])))
        return [msgpack.packb(items)]

    def damage(self, frames: Frames) -> None:
        dice = self._dice
        at = dice.randrange(len(frames)) if frames else 0
        kind = dice.randrange(9)
        if not frames or kind == 0:
            frames.insert(at, dice.choice(WORDS))
        elif kind == 1:
            del frames[at]
        elif kind == 2:
            frames.insert(at, frames[at])
        elif kind == 3:
            frames[at] = dice.randbytes(dice.randrange(30))
        elif kind == 4:
            frames[at] = frames[at][: dice.randrange(len(frames[at]) + 1)]
        elif kind == 5 and frames[at]:
            changed = bytearray(frames[at])
            changed[dice.randrange(len(changed))] = dice.randrange(256)
            frames[at] = bytes(changed)
        elif kind == 6:
            dice.shuffle(frames)
        elif kind == 7:
            frames[at] = dice.choice(WORDS)
        elif dice.random() < 0.001:
            frames[at] = LARGE

    def hear(self, frames: Frames) -> None:
        """Keep the token of a call that came."""
        try:
            message = mdp.read(frames)
        except WireError:
            return
        if isinstance(message, FromWorker) and message.command is Command.REQUEST:
            self.tokens.append(message.address)


class Peer:
    """A socket with some life left. Some of them read nothing before they end."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, dice: random.Random) -> None:
        self.left = dice.randrange(50, 3000)
        self._deaf = dice.random() < 0.2
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.sndtimeo = self.socket.rcvtimeo = int(1000 * PATIENCE)
        self.socket.connect(endpoint)

    def say(self, rubbish: Rubbish) -> None:
        self.left -= 1
        self.socket.send_multipart(rubbish.message())
        if not self._deaf and self.left % 8 == 0:
            while self.socket.poll(0):
                rubbish.hear(self.socket.recv_multipart())

    def end(self) -> None:
        """When the hub has answered: it has then taken in all that came before, which else would pile up
        behind each new socket."""
        give_up = time.monotonic() + PATIENCE
        self.socket.send_multipart(OVER)
        # What the hub drops for one that has read nothing may be the answer.
        while not self._answered():
            if time.monotonic() > give_up:
                raise TimeoutError(f"no answer to {OVER}")
            self.socket.send_multipart(OVER)
        self.socket.close()

    def _answered(self) -> bool:
        """Take in what comes; whether that is among it within a second."""
        until = time.monotonic() + 1.0
        while (left := until - time.monotonic()) > 0:
            if self.socket.poll(1_000 * left) and self.socket.recv_multipart() == [*OVER[:-1], b"501"]:
                return True
        return False


def main(in_: str, out: str, number: str, seed: str) -> None:
    dice = random.Random(int(seed))
    rubbish = Rubbish(dice)
    context: zmq.Context[Any] = zmq.Context()
    peers = [Peer(context, dice.choice((in_, out)), dice) for _ in range(SOCKETS)]
    for _ in range(int(number)):
        at = dice.randrange(SOCKETS)
        if not peers[at].left:
            peers[at].end()
            peers[at] = Peer(context, dice.choice((in_, out)), dice)
        peers[at].say(rubbish)
    for peer in peers:
        peer.end()
    print(f"sent {number}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
