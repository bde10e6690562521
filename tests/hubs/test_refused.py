"""A hub that is connected to an endpoint which refuses the handshake for a while: it is there again."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from tests.helpers.peers import free_port
from tests.helpers.processes import eventually
from tests.hubs.commands import hub

KINDS = {
    "forwarder": (zmq.XPUB, "in"),
    "streamer": (zmq.PUSH, "in"),
    "queue": (zmq.DEALER, "in"),
    "majordomo": (zmq.DEALER, "in"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hub_is_there_again_when_it_is_no_longer_refused(kind: str, tmp_path: Path) -> None:
    far, near = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    context = zmq.Context()
    try:
        foreign = context.socket(zmq.ROUTER)
        foreign.curve_server = True
        foreign.curve_secretkey = zmq.curve_keypair()[1]
        foreign.bind(far)
        text = f"in: {{bind: {near}, connect: {far}}}\nout: tcp://127.0.0.1:{free_port()}\ntype: {kind}\n"
        with hub(text, tmp_path) as (process, _):
            process.wait_for(f"hub.yml:1: .*'{far}': .*want.* a key")
            foreign.close(0)
            good = context.socket(KINDS[kind][0])
            with good.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
                eventually(lambda: _bound(good, far), what=f"room at {far}")
                assert monitor.poll(20_000), "the hub has come"
                good.disable_monitor()
            assert process.returncode is None
    finally:
        context.destroy(0)


def _bound(socket: zmq.Socket[bytes], endpoint: str) -> bool:
    try:
        socket.bind(endpoint)
    except zmq.ZMQError:
        return False
    return True
