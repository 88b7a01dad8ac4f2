"""Each kind of mistake is made once in every place where it can be made."""

from __future__ import annotations

import pytest

from rollguard.generators.mutation.mutants import mutants
from rollguard.generators.promql import syntax

JOINED = (
    'last_over_time(a{rollout="x"}[1m]) < on (rollout) last_over_time(b{rollout="x"}[1m]) - 0.05\n'
    'and on (rollout) n{rollout="x",side="buy"} >= 500'
)


def made(expr: str, kind: str, **rule: str) -> dict[str, str]:
    """Return the mutants of one kind: name → expression."""
    found = [mutant for mutant in mutants({"expr": expr, **rule}) if mutant.kind == kind]
    return {mutant.name: mutant.rule["expr"] for mutant in found}


def test_a_threshold_moves_by_one_percent() -> None:
    found = made("a > 500 or a < -0.5", "threshold")
    assert list(found.values()) == [
        "a > 505 or a < -0.5", "a > 495 or a < -0.5", "a > 500 or a < -0.505", "a > 500 or a < -0.495",
    ]  # fmt: skip


def test_a_threshold_of_zero_moves_to_both_sides() -> None:
    assert made("a > 0", "threshold") == {"0 becomes 0.01": "a > 0.01", "0 becomes -0.01": "a > (-0.01)"}


def test_numbers_in_strings_and_windows_are_no_thresholds() -> None:
    assert made('a{b="5"} > rate(c[5m])', "threshold") == {}


def test_the_value_of_a_constant_series_is_no_threshold() -> None:
    assert not [mutant for mutant in mutants({"expr": "vector(1)"}) if mutant.kind == "threshold"]


@pytest.mark.parametrize(
    ("operator", "others"),
    [
        ("<", [">", "<="]),
        (">", ["<", ">="]),
        ("<=", [">=", "<"]),
        (">=", ["<=", ">"]),
        ("==", ["!="]),
        ("!=", ["=="]),
    ],
)
def test_a_comparator_is_flipped_and_its_strictness_changed(operator: str, others: list[str]) -> None:
    assert list(made(f"a {operator} 5", "comparator").values()) == [f"a {other} 5" for other in others]


def test_for_is_halved_and_doubled() -> None:
    found = [mutant for mutant in mutants({"expr": "a", "for": "1m30s"}) if mutant.kind == "for"]
    assert [mutant.rule["for"] for mutant in found] == ["45s", "3m"]


def test_every_window_is_halved_and_doubled() -> None:
    found = made("rate(a[5m]) > rate(a[5m] offset 1h)", "window")
    assert list(found) == [
        "5m becomes 2m30s", "5m becomes 10m", "5m becomes 2m30s (2)", "5m becomes 10m (2)",
        "1h becomes 30m", "1h becomes 2h",
    ]  # fmt: skip
    assert found["5m becomes 10m (2)"] == "rate(a[5m]) > rate(a[10m] offset 1h)"


def test_operators_of_sets_are_swapped() -> None:
    assert made("a and on (x) b", "operator") == {
        "and becomes or": "a or on (x) b",
        "and becomes unless": "a unless on (x) b",
    }


def test_a_clause_is_dropped() -> None:
    found = made("(a > 1\nor b > 2) unless on (x) c", "clause")
    assert sorted(found.values()) == [
        "(a > 1\nor b > 2)",
        "(a > 1) unless on (x) c",
        "(b > 2) unless on (x) c",
    ]


def test_a_minimal_sample_is_dropped() -> None:
    found = made("a > 1 and on (x) n >= 500", "clause")
    assert found == {"without and n >= 500": "a > 1", "without a > 1 and": "n >= 500"}


def test_a_matcher_is_dropped() -> None:
    assert list(made('a{b="1",c!~"2"} > 1', "label").values()) == ['a{c!~"2"} > 1', 'a{b="1"} > 1']
    assert list(made('a{b="1"} > 1', "label").values()) == ["a > 1"]


def test_a_matcher_without_which_nothing_is_selected_stays() -> None:
    assert made('{__name__="a"} > 1', "label") == {}


def test_selectors_that_are_joined_on_a_label_lose_it_together() -> None:
    assert list(made(JOINED, "label").values()) == [
        JOINED.replace('{rollout="x"}', "").replace('rollout="x",', ""),
        JOINED.replace(',side="buy"', ""),
    ]


def test_each_label_of_a_join_is_lost_by_itself_where_both_sides_have_the_same_matcher() -> None:
    expr = 'a{r="x",s=~"p|q",t="1"} > on (r, s) b{r="x",s=~"p|q",t="2"}'
    assert list(made(expr, "label").values()) == [
        'a{s=~"p|q",t="1"} > on (r, s) b{s=~"p|q",t="2"}',
        'a{r="x",t="1"} > on (r, s) b{r="x",t="2"}',
        expr.replace(',t="1"', ""),
        expr.replace(',t="2"', ""),
    ]


def test_what_is_taken_away_loses_its_label_with_what_it_is_taken_from() -> None:
    expr = '(a{r="x"} > 1 or b{r="x"} > 2) unless on (r) c{r="x"} == 1'
    assert list(made(expr, "label").values()) == [
        '(a > 1 or b{r="x"} > 2) unless on (r) c == 1',
        '(a{r="x"} > 1 or b > 2) unless on (r) c{r="x"} == 1',
    ]


def test_rate_and_increase_are_exchanged() -> None:
    assert list(made("rate(a[5m]) > increase(b[5m]) / rate", "function").values()) == [
        "increase(a[5m]) > increase(b[5m]) / rate",
        "rate(a[5m]) > rate(b[5m]) / rate",
    ]


def test_every_mutant_differs_parses_and_has_a_name_of_its_own() -> None:
    found = mutants({"expr": JOINED, "for": "5m", "alert": "A"})
    assert len({mutant.name for mutant in found}) == len(found) >= 20
    for mutant in found:
        assert dict(mutant.rule) != {"expr": JOINED, "for": "5m", "alert": "A"}
        assert mutant.rule["alert"] == "A"
        syntax.parse(mutant.rule["expr"])
