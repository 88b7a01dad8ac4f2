"""Can every rollback come within the time that its rollout allows?"""

from __future__ import annotations

from collections.abc import Iterator

from rollguard import durations
from rollguard.errors import FileProblemsError
from rollguard.generators.alertmanager.existing_routes import RouteTree
from rollguard.generators.budget import GuardBudget, budget
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.yamlfile import Location

NAME = "budget"


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield guards whose rollback may come too late."""
    tree = None
    if material.own_alertmanager is not None:
        try:
            tree = RouteTree(material.own_alertmanager)
        except FileProblemsError:
            return  # the check of routes says so
    for item in material.checked:
        for found in budget(item.rollout, tree=tree):
            if found.over:
                worst, within = durations.render(round(found.worst, 1)), durations.render(found.within)
                message = f"{found.guard} may take {worst} to roll back, expected {within} at most."
                place = _place(item, found)
                yield Finding(NAME, "error", item.problem(place, message, found.advice))


def _place(item: LoadedRollout, found: GuardBudget) -> Location:
    """Return the guard's `for` where that alone is too long; else the limit."""
    guard = item.rollout.guard(found.guard)
    if guard is not None and guard.for_ >= found.within:
        return (*item.location(guard), "for")
    return ("rollback", "within")
