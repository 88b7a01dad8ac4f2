"""Can every guard be rendered? Where not, a name within ``<< >>`` is unknown, or values do not agree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from rollguard.errors import Problem
from rollguard.generators.checks.context import Checked
from rollguard.generators.promql.syntax import PromQLError
from rollguard.generators.rules.alerting import RenderingError
from rollguard.spec.guards import all_guards


def problems(item: Checked) -> Iterator[Problem]:
    """Yield what keeps each of a rollout's guards, and its tests, from being rendered."""
    for guard in all_guards(item.rollout):
        try:
            with suppress(PromQLError):  # promtool says what is wrong with what can be rendered
                item.cases(guard)
        except RenderingError as error:
            message = f"cannot be rendered: {error.message}."
            yield item.problem((*item.location(guard), error.key), message, error.hint)
