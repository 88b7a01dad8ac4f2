"""Coverage believes the rendered tests only, and names what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from rollguard.generators.rule_tests.cases import RenderedCase, are_twins
from rollguard.generators.rule_tests.coverage import GuardCoverage, Kind, coverage, of_cases, share
from rollguard.generators.rule_tests.files import cases
from rollguard.generators.rules.timing import Timing
from rollguard.spec.loading import load_rollout, load_rollouts
from tests.factories import ROOT

ROLLOUT = load_rollout(ROOT / "rollouts" / "model-canary.yaml")
WATCHED = next(guard for guard in ROLLOUT.guards if guard.alert == "WinRateDrop")
CASES = list(cases(ROLLOUT, WATCHED, Timing()))


def with_only(keep: Callable[[RenderedCase], bool]) -> GuardCoverage:
    return of_cases(ROLLOUT.name, WATCHED, [case for case in CASES if keep(case)])


@pytest.mark.slow  # `make check` says the same
def test_what_ships_is_covered() -> None:
    found = [guard for rollout in load_rollouts(ROOT / "rollouts") for guard in coverage(rollout, Timing())]
    assert [(guard.guard, guard.missing) for guard in found if guard.missing] == []
    assert share(found) == 1


def test_a_guard_without_for_needs_no_test_of_it() -> None:
    found = coverage(ROLLOUT, Timing())
    assert {guard.guard: "before for" in guard.needed for guard in found}["OnnxParityFailure"] is False


@pytest.mark.parametrize(
    ("dropped", "kind", "words"),
    [
        ("silent just before `for`", "before for", "none one evaluation before: just below the limit"),
        ("absent", "absent", "no case lacks a series that fires the guard"),
        ("resolves", "resolves", "no case fires and is silent later"),
        ("silent", "silent twin", "none within 1 % of the case: just below the limit"),
    ],
)
def test_a_kind_without_a_case_is_named(dropped: str, kind: Kind, words: str) -> None:
    assert with_only(lambda case: case.kind != dropped).missing == {kind: words}


def test_a_guard_that_never_fires_has_nothing() -> None:
    found = with_only(lambda case: case.kind != "fires")
    assert {"fires", "silent twin", "before for", "absent"} == set(found.missing)
    assert share([found]) == pytest.approx(1 / 5)


def test_a_case_that_only_claims_its_kind_does_not_count() -> None:
    def lying(case: RenderedCase) -> RenderedCase:
        return replace(case, expected=tuple((step, False) for step, _ in case.expected))

    found = of_cases(ROLLOUT.name, WATCHED, [lying(case) for case in CASES])
    assert {"fires", "resolves"} <= set(found.missing)


FIRES = RenderedCase(WATCHED, 1, "fires", "", {"a": "0.4975x5", "b": "1x5"}, ((5, True),), 15.0)


@pytest.mark.parametrize(
    ("series", "step", "twins"),
    [
        ({"a": "0.5x5", "b": "1x5"}, 5, True),
        ({"a": "0.51x5", "b": "1x5"}, 5, False),
        ({"a": "0.5x5", "b": "1.001x5"}, 5, False),
        ({"a": "0.5x5"}, 5, False),
        ({"a": "0.4975x5", "b": "1x5"}, 4, True),
        ({"a": "0.4975x5", "b": "1x5"}, 1, False),
        ({"a": "0.5x2 _x3", "b": "1x5"}, 5, False),
    ],
)
def test_twins_differ_in_one_value_by_one_percent(series: dict[str, str], step: int, twins: bool) -> None:
    silent = replace(FIRES, kind="silent", series=series, expected=((step, False),))
    assert are_twins(FIRES, silent) is twins


def test_a_count_of_changes_differs_by_one_change() -> None:
    fires = replace(FIRES, series={"a": "0 1 0 1 0"})
    assert are_twins(fires, replace(fires, series={"a": "0 1 0 1 1"}))
    assert not are_twins(fires, replace(fires, series={"a": "0 1 1 1 1"}))


def test_conditions_are_counted_apart() -> None:
    several = next(guard for guard in ROLLOUT.guards if guard.alert == "DriftDetected")
    rendered = [
        case for case in cases(ROLLOUT, several, Timing()) if case.condition == 1 or case.kind != "resolves"
    ]
    assert of_cases(ROLLOUT.name, several, rendered).missing == {
        "resolves": "condition 2: no case fires and is silent later"
    }
