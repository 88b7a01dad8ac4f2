"""Guard templates: typed parameters, series, and the guards that see data vanish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.spec import templates
from rollguard.spec.rollout import Rollout
from rollguard.spec.series import Series, narrowing_problem
from rollguard.spec.templates import Parameter, library
from tests.factories import shipped_rollout


@pytest.fixture
def rollout() -> Rollout:
    return shipped_rollout()


# Series


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a", "a"),
        (" a ", "a"),
        ("ns:a_total{}", "ns:a_total"),
        ('a{route="canary"}', 'a{route="canary"}'),
        ('a { route = "canary" , symbol =~ "A|B" }', 'a{route="canary",symbol=~"A|B"}'),
        (r'a{text="say \"hi\""}', r'a{text="say \"hi\""}'),
        ('a{b="x,y"}', 'a{b="x,y"}'),
        ('a{b="x",}', 'a{b="x"}'),
    ],
)
def test_one_metric_is_a_series(text: str, written: str) -> None:
    assert str(Series.parse(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a or b",
        "a + 1",
        "sum(a)",
        "a[5m]",
        "a offset 5m",
        "1a",
        "a{b}",
        "a{b=c}",
        'a{b="c"',
        'a{b="c" d="e"}',
        'a{b="c"} or vector(1)',
        'a{b="}',
        "a{b='c'}",
    ],
)
def test_an_expression_is_no_series(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Series.parse(text)


def test_a_matcher_of_the_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match="expected no matcher for rollout: Rollguard adds it"):
        Series.parse('a{rollout="other"}')


def test_a_series_is_read_within_its_rollout() -> None:
    assert str(Series.parse('a{b="c"}').within("shop")) == 'a{rollout="shop",b="c"}'


@pytest.mark.parametrize(
    ("text", "example"),
    [
        ('a{b=~"x|y"}', 'a{b="x"}'),
        ('a{b!="x"}', "a"),
        ('a{b!~"x.*"}', "a"),
        ('a{b="x"}', 'a{b="x"}'),
    ],
)
def test_an_example_is_a_series_that_the_matchers_select(text: str, example: str) -> None:
    assert str(Series.parse(text).example()) == example


@pytest.mark.parametrize("text", ['a{b=~"x.*"}', 'a{b=~""}', 'a{b=~"(x|y)"}'])
def test_a_regular_expression_without_an_example_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="gives no example: expected plain names"):
        Series.parse(text).example()


@pytest.mark.parametrize("text", ['a{b!=""}', 'a{b!~""}', 'a{b!~".*"}'])
def test_a_matcher_that_asks_for_any_value_of_a_label_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="gives no example"):
        Series.parse(text).example()


def test_two_values_of_one_label_give_no_example() -> None:
    with pytest.raises(ValueError, match="gives no example"):
        Series.parse('a{b="x",b="y"}').example()


@given(st.text(max_size=30))
def test_any_text_is_a_series_or_an_error_in_words(text: str) -> None:
    try:
        found = Series.parse(text)
    except ValueError as error:
        words = str(error)
    else:
        words = f"expected {found}"
    assert words.startswith("expected")


def test_a_series_is_narrowed_to_a_scope() -> None:
    scope = {"symbol": ("AAPL", "SPY"), "horizon": ("1D",)}
    narrowed = Series.parse('a{b="c"}').narrowed(scope)
    assert str(narrowed) == 'a{b="c",symbol=~"AAPL|SPY",horizon="1D"}'


def test_a_part_of_a_histogram_has_the_same_matchers() -> None:
    assert str(Series.parse('a_seconds{b="c"}').suffixed("_bucket")) == 'a_seconds_bucket{b="c"}'


def test_a_foreign_series_is_not_looked_for_within_the_rollout() -> None:
    assert str(Series("ALERTS", foreign=True).within("shop")) == "ALERTS"


@pytest.mark.parametrize(
    ("label", "values", "problem"),
    [
        ("symbol", ["AAPL", "BTC-USD"], ""),
        ("sym-bol", ["AAPL"], "sym-bol cannot be the name of a label"),
        ("symbol", ["AAPL", "A.*"], "A.* is no plain name"),
        ("symbol", [1], "1 is no plain name"),
        ("symbol", "AAPL", ""),
    ],
)
def test_a_scope_needs_labels_and_plain_names(label: str, values: object, problem: str) -> None:
    assert narrowing_problem(label, values) == problem


# Parameters


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        ("number", 1, 1.0),
        ("number", -0.5, -0.5),
        ("ratio", 0, 0.0),
        ("ratio", 1, 1.0),
        ("count", 0, 0),
        ("duration", "1h30m", 5400.0),
        ("text", " ms", " ms"),
        ("metric", "a", Series("a")),
        ("histogram", "a_seconds", Series("a_seconds")),
        ("labels", "symbol", ("symbol",)),
        ("labels", "symbol , horizon", ("symbol", "horizon")),
        (
            "alert",
            'Slow{service="shop"}',
            Series(
                "ALERTS",
                (("alertname", "=", "Slow"), ("alertstate", "=", "firing"), ("service", "=", "shop")),
                foreign=True,
            ),
        ),
    ],
)
def test_a_value_is_converted_to_its_type(kind: Any, value: object, converted: object) -> None:
    assert Parameter(type=kind, about="x").convert(value) == converted


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("number", [True, None, "1", float("nan"), float("inf"), 10**400, [1]]),
        ("ratio", [True, -0.01, 1.01, 5, "0.5", float("nan"), 10**400]),
        ("count", [True, 1.0, -1, "1"]),
        ("duration", [5, "5", "0s", "", True, None]),
        ("text", [1, "{{ $value }}", None]),
        ("metric", [1, None, "a b", {}]),
        ("histogram", [1, "a_seconds[5m]"]),
        ("labels", [1, None, "", "a b", "a,", ["a"], "a-b"]),
        ("alert", [1, None, "", "A or B", "a{b}"]),
    ],
)
def test_a_value_of_another_type_is_refused(kind: Any, values: list[object]) -> None:
    for value in values:
        with pytest.raises(ValueError, match="expected"):
            Parameter(type=kind, about="x").convert(value)


# The library


def test_the_library_holds_the_templates_that_ship() -> None:
    assert list(library()) == [
        "absent",
        "burn-rate",
        "changes",
        "compare",
        "existing",
        "harm-budget",
        "increases",
        "limit",
        "no-data",
        "quantile",
        "ratio",
        "threshold",
        "trails-baseline",
    ]


@pytest.mark.parametrize("name", library())
def test_a_template_has_a_firing_and_a_silent_test(name: str) -> None:
    assert {"fires", "silent"} <= {case.case for case in library()[name].tests}


@pytest.mark.parametrize("name", library())
def test_what_a_template_names_are_its_parameters(name: str) -> None:
    template = library()[name]
    named = {*template.any_of, *template.order, *template.together, *template.raw, *template.single}
    named |= {*template.raw_with, *template.raw_with.values(), *template.instant}
    named |= {*filter(None, [template.window, template.counter])}
    for case in template.tests:
        named |= {*case.given, *case.unless, *(series.of for series in case.series)}
    assert named <= set(template.parameters)


@pytest.mark.parametrize("name", library())
def test_a_summary_is_a_sentence(name: str) -> None:
    summary = library()[name].summary
    assert summary[0].isupper()
    assert summary.endswith(".")


def test_a_broken_template_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("template: odd\n")
    with pytest.raises(templates.GuardError, match=r"odd\.yaml: "):
        templates._load(path)
