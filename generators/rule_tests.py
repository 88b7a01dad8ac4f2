"""promtool tests of rendered rules: each template's own cases, with the numbers that the guard runs with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from generators import expressions
from generators.rules import Condition, RenderingError, conditions, other_stages
from generators.timing import Timing
from rollguard import durations
from rollguard.conventions import STAGE_METRIC
from rollguard.guards import Series, TestCase, all_guards, library
from rollguard.spec import Guard, Rollout

GUARD_LABELS = "action, alertname, guard, rollout, severity"


def test_file(rollout: Rollout, timing: Timing) -> dict[str, Any]:
    """Return the tests of a rollout's rules, as promtool reads them.

    Args:
        rollout: a checked rollout.
        timing: interval and scale, the same that the rules were rendered with.
    Returns:
        The content of ``<rollout>.test.yml``; each test group is named ``<guard>: <case>``.
    Raises:
        RenderingError: names the guard whose tests cannot be rendered.
    """
    groups = [group for guard in all_guards(rollout) for group in _Guarded(rollout, guard, timing).groups()]
    return {
        "rule_files": [f"../rules/{rollout.name}.rules.yml"],
        "evaluation_interval": durations.render(timing.interval),
        "tests": groups,
    }


class _Guarded:
    """One guard and its tests."""

    def __init__(self, rollout: Rollout, guard: Guard, timing: Timing) -> None:
        self.rollout, self.guard, self.timing = rollout, guard, timing
        self.template = library()[guard.use]

    def groups(self) -> Iterator[dict[str, Any]]:
        parts = conditions(self.rollout, self.guard, self.timing)
        for number, part in enumerate(parts, 1):
            which = f" (condition {number})" if len(parts) > 1 else ""
            others = [other for other in parts if other is not part]
            for case in self.template.tests:
                if all(part.names[name] is not None for name in case.given):
                    yield from self._groups_of_case(part, case, which, others)

    def _groups_of_case(
        self, part: Condition, case: TestCase, which: str, others: Sequence[Condition]
    ) -> Iterator[dict[str, Any]]:
        try:
            begins = self.timing.steps(float(self._render(case.starts, part)))
            series = list(self._series(part, case, begins))
            for other in others if self._fires_on_absence() else ():
                series += self._series(other, self.template.tests[-1], begins)
        except (expressions.ExpressionError, ValueError) as error:
            raise RenderingError(
                f"{self.rollout.name}: tests of guard {self.guard.name}: {error}."
            ) from error
        title = f"{self.guard.name}: {case.case}, {case.about}{which}"
        fires_at = begins + self.timing.steps(self.timing.seconds(self.guard.for_))
        yield self._group(title, series, [(fires_at, case.case == "fires")])
        if case.case != "fires":
            return
        if self.guard.for_:
            short = title.replace(": fires,", ": silent just before `for`,")
            yield self._group(short, series, [(fires_at - 1, False)])
        for stage, fires in self._stages():
            title_there = title.replace(": fires,", f": {'fires' if fires else 'silent'} in {stage},")
            told = {"series": self._stage_series(stage), "values": f"1x{fires_at + 1}"}
            yield self._group(title_there, [*series, told], [(fires_at, fires)])

    def _fires_on_absence(self) -> bool:
        """Whether a condition without series fires: then a test of one gives the others their last case's."""
        return any(case.case == "fires" and not case.series for case in self.template.tests)

    def _stages(self) -> Iterator[tuple[str, bool]]:
        """Yield one stage in which the guard is armed, and each that silences it."""
        elsewhere = other_stages(self.rollout, self.guard)
        if elsewhere:
            yield self.rollout.armed_stages(self.guard)[0], True
        for stage in elsewhere:
            yield stage, False

    def _stage_series(self, stage: str) -> str:
        return f'{STAGE_METRIC}{{rollout="{self.rollout.name}",{STAGE_METRIC}="{stage}"}}'

    def _series(self, part: Condition, case: TestCase, begins: int) -> Iterator[dict[str, str]]:
        steps = begins + self.timing.steps(self.timing.seconds(self.guard.for_)) + 1
        for series in case.series:
            metric = part.names[series.of]
            if metric is None:
                continue
            assert isinstance(metric, Series)
            values = expressions.render(series.values, {**part.names, "steps": steps})
            held = values if "x" in values else f"{values}x{steps}"
            yield {"series": str(metric.example()), "values": held}

    def _render(self, text: str, part: Condition) -> str:
        return expressions.render(text, part.names)

    def _group(
        self, title: str, series: list[dict[str, str]], expected: list[tuple[int, bool]]
    ) -> dict[str, Any]:
        alerts = f'ALERTS{{alertname="{self.guard.alert}",guard="{self.guard.name}",alertstate="firing"}}'
        labels = (
            f'{{action="{self.guard.action}",alertname="{self.guard.alert}",guard="{self.guard.name}",'
            f'rollout="{self.rollout.name}",severity="{self.guard.severity}"}}'
        )
        return {
            "name": title,
            "interval": durations.render(self.timing.interval),
            "input_series": series,
            "promql_expr_test": [
                {
                    "expr": f"count by ({GUARD_LABELS}) ({alerts})",
                    "eval_time": durations.render(step * self.timing.interval),
                    "exp_samples": [{"labels": labels, "value": 1}] if fires else [],
                }
                for step, fires in expected
            ],
        }
