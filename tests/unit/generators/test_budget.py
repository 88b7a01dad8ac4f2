"""The time from breach to flip: each setting adds its part, a window none."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollguard.generators.alertmanager.existing_routes import RouteTree
from rollguard.generators.budget import GuardBudget, budget
from rollguard.spec.loading import load_rollout
from rollguard.spec.rollout import Rollout

TEXT = """\
rollout: checkout
title: A new checkout
owner: shop
scrape: {{job: checkout, targets: ["127.0.0.1:8000"], interval: {interval}}}
flag: {{key: checkout, variants: {{new: true, old: false}}, serve: new, fallback: old}}
stages: [{{name: full, percent: 100}}]
guards:
  - alert: ErrorsHigh
    use: threshold
    with: {{metric: error_ratio, above: 0.05, aggregate: average, window: 30m}}
    for: {lasting}
    severity: critical
    action: {action}
rollback: {{within: {within}}}
targets:
  - flagd-file: {{path: flags.json}}
"""


def make(
    folder: Path, *, interval: str = "15s", lasting: str = "0s", action: str = "rollback", within: str = "1m"
) -> Rollout:
    path = folder / "checkout.yaml"
    path.write_text(TEXT.format(interval=interval, lasting=lasting, action=action, within=within))
    return load_rollout(path)


def of(found: list[GuardBudget], guard: str = "ErrorsHigh") -> GuardBudget:
    return next(item for item in found if item.guard == guard)


def step(guard: GuardBudget, name: str) -> tuple[float, float]:
    return next((item.median, item.worst) for item in guard.steps if item.name == name)


def test_an_unlucky_breach_waits_a_whole_scrape_and_a_whole_evaluation(tmp_path: Path) -> None:
    found = of(budget(make(tmp_path)))
    assert step(found, "scrape") == (7.5, 15)
    assert step(found, "evaluation") == (7.5, 15)


def test_for_rounds_up_to_the_evaluation(tmp_path: Path) -> None:
    assert step(of(budget(make(tmp_path, lasting="20s"))), "for") == (30, 30)


def test_a_guard_without_for_has_no_such_step(tmp_path: Path) -> None:
    assert "for" not in [item.name for item in of(budget(make(tmp_path))).steps]


def test_a_window_stands_apart(tmp_path: Path) -> None:
    found = of(budget(make(tmp_path)))
    assert found.window == 1800
    assert found.worst < 60


def test_another_alert_of_the_rollout_delays_one_by_the_group_interval(tmp_path: Path) -> None:
    assert step(of(budget(make(tmp_path))), "notification") == (0, 1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [("group_wait: 1s, group_interval: 1s", (1, 1)), ("group_wait: 0s, group_interval: 5m", (0, 2))],
    ids=["it waits", "the poll is sooner"],
)
def test_a_tree_of_ones_own_decides_the_notification(
    tmp_path: Path, settings: str, expected: tuple[float, float]
) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text(f"route: {{receiver: rollguard, {settings}}}\nreceivers: [{{name: rollguard}}]\n")
    assert step(of(budget(make(tmp_path), tree=RouteTree(path))), "notification") == expected


def test_where_no_route_brings_an_alert_the_poll_finds_it(tmp_path: Path) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text("route: {receiver: chat}\nreceivers: [{name: chat}]\n")
    assert step(of(budget(make(tmp_path), tree=RouteTree(path))), "notification") == (2, 2)


def test_a_rollback_over_its_limit_is_said(tmp_path: Path) -> None:
    found = of(budget(make(tmp_path, within="30s")))
    assert found.over
    assert found.advice == "Write scrape.interval: 10s, or rollback.within: 32s."


def test_where_no_interval_helps_the_largest_part_is_named(tmp_path: Path) -> None:
    found = of(budget(make(tmp_path, lasting="10m")))
    assert found.over
    assert found.advice == "for takes 10m of it; shorten that, or write rollback.within: 10m32s."


def test_a_hold_may_take_its_time(tmp_path: Path) -> None:
    assert not of(budget(make(tmp_path, lasting="10m", action="hold"))).over


def test_the_setting_that_helps_most_is_the_largest_part(tmp_path: Path) -> None:
    assert of(budget(make(tmp_path))).helps_most == ("scrape.interval", 30)
    assert of(budget(make(tmp_path, lasting="2m"))).helps_most == ("for", 120)


def test_the_guard_of_a_vanished_series_has_a_budget_of_its_own(tmp_path: Path) -> None:
    assert step(of(budget(make(tmp_path)), "ErrorsHighNoData"), "for") == (60, 60)


COMMAND = """\
  - command: {name: restart, run: {fallback: [systemctl, restart, shop]}, timeout: 20s}
  - json-file: {path: app.json, values: {fallback: {a: 1}, full: {a: 2}}}
    then: {restart: [systemctl, restart, shop], timeout: 10s}
    verify: {log: {files: [a.log], line: off, states: [fallback], settle: 5s}}
"""


def test_time_limits_of_targets_count_in_the_worst_case(tmp_path: Path) -> None:
    path = tmp_path / "checkout.yaml"
    make(tmp_path)
    path.write_text(path.read_text() + COMMAND)
    found = of(budget(load_rollout(path)))
    assert step(found, "targets") == pytest.approx((0.06, 0.25 + 20 + 10 + 5))
