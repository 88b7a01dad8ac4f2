"""The control plane's metrics: there from the start, continued after a restart, each state set whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from rollguard.control.decisions import Clock
from rollguard.errors import RollguardError
from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.server import metric_names
from rollguard.server.metrics import LONGEST_EVIDENCE, Metrics
from rollguard.spec.calendars import Window
from rollguard.spec.guards import all_guards
from rollguard.spec.rollout import Rollout
from rollguard.spec.targets import FlagdFile, Target
from rollguard.state import State
from rollguard.targets.applier import TargetStatus

if TYPE_CHECKING:
    from tests.unit.conftest import App

NAME = "model-canary"
NOW = 1_700_000_000.0
DECISION = metric_names.DECISION.name
TARGETS = tuple(Target(flagd_file=FlagdFile(path=name)) for name in ("a.json", "b.json"))
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def fire(app: App, guard: str = "DriftDetected", said: str = "", firing: bool = True) -> None:
    alert = GuardAlert(NAME, guard, firing, NOW, guard, {}, {"description": said})
    app.control.notify(Notification((alert,)), NOW)


def states(app: App, metric: str) -> dict[str, float]:
    """Return a state set's values by its label."""
    label = "state" if metric == "rollout_flag_state" else metric
    (family,) = [family for family in app.metrics.registry.collect() if family.name == metric]
    return {sample.labels[label]: sample.value for sample in family.samples}


def rollbacks(app: App) -> dict[str, float]:
    families = [family for family in app.metrics.registry.collect() if family.name == "rollback"]
    return {
        sample.labels["reason"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "rollback_total"
    }


# Exposition


def test_the_exposition_is_read_by_prometheus_own_parser(app: App) -> None:
    app.control.start(NAME, actor="ann")
    answer = app.get("/metrics", token=None)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"rollout_stage", "rollout_percent", "rollback", "mode_switch"} <= names


def test_the_exposition_is_open_metrics_where_that_is_asked_for(app: App) -> None:
    app.control.start(NAME, actor="ann")
    answer = app.get("/metrics", headers={"accept": OPENMETRICS})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert list(openmetrics.text_string_to_metric_families(answer.text))  # type: ignore[no-untyped-call]


def test_no_series_is_exposed_twice(app: App) -> None:
    series = [
        (sample.name, *sorted(sample.labels.items()))
        for family in app.metrics.registry.collect()
        for sample in family.samples
    ]
    assert len(series) == len(set(series))


# The ledger


def test_a_ledger_that_takes_writes_is_writable(app: App) -> None:
    assert app.sample("rollguard_ledger_writable") == 1


def test_a_ledger_whose_file_is_gone_is_not_writable(app: App, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").unlink()
    app.probe.ask()
    assert app.sample("rollguard_ledger_writable") == 0


def test_a_probe_leaves_the_ledger_as_it_was(app: App) -> None:
    app.control.start(NAME, actor="ann")
    head = app.ledger.head()
    app.probe.ask()
    assert app.sample("rollguard_ledger_writable") == 1
    assert app.sample("rollguard_ledger_last_probe_timestamp_seconds") == NOW
    assert (app.ledger.head(), app.ledger.verify(head)) == (head, [])


# The heartbeat


def test_the_heartbeat_is_dated(app: App) -> None:
    assert app.sample("rollguard_watchdog_last_timestamp_seconds") == 0
    watchdog = GuardAlert("", "Watchdog", True, NOW, "w", {}, {})
    app.control.notify(Notification((watchdog,)), NOW)
    assert app.sample("rollguard_watchdog_last_timestamp_seconds") == app.control.clock.wall()


# From the start


def test_rollbacks_of_every_guard_are_zero_from_the_start(app: App, rollout: Rollout) -> None:
    guards = [guard.name for guard in all_guards(rollout) if guard.action == "rollback"]
    assert rollbacks(app) == dict.fromkeys([*guards, "manual"], 0.0)


@pytest.mark.parametrize("reason", ["unauthorized", "too_large", "syntax", "shape", "version", "storage"])
def test_refusals_are_zero_from_the_start(app: App, reason: str) -> None:
    assert app.sample("rollguard_notifications_rejected_total", reason=reason) == 0


def test_switches_are_zero_from_the_start(app: App) -> None:
    assert app.sample("mode_switch_total", rollout=NAME) == 0


def test_a_rollout_that_never_began_has_not_entered_its_stage(app: App) -> None:
    assert app.sample("rollout_stage_entered_timestamp_seconds", rollout=NAME) is None


# State


@pytest.mark.parametrize(
    ("metric", "disabled"), [("rollout_stage", "disabled"), ("rollout_flag_state", "DISABLED")]
)
def test_a_state_set_is_one_for_one_and_zero_for_the_rest(app: App, metric: str, disabled: str) -> None:
    found = states(app, metric)
    assert found.pop(disabled) == 1
    assert set(found.values()) == {0}


def test_a_state_set_moves_with_the_rollout(app: App) -> None:
    for _ in range(7):
        found = states(app, "rollout_stage")
        position = app.control.state(NAME).position
        assert [stage for stage, value in found.items() if value] == [position]
        if position == "disabled":
            app.control.start(NAME, actor="ann")
        elif position != "enabled":
            app.control.promote(NAME, actor="ann", early=True)


def test_a_stage_that_the_file_lost_still_shows(make_app: Callable[..., App], rollout: Rollout) -> None:
    first = make_app()
    first.control.start(NAME, actor="ann")
    first.control.promote(NAME, actor="ann", early=True)
    less = rollout.model_copy(update={"stages": rollout.stages[:1]})
    assert states(make_app(less, ledger=first.ledger), "rollout_stage")["canary"] == 1


def test_the_share_is_the_stages(app: App) -> None:
    app.control.start(NAME, actor="ann")
    app.control.promote(NAME, actor="ann", early=True)
    assert app.sample("rollout_percent", rollout=NAME) == 10


def test_the_run_is_shown_while_it_is_on(app: App) -> None:
    assert app.sample("rollout_run", rollout=NAME) is None
    app.control.start(NAME, actor="ann")
    assert app.sample("rollout_run", rollout=NAME) == 1
    fire(app)
    assert app.sample("rollout_run", rollout=NAME) is None
    app.control.acknowledge(NAME, actor="ann")
    assert app.sample("rollout_run", rollout=NAME) is None
    fire(app, firing=False)
    app.control.clock = Clock(lambda: NOW + 86_400, lambda: NOW)
    app.control.start(NAME, actor="ann")
    assert app.sample("rollout_run", rollout=NAME) == 2


def test_an_enabled_rollout_is_still_in_its_run(app: App) -> None:
    app.control.start(NAME, actor="ann")
    while app.control.state(NAME).status == "ROLLING_OUT":
        app.control.promote(NAME, actor="ann", early=True)
    assert app.sample("rollout_run", rollout=NAME) == 1
    assert app.sample("rollout_percent", rollout=NAME) == 100


@pytest.mark.parametrize(("days", "is_open"), [(("tue",), 1), (("wed",), 0)])  # it is a Tuesday
def test_a_clock_shows_whether_it_runs(
    make_app: Callable[..., App], rollout: Rollout, days: tuple[str, ...], is_open: float
) -> None:
    clock = Window.model_validate({"zone": "UTC", "days": days})
    first, *others = rollout.guards
    guards = (first.model_copy(update={"clock": clock}), *others)
    app = make_app(rollout.model_copy(update={"guards": guards}))
    assert app.sample("rollout_open", rollout=NAME, guard=first.name) == is_open
    assert app.sample("rollout_open", rollout=NAME, guard="") is None
    app = make_app(rollout.model_copy(update={"clock": clock}))
    assert app.sample("rollout_open", rollout=NAME, guard="") == is_open
    assert app.sample("rollout_open", rollout=NAME, guard=first.name) is None


def test_a_stage_has_the_time_it_began(app: App) -> None:
    app.control.start(NAME, actor="ann")
    assert app.sample("rollout_stage_entered_timestamp_seconds", rollout=NAME) == NOW


# The last decision


def decision(app: App) -> dict[str, str]:
    """Return the labels of the one series of the last decision, without the rollout's."""
    (family,) = [one for one in app.metrics.registry.collect() if one.name == DECISION]
    (sample,) = family.samples
    assert sample.value == app.control.clock.wall()
    return {name: value for name, value in sample.labels.items() if name != "rollout"}


def test_a_rollout_that_never_began_was_not_decided_upon(app: App) -> None:
    (family,) = [one for one in app.metrics.registry.collect() if one.name == DECISION]
    assert family.samples == []


def test_a_guards_rollback_shows_its_evidence(app: App) -> None:
    app.control.start(NAME, actor="ann")
    fire(app, said="Value 0.41: rolling_precision is below 0.5.")
    assert decision(app) == {
        "run": "1",
        "decision": "rollback",
        "led_to": "rollback",
        "decided_by": "DriftDetected",
        "evidence": "Value 0.41: rolling_precision is below 0.5.",
    }


def test_a_hold_shows_the_evidence_of_each_guard(app: App) -> None:
    app.control.start(NAME, actor="ann")
    app.control.promote(NAME, actor="ann", early=True)
    fire(app, "ThroughputSpike", said="Value 9: too many.")
    found = decision(app)
    assert (found["decision"], found["led_to"], found["decided_by"]) == ("hold", "canary", "ThroughputSpike")
    assert found["evidence"] == "ThroughputSpike: Value 9: too many."


def test_who_decided_by_hand_and_why_is_not_for_everybody(app: App) -> None:
    app.control.start(NAME, actor="ann", reason="for a customer")
    found = decision(app)
    assert (found["decided_by"], found["evidence"]) == ("manual", "")


def test_a_mark_that_decides_nothing_leaves_the_last_decision(app: App) -> None:
    app.control.start(NAME, actor="ann")
    fire(app)
    app.control.acknowledge(NAME, actor="ann")
    assert decision(app)["decided_by"] == "DriftDetected"


def test_the_last_decision_is_there_after_a_restart(make_app: Callable[..., App]) -> None:
    first = make_app()
    first.control.start(NAME, actor="ann")
    fire(first, said="Value 0.41.")
    assert decision(make_app(ledger=first.ledger)) == decision(first)


def test_evidence_is_cut_where_a_label_would_be_too_long(app: App) -> None:
    app.control.start(NAME, actor="ann")
    fire(app, said="x" * 1000)
    assert len(decision(app)["evidence"]) == LONGEST_EVIDENCE


# Counting


def test_a_rollback_is_counted_by_its_guard(app: App) -> None:
    app.control.start(NAME, actor="ann")
    fire(app)
    fire(app)
    assert rollbacks(app)["DriftDetected"] == 1
    assert app.sample("mode_switch_total", rollout=NAME) == 2


def test_a_rollback_by_hand_is_counted_as_such(app: App) -> None:
    app.control.start(NAME, actor="ann")
    app.control.rollback(NAME, actor="ann", reason="customers complain")
    assert rollbacks(app)["manual"] == 1


def test_what_was_only_observed_switched_nothing(make_app: Callable[..., App], rollout: Rollout) -> None:
    app = make_app(rollout.model_copy(update={"mode": "observe"}))
    app.control.start(NAME, actor="ann")
    fire(app)
    assert app.sample("mode_switch_total", rollout=NAME) == 1
    assert sum(rollbacks(app).values()) == 0


def test_counters_continue_after_a_restart(make_app: Callable[..., App]) -> None:
    first = make_app()
    first.control.start(NAME, actor="ann")
    fire(first)
    again = make_app(ledger=first.ledger)
    assert rollbacks(again) == rollbacks(first)
    assert again.sample("mode_switch_total", rollout=NAME) == 2


def test_a_guard_that_the_file_lost_keeps_its_count(make_app: Callable[..., App], rollout: Rollout) -> None:
    first = make_app()
    first.control.start(NAME, actor="ann")
    fire(first)
    less = rollout.model_copy(update={"guards": rollout.guards[2:]})
    assert rollbacks(make_app(less, ledger=first.ledger))["DriftDetected"] == 1


def test_a_pause_shows_and_switches_nothing(app: App) -> None:
    app.control.start(NAME, actor="ann")
    app.control.pause(NAME, actor="ann")
    assert app.sample("rollout_paused", rollout=NAME) == 1
    assert app.sample("mode_switch_total", rollout=NAME) == 1


def test_a_rollback_shows_until_somebody_has_looked(app: App) -> None:
    app.control.start(NAME, actor="ann")
    fire(app)
    assert app.sample("rollout_unacknowledged", rollout=NAME) == 1
    app.control.acknowledge(NAME, actor="ann")
    assert app.sample("rollout_unacknowledged", rollout=NAME) == 0


def test_a_decision_takes_its_time_from_the_notification(app: App) -> None:
    app.control.start(NAME, actor="ann")
    fire(app)
    assert app.sample("rollguard_decision_duration_seconds_count") == 1


def test_a_persons_decision_has_no_latency(app: App) -> None:
    app.control.start(NAME, actor="ann")
    assert app.sample("rollguard_decision_duration_seconds_count") == 0


def test_polls_are_counted_by_their_result(app: App) -> None:
    app.metrics.polled(True)
    app.metrics.polled(False)
    assert app.sample("rollguard_reconcile_polls_total", result="success") == 1
    assert app.sample("rollguard_reconcile_polls_total", result="failure") == 1
    assert app.sample("rollguard_reconcile_last_success_timestamp_seconds") == NOW


# Flips


def test_a_flip_is_measured_when_the_last_target_is_read_back(
    make_app: Callable[..., App], rollout: Rollout
) -> None:
    shipped = rollout.model_copy(update={"targets": TARGETS})
    app = make_app(shipped)
    app.control.start(NAME, actor="ann")
    fire(app)
    counts = []
    for target in ("flagd-file:a", "yaml-file:b"):
        app.metrics.applied(NAME, target, app.control.state(NAME), NOW)
        counts.append(app.sample("rollguard_flip_duration_seconds_count"))
    assert counts == [0, 1]


def test_a_target_that_was_slow_about_an_older_state_is_no_flip(
    make_app: Callable[..., App], rollout: Rollout
) -> None:
    app = make_app(rollout.model_copy(update={"targets": TARGETS[:1]}))
    app.control.start(NAME, actor="ann")
    old = app.control.state(NAME)
    fire(app)
    app.metrics.applied(NAME, "flagd-file:a", old, NOW)
    assert app.sample("rollguard_flip_duration_seconds_count") == 0


def test_a_target_that_is_quicker_than_the_news_is_measured_too(
    make_app: Callable[..., App], rollout: Rollout
) -> None:
    app = make_app(rollout.model_copy(update={"targets": TARGETS[:1]}))
    app.control.start(NAME, actor="ann")
    fire(app)
    (*_, entry) = app.ledger.entries()
    quick = Metrics(app.control, tuple, app.probe)
    quick.applied(NAME, "flagd-file:a", app.control.state(NAME), NOW)
    quick.decided([entry], NOW)
    assert quick.registry.get_sample_value("rollguard_flip_duration_seconds_count") == 1


def test_what_is_kept_of_flips_does_not_grow(make_app: Callable[..., App], rollout: Rollout) -> None:
    app = make_app(rollout.model_copy(update={"targets": TARGETS}))
    entry = app.control.start(NAME, actor="ann")
    for number, kind in enumerate(("rollback", "hold", "start", "release") * 20, 2):
        app.metrics.decided([replace(entry, seq=number, kind=kind)], NOW)  # type: ignore[arg-type]
        app.metrics.applied(NAME, "flagd-file:a", State(NAME, seq=number), NOW)
    kept = {name: value for name, value in vars(app.metrics).items() if hasattr(value, "__len__")}
    assert max(map(len, kept.values())) == 1


# Targets and failures


def shown(app: App, *statuses: TargetStatus) -> Any:
    return Metrics(app.control, lambda: statuses, app.probe).registry


def status(target: str, since: float | None) -> TargetStatus:
    return TargetStatus(NAME, target, "fallback", since is None, since, 0, "")


def test_a_pending_target_shows_since_when(app: App) -> None:
    registry = shown(app, status("a", None), status("b", NOW))
    labels = {"rollout": NAME, "target": "b"}
    assert registry.get_sample_value("rollguard_target_pending", labels) == 1
    assert registry.get_sample_value("rollguard_target_pending_since_timestamp_seconds", labels) == NOW


def test_an_applied_target_is_pending_since_never(app: App) -> None:
    registry = shown(app, status("a", None), status("b", NOW))
    labels = {"rollout": NAME, "target": "a"}
    assert registry.get_sample_value("rollguard_target_pending", labels) == 0
    assert registry.get_sample_value("rollguard_target_pending_since_timestamp_seconds", labels) is None


def test_a_target_whose_step_hangs_is_shown(app: App) -> None:
    registry = shown(app, replace(status("a", None), hangs=True), status("b", None))
    values = [
        registry.get_sample_value("rollguard_target_hanging", {"rollout": NAME, "target": target})
        for target in "ab"
    ]
    assert values == [1, 0]


def test_the_head_is_exposed_for_whoever_keeps_it(app: App) -> None:
    app.control.start(NAME, actor="ann")
    app.probe.ask()
    seq, digest = app.ledger.head()
    assert app.sample("rollguard_ledger_entries") == seq
    assert app.sample("rollguard_ledger_head_info", hash=digest) == 1


def test_without_a_ledger_the_rest_is_still_exposed(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise RollguardError("the disk is gone")

    monkeypatch.setattr(app.ledger, "_current", fail)
    app.probe.ask()
    assert app.sample("rollguard_ledger_readable") == 0
    assert app.sample("rollguard_notifications_rejected_total", reason="storage") == 0
    assert app.get("/metrics").status_code == 200


# What is declared is what is offered


def test_the_registry_has_exactly_the_declared_metrics(app: App) -> None:
    declared = {(item.name, item.type, item.help, item.labels) for item in metric_names.CONTROL_PLANE}
    found = set()
    for family in app.metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = next((tuple(sample.labels) for sample in family.samples), None)
        known = next((item.labels for item in metric_names.CONTROL_PLANE if item.name == name), ())
        own = known if labels is None else tuple(x for x in labels if x not in ("rollout", "le"))
        found.add((name, family.type, family.documentation, own))
    assert found == declared
