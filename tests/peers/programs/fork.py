"""A client that was used before a fork, used again in the parent and the children. Argument: endpoint."""

from __future__ import annotations

import os
import sys
import traceback
import warnings

import mesh

CHILDREN = 4


def check(client: mesh.Client) -> None:
    assert client.add(1, 2) == 3
    assert list(client.count(300)) == list(range(300))


def child(client: mesh.Client) -> None:
    try:
        check(client)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a child must not go on as a second parent
        traceback.print_exc()
        os._exit(1)


def main() -> None:
    # Newer Pythons warn of a fork beside threads, which is what is tried here.
    warnings.simplefilter("ignore", DeprecationWarning)
    with mesh.connect(sys.argv[1], timeout=20) as client:
        check(client)
        pending = client.wait.future(0.5)
        children = []
        for _ in range(CHILDREN):
            pid = os.fork()
            if pid == 0:
                child(client)
            children.append(pid)
        check(client)
        assert pending.result(timeout=10) == "waited"
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        assert codes == [0] * CHILDREN, codes
        check(client)
    print("done", flush=True)


main()
