"""Test cases as data: what a guard is shown, and at which steps it fires; rendered for promtool elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from generators import expressions
from generators.expressions import ExpressionError
from generators.rules import Condition, RenderingError, conditions
from generators.series import Sample, expanded
from generators.timing import Timing
from rollguard.guards import Series, TestCase, library
from rollguard.spec import Guard, Rollout

FIRES, SILENT, ABSENT, RESOLVES = "fires", "silent", "absent", "resolves"
BEFORE_FOR = "silent just before `for`"
TWIN_RATIO = 0.01
"""How far a firing test and its silent twin may be apart, of the value."""

_TWIN_STEPS = 2
"""The same for those that differ in time only: one interval before, one after."""


@dataclass(frozen=True)
class RenderedCase:
    """One test of one guard with its numbers.

    Args:
        guard: whose.
        condition: which item of its ``with``, counted from 1.
        kind: fires, silent, absent, resolves, …
        about: what it shows, in words.
        series: values of each series in promtool's notation.
        expected: step → whether the alert fires then.
    """

    guard: Guard
    condition: int
    kind: str
    about: str
    series: Mapping[str, str]
    expected: tuple[tuple[int, bool], ...]

    @property
    def title(self) -> str:
        """Its name in promtool's output."""
        which = f" (condition {self.condition})" if len(self.guard.bindings) > 1 else ""
        return f"{self.guard.name}: {self.kind}, {self.about}{which}"

    def varied(
        self, kind: str, about: str, series: Mapping[str, str], *expected: tuple[int, bool]
    ) -> RenderedCase:
        """Return another case of the same condition."""
        return replace(self, kind=kind, about=about, series=series, expected=expected)


class Watched:
    """One guard, and its template's cases with its numbers."""

    def __init__(self, rollout: Rollout, guard: Guard, timing: Timing) -> None:
        self.rollout, self.guard, self.timing = rollout, guard, timing
        self.template = library()[guard.use]
        self.parts = conditions(rollout, guard, timing)
        self.waits = timing.steps(timing.seconds(guard.for_))

    @property
    def fires_on_absence(self) -> bool:
        """Whether a condition without series fires: then a test of one gives the others their last case's."""
        return any(case.case == FIRES and not case.series for case in self.template.tests)

    def written(self, part: Condition) -> Iterator[tuple[TestCase, RenderedCase]]:
        """Yield the template's cases that apply to a condition, as written and rendered."""
        for case in self.template.tests:
            if all(part.names[name] is not None for name in case.given):
                at = self.begins(part, case) + self.waits
                series = self.series(part, case)
                rendered = RenderedCase(
                    self.guard, self.parts.index(part) + 1, case.case, case.about, series,
                    ((at, case.case == FIRES),),
                )  # fmt: skip
                yield case, rendered

    def begins(self, part: Condition, case: TestCase) -> int:
        """Return the step from which on a case's condition holds."""
        return self.timing.steps(self.number(part, case.starts))

    def number(self, part: Condition, text: str) -> float:
        """Return a number of a template; it may name ``held``, the guard's ``for`` in seconds."""
        held = self.timing.seconds(self.guard.for_)
        try:
            return float(expressions.render(text, {**part.names, "held": held}))
        except (ExpressionError, ValueError) as error:
            raise self._error(error) from error

    def series(self, part: Condition, case: TestCase, longer: int = 0) -> dict[str, str]:
        """Return a case's series, and what keeps the guard's other conditions silent.

        Args:
            part: the condition.
            case: of the template.
            longer: for how many steps after the case's own end its values are held.
        """
        steps = self.begins(part, case) + self.waits + 1 + longer
        found = dict(self._rendered(part, case, steps))
        for other in self.parts if self.fires_on_absence else ():
            if other is not part:
                found |= dict(self._rendered(other, self.template.tests[-1], steps))
        return found

    def _rendered(self, part: Condition, case: TestCase, steps: int) -> Iterator[tuple[str, str]]:
        for series in case.series:
            metric = part.names[series.of]
            if metric is None:
                continue
            assert isinstance(metric, Series)
            try:
                values = expressions.render(series.values, {**part.names, "steps": steps})
                yield str(metric.example()), values if "x" in values else f"{values}x{steps}"
            except (ExpressionError, ValueError) as error:
                raise self._error(error) from error

    def _error(self, error: Exception) -> RenderingError:
        return RenderingError(f"{self.rollout.name}: tests of guard {self.guard.name}: {error}.")


def are_twins(fires: RenderedCase, silent: RenderedCase) -> bool:
    """Return whether a firing and a silent case differ in one value, and by no more than 1 % of it.

    Where they show the same series, they may differ in the time of the look instead: a guard on absence has
    no value, and nothing happens between two evaluations. A count of changes may differ by one change.
    """
    if fires.condition != silent.condition or fires.series.keys() != silent.series.keys():
        return False
    differing = [name for name in fires.series if fires.series[name] != silent.series[name]]
    if not differing:
        apart = fires.expected[0][0] - silent.expected[0][0]
        return bool(fires.series) and abs(apart) <= _TWIN_STEPS
    if len(differing) > 1:
        return False
    one, other = (expanded(case.series[differing[0]]) for case in (fires, silent))
    return _near(one, other) or _one_change_apart(one, other)


def _near(one: list[Sample], other: list[Sample]) -> bool:
    for first, second in zip(one, other, strict=False):
        if isinstance(first, float) and isinstance(second, float):
            if abs(first - second) > TWIN_RATIO * (max(abs(first), abs(second)) if first and second else 1.0):
                return False
        elif first != second:
            return False
    return True


def _one_change_apart(one: list[Sample], other: list[Sample]) -> bool:
    changes = [sum(before != after for before, after in pairwise(line)) for line in (one, other)]
    return abs(changes[0] - changes[1]) == 1 and {*one, *other} <= {0.0, 1.0, None}
