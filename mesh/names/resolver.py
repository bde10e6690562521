"""From what a user gives (a name, an endpoint, a list of endpoints) to one service.

Asks the sources in order and words the answer; what a source looks like inside is its own matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from mesh.errors import ConfigError, MeshError, ServiceNotFound
from mesh.names.endpoints import check_endpoint, endpoint_problem, is_endpoint
from mesh.names.model import (
    EXTENSION,
    NAME_RULE,
    Endpoint,
    Failed,
    Found,
    Missing,
    Service,
    Source,
    is_service_name,
    nearest,
)

Target = str | Sequence[str]


def resolve(target: Target, *sources: Source) -> Service:
    """The service that `target` means.

    target: a name, which the sources are asked for in order, an endpoint, or a list of endpoints.
    The last two give a service named after the endpoints. Raises ServiceNotFound where every
    source lacks the name; ConfigError for a target that is neither, and the error of a source that
    can't tell, rather than ask the next one and perhaps reach another service of that name.
    """
    if isinstance(target, str):
        return _anonymous([target]) if is_endpoint(target) else _by_name(target, sources)
    if isinstance(target, Sequence) and all(isinstance(item, str) for item in target):
        return _anonymous(target)
    raise ConfigError(f"{target!r} is no target: give a service name, an endpoint, or a list of endpoints")


def parts_of(service: Service, *sources: Source) -> list[Service]:
    """The services that its calls go to: itself, or those that they are split between. As `resolve`."""
    return [service] if service.split is None else [resolve(name, *sources) for name in service.split.names]


def _anonymous(endpoints: Sequence[str]) -> Service:
    if not endpoints:
        raise ConfigError("the list of endpoints is empty: give at least one")
    for number, endpoint in enumerate(endpoints):
        check_endpoint(endpoint)
        if endpoint in endpoints[:number]:
            raise ConfigError(f"{endpoint!r} stands twice in the list of endpoints: give it once")
    source = "given directly"
    found = tuple(Endpoint(address, source=source) for address in endpoints)
    return Service(name=", ".join(endpoints), endpoints=found, source=source)


def _by_name(name: str, sources: Iterable[Source]) -> Service:
    check_name(name)
    looked_in: list[str] = []
    known: list[str] = []
    for source in sources:
        match source.lookup(name):
            case Found(service):
                return service
            case Failed(error) if isinstance(error, ServiceNotFound):
                raise not_found(name, looked_in, known, error)
            case Failed(error):
                raise error
            case Missing(places, names):
                looked_in += places
                known += names
            case other:
                assert_never(other)
    raise not_found(name, looked_in, known)


def check_name(name: str) -> None:
    """Raise ConfigError for what can't be the name of a service."""
    if not is_service_name(name):
        raise ConfigError(f"{name[:80]!r} is neither a service name nor an endpoint{_rule_or_guess(name)}")


def not_found(
    name: str, looked_in: Sequence[str], known: Iterable[str], failed: MeshError | None = None
) -> ServiceNotFound:
    """The error for a name that these places lack. failed: why one more could not tell."""
    places = ", ".join(looked_in)
    if name.startswith(EXTENSION):
        return ServiceNotFound(
            f"no service {name!r}: names that begin with {EXTENSION!r} hold YAML anchors in "
            f"{places} and are no services; give the service another name"
        )
    if failed is not None:
        return ServiceNotFound(f"no service {name!r} in {places}, and {failed}")
    hint = nearest(name, known)
    return ServiceNotFound(
        f"no service {name!r} in {places}{f'{hint} If not,' if hint else ':'} "
        "add it to a services.yml, or give an endpoint such as tcp://HOST:PORT"
    )


def _rule_or_guess(text: str) -> str:
    guess = f"tcp://{text}"
    if endpoint_problem(guess) is None:
        return f"; did you mean {guess!r}?"
    # As a name that is complete ends in DNS.
    return f": {NAME_RULE}{': leave the last dot out' if is_service_name(text.removesuffix('.')) else ''}"
