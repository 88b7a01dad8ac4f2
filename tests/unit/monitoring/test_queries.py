"""What Prometheus is asked: made of the expressions of files and of loaded rules."""

from __future__ import annotations

import pytest

from rollguard.monitoring import queries


@pytest.mark.parametrize(
    ("expression", "asked"),
    [
        ("orders >= 100", 'orders{rollout="r"} >= 100'),
        ('fills{route="a  b"} > 0', 'fills{rollout="r",route="a  b"} > 0'),
        ("sum(rate(orders[5m]))", 'sum(rate(orders{rollout="r"}[5m]))'),
        ('{__name__="orders"}', '{__name__="orders",rollout="r"}'),
        ('orders{rollout="other"} > 0', 'orders{rollout="other"} > 0'),
        ("max_over_time((a > 1)[1h:15s])", 'max_over_time((a{rollout="r"} > 1)[1h:15s])'),
        ("a\n  and on () b", 'a{rollout="r"} and on () b{rollout="r"}'),
    ],
)
def test_an_expression_is_of_one_rollout(expression: str, asked: str) -> None:
    assert queries.within(expression, "r") == asked


@pytest.mark.parametrize(
    ("expression", "compared"),
    [
        ("orders >= 100", "orders"),
        ("ready >= 0.05 <= 0.15", "ready"),
        ("(a / b) > on (rollout) c", "a / b"),
        ("a and b > 1", "a and b > 1"),
        ("orders", "orders"),
    ],
)
def test_what_is_compared_stands_left_of_the_comparisons(expression: str, compared: str) -> None:
    assert queries.measured(expression) == compared


@pytest.mark.parametrize(
    ("rule", "judges"),
    [
        ("a > 1", "group(a) unless on () (a != a)"),
        (
            "f(a[1m]) < b",
            "group(f(a[1m])) and on () group(b) unless on () (f(a[1m]) != f(a[1m])) unless on () (b != b)",
        ),
        ("a > 1 and on (rollout) n >= 500", "group(a) and on () group(n >= 500) unless on () (a != a)"),
        ("a > 1 and on (rollout) (n >= 500)", "group(a) and on () group((n >= 500)) unless on () (a != a)"),
        ("a > 14 and b > 14", "group(a) and on () group(b) unless on () (a != a) unless on () (b != b)"),
        ("(a > 1) unless on (rollout) rollout_stage == 1", "group(a) unless on () (a != a)"),
        ("(a > 1) or (b > 1)", "group(a) and on () group(b) unless on () (a != a) unless on () (b != b)"),
        (
            "increase(a[10m]) > 0",
            "group(last_over_time(a[10m])) unless on () (increase(a[10m]) != increase(a[10m]))",
        ),
        ("sum(a) / sum(a) > 1", "group(a) unless on () ((sum(a) / sum(a)) != (sum(a) / sum(a)))"),
        ("time() - a < 3", "group(a) unless on () ((time() - a) != (time() - a))"),
        ("absent_over_time(a[5m])", None),
        ("vector(1)", None),
    ],
)
def test_a_rule_can_judge_where_its_series_are_numbers_and_its_sample_is_enough(
    rule: str, judges: str | None
) -> None:
    judges = None if judges is None else judges.replace("f(", "last_over_time(")
    assert queries.armed(rule.replace("f(", "last_over_time(")) == judges


def test_a_series_that_may_be_absent_keeps_no_rule_from_judging() -> None:
    share = 'sum(increase(bad{rollout="r"}[5m])) / sum(increase(all[5m]))'
    asked = f"group(last_over_time(all[5m])) unless on () (({share}) != ({share}))"
    assert queries.armed(f"{share} > 1", ['bad{rollout="r"}']) == asked


@pytest.mark.parametrize(
    ("rule", "waits"),
    [
        ("a > 1", None),
        ("a > 1 and on (rollout) (n >= 500)", "group(n < 500)"),
        ("(a > 1 and n >= 5) or (b > 1 and m >= 7)", "group(n < 5) or group(m < 7)"),
    ],
)
def test_a_rule_waits_where_its_sample_is_there_and_below_the_minimum(rule: str, waits: str | None) -> None:
    assert queries.waiting(rule) == waits


@pytest.mark.parametrize(
    "ask", [lambda text: queries.within(text, "r"), queries.measured, queries.armed, queries.waiting]
)
def test_what_is_not_promql_is_said(ask: object) -> None:
    assert callable(ask)
    with pytest.raises(queries.QueryError, match="is not PromQL"):
        ask("sum(")
