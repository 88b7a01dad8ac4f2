"""promtool tests of rendered rules: each template's own cases and what follows, with the guard's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

from rollguard import durations
from rollguard.conventions import GUARD_LABEL, OPEN_METRIC
from rollguard.generators.promql.syntax import PromQLError
from rollguard.generators.rule_tests.cases import BEFORE_FOR, FIRES, SILENT, RenderedCase, Watched
from rollguard.generators.rule_tests.derived import derived
from rollguard.generators.rule_tests.following import silence_fades, stage_series
from rollguard.generators.rules.alerting import Silence
from rollguard.generators.rules.timing import Timing
from rollguard.spec.guards import all_guards
from rollguard.spec.rollout import Guard, Rollout

GUARD_LABELS = "action, alertname, guard, rollout, severity"


def cases(rollout: Rollout, guard: Guard, timing: Timing) -> Iterator[RenderedCase]:
    """Yield every test case of a guard.

    Args:
        rollout: a checked rollout.
        guard: one of its guards.
        timing: interval and scale.
    Raises:
        RenderingError: a case cannot be rendered.
        PromQLError: the guard's expression is none.
    """
    watched = Watched(rollout, guard, timing)
    for part in watched.parts:
        for written, case in watched.written(part):
            yield case
            if case.kind == FIRES and not written.already:
                yield from _before_for(guard, case)
        yield from derived(watched, part)
    for silence in watched.silences:
        part = watched.parts[0]
        fires = next(case for _, case in watched.written(part) if case.kind == FIRES)
        yield from _silenced(rollout, fires, silence)
        yield from silence_fades(watched, silence)


CasesOf: TypeAlias = Callable[[Rollout, Guard, Timing], Iterable[RenderedCase]]
"""What gives the test cases of a guard, as `cases` does."""


def test_files(rollout: Rollout, timing: Timing, of_guard: CasesOf) -> dict[str, dict[str, Any]]:
    """Return the tests of a rollout's rules, as promtool reads them.

    Args:
        rollout: a checked rollout.
        timing: interval and scale, the same that the rules were rendered with.
        of_guard: gives the test cases of a guard, as `cases` does.
    Returns:
        File name → content: `<rollout>.test.yml`, and one more for each slower pace of tests; each test
        group is named ``<guard>: <case>``.
    Raises:
        RenderingError: names the guard whose tests cannot be rendered.
    """
    paces: dict[float, list[RenderedCase]] = {timing.interval: []}
    for guard in all_guards(rollout):
        with suppress(PromQLError):  # promtool says of the rule itself what is wrong
            for case in of_guard(rollout, guard, timing):
                paces.setdefault(case.interval, []).append(case)
    files = {}
    for interval, found in paces.items():
        pace = "" if interval == timing.interval else f".{durations.render(interval)}"
        files[f"{rollout.name}{pace}.test.yml"] = {
            "rule_files": [f"../rules/{rollout.name}.rules.yml"],
            "evaluation_interval": durations.render(interval),
            "tests": [test_group(rollout, case) for case in found],
        }
    return files


def _before_for(guard: Guard, case: RenderedCase) -> Iterator[RenderedCase]:
    if guard.for_:
        yield case.varied(BEFORE_FOR, case.about, case.series, (case.expected[0][0] - 1, False))


def _silenced(rollout: Rollout, case: RenderedCase, silence: Silence) -> Iterator[RenderedCase]:
    """Yield the case where each of a silence's series says it, and where one says that the guard is armed."""
    at = case.expected[0][0]
    for series, when in silence.series.items():
        told = {series: f"{silence.value}x{at + 1}"}
        yield case.varied(f"{SILENT} {when}", case.about, {**case.series, **told}, (at, False))
    if silence.value:
        stage = rollout.armed_stages(case.guard)[0]
        told, when = {stage_series(rollout.name, stage): f"1x{at + 1}"}, f"in {stage}"
    else:
        another = f'{OPEN_METRIC}{{rollout="{rollout.name}",{GUARD_LABEL}="Another"}}'
        told = {**dict.fromkeys(silence.series, f"1x{at + 1}"), another: f"0x{at + 1}"}
        when = "while it is open, and another guard's clock is closed"
    yield case.varied(f"{FIRES} {when}", case.about, {**case.series, **told}, (at, True))


def test_group(rollout: Rollout, case: RenderedCase) -> dict[str, Any]:
    """Return one case as a test group of promtool."""
    guard = case.guard
    alerts = f'ALERTS{{alertname="{guard.alert}",guard="{guard.name}",alertstate="firing"}}'
    labels = (
        f'{{action="{guard.action}",alertname="{guard.alert}",guard="{guard.name}",'
        f'rollout="{rollout.name}",severity="{guard.severity}"}}'
    )
    return {
        "name": case.title,
        "interval": durations.render(case.interval),
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [
            {
                "expr": f"count by ({GUARD_LABELS}) ({alerts})",
                "eval_time": durations.render(step * case.interval),
                "exp_samples": [{"labels": labels, "value": 1}] if fires else [],
            }
            for step, fires in case.expected
        ],
    }
