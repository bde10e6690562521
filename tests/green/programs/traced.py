"""Threads that gevent has made greenlets of, within a trace and outside of it."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import threading  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from typing import Any  # noqa: E402

import mesh  # noqa: E402
from mesh.core.span import current_span  # noqa: E402

with mesh.Server({"trace_id": lambda: getattr(current_span(), "trace_id", None)}) as server:
    client = mesh.connect(server.bind("tcp://127.0.0.1:*"), timeout=10)
    seen: list[Any] = []

    def run() -> None:
        thread = threading.Thread(target=lambda: seen.append(client.trace_id()))
        thread.start()
        thread.join(10)

    with mesh.trace("abc"):
        run()
        with ThreadPoolExecutor(1) as pool:
            seen.append(pool.submit(client.trace_id).result(10))
    run()
    client.close()
print(seen, flush=True)
