"""The guards of a rollout: several of one alert, one for each scope, and those that see data go."""

from __future__ import annotations

from typing import Any

import pytest

from rollguard.spec import guards
from rollguard.spec.rollout import Rollout, Stage
from tests.factories import shipped_rollout, with_guards

METRIC = {"metric": "a", "above": 1}


@pytest.fixture
def rollout() -> Rollout:
    return shipped_rollout()


def names(rollout: Rollout) -> list[str]:
    return [guard.name for guard in guards.all_guards(rollout)]


# Guards that see data vanish


def test_each_guard_is_followed_by_the_one_that_sees_its_data_vanish(rollout: Rollout) -> None:
    assert names(rollout)[:5] == [
        "CanaryWinrateRollback",
        "CanaryWinrateRollbackNoData",
        "CanaryWinrateRollbackNoData-several",
        "WinRateDrop",
        "WinRateDropNoData",
    ]


def test_a_vanished_series_does_what_the_guard_says(rollout: Rollout) -> None:
    changed = with_guards(rollout, {"with": {"metric": "a", "above": 1}, "no_data": "rollback"})
    assert [guard.action for guard in guards.all_guards(changed)] == ["hold", "rollback"]


def test_a_guard_that_ignores_absence_has_no_second(rollout: Rollout) -> None:
    changed = with_guards(rollout, {"with": {"metric": "a", "above": 1}, "no_data": "ignore"})
    assert len(guards.all_guards(changed)) == 1


def test_what_guards_read_by_different_clocks_is_watched_by_each(rollout: Rollout) -> None:
    clock = {"zone": "UTC"}
    changed = with_guards(
        rollout,
        {"with": METRIC},
        {"alert": "Other", "with": METRIC, "clock": clock},
        {"alert": "Third", "with": METRIC, "clock": clock},
    )
    assert names(changed) == ["Some", "SomeNoData", "Other", "OtherNoData", "Third"]
    assert [guard.clock is not None for guard in guards.all_guards(changed)] == [
        False,
        False,
        True,
        True,
        True,
    ]


ENOUGH = {"sample": "n", "min_sample": 500}


@pytest.mark.parametrize(
    ("given", "watched"),
    [
        ({}, [{"metric": "a"}]),
        (ENOUGH, [{"metric": "a", **ENOUGH}, {"metric": "n"}]),
        ({"raw": "r"}, [{"number": "a"}, {"metric": "r"}]),
        ({"baseline": "b"}, [{"metric": "a"}, {"metric": "b", "beside": "a"}]),
        (
            {"baseline": "b", **ENOUGH},
            [{"metric": "a", **ENOUGH}, {"metric": "b", **ENOUGH, "beside": "a"}, {"metric": "n"}],
        ),
        (
            {"baseline": "b", "by": "x"},
            [{"metric": "a", "by": "x"}, {"metric": "b", "by": "x", "beside": "a"}],
        ),
        (
            {**ENOUGH, "by": "x"},
            [
                {"metric": "a", "by": "x", **ENOUGH},
                {"metric": "n", "by": "x"},
                {"metric": "n", "by": "x", "beside": "a"},
            ],
        ),
        (
            {"aggregate": "maximum", "window": "30m"},
            [{"metric": "a", "aggregate": "maximum", "span": "30m"}],
        ),
    ],
)
def test_every_series_that_a_guard_reads_is_watched(
    rollout: Rollout, given: dict[str, Any], watched: list[dict[str, Any]]
) -> None:
    changed = with_guards(rollout, {"with": {**METRIC, **given}})
    assert list(guards.all_guards(changed)[1].with_) == watched


STAGE_ENTERED = "rollout_stage_entered_timestamp_seconds"


@pytest.mark.parametrize(("since", "kind"), [(STAGE_ENTERED, "number"), ("deployed_seconds", "metric")])
def test_only_what_begins_with_the_first_start_may_be_missing(
    rollout: Rollout, since: str, kind: str
) -> None:
    given = {"metric": "a", "since": since, "within": "1d"}
    found = guards.all_guards(with_guards(rollout, {"use": "changes", "with": given}))
    assert found[1].with_ == ({"metric": "a"}, {kind: since})


def test_an_own_expression_waits_for_no_first_start(rollout: Rollout) -> None:
    own = {"use": None, "expr": "<< a | now >> > 1", "metrics": {"a": STAGE_ENTERED}}
    found = guards.all_guards(with_guards(rollout, {**own, "condition": "a is over 1"}))
    assert found[1].with_ == ({"number": STAGE_ENTERED},)


def test_a_series_of_several_guards_is_watched_by_that_of_the_first(rollout: Rollout) -> None:
    first = {"with": {**METRIC, "raw": "r"}}
    second = {"alert": "Other", "with": {"metric": "b", "above": 1, "raw": "r"}}
    found = guards.all_guards(with_guards(rollout, first, second))
    assert [guard.with_ for guard in found if isinstance(guard, guards.NoDataGuard)] == [
        ({"number": "a"}, {"metric": "r"}),
        ({"number": "b"},),
    ]
    assert isinstance(found[1], guards.NoDataGuard)
    assert found[1].watched == ("Some", "Other")


def test_a_series_that_several_conditions_read_is_watched_once(rollout: Rollout) -> None:
    changed = with_guards(rollout, {"with": [{"metric": "a", "below": 1}, {"metric": "a", "above": 2}]})
    assert guards.all_guards(changed)[1].with_ == ({"metric": "a"},)


def test_it_is_armed_where_the_guard_is(rollout: Rollout) -> None:
    changed = with_guards(rollout, {"with": {"metric": "a", "above": 1}, "stages": ["canary"]})
    assert guards.all_guards(changed)[1].stages == ("canary",)


def test_a_breach_echoes_for_the_longest_window_and_for(rollout: Rollout) -> None:
    changed = with_guards(
        rollout,
        {"with": {"metric": "a", "above": 1}, "for": "20m", "action": "rollback"},
        {"use": "increases", "with": {"metric": "b", "window": "10m"}, "for": "5m", "action": "rollback"},
    )
    assert guards.longest_look_back(changed) == 20 * 60


def test_a_guard_that_only_holds_has_no_echo(rollout: Rollout) -> None:
    changed = with_guards(rollout, {"with": {"metric": "a", "above": 1}, "for": "1d"})
    assert guards.longest_look_back(changed) == 0


# Several of one alert


def test_guards_of_one_alert_are_told_apart_by_their_names(rollout: Rollout) -> None:
    written = [{"name": f"Some-{stage}", "with": METRIC, "stages": [stage]} for stage in ("shadow", "canary")]
    found = guards.all_guards(with_guards(rollout, *written))
    assert [(guard.alert, guard.name) for guard in found] == [
        ("Some", "Some-shadow"),
        ("SomeNoData", "SomeNoData-shadow"),
        ("Some", "Some-canary"),
        ("SomeNoData", "SomeNoData-canary"),
    ]


def test_guards_that_read_the_same_in_the_same_stages_share_who_sees_it_go(rollout: Rollout) -> None:
    twins = with_guards(
        rollout, {"with": METRIC}, {"alert": "SomeCritical", "with": {"metric": "a", "above": 2}}
    )
    assert names(twins) == ["Some", "SomeNoData", "SomeCritical"]
    assert guards.all_guards(twins)[1].summary == "No data for Some, SomeCritical."


@pytest.mark.parametrize("other", [{"stages": ["canary"]}, {"no_data": "rollback"}])
def test_guards_that_differ_in_what_follows_do_not_share(rollout: Rollout, other: dict[str, Any]) -> None:
    twins = with_guards(rollout, {"with": METRIC}, {"alert": "Other", "with": METRIC, **other})
    assert names(twins) == ["Some", "SomeNoData", "Other", "OtherNoData"]


def test_both_severities_of_an_alert_share_a_page(rollout: Rollout) -> None:
    twins = with_guards(rollout, {"with": METRIC}, {"alert": "SomeCritical", "with": METRIC})
    pages = {guard.name: guards.runbook(twins, guard) for guard in guards.all_guards(twins)}
    assert pages == {"Some": "Some", "SomeNoData": "NoData", "SomeCritical": "Some"}


def test_an_alert_whose_name_ends_in_critical_has_its_own_page(rollout: Rollout) -> None:
    alone = with_guards(rollout, {"alert": "SomeCritical", "with": METRIC})
    assert guards.runbook(alone, alone.guards[0]) == "SomeCritical"


# Sorts of missing data


def test_counters_that_stand_still_are_told_of(rollout: Rollout) -> None:
    share = {"numerator": "e_total", "denominator": "r_total", "above": 0.1, "window": "10m"}
    found = guards.all_guards(with_guards(rollout, {"use": "ratio", "with": share}))
    assert {guard.name: guard.with_ for guard in found[1:]} == {
        "SomeNoData": ({"number": "e_total"}, {"metric": "r_total"}),
        "SomeNoData-no-traffic": ({"counter": "r_total", "window": "10m"},),
    }


def test_a_short_window_without_traffic_is_not_no_data_yet(rollout: Rollout) -> None:
    share = {"numerator": "e_total", "denominator": "r_total", "above": 0.1, "window": "1m"}
    found = guards.all_guards(with_guards(rollout, {"use": "ratio", "with": share}))
    assert found[-1].with_ == ({"counter": "r_total", "window": "5m"},)


def test_traffic_is_missed_after_the_short_one_of_two_windows(rollout: Rollout) -> None:
    burning = {"bad": "e_total", "total": "r_total", "objective": 0.999, "factor": 3}
    guard = {"use": "burn-rate", "with": {**burning, "long": "1d", "short": "2h"}}
    found = guards.all_guards(with_guards(rollout, guard))
    assert found[-1].with_ == ({"counter": "r_total", "window": "2h"},)


def test_what_is_there_whenever_something_else_is_is_not_watched(rollout: Rollout) -> None:
    share = {"numerator": 'x_total{result="ok"}', "denominator": "x_total", "below": 0.9}
    found = guards.all_guards(with_guards(rollout, {"use": "ratio", "with": share}))
    assert found[1].with_ == ({"metric": 'x_total{result="ok"}'}, {"number": "x_total"})


def test_of_a_histogram_its_count_is_watched_and_its_buckets_beside_it(rollout: Rollout) -> None:
    found = guards.all_guards(
        with_guards(rollout, {"use": "quantile", "with": {"metric": "d_seconds", "above": 2}})
    )
    assert found[1].with_ == (
        {"metric": "d_seconds_count"},
        {"metric": "d_seconds_bucket", "beside": "d_seconds_count"},
    )


def test_several_baselines_are_told_of(rollout: Rollout) -> None:
    found = guards.all_guards(with_guards(rollout, {"with": {**METRIC, "baseline": "b"}}))
    assert {guard.name: guard.with_ for guard in found[2:]} == {"SomeNoData-several": ({"single": "b"},)}


def test_baselines_by_label_are_meant_to_be_several(rollout: Rollout) -> None:
    assert names(with_guards(rollout, {"with": {**METRIC, "baseline": "b", "by": "symbol"}})) == [
        "Some",
        "SomeNoData",
    ]


def test_an_alert_that_exists_has_no_missing_data(rollout: Rollout) -> None:
    assert names(with_guards(rollout, {"use": "existing", "with": {"alert": "Slow"}})) == ["Some"]


@pytest.mark.parametrize(
    ("raw", "watched"),
    [
        (["b"], ({"number": "a_ratio"}, {"metric": "b_ratio"})),
        ([], ({"metric": "a_ratio"}, {"metric": "b_ratio"})),
    ],
)
def test_of_an_own_expression_what_is_raw_is_watched_or_all(
    rollout: Rollout, raw: list[str], watched: tuple[dict[str, str], ...]
) -> None:
    own = {
        "use": None,
        "expr": "<< a | now >> > 1",
        "metrics": {"a": "a_ratio", "b": "b_ratio"},
        "raw": raw,
    }
    found = guards.all_guards(with_guards(rollout, {**own, "condition": "a is over 1"}))
    assert found[1].with_ == watched


# Scopes


@pytest.fixture
def scoped(rollout: Rollout) -> Rollout:
    two = {"symbol": ("AAPL", "SPY"), "horizon": ("1D",)}
    stages = (
        Stage(name="canary", match=two),
        Stage(name="longer", match=dict(reversed(two.items()))),
        Stage(name="full", percent=100),
    )
    changed = with_guards(rollout, {"with": METRIC, "scope": "stage"})
    return changed.model_copy(update={"stages": stages})


def test_a_scoped_guard_is_one_for_each_different_match(scoped: Rollout) -> None:
    assert [(guard.name, guard.stages) for guard in guards.all_guards(scoped)] == [
        ("Some-canary", ("canary", "longer")),
        ("SomeNoData-canary", ("canary", "longer")),
        ("Some-full", ("full", "enabled")),
        ("SomeNoData-full", ("full", "enabled")),
    ]


def test_a_scoped_guard_reads_what_its_stages_match(scoped: Rollout) -> None:
    narrowed = 'a{symbol=~"AAPL|SPY",horizon="1D"}'
    assert [guard.bindings[0]["metric"] for guard in guards.all_guards(scoped)] == [
        narrowed,
        narrowed,
        "a",
        "a",
    ]


def test_a_scoped_guard_keeps_its_numbers(scoped: Rollout) -> None:
    assert [guards.all_guards(scoped)[index].bindings[0]["above"] for index in (0, 2)] == [1, 1]


def test_a_scoped_guard_with_an_own_expression_reads_what_its_stages_match(scoped: Rollout) -> None:
    own = {"use": None, "expr": "<< a | now >> > 1", "metrics": {"a": "a"}, "condition": "a is over 1"}
    changed = with_guards(scoped, {**own, "scope": "stage", "no_data": "ignore"})
    assert [guard.metrics["a"] for guard in guards.all_guards(changed)] == [
        'a{symbol=~"AAPL|SPY",horizon="1D"}',
        "a",
    ]


def test_a_scoped_guard_says_which_one_it_comes_from(scoped: Rollout) -> None:
    assert {guard.source_name for guard in guards.all_guards(scoped)} == {"Some"}


def test_a_scoped_guard_with_stages_of_its_own_is_armed_in_them_alone(scoped: Rollout) -> None:
    changed = with_guards(
        scoped, {"with": METRIC, "scope": "stage", "stages": ["longer"], "no_data": "ignore"}
    )
    assert [(guard.name, guard.stages) for guard in guards.all_guards(changed)] == [
        ("Some-longer", ("longer",))
    ]
