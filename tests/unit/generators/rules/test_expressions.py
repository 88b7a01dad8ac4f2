"""Expressions: only what PromQL is meant to read gets through Jinja."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.generators.rules import expressions
from rollguard.generators.rules.expressions import ExpressionError, PromQL, finalize, number, render
from rollguard.generators.rules.timing import Timing
from rollguard.spec.fields import Value
from rollguard.spec.series import Series
from rollguard.spec.templates import library


def expr(template: str, **values: Any) -> str:
    found = library()[template]
    names = expressions.context(found, values, "shop", Timing())
    return " ".join(render(found.expr, names).split())


# What may stand in an expression


@pytest.mark.parametrize(
    "value",
    [True, False, None, float("nan"), float("inf"), float("-inf"), [1], {"a": 1}, b"x", range(2)],
    ids=repr,
)
def test_what_promtool_would_read_in_silence_is_refused(value: object) -> None:
    with pytest.raises(ExpressionError, match="does not belong into an expression"):
        finalize(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (5.0, "5"),
        (-0.05, "-0.05"),
        (1e-10, "1e-10"),
        (1e20, "1e+20"),
        (500, "500"),
        (PromQL('a{b="c"}'), 'a{b="c"}'),
        (Series("a", (("b", "=", "c"),)), 'a{b="c"}'),
        ('say "hi"', r"say \"hi\""),
        ("back\\slash", r"back\\slash"),
        ("two\nlines", r"two\nlines"),
    ],
)
def test_a_value_is_written_as_promql_reads_it(value: object, text: str) -> None:
    assert finalize(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_twelve_digits(value: float) -> None:
    assert float(number(value)) == pytest.approx(value, rel=1e-11)


@given(st.text())
def test_text_cannot_leave_its_quotes(text: str) -> None:
    inside = finalize(text)
    unescaped = inside.replace(r"\\", "").replace(r"\"", "")
    assert '"' not in unescaped
    assert "\n" not in inside


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x < << missing >>", "'missing' is undefined"),
        ("x < << limit.nothing >>", "has no attribute 'nothing'"),
        ("<< limit | nothing >>", "No filter named 'nothing'"),
        ("<< limit", "unexpected"),
        ("<% if limit %>", "Unexpected end of template"),
        ("<< limit + 'a' >>", r"without \+ of texts or lists"),
        ("<< limit + text >>", "unsupported operand types of \\+: float and str"),
        ("x < << limit > 1 >>", "does not belong into an expression"),
        ("<< limit / 0 >>", "division by zero"),
        ("<< limit | suffixed('_x') >>", "has no attribute 'suffixed'"),
        ("<< limit | over('mean', 60) >>", "^'mean' is not known$"),
    ],
)
def test_a_broken_template_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        render(text, {"limit": 0.5, "text": "a"})


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("<< limt >>", "'limt' is undefined", "Did you mean limit?"),
        ("<< other >>", "'other' is undefined", "Known here: limit."),
        ("<< limit | nov >>", "No filter named 'nov'", "Did you mean now?"),
        ("<< limit", "expected Jinja: unexpected end of template, expected 'end of print statement'", ""),
    ],
)
def test_a_name_that_nobody_knows_has_a_hint(text: str, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as error:
        render(text, {"limit": 0.5})
    assert (str(error.value), error.value.hint) == (message, hint)


def test_the_marks_of_prometheus_are_left_alone() -> None:
    assert render("{{ $value }} {# x #} {% x %}", {}) == "{{ $value }} {# x #} {% x %}"


# Templates


def test_a_threshold_reads_the_newest_sample_of_a_few_intervals() -> None:
    assert expr("threshold", metric="m", below=0.5) == 'last_over_time(m{rollout="shop"}[1m]) < 0.5'


@pytest.mark.parametrize(
    ("aggregate", "function"), [("average", "avg"), ("maximum", "max"), ("minimum", "min")]
)
def test_a_threshold_reads_an_aggregate_of_its_window(aggregate: str, function: str) -> None:
    found = expr("threshold", metric="m", above=3, aggregate=aggregate, window="30m")
    assert found == f'{function}_over_time(m{{rollout="shop"}}[30m]) > 3'


def test_two_limits_mean_outside_of_them() -> None:
    value = 'last_over_time(m{rollout="shop"}[1m])'
    assert expr("threshold", metric="m", below=-1, above=2) == f"({value} < -1 or {value} > 2)"


def test_a_sample_makes_a_threshold_wait() -> None:
    found = expr("threshold", metric="m", below=0.5, sample="n", min_sample=500)
    assert found.endswith('< 0.5 and on (rollout) last_over_time(n{rollout="shop"}[1m]) >= 500')


def test_matchers_are_kept_with_their_quotes() -> None:
    found = expr("threshold", metric=r'm{route="can\"ary",symbol=~"A|B"}', below=1)
    assert r'm{rollout="shop",route="can\"ary",symbol=~"A|B"}' in found


def test_a_baseline_is_compared_within_the_rollout() -> None:
    found = expr("trails-baseline", metric="a", baseline="b", delta_ratio=0.05)
    assert found == (
        'last_over_time(a{rollout="shop"}[1m]) < on (rollout) group_left '
        'min by (rollout) (last_over_time(b{rollout="shop"}[1m])) - 0.05'
    )


def test_increases_counts_what_rose_within_its_window() -> None:
    assert expr("increases", metric="c", window="10m") == 'increase(c{rollout="shop"}[10m]) > 0'


def test_absent_asks_for_any_sample_within_its_window() -> None:
    assert expr("absent", metric="a", window="5m") == 'absent_over_time(a{rollout="shop"}[5m])'


def test_the_condition_in_words_has_threshold_and_unit() -> None:
    template = library()["threshold"]
    values: dict[str, Value] = {"metric": 'm{route="canary"}', "above": 250, "unit": " ms"}
    names = expressions.context(template, values, "shop", Timing())
    assert render(template.condition, names) == 'm{route="canary"} is above 250 ms'


# Parameters that do not go together

BURN = {"ratio": "u_ratio", "objective": 0.999, "factor": 6, "long": "6h", "short": "30m"}
HARM = {"bad": "e_total", "total": "r_total", "accepted_ratio": 0.01, "budget": 50}


@pytest.mark.parametrize(
    ("template", "values", "words"),
    [
        ("burn-rate", {**BURN, "objective": 1}, "is 0, expected more than 0"),
        ("burn-rate", {**BURN, "factor": 1000}, "is 1, expected more than 0 and less than 1"),
        ("burn-rate", {**BURN, "short": "4h"}, "short is more than half of long"),
        ("harm-budget", {**HARM, "accepted_ratio": 0}, "use the template increases"),
        ("harm-budget", {**HARM, "accepted_ratio": 1}, "nothing is harm"),
        ("harm-budget", {**HARM, "budget": -1}, "budget is -1, expected 0 or more"),
    ],
)
def test_a_guard_that_could_never_fire_is_refused(template: str, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ExpressionError, match=words):
        expr(template, **values)
