"""A plain program that consumes a stream, or waits for a call: `consumer.py ENDPOINT METHOD`.

Options: --heartbeat S; --pause S: how long it blocks, without giving way, after every item; --items N.
On Ctrl-C it makes another call, to show that it still can.
"""

from __future__ import annotations

import argparse
import time

import mesh


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("method")
    parser.add_argument("--heartbeat", type=float, default=5.0)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--items", type=int, default=10**9)
    options = parser.parse_args()
    client = mesh.connect(options.endpoint, heartbeat=options.heartbeat, timeout=30)
    print("consuming", flush=True)
    try:
        if options.method == "slow":
            client.slow(1.0, "v")
        else:
            for number, item in enumerate(client(options.method)):
                print("item", item, flush=True)
                time.sleep(options.pause)
                if number + 1 >= options.items:
                    break
        print("ended", flush=True)
    except KeyboardInterrupt:
        print("interrupted, then", client.echo(7), flush=True)


if __name__ == "__main__":
    main()
