"""By which rule a client spreads its calls: what users say of it. balance.py does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from mesh.core import settings

RULES: Final = ("peak_ewma", "least_loaded", "round_robin", "key")
LEAST_TAU, MOST_TAU = 0.001, 3_600.0


@dataclass(frozen=True, slots=True)
class Balance:
    """How a client spreads its calls over the endpoints of a service.

    rule: "peak_ewma", the one of two at random whose calls are quicker and fewer; "least_loaded", the one of
    two with fewer open calls; "round_robin", one after the other; "key", the same one for calls with the same
    key (`with_options(key=…)`), and least_loaded for those without one. tau: seconds in which peak_ewma
    forgets two thirds of a slow answer.

    Raises ConfigError.
    """

    __mesh_unexposed__: ClassVar[str] = "a rule of balancing"

    rule: str = "peak_ewma"
    tau: float = 10.0

    def __post_init__(self) -> None:
        settings.choice("rule", self.rule, RULES)
        settings.seconds("tau", self.tau, LEAST_TAU, MOST_TAU)


DEFAULT_BALANCE: Final = Balance()


def balance_of(value: object) -> Balance:
    """What a program gives as `balance`: a Balance, or the name of its rule; None for the default.

    Raises ConfigError.
    """
    if value is None:
        return DEFAULT_BALANCE
    if isinstance(value, Balance):
        return value
    settings.choice("balance", value, RULES)
    return Balance(str(value))
