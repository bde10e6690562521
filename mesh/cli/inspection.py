"""The `mesh inspect` command, and the listing that `mesh call SERVICE` shows.

Owns how a description of a service is printed.
"""

from __future__ import annotations

from shlex import quote
from typing import Any

import click

from mesh.cli.client import open_client
from mesh.cli.describe import Description, Method, describe
from mesh.cli.options import debug_option, json_option, seconds_option, service_argument, services_option
from mesh.cli.output import Printer, columns_of, summary
from mesh.cli.reporting import complain
from mesh.cli.screen import folded
from mesh.errors import MeshError


@click.command()
@service_argument
@click.argument("method", required=False)
@click.option("--all", "with_left_out", is_flag=True, help="Show what is not exposed, too, and why.")
@json_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 5.")
@services_option
@debug_option
def inspect(
    service: str,
    method: str | None,
    with_left_out: bool,
    as_json: bool,
    timeout: float | None,
    services_file: str | None,
) -> None:
    """Show the methods of SERVICE with signatures and docstrings; all of one METHOD's.

    SERVICE is a name of the registry or an endpoint such as tcp://127.0.0.1:4242.
    """
    if method is not None and with_left_out:
        raise click.UsageError("--all is about all methods; leave METHOD out")
    with open_client(service, services_file, timeout=timeout or 5.0) as client:
        description = describe(client)
    printer = Printer(as_json)
    if method is not None:
        show_method(printer, service, description, method)
    else:
        show_methods(printer, service, description, with_left_out)


def show_methods(printer: Printer, service: str, description: Description, with_left_out: bool) -> None:
    """Each method with its signature and the docstring's summary; in a pipe one line a method.

    with_left_out: then what is not exposed, with the reason.
    """
    if printer.as_json:
        left_out = {"left_out": description.left_out} if with_left_out else {}
        printer.value({**_jsonable(description), **left_out})
        return
    _show_exposed(printer, service, description)
    if with_left_out:
        _show_left_out(printer, service, description)


def _show_exposed(printer: Printer, service: str, description: Description) -> None:
    methods = known_methods(service, description)
    if not printer.tty:
        for method in methods:
            columns = (method.name, method.signature, summary(method.doc))
            printer.line("\t".join(" ".join(column.split()) for column in columns).rstrip("\t"))
        return
    _heading(printer, service, description)
    for method in methods:
        _signature_line(printer, method)
        if method.doc:
            printer.wrapped(summary(method.doc), indent="    ")


def _show_left_out(printer: Printer, service: str, description: Description) -> None:
    left_out = description.left_out
    if left_out is None:
        complain("mesh", f"{service} does not tell what it leaves out, which only mesh's own servers do")
        return
    if not printer.tty:
        for name, why in left_out.items():
            printer.line(f"{name}\t\tnot exposed: it {why}")
        return
    printer.line(printer.paint(f"not exposed: {len(left_out)}", bold=True))
    for name, why in left_out.items():
        printer.line(printer.paint(printer.safe(name), fg="cyan"))
        printer.wrapped(f"it {why}", indent="    ")


def list_methods(printer: Printer, service: str, description: Description) -> None:
    """Each method's name and the docstring's summary, one line a method."""
    if printer.as_json:
        printer.value(_jsonable(description))
        return
    methods = known_methods(service, description)
    if not printer.tty:
        for method in methods:
            printer.line(f"{method.name}\t{summary(method.doc)}".rstrip("\t"))
        return
    _heading(printer, service, description)
    widest = max((columns_of(method.name) for method in methods), default=0)
    for method in methods:
        printer.columns(method.name, min(widest, printer.width // 2), summary(method.doc))


def show_method(printer: Printer, service: str, description: Description, name: str) -> None:
    """All that is known of one method."""
    known = known_methods(service, description)
    method = description.method(name)
    if method is None:
        raise _unknown_method(service, name, [other.name for other in known], description.left_out or {})
    if printer.as_json:
        printer.value({"name": method.name, **_method_jsonable(method)})
        return
    _signature_line(printer, method)
    if method.doc:
        printer.line()
        printer.wrapped(method.doc, indent="    ")


def known_methods(service: str, description: Description) -> list[Method]:
    """The methods, or a MeshError where the server does not tell."""
    if description.methods is None:
        raise MeshError(
            f"{service} answers, but does not tell its methods; call one: mesh call {quote(service)} METHOD"
        )
    return description.methods


def _unknown_method(service: str, name: str, names: list[str], left_out: dict[str, str]) -> MeshError:
    if name in left_out:
        return MeshError(f"{service} has no method {name!r}, for that {left_out[name]}")
    from difflib import get_close_matches

    near = get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"see mesh inspect {quote(service)}"
    return MeshError(f"{service} has no method {name!r}; {hint}")


def _heading(printer: Printer, service: str, description: Description) -> None:
    count = len(description.methods or ())
    title = service if description.name in ("", service) else f"{service} ({description.name})"
    printer.line(
        f"{printer.paint(printer.safe(title), bold=True)}: {count} method{'' if count == 1 else 's'}"
    )


def _signature_line(printer: Printer, method: Method) -> None:
    name, text = printer.safe(method.name), printer.safe(method.name + method.signature)
    lines = folded(printer, text, indent=" " * 8)
    lines[0] = printer.paint(lines[0][: len(name)], fg="cyan", bold=True) + lines[0][len(name) :]
    printer.line("\n".join(lines))


def _jsonable(description: Description) -> dict[str, Any]:
    methods = description.methods
    return {
        "name": description.name,
        "methods": None if methods is None else {m.name: _method_jsonable(m) for m in methods},
    }


def _method_jsonable(method: Method) -> dict[str, Any]:
    return {"signature": method.signature, "args": method.args, "doc": method.doc}
