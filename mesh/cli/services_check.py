"""`mesh services check`: what is wrong with a registry file, and with names in DNS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mesh.cli.options import debug_option, json_option, services_option
from mesh.cli.output import Printer
from mesh.cli.reporting import EXIT_USAGE
from mesh.cli.screen import folded
from mesh.errors import ConfigError

if TYPE_CHECKING:
    from mesh.names.catalog import Catalog
    from mesh.names.dns_check import Finding
    from mesh.names.examined import Examined
    from mesh.names.model import Service, Source


@click.command("check")
@click.argument("targets", nargs=-1, metavar="[FILE|NAME]...")
@json_option
@services_option
@debug_option
@click.pass_context
def check(ctx: click.Context, targets: tuple[str, ...], as_json: bool, services_file: str | None) -> None:
    """Say what is wrong with a registry FILE, and with a NAME in the registry or in DNS.

    Without both, with the registry file in use. What ends in .yml or .yaml, or has a /, is a FILE. The exit
    code is 2 where something is wrong in the configuration, and 0 where nothing is; lines that begin with
    "note:" are of what may be meant, such as a port that does not answer now.
    """
    found = list(dict.fromkeys(_findings(targets, services_file)))
    printer = Printer(as_json)
    if as_json:
        printer.value([asdict(one) for one in found])
    for one in () if as_json else found:
        for line in folded(printer, f"{'' if one.wrong else 'note: '}{one.where}: {one.problem}", "  "):
            printer.line(line)
    if not found and not as_json:
        printer.line("nothing is wrong")
    ctx.exit(EXIT_USAGE if any(one.wrong for one in found) else 0)


def _findings(targets: Sequence[str], services_file: str | None) -> Iterator[Finding]:
    """All that is wrong with these; a file or name that is given twice is looked at once."""
    from mesh.names.catalog import Catalog, absolute
    from mesh.names.resolver import check_name

    files = list(dict.fromkeys(absolute(one) for one in targets if _is_file(one)))
    names = list(dict.fromkeys(one for one in targets if not _is_file(one)))
    for name in names:
        check_name(name)
    catalog = Catalog(services_file)
    for checked in [Catalog(file) for file in files] or ([] if names else [catalog]):
        yield from _as_far_as_set_up(checked.path or "services.yml", _check_file(checked))
    for name in names:
        yield from _as_far_as_set_up(name, _check_name(name, catalog))


def _as_far_as_set_up(where: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings, up to a setting of the environment that is wrong, which is one more."""
    from mesh.names.dns_check import Finding

    try:
        yield from findings
    except ConfigError as exc:
        yield Finding(where, str(exc))


def _is_file(target: str) -> bool:
    return "/" in target or target.endswith((".yml", ".yaml"))


def _check_file(catalog: Catalog) -> Iterator[Finding]:
    """All of a file. What is right in one with mistakes is looked at as well."""
    from mesh.names.dns_check import Finding
    from mesh.names.dns_settings import read_settings
    from mesh.names.examined import examine

    file = examine(catalog)
    yield from _mistakes(file)
    if file.path is None:
        if not file.mistakes:
            yield Finding("services.yml", "there is none in this folder or the configuration folders")
        return
    services = list(file.services.values())
    yield from _check_services(services)
    settings = read_settings()
    for service in services if settings is not None else ():
        yield from _check_both(service)
    for service in services:
        yield from _check_split(service, file)


def _mistakes(file: Examined) -> Iterator[Finding]:
    from mesh.names.dns_check import Finding

    for one in file.mistakes:
        yield Finding(one.where, one.problem)


def _check_name(name: str, catalog: Catalog) -> Iterator[Finding]:
    """One name, as its file has it and as DNS has it."""
    from mesh.names.dns_check import Finding, check_records
    from mesh.names.dns_settings import read_settings
    from mesh.names.examined import examine
    from mesh.names.model import Failed, Found
    from mesh.transport.dns_names import DnsSource
    from mesh.transport.dns_records import records_of

    answer = catalog.lookup(name)
    if isinstance(answer, Failed):
        yield from _mistakes(examine(catalog))
        return
    settings = read_settings()
    if isinstance(answer, Found):
        yield from _check_services([answer.service])
        yield from _check_split(answer.service, catalog)
        if settings is not None:
            yield from _check_both(answer.service)
    elif settings is None:
        where = catalog.path or "services.yml"
        yield Finding(where, f"no service {name!r} in it, and no MESH_DOMAIN to look in DNS")
    else:
        owners = settings.owner_names(name)
        every = [list(check_records(owner, records_of(owner, settings.servers))) for owner in owners]
        # Of several domains the first that has the name counts.
        yield from next((one for one in every if not _lacks(one)), every[0])
        in_dns = DnsSource().lookup(name)
        if isinstance(in_dns, Found):
            yield from _check_answers([in_dns.service])


def _lacks(found: Sequence[Finding]) -> bool:
    return any(one.problem == "there is no such record" for one in found)


def _check_services(services: Sequence[Service]) -> Iterator[Finding]:
    """Hosts without an address, keys, and, where all hosts are known, who does not answer."""
    from mesh.names.dns_check import Finding
    from mesh.names.hosts import host_of, look_up

    problems: dict[str, str] = {"": ""}
    for service in services:
        for one in service.endpoints:
            host = host_of(one.address)
            if host not in problems:
                problems[host] = look_up(host).problem
            where = f"{one.source or service.source}: {service.name}"
            if problems[host]:
                yield Finding(where, f"{one.address}: {problems[host]}")
            if one.key is not None:
                problem = (
                    f"{one.address} has a key: this release has no encryption, and calls no such endpoint"
                )
                yield Finding(where, problem, wrong=False)
    there = [one for one in services if not any(problems[host_of(end.address)] for end in one.endpoints)]
    yield from _check_answers(there)


def _check_answers(services: Sequence[Service]) -> Iterator[Finding]:
    """Who does not answer at this moment."""
    from mesh.cli.health import Checker
    from mesh.names.dns_check import Finding

    with Checker() as checker:
        for service, healths in zip(services, checker.check(services), strict=True):
            for one, health in zip(service.endpoints, healths, strict=True):
                if health.state in _STATES:
                    where = f"{one.source or service.source}: {service.name}"
                    yield Finding(where, f"{one.address} {_STATES[health.state]}", wrong=False)


_STATES = {
    "down": "does not answer: is its server running?",
    "silent": "has taken a connection and does not answer",
    "no workers": "is a hub that has no worker of it",
}


def _check_both(service: Service) -> Iterator[Finding]:
    """Whether DNS has the name as well."""
    from mesh.names.dns_check import Finding
    from mesh.names.model import Found
    from mesh.transport.dns_names import DnsSource

    answer = DnsSource().lookup(service.name)
    if isinstance(answer, Found):
        problem = f"{answer.service.source} has the name as well: the file counts, and DNS is not asked"
        yield Finding(f"{service.source}: {service.name}", problem, wrong=False)


def _check_split(service: Service, registry: Source) -> Iterator[Finding]:
    """Whether the services that its calls go to are known."""
    from mesh.errors import ServiceNotFound
    from mesh.names.dns_check import Finding
    from mesh.names.resolver import parts_of
    from mesh.transport.dns_names import DnsSource

    try:
        parts_of(service, registry, DnsSource())
    except ServiceNotFound as exc:
        yield Finding(f"{service.source}: {service.name}.split", str(exc))
