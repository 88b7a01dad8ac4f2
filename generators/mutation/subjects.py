"""The platform's alerts as subjects of mutation, and the kinds of test that they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rollguard.conventions import PLATFORM
from rollguard.generators.mutation.run import Subject
from rollguard.generators.rule_tests.coverage import GuardCoverage, Kind
from rollguard.generators.rules.platform import RenderedAlert, rendered_alerts
from rollguard.spec.rollout import Rollout
from rollguard.yamlfile import read


def subjects(rollouts: Sequence[Rollout], scale: float) -> list[Subject]:
    """Return each of the platform's alerts, ready for mutation; those of every rollout once, for the first.

    Args:
        rollouts: checked rollouts.
        scale: what every duration is divided by.
    Raises:
        RenderingError: an alert cannot be rendered.
    """
    path = Path(str(resources.files("rollguard.alerts") / f"{PLATFORM}.yaml"))
    document = read(path)
    lines = {
        alert["alert"]: document.line_of(("alerts", index))
        for index, alert in enumerate(document.data["alerts"])
    }
    return [
        Subject(
            path,
            lines[alert.alert.alert],
            alert.alert.alert,
            alert.rule(),
            list(alert.tests()),
            alert.timing.interval,
            alert.equivalents(),
        )
        for alert in rendered_alerts(rollouts[:1], scale)
    ]


def coverage(rollouts: Sequence[Rollout], scale: float) -> list[GuardCoverage]:
    """Return the kinds of test that each of the platform's alerts has, seen from the rendered tests.

    A twin is a silent test on the series of a firing one; up and down have no values 1 % apart.

    Args:
        rollouts: checked rollouts.
        scale: what every duration is divided by.
    """
    return [_coverage(alert) for alert in rendered_alerts(rollouts[:1], scale)]


def _coverage(alert: RenderedAlert) -> GuardCoverage:
    always: tuple[Kind, ...] = ("fires",)
    usual: tuple[Kind, ...] = ("fires", "silent twin", "absent", "resolves")
    needed = always if alert.alert.always else (*usual, "before for") if alert.alert.for_ else usual
    missing = {kind: words for kind, words in _missing(list(alert.tests())) if kind in needed}
    return GuardCoverage(PLATFORM, alert.alert.alert, needed, missing)


def _missing(groups: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Kind, str]]:
    firing = [group for group in groups if _outcomes(group) == [True]]
    silent = [group for group in groups if ": silent, " in group["name"]]
    if not firing:
        yield "fires", "no case fires"
    if not any(_names(one) == _names(other) and _names(one) for one in firing for other in silent):
        yield "silent twin", "no silent case has the series of a firing one"
    early = {_about(group) for group in groups if ": silent just before `for`, " in group["name"]}
    if any(_about(group) not in early for group in firing):
        yield "before for", "a firing case is not looked at one evaluation before"
    absent = [group for group in groups if not group["input_series"]]
    if not any(_names(group) < _names(other) for group in absent for other in firing):
        yield "absent", "no case is without any series"
    if not any(_outcomes(group) == [True, False] for group in groups):
        yield "resolves", "no case fires and is silent later"


def _outcomes(group: Mapping[str, Any]) -> list[bool]:
    return [bool(test["exp_samples"]) for test in group["promql_expr_test"]]


def _names(group: Mapping[str, Any]) -> set[str]:
    return {series["series"] for series in group["input_series"]}


def _about(group: Mapping[str, Any]) -> str:
    return str(group["name"].split(", ", 1)[1])
