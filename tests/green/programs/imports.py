"""A fork in the midst of what a thread of mesh imports: `imports.py WAY MODULE ENDPOINT`; prints "fine"."""

from __future__ import annotations

import os
import sys
from importlib.abc import MetaPathFinder
from typing import Any

WAY, MODULE, ENDPOINT = sys.argv[1:]
if WAY == "patched":
    from gevent import monkey

    monkey.patch_all()

import mesh  # noqa: E402
from mesh.transport import host_lookup, native  # noqa: E402
from tests.helpers.processes import eventually  # noqa: E402

assert MODULE not in sys.modules


class Slow(MetaPathFinder):
    """begun: whether the import of the module has."""

    begun = False

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name == MODULE:
            self.begun = True
            native.sleep(0.2)


def getaddrinfo(host: str, *rest: Any) -> Any:
    """As the system's, which takes the name to be ASCII in this way, for a host that every machine has."""
    host.encode("idna")
    return native.getaddrinfo("127.0.0.1", *rest)


host_lookup.getaddrinfo = getaddrinfo
slow = Slow()
sys.meta_path.insert(0, slow)

client = mesh.connect(ENDPOINT, timeout=8)
if MODULE == "encodings.idna":
    client.echo.future(0)  # a host is looked up for a call
eventually(lambda: slow.begun, what="the import")
pid = os.fork()
if pid == 0:
    code = 1
    try:
        assert client.echo(1) == 1
        code = 0
    except BaseException as exc:  # noqa: BLE001 - told by the exit code
        sys.stderr.write(f"in the child: {type(exc).__name__}: {exc}\n")
    finally:
        os._exit(code)
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert client.echo(2) == 2
print("fine", flush=True)
