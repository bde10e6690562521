"""The `mesh inspect` command, and the listing that `mesh call SERVICE` shows.

Owns how a description of a service is printed.
"""

from __future__ import annotations

from typing import Any

import click

from mesh.cli.client import open_client
from mesh.cli.describe import Description, Method, describe
from mesh.cli.options import debug_option, json_option, seconds_option, service_argument, services_option
from mesh.cli.output import Printer, columns_of, summary
from mesh.cli.screen import folded
from mesh.errors import MeshError


@click.command()
@service_argument
@click.argument("method", required=False)
@json_option
@seconds_option("--timeout", "Seconds to wait for an answer; else 5.")
@services_option
@debug_option
def inspect(
    service: str, method: str | None, as_json: bool, timeout: float | None, services_file: str | None
) -> None:
    """Show the methods of SERVICE with signatures and docstrings; all of one METHOD's.

    SERVICE is a name of the registry or an endpoint such as tcp://127.0.0.1:4242.
    """
    with open_client(service, services_file, timeout=timeout or 5.0) as client:
        description = describe(client)
    printer = Printer(as_json)
    if method is not None:
        show_method(printer, service, description, method)
    else:
        show_methods(printer, service, description)


def show_methods(printer: Printer, service: str, description: Description) -> None:
    """Each method with its signature and the docstring's summary; in a pipe one line a method."""
    if printer.as_json:
        printer.value(_jsonable(description))
        return
    methods = known_methods(service, description)
    if not printer.tty:
        for method in methods:
            printer.line(f"{method.name}\t{method.signature}\t{summary(method.doc)}".rstrip("\t"))
        return
    _heading(printer, service, description)
    for method in methods:
        _signature_line(printer, method)
        if method.doc:
            printer.wrapped(summary(method.doc), indent="    ")


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
        raise _unknown_method(service, name, [other.name for other in known])
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
            f"{service} answers, but does not tell its methods; call one: mesh call {service} METHOD"
        )
    return description.methods


def _unknown_method(service: str, name: str, names: list[str]) -> MeshError:
    from difflib import get_close_matches

    near = get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"see mesh inspect {service}"
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
