"""The platform's alerts: the file, what is rendered of it, and holds that no rollout file mentions."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollguard.control.decide import armed, decide
from rollguard.conventions import PLATFORM_JOBS
from rollguard.errors import FileProblemsError
from rollguard.generators.rules.alerting import rendered_rules
from rollguard.generators.rules.platform import platform_rules, platform_tests, rendered_alerts
from rollguard.spec.loading import load_rollout
from rollguard.spec.platform import acting_guards, is_platform, load_platform, platform_alerts
from rollguard.spec.rollout import Rollout
from rollguard.spec.templates import GuardError
from rollguard.state import State
from tests.factories import SHIPPED, shipped_rollout
from tests.factories import guard_alert as alert

NAME = "model-canary"

CATALOGUE = {
    "Watchdog": ("info", "notify", 0),
    "RollguardDrill": ("info", "notify", 0),
    "RollguardExporterDown": ("critical", "hold", 60),
    "RollguardExporterStale": ("warning", "hold", 0),
    "RollguardRollbackNotApplied": ("critical", "notify", 60),
    "RollguardLedgerUnwritable": ("critical", "notify", 0),
    "RollguardRunWithoutFile": ("critical", "notify", 0),
    "RollguardDown": ("critical", "notify", 60),
    "AlertmanagerNotificationsFailing": ("critical", "notify", 60),
    "PrometheusRuleFailures": ("critical", "hold", 300),
}
HOLDS = ["RollguardExporterDown", "RollguardExporterStale", "PrometheusRuleFailures"]


@pytest.fixture
def rollout() -> Rollout:
    return shipped_rollout()


@pytest.fixture
def pair(rollout: Rollout) -> list[Rollout]:
    """Two rollouts that are scraped at different intervals."""
    scrape = rollout.scrape.model_copy(update={"interval": 60.0})
    return [rollout, rollout.model_copy(update={"rollout": "other", "scrape": scrape})]


# The file


def test_every_alert_of_the_platform_is_there_with_severity_action_and_for() -> None:
    found = {item.alert: (item.severity, item.action, item.for_) for item in platform_alerts()}
    assert found == CATALOGUE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("alerts: []", "alerts"),
        ("alerts: [", "not YAML"),
        ("alerts: [{alert: A, alert: B}]", "given twice"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text(text)
    with pytest.raises(GuardError, match=says) as caught:
        load_platform(path)
    assert str(path) in str(caught.value)


def entry(name: str = "Some", action: str = "hold", each: str = "true") -> str:
    return (
        f"  - {{alert: {name}, each_rollout: {each}, severity: info, action: {action}, summary: S., "
        "description: d, expr: vector(1), tests: [{case: fires, about: it}]}\n"
    )


def test_a_hold_of_no_rollout_is_refused_as_nobody_could_act_on_it(tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text("alerts:\n" + entry(each="false"))
    with pytest.raises(GuardError, match="expected each_rollout"):
        load_platform(path)


def test_two_alerts_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    path.write_text("alerts:\n" + entry() + entry())
    with pytest.raises(GuardError, match="share a name"):
        load_platform(path)


def test_no_guard_of_a_rollout_takes_the_name_of_a_platform_alert(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(SHIPPED.read_text().replace("DriftDetected", "RollguardExporterDown"))
    with pytest.raises(
        FileProblemsError, match="is RollguardExporterDown, which is an alert of the platform"
    ):
        load_rollout(path)


def test_no_rollout_is_called_platform(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(SHIPPED.read_text().replace("rollout: model-canary\n", "rollout: platform\n"))
    with pytest.raises(FileProblemsError, match="names the platform's own rules"):
        load_rollout(path)


# What is rendered


def test_what_holds_names_each_rollout(pair: list[Rollout]) -> None:
    for rule in rendered_rules(platform_rules(pair, 1.0)):
        if rule["labels"]["action"] != "notify":
            assert rule["labels"]["rollout"] in {NAME, "other"}
    named = [item.labels["rollout"] for item in rendered_alerts(pair, 1.0) if item.alert.alert in HOLDS]
    assert sorted(named) == [NAME] * 3 + ["other"] * 3


def test_every_alert_is_labelled_and_annotated_for_a_person(pair: list[Rollout]) -> None:
    for rule in rendered_rules(platform_rules(pair, 1.0)):
        severity, action, _ = CATALOGUE[rule["alert"]]
        labels, texts = rule["labels"], rule["annotations"]
        assert (labels["severity"], labels["action"], labels["guard"]) == (severity, action, rule["alert"])
        assert texts["summary"][0].isupper()
        assert texts["summary"].endswith(".")
        assert "{{" not in texts["summary"]
        assert texts["description"]
        assert (SHIPPED.parents[1] / texts["runbook_url"]).is_file()


def test_stale_is_twice_the_interval_of_its_own_rollout(pair: list[Rollout]) -> None:
    limits = {
        rule["labels"]["rollout"]: rule["expr"].rpartition(" > ")[2]
        for rule in rendered_rules(platform_rules(pair, 1.0))
        if rule["alert"] == "RollguardExporterStale"
    }
    assert limits == {NAME: "30", "other": "120"}


def test_a_group_holds_at_most_twenty_rules(rollout: Rollout) -> None:
    many = [rollout.model_copy(update={"rollout": f"r{number}"}) for number in range(10)]
    groups = platform_rules(many, 1.0)["groups"]
    assert [len(group["rules"]) for group in groups] == [20, 20, 15]
    assert [group["name"] for group in groups] == ["platform", "platform-2", "platform-3"]


def test_every_alert_has_tests_that_fire_and_tests_that_are_silent(pair: list[Rollout]) -> None:
    groups = platform_tests(pair, 1.0)["tests"]
    for item in rendered_alerts(pair, 1.0):
        own = [group for group in groups if group["name"].startswith(f"{item.title}: ")]
        outcomes = {bool(group["promql_expr_test"][0]["exp_samples"]) for group in own}
        assert outcomes == {True, False}, item.title


def test_the_control_plane_is_scraped_under_the_name_that_its_alert_asks_for() -> None:
    (down,) = [item for item in platform_alerts() if item.alert == "RollguardDown"]
    assert f'job="{PLATFORM_JOBS[0]}"' in down.expr


# What the control plane makes of it


@pytest.mark.parametrize("guard", HOLDS)
@pytest.mark.parametrize("position", ["shadow", "canary", "full", "enabled"])
def test_a_hold_of_the_platform_is_armed_wherever_a_run_is_under_way(
    rollout: Rollout, guard: str, position: str
) -> None:
    ((found, _),) = armed(rollout, position, [alert(guard)], "hold")
    assert found.name == guard


def test_a_hold_of_the_platform_is_no_rollback(rollout: Rollout) -> None:
    state = State(NAME, "ROLLING_OUT", "canary", 1)
    found = decide(rollout, state, [alert(guard) for guard in CATALOGUE])
    assert [transition.kind for transition in found] == ["hold"]


def test_only_what_holds_acts_beside_a_rollouts_own_guards(rollout: Rollout) -> None:
    assert [guard.name for guard in acting_guards(rollout)][-3:] == HOLDS
    assert not any(is_platform(guard.name) for guard in rollout.guards)
