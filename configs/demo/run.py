"""`make demo`: starts a small shop of five services, runs the real commands on it, and shows what they print.

Each step says what it expects; the exit code is 1 if any came out otherwise. All processes end
with this one, whatever ends it.

    python configs/demo/run.py          the story, which ends by itself
    python configs/demo/run.py --stay   the shop with customers, until Ctrl-C, for whoever wants to look on
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from types import FrameType

from stage import ROOT, Demo, dim, prompt, title

ANY = "tcp://127.0.0.1:*"
PORTS = (1111, 2222, 5555, 7001, 7002)

PROGRAM = """\
import mesh

with mesh.connect("stock") as stock:
    print(stock.count("tea"), "tea")
    for row in stock.shelf():
        print(row["item"], row["pieces"])
    try:
        stock.count("caviar")
    except KeyError as error:
        print("no", error.msg)
"""

LOOK = (
    ("mesh top", "rates and latencies of all calls, live"),
    ("mesh ps", "what is open now, and what it waits for"),
    ("mesh graph", "who calls whom"),
    ("mesh traces --error", "traces with an error; mesh trace ID shows one"),
    ("mesh traces --method order", "orders; mesh trace ID --tree --critical tells what takes the time"),
    ("mesh tap payments", "its calls as they pass"),
    ("mesh dashboard", "all of it as a web page"),
)
"""What to type while the shop stays, and what it shows."""


def open_shop(demo: Demo) -> str:
    """Start all of it, but for customers; gives the endpoint of `web`."""
    title("A collector of traces: what is started from now on tells it of its calls")
    collector = demo.start(f"mesh collect --store memory --bind '{ANY}'", r"collecting on (\S+) into")
    demo.export(MESH_TRACE=collector[1])

    title("Hubs from a file: one for a single service, one for many, one for events")
    demo.write("hub.yml", dict.fromkeys((f"tcp://127.0.0.1:{port}" for port in PORTS), ANY))
    says = r"orders .* in (\S+) out (\S+)\n.*town .* in (\S+) out .*\n.*mail .* in (\S+) out (\S+)\n"
    orders_in, orders_out, town, mail_in, mail_out = demo.start(
        "mesh-hub hub.yml", says, cwd=demo.folder
    ).groups()
    print()

    title("Names for them")
    real = zip(PORTS, (orders_in, orders_out, town, mail_in, mail_out), strict=True)
    demo.write("services.yml", {f"tcp://127.0.0.1:{port}": endpoint for port, endpoint in real}, leave="web")

    title("A module and a class that know nothing of mesh; two workers; a listener; a server without hub")
    web = demo.start_all(
        (f"mesh-register stock stock --hub {town}", "serving stock through"),
        (f"mesh-register payments payments:Payments --hub {town}", "serving payments through"),
        (f"mesh-register orders orders:Orders --hub {orders_out}", "serving orders through"),
        (f"mesh-register orders orders:Orders --hub {orders_out}", "serving orders through"),
        ("python mail.py", "mail listens"),
        (f"mesh serve web:Web --service web --bind '{ANY}'", r" on (tcp://\S+)"),
    )[-1][1]
    demo.append("services.yml", f"web: {web}")
    return web


def play(demo: Demo) -> None:
    """The story."""
    web = open_shop(demo)
    demo.mesh("services", expect=r"orders +up(.*\n)+stock +up(.*\n)+payments +up(.*\n)+web +up")

    title("Look what is there")
    demo.mesh("call", "stock", expect="count +How many pieces there are")
    demo.mesh("inspect", "stock", "shelf", expect=r"shelf\(pause=0\.0\)")

    title("Call it by name: arguments are strings, with -j JSON; keyword arguments travel")
    demo.mesh("call", "stock", "count", "tea", expect="40")
    demo.mesh("call", "stock", "add", "-j", '"cup"', "--kw", "pieces=3", expect="15")

    title("A stream comes item by item")
    demo.mesh("call", "stock", "shelf", "0.2", expect="tea(.*\n)+.*piano")

    title("An exception arrives with its name, and as an exit code")
    demo.mesh("call", "stock", "take", "caviar", code=1, expect="KeyError: 'caviar'")
    demo.mesh("call", "stock", "cuont", "tea", code=1, expect="did you mean 'count'")
    demo.mesh("call", "nobody", "get", code=3, expect="no service 'nobody'")

    title("The same from Python")
    demo.python(PROGRAM, expect="40 tea\n(.*\n)+no .caviar")

    traces(demo)
    stuck(demo)

    title("What the hub sees")
    demo.mesh("hub-status", "orders", expect="orders")

    title("One of the two workers is killed, and the calls go on")
    first, other = (server for server in demo.servers if "orders:Orders" in str(server.args))
    demo.kill(first)
    for _ in range(3):
        demo.mesh("call", "orders", "where", expect=rf"^{other.pid}\n$")
    demo.mesh("hub-status", "orders", expect="orders")

    names_in_dns(demo, web)


def traces(demo: Demo) -> None:
    """One order and all that it causes; and one that fails."""
    title("Which call has caused this? Each order is a trace, which all calls and events belong to")
    shown = demo.mesh("call", "--trace", "web", "order", "Ann", "tea", "cup", "honey", expect="'cents': 2050")
    good = trace_id(shown)
    shown = demo.mesh(
        "call", "--trace", "web", "order", "Mallory", "tea", code=1, expect="ValueError: nothing was sold"
    )
    bad = trace_id(shown)
    demo.mesh("traces", "--error", "PermissionError", expect=bad[:12])

    title("One trace as its talk: who has called whom, and where it went wrong")
    demo.mesh("trace", bad[:8], expect=r"payments@.* --- PermissionError ---> orders@")

    title("Another as a tree, with what it waited for; and what would have made it quicker")
    demo.mesh("trace", good[:8], "--tree", "--critical", expect=r"mail\.placed  orders@.* → mail@")


def stuck(demo: Demo) -> None:
    """An order that waits for somebody."""
    title("What hangs, and for what? A piano is dear: somebody has to approve that the bank pays it")
    order, _ = demo.call("mesh call --trace web order Bob piano")
    demo.mesh(
        "ps", expect=r"web\.order .*\n.*orders\.place .*\n.*payments\.charge .* payments\.py:\d+ in charge"
    )
    demo.mesh("call", "payments", "approve", expect="1")
    demo.finish(order, expect="'cents': 250000")


def names_in_dns(demo: Demo, web: str) -> None:
    """The server of web once more, by a name that no file has but the zone of a real name server."""
    named = shutil.which("named") or shutil.which("named", path="/usr/sbin")
    if named is None:
        title("Names in DNS are shown where BIND is installed (on Debian: apt-get install bind9)")
        return
    title("A name that no file has, but DNS")
    folder, port = demo.folder / "dns", free_port()
    shutil.copytree(ROOT / "configs" / "dns", folder)
    settings = (folder / "named.conf").read_text().replace("port 5300", f"port {port}")
    (folder / "named.conf").write_text(settings)
    record = f"_shop._tcp SRV 10 1 {web.rpartition(':')[2]} a"
    with (folder / "mesh.test.zone").open("a") as zone:
        zone.write(f"{record}\n")
    prompt(f"echo '{record}' >> mesh.test.zone")
    demo.start_program(named, "-f", "-n", "1", "-c", "named.conf", cwd=folder)
    demo.export(MESH_DOMAIN="mesh.test", MESH_DNS=f"127.0.0.1:{port}")
    demo.mesh("call", "shop", "menu", expect="tea 4.50")
    demo.mesh("services", "shop", expect=r"shop +up")


def stay(demo: Demo) -> None:
    """The shop with customers, until somebody ends it."""
    open_shop(demo)
    title("Customers")
    demo.start("python customers.py", "the first customers come")
    print()
    title("The shop is open until Ctrl-C. Look at it from another terminal:")
    if shutil.which("mesh") is None:
        print(f"  export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    print(f"  export MESH_SERVICES={demo.env['MESH_SERVICES']} MESH_TRACE={demo.env['MESH_TRACE']}")
    for command, shows in LOOK:
        print(f"  {command:28}{dim('# ' + shows)}", flush=True)
    while True:
        signal.pause()


def trace_id(shown: str) -> str:
    """That of a `mesh call --trace`; "-" where it did not come so far."""
    found = re.search(r"TraceID: (\w+)", shown)
    return found[1] if found else "-"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description="A small shop of five services.")
    parser.add_argument("--stay", action="store_true", help="keep it open, with customers, until Ctrl-C")
    stays = parser.parse_args().stay
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, _leave)
    with tempfile.TemporaryDirectory(prefix="mesh-demo-") as folder:
        demo = Demo(Path(folder))
        try:
            (stay if stays else play)(demo)
        except KeyboardInterrupt:
            return 130
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            demo.close()
    for surprise in demo.surprises:
        print(f"demo: not as expected: {surprise}", file=sys.stderr)
    if demo.surprises:
        return 1
    title("All of it came out as it should. The code is in configs/demo/")
    print("To look on while customers come: make demo STAY=1, which says what to type", flush=True)
    return 0


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
