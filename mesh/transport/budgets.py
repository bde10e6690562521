"""The retry budgets of this process: one for each service, which all its clients share."""

from __future__ import annotations

from weakref import WeakValueDictionary

from mesh.core.budget import RetryBudget

_budgets: WeakValueDictionary[str, RetryBudget] = WeakValueDictionary()


def budget_of(service: str) -> RetryBudget:
    """That of a service, as long as somebody has it. From any thread: two that begin one at the same moment
    may have one each."""
    budget = _budgets.get(service)
    if budget is None:
        budget = _budgets[service] = RetryBudget()
    return budget
