"""Test cases as data: what a guard is shown, and at which steps it fires; rendered for promtool elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from rollguard import durations
from rollguard.generators.promql import syntax
from rollguard.generators.rule_tests.notation import (
    MOST_STEPS,
    STALE,
    Sample,
    differ,
    expanded,
    require_notation,
    shortened,
)
from rollguard.generators.rules import expressions
from rollguard.generators.rules.alerting import (
    Condition,
    RenderingError,
    conditions,
    silences,
)
from rollguard.generators.rules.expressions import ExpressionError
from rollguard.generators.rules.timing import Timing
from rollguard.spec.rollout import Guard, Rollout
from rollguard.spec.rule_tests import TestCase, TestSeries
from rollguard.spec.series import Series
from rollguard.spec.templates import template_of

FIRES, SILENT, ABSENT, RESOLVES = "fires", "silent", "absent", "resolves"
BEFORE_FOR = "silent just before `for`"
TWIN_RATIO = 0.01
"""How far a firing test and its silent twin may be apart, of the value."""

_STEPS_IN_A_WINDOW = 40
_LEAST_STEPS = 3

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
        interval: between two steps, seconds.
    """

    guard: Guard
    condition: int
    kind: str
    about: str
    series: Mapping[str, str]
    expected: tuple[tuple[int, bool], ...]
    interval: float

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
        self.rollout, self.guard = rollout, guard
        self.template = template_of(guard)
        self.parts = conditions(rollout, guard, timing)
        windows = [window for part in self.parts for window in _windows(part)]
        self.silences = silences(rollout, guard, timing)
        asked = [silence.seconds for silence in self.silences]
        self.timing = _pace(windows, asked, guard, timing)
        longest = max([timing.seconds(guard.for_), *windows])
        if longest > MOST_STEPS * self.timing.interval:
            words = f"`for` or a window is {longest:g} s, expected {MOST_STEPS:,} intervals at most"
            raise RenderingError(f"{rollout.name}: guard {guard.name}", ExpressionError(words), "for")
        self.waits = self.timing.steps(self.timing.seconds(guard.for_))
        self._names_by_part: dict[int, dict[str, Any]] = {}
        self._written_by_part: dict[int, list[tuple[TestCase, RenderedCase]]] = {}

    def written(self, part: Condition) -> Sequence[tuple[TestCase, RenderedCase]]:
        """Return the template's cases that apply to a condition, as written and rendered."""
        if id(part) not in self._written_by_part:
            self._written_by_part[id(part)] = [
                (case, self._case(part, case)) for case in self._applying(part)
            ]
        return self._written_by_part[id(part)]

    def _case(self, part: Condition, case: TestCase) -> RenderedCase:
        at = self.begins(part, case) + self.waits
        return RenderedCase(
            self.guard, self.parts.index(part) + 1, case.case, case.about, self.series(part, case),
            ((at, case.case == FIRES),), self.timing.interval,
        )  # fmt: skip

    def healthy(self, part: Condition) -> TestCase:
        """Return the last case that applies to a condition: by it, the condition is silent."""
        return self._applying(part)[-1]

    def fires_on_absence(self, part: Condition) -> bool:
        """Whether a condition without series fires: then a test of another one gives it its last case's."""
        return any(case.case == FIRES and not case.series for case in self._applying(part))

    def _applying(self, part: Condition) -> list[TestCase]:
        given = {name for name, value in part.names.items() if value is not None}
        return [
            case
            for case in self.template.tests
            if given.issuperset(case.given)
            and given.isdisjoint(case.unless)
            and (case.when is None or self._holds(part, case.when))
            and (not self.template.judges_absence or all(self._is_free(part, one) for one in case.series))
        ]

    def _is_free(self, part: Condition, series: TestSeries) -> bool:
        """Return whether the labels by which a test tells series apart are none that the guard selects."""
        metric = part.names[series.of]
        fixed = {label for label, _, _ in metric.own_matchers} if isinstance(metric, Series) else set()
        return fixed.isdisjoint(self._labels(part, series))

    def _holds(self, part: Condition, text: str) -> bool:
        try:
            return expressions.holds(text, self.known(part))
        except ExpressionError as error:
            raise self._error(error) from error

    def begins(self, part: Condition, case: TestCase) -> int:
        """Return the step from which on a case's condition holds."""
        return self.timing.steps(self.number(part, case.starts))

    def number(self, part: Condition, text: str) -> float:
        """Return a number of a template; it may name what `known` returns, and the template's own numbers."""
        try:
            seconds = float(expressions.render(text, self._names(part)))
            if not abs(seconds) <= MOST_STEPS * self.timing.interval:
                raise ExpressionError(f"a test of {seconds:g} s, expected {MOST_STEPS:,} intervals at most")
        except (ExpressionError, ValueError) as error:
            raise self._error(error) from error
        return seconds

    def series(self, part: Condition, case: TestCase, longer: int = 0) -> dict[str, str]:
        """Return a case's series, and what keeps the guard's other conditions silent.

        Args:
            part: the condition.
            case: of the template.
            longer: for how many steps after the case's own end its values are held.
        """
        steps = self.begins(part, case) + self.waits + 1 + longer
        found: dict[str, str] = {}
        sets = self._label_sets(part, case)
        for other in self.parts:
            if other is not part and (self.template.judges_absence or self.fires_on_absence(other)):
                for labels in sets:
                    found |= dict(self._rendered(other, self.healthy(other), steps, labels))
        own = next((name for name in ("metric", "number") if isinstance(part.names.get(name), Series)), None)
        if self.template.judges_absence and own is not None:
            for labels in sets:
                found.pop(self._name(part, TestSeries(of=own, values="1"), labels), None)
        return found | dict(self._rendered(part, case, steps, {}))

    def _label_sets(self, part: Condition, case: TestCase) -> list[Mapping[str, str]]:
        """Return the labels, beside those that the guard selects, by which a case tells its series apart."""
        found = [self._labels(part, one) for one in case.series if part.names[one.of] is not None]
        return list({str(labels): labels for labels in found}.values()) or [{}]

    def _labels(self, part: Condition, series: TestSeries) -> dict[str, str]:
        names = self._names(part)
        return {
            expressions.render(label, names): expressions.render(text, names)
            for label, text in series.labels.items()
        }

    def _name(self, part: Condition, series: TestSeries, labels: Mapping[str, str]) -> str:
        metric = part.names[series.of]
        assert isinstance(metric, Series)
        example = metric.suffixed(series.suffix).example()
        fixed = {label for label, _, _ in example.matchers}
        free = {label: text for label, text in labels.items() if label not in fixed}
        more = [(label, "=", text) for label, text in {**free, **self._labels(part, series)}.items()]
        return str(replace(example, matchers=(*example.matchers, *more)))

    def _rendered(
        self, part: Condition, case: TestCase, steps: int, labels: Mapping[str, str]
    ) -> Iterator[tuple[str, str]]:
        names = {**self._names(part), "steps": steps}
        for series in case.series:
            if part.names[series.of] is None:
                continue
            try:
                values = expressions.render(series.values, names)
                name = self._name(part, series, labels)
                if "x" not in values:
                    values = shortened([float(values)] * (steps + 1))
                require_notation(values)
                yield name, values
            except (ExpressionError, ValueError) as error:
                raise self._error(error) from error

    def known(self, part: Condition) -> Mapping[str, Any]:
        """Return what `when` and `equivalent` may name.

        Returns:
            The parameters, ``interval``, ``held`` (seconds), ``conditions`` (the parameters of each).
        """
        held = self.timing.seconds(self.guard.for_)
        every = [other.names for other in self.parts]
        return {**part.names, "interval": self.timing.interval, "held": held, "conditions": every}

    def _names(self, part: Condition) -> dict[str, Any]:
        """Return the names a test may use: the parameters, and the template's own numbers in their order."""
        if id(part) in self._names_by_part:
            return self._names_by_part[id(part)]
        found = dict(self.known(part))
        try:
            for name, text in self.template.let.items():
                found[name] = float(expressions.render(text, found))
        except (ExpressionError, ValueError) as error:
            raise self._error(error) from error
        self._names_by_part[id(part)] = found
        return found

    def _error(self, error: Exception) -> RenderingError:
        where = f"{self.rollout.name}: tests of guard {self.guard.name}"
        return RenderingError(where, error, "with" if self.guard.use else "tests")


def _windows(part: Condition) -> Iterator[float]:
    """Yield the seconds of every duration that an expression names."""
    for token in syntax.parse(part.expr).tokens:
        if token.kind == "duration":
            yield durations.parse(token.text)


def _pace(windows: Sequence[float], asked: Sequence[float], guard: Guard, timing: Timing) -> Timing:
    """Return the timing of a guard's tests: a guard that looks back for days is not tested every 15 s.

    The shortest window still spans three steps, so that nothing that the guard sees goes unseen; and each
    window a whole number of them where that is possible, as counters are extrapolated over the rest.
    """
    shortest = min(
        [*windows, *asked,
         *([2 * timing.seconds(guard.for_)] if guard.for_ else [])],
        default=0.0,
    )  # fmt: skip
    longest = max(windows, default=0.0)
    steps = longest / (_STEPS_IN_A_WINDOW * timing.interval)
    most = max(1, math.floor(min(shortest / (_LEAST_STEPS * timing.interval), steps)))
    whole = (
        n for n in range(most, most // 2, -1) if all(_divides(n * timing.interval, one) for one in windows)
    )
    return replace(timing, base_interval=timing.base_interval * next(whole, most))


def _divides(interval: float, window: float) -> bool:
    times = window / interval
    return abs(times - round(times)) < 1e-6


def are_twins(fires: RenderedCase, silent: RenderedCase) -> bool:
    """Return whether a firing and a silent case differ in one value, and by no more than 1 % of it.

    Where they show the same series, they may differ in the time of the look instead: a guard on absence has
    no value, and nothing happens between two evaluations. A count of changes may differ by one change.
    """
    if fires.condition != silent.condition or fires.series.keys() != silent.series.keys():
        return False
    pairs = [(expanded(fires.series[name]), expanded(silent.series[name])) for name in fires.series]
    differing = [(one, other) for one, other in pairs if any(map(differ, one, other))]
    if not differing:
        apart = fires.expected[0][0] - silent.expected[0][0]
        return bool(fires.series) and abs(apart) <= _TWIN_STEPS
    if len(differing) > 1:
        return False
    ((one, other),) = differing
    return _near(one, other) or _one_change_apart(one, other)


def are_same(one: RenderedCase, other: RenderedCase) -> bool:
    """Return whether two cases show the same samples, as far as both go."""
    return one.series.keys() == other.series.keys() and all(
        not any(map(differ, expanded(values), expanded(other.series[name])))
        for name, values in one.series.items()
    )


def _near(one: list[Sample], other: list[Sample]) -> bool:
    for first, second in zip(one, other, strict=False):
        if isinstance(first, float) and isinstance(second, float):
            if abs(first - second) > TWIN_RATIO * (max(abs(first), abs(second)) if first and second else 1.0):
                return False
        elif first != second:
            return False
    return True


def _one_change_apart(one: list[Sample], other: list[Sample]) -> bool:
    lines = [[None if sample == STALE else sample for sample in line] for line in (one, other)]
    changes = [sum(before != after for before, after in pairwise(line)) for line in lines]
    return abs(changes[0] - changes[1]) == 1 and {*lines[0], *lines[1]} <= {0.0, 1.0, None}
