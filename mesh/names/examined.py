"""A services.yml as whoever checks it wants it: all that is wrong with it, and what is right all the same.

Whoever uses the file gets nothing of one with a mistake; see catalog.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mesh.errors import ConfigError
from mesh.names.catalog import Catalog, read_data
from mesh.names.mistakes import Mistake, Mistakes
from mesh.names.model import Answer, Found, Missing, Service
from mesh.names.textfile import decoded


@dataclass(frozen=True, slots=True)
class Examined:
    """path: None where there is no file. services: also those with mistakes, which have no endpoints here.
    mistakes: in the order of the lines.
    """

    path: str | None
    services: Mapping[str, Service] = field(default_factory=dict)
    mistakes: Sequence[Mistake] = ()

    def lookup(self, name: str) -> Answer:
        if name in self.services:
            return Found(self.services[name])
        return Missing(() if self.path is None else (self.path,), tuple(self.services))


def examine(catalog: Catalog) -> Examined:
    """The catalog's file, read once more."""
    from mesh.names.entries import parse_services

    path = catalog.path
    if path is None:
        return Examined(None, mistakes=_why_none(catalog))
    services: dict[str, Service] = {}
    mistakes = Mistakes(keep=True)
    with mistakes:
        _, data = read_data(path)
        if isinstance(data, Mistake):
            raise data
        services = parse_services(decoded(data, path), path, mistakes=mistakes)
    return Examined(path, services, sorted(mistakes.found, key=lambda one: one.line))


def _why_none(catalog: Catalog) -> list[Mistake]:
    """Why there is no file, where there has to be one."""
    try:
        catalog.services()
    except ConfigError as error:
        where, _, problem = str(error).partition(": ")
        return [Mistake(problem, where)]
    return []
