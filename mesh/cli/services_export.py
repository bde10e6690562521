"""`mesh services export`: the registry file as the text of a DNS zone."""

from __future__ import annotations

import time

import click

from mesh.cli.options import debug_option, services_option
from mesh.cli.reporting import complain
from mesh.errors import ConfigError


@click.command("export")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--zone", required=True, metavar="ZONE", help="The domain that the zone is of: example.com.")
@click.option("--ttl", type=click.IntRange(1, 86_400), default=60, help="Seconds that answers hold; 60.")
@services_option
@debug_option
def export(names: tuple[str, ...], zone: str, ttl: int, services_file: str | None) -> None:
    """Write the registry, or the NAMEs of it, as the text of a DNS zone.

    Hosts without a domain are looked up, and stand in the zone by their addresses. What a zone has no place
    for, such as timeouts and splits, is left out, with a line on standard error.
    """
    from mesh.names.catalog import Catalog
    from mesh.names.dns_settings import is_domain
    from mesh.names.resolver import resolve
    from mesh.names.zone_text import zone_text

    domain = zone.strip(".")
    if not is_domain(domain):
        raise ConfigError(f"--zone {zone!r:.80} is no domain: write one such as example.com")
    catalog = Catalog(services_file)
    services = [resolve(name, catalog) for name in dict.fromkeys(names)] or catalog.services()
    # A secondary takes a zone whose serial has grown.
    made = zone_text(services, domain, _addresses_of, serial=int(time.time()), ttl=ttl)
    for line in made.left_out:
        complain("left out", line)
    click.echo(made.text, nl=False)


def _addresses_of(host: str) -> list[str]:
    from mesh.names.hosts import look_up

    return [one for one in look_up(host, whole=True).addresses if "%" not in one]
