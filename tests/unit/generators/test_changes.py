"""A change of a rollout file in words: what is asked for, where, how soon, whom it reaches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rollguard.generators.changes import GuardChange, RolloutChange, Side, changes
from rollguard.spec.loading import load_rollout

TEXT = """\
rollout: checkout
title: A new checkout
owner: shop
scrape: {job: checkout, targets: ["127.0.0.1:8000"]}
flag: {key: checkout, variants: {new: true, old: false}, serve: new, fallback: old}
stages: [{name: canary, percent: 10}, {name: full, percent: 100}]
guards:
  - alert: DriftDetected
    use: threshold
    with: {metric: drift, above: 0.30}
    stages: [canary, full]
    severity: critical
    action: rollback
  - alert: CrashSeen
    use: increases
    with: {metric: crashes_total, window: 5m}
    severity: warning
    action: hold
"""
ROUTES = {"checkout": {"DriftDetected": ["rollguard"], "CrashSeen": ["rollguard"]}}

Make = Callable[..., Side]


@pytest.fixture
def side(tmp_path: Path) -> Make:
    """Return a function that makes one side of a file in which some texts are replaced."""

    def of(*replaced: tuple[str, str], routes: dict[str, dict[str, list[str]]] = ROUTES) -> Side:
        text = TEXT
        for old, new in replaced:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "checkout.yaml"
        path.write_text(text, encoding="utf-8")
        rollout = load_rollout(path)
        return Side({rollout.name: rollout}, routes)

    return of


def only(found: list[RolloutChange]) -> GuardChange:
    (rollout,) = found
    (guard,) = rollout.guards
    return guard


def test_what_is_the_same_is_no_change(side: Make) -> None:
    assert changes(side(), side()) == []


def test_a_limit_is_told_with_its_old_and_its_new_value(side: Make) -> None:
    found = only(changes(side(), side(("above: 0.30", "above: 0.25"))))
    assert (found.guard, found.kind, found.words) == ("DriftDetected", "changed", ("above 0.3 → 0.25",))


def test_where_a_guard_is_armed_is_told(side: Make) -> None:
    found = only(changes(side(), side(("stages: [canary, full]", "stages: [full, enabled]"))))
    assert found.words == ("now armed in enabled too", "no longer armed in canary")


def test_a_for_changes_the_worst_case_too(side: Make) -> None:
    found = only(changes(side(), side(("    severity: critical", "    for: 1m\n    severity: critical"))))
    assert found.words == ("for 0s → 1m",)
    before, after = found.worst
    assert before is not None
    assert after == before + 60


def test_severity_action_and_no_data_are_told(side: Make) -> None:
    replaced = [
        ("severity: warning", "severity: critical"),
        ("action: hold", "action: notify\n    no_data: ignore"),
    ]
    found = only(changes(side(), side(*replaced)))
    assert found.words == ("severity warning → critical", "action hold → notify", "no_data hold → ignore")


def test_a_new_guard_is_told_by_its_condition(side: Make) -> None:
    before = side((TEXT[TEXT.index("  - alert: CrashSeen") :], ""))
    found = only(changes(before, side()))
    assert (found.guard, found.kind, found.worst[0]) == ("CrashSeen", "added", None)
    assert found.words == ("hold when crashes_total has risen by more than 0 within 5m",)


def test_a_guard_that_is_gone_is_told(side: Make) -> None:
    after = side((TEXT[TEXT.index("  - alert: CrashSeen") :], ""))
    found = only(changes(side(), after))
    assert (found.guard, found.kind, found.words) == (
        "CrashSeen",
        "removed",
        ("is gone: hold when crashes_total has risen by more than 0 within 5m",),
    )


def test_a_shorter_interval_changes_every_guards_worst_case(side: Make) -> None:
    (found,) = changes(side(), side(('8000"]}', '8000"], interval: 5s}')))
    assert [guard.guard for guard in found.guards] == ["DriftDetected", "CrashSeen"]
    assert found.others == ("scrape.interval 15s → 5s",)


def test_another_way_of_an_alert_is_told(side: Make) -> None:
    after = side(routes={"checkout": {**ROUTES["checkout"], "CrashSeen": ["chat"]}})
    assert only(changes(side(), after)).receivers == (("rollguard",), ("chat",))


def test_rollouts_that_are_new_or_gone_are_told(side: Make) -> None:
    nothing = Side({}, {})
    assert [(found.rollout, found.kind) for found in changes(nothing, side())] == [("checkout", "added")]
    assert [(found.rollout, found.kind) for found in changes(side(), nothing)] == [("checkout", "removed")]


def test_keys_beside_the_guards_are_named(side: Make) -> None:
    (found,) = changes(side(), side(("owner: shop", "owner: payments")))
    assert (found.guards, found.others) == ((), ("owner shop → payments",))


def test_what_a_stage_loses_is_told_at_its_key(side: Make) -> None:
    before = side(("stages:", "advance: [{name: calm, expr: up == 1}]\nmode: observe\nstages:"))
    (found,) = changes(before, side(("stages:", "mode: guard\nstages:")))
    assert found.others == ("mode observe → guard", "advance: calm is gone")
