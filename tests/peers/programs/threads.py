"""Native threads that share one client, each with calls and a stream.

Arguments: endpoint, and "patched" to patch the standard library.
"""

from __future__ import annotations

import sys

if sys.argv[2] == "patched":
    from gevent import monkey

    monkey.patch_all()

import threading

import mesh

THREADS, CALLS = 16, 50


def main() -> None:
    done: list[int] = []
    with mesh.connect(sys.argv[1], timeout=20) as client:

        def work(number: int) -> None:
            for call in range(CALLS):
                assert client.add(number, call) == number + call
            assert list(client.count(200)) == list(range(200))
            done.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(done) == list(range(THREADS)), f"only {sorted(done)} came to their end"
    print("done", flush=True)


main()
