"""The platform's alerts under coverage and mutation: what they have is seen in their rendered tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollguard.generators.mutation import subjects
from rollguard.generators.rule_tests.coverage import share
from rollguard.generators.rules.platform import RenderedAlert, rendered_alerts
from rollguard.spec.platform import PlatformTest, platform_alerts
from rollguard.spec.rollout import Rollout
from tests.factories import shipped_rollout


@pytest.fixture
def rollout() -> Rollout:
    return shipped_rollout()


def exporter_down(rollout: Rollout) -> RenderedAlert:
    found = rendered_alerts([rollout], 1.0)
    return next(item for item in found if item.alert.alert == "RollguardExporterDown")


def test_what_ships_has_every_kind_of_test(rollout: Rollout) -> None:
    found = subjects.coverage([rollout], 1.0)
    assert len(found) == len(platform_alerts())
    assert share(found) == 1


@pytest.mark.parametrize(
    ("keeps", "missing"),
    [
        (lambda test: test.case != "fires", {"fires", "silent twin", "absent", "resolves"}),
        (lambda test: test.case != "silent", {"silent twin", "resolves"}),
        (lambda test: test.case != "absent", {"absent"}),
    ],
    ids=["firing", "silent", "absent"],
)
def test_a_kind_whose_cases_are_gone_is_missing(
    rollout: Rollout,
    keeps: Callable[[PlatformTest], bool],
    missing: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alert = exporter_down(rollout)
    bare = alert.alert.model_copy(update={"tests": tuple(filter(keeps, alert.alert.tests))})
    changed = RenderedAlert(bare, rollout, alert.timing)
    monkeypatch.setattr(subjects, "rendered_alerts", lambda *_: [changed])
    (found,) = subjects.coverage([rollout], 1.0)
    assert set(found.missing) == missing


def test_a_healthy_end_follows_the_breach(rollout: Rollout) -> None:
    alert = exporter_down(rollout)
    (group,) = [group for group in alert.tests() if ": resolves, " in group["name"]]
    assert [bool(case["exp_samples"]) for case in group["promql_expr_test"]] == [True, False]
    assert group["input_series"][0]["values"].startswith("0x5 1x")


def test_each_alert_is_mutated_once_at_its_line(rollout: Rollout) -> None:
    other = rollout.model_copy(update={"rollout": "other"})
    found = subjects.subjects([rollout, other], 1.0)
    assert len({subject.guard for subject in found}) == len(found) == len(platform_alerts())
    for subject in found:
        line = subject.path.read_text(encoding="utf-8").splitlines()[subject.line - 1]
        assert line == f"  - alert: {subject.guard}"


def test_declared_equivalents_are_those_of_the_alert(rollout: Rollout) -> None:
    declared = {
        subject.guard: [item.mutation for item in subject.declared]
        for subject in subjects.subjects([rollout], 1.0)
    }
    assert declared["RollguardDown"] == []
    assert declared["PrometheusRuleFailures"] == ["increase becomes rate"]
