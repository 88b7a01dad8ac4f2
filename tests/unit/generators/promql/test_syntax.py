"""PromQL is cut into tokens and operands with their places; a series is the same after writing it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.generators.promql import syntax
from rollguard.generators.promql.syntax import PromQLError, spliced, tokens
from rollguard.generators.rule_tests.notation import STALE, Sample, expanded, shortened
from rollguard.generators.rules.alerting import rendered_rules, rule_file
from rollguard.generators.rules.timing import Timing
from rollguard.spec.loading import load_rollouts
from tests.factories import ROOT


def kinds(text: str) -> list[tuple[str, str]]:
    return [(token.kind, token.text) for token in tokens(text)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('"a \\" { 5m < b"', "string"),
        ("'it is { > 5'", "string"),
        ("`raw \\`", "string"),
        ("1h30m", "duration"),
        ("200ms", "duration"),
        ("0.05", "number"),
        (".5", "number"),
        ("2e-13", "number"),
        ("0x1F", "number"),
        ("level:metric:sum5m", "name"),
        ("!~", "operator"),
        (">=", "operator"),
    ],
)
def test_a_token_is_of_its_kind(text: str, kind: str) -> None:
    assert kinds(text) == [(kind, text)]


def test_comments_and_spaces_are_no_tokens() -> None:
    assert kinds("a # > 5\n  < 5") == [("name", "a"), ("operator", "<"), ("number", "5")]


def test_a_character_that_begins_nothing_is_an_error() -> None:
    with pytest.raises(PromQLError, match=r"'\$x' is not PromQL"):
        list(tokens("a < $x"))


@pytest.mark.parametrize("text", ["a <", "a b", "(a", "sum(a", "a{b=", "< 5", "a)", ""])
def test_what_is_incomplete_is_an_error(text: str) -> None:
    with pytest.raises(PromQLError):
        syntax.parse(text)


@pytest.mark.parametrize(
    ("text", "operands"),
    [
        ("a and b or c unless d", {("and", "a", "b"), ("or", "a and b", "c unless d"), ("unless", "c", "d")}),
        ("a - b - c", {("-", "a", "b"), ("-", "a - b", "c")}),
        ("a ^ b ^ c", {("^", "b", "c"), ("^", "a", "b ^ c")}),
        ("-a * b > 5", {("*", "-a", "b"), (">", "-a * b", "5")}),
        ("a AND b", {("AND", "a", "b")}),
        ("(a or b) and on (x, y) c", {("or", "a", "b"), ("and", "(a or b)", "c")}),
        ("a / on (x) group_left (z) b", {("/", "a", "b")}),
        ("a == bool 5", {("==", "a", "5")}),
        ("sum by (x) (a) < max(b) without (y)", {("<", "sum by (x) (a)", "max(b) without (y)")}),
        ("rate(a[5m] offset -1h) > 1", {(">", "rate(a[5m] offset -1h)", "1")}),
        ("max_over_time(rate(a[5m])[1h:1m]) > 1", {(">", "max_over_time(rate(a[5m])[1h:1m])", "1")}),
        ("a @ end() + a @ 10", {("+", "a @ end()", "a @ 10")}),
    ],
)
def test_operands_are_those_of_prometheus(text: str, operands: set[tuple[str, str, str]]) -> None:
    parsed = syntax.parse(text)
    found = {
        (binary.operator.text, text[slice(*binary.left)], text[slice(*binary.right)])
        for binary in parsed.binaries
    }
    assert found == operands


def test_a_join_knows_its_labels() -> None:
    (binary,) = syntax.parse("a unless on (rollout, x) b").binaries
    assert binary.on == ("rollout", "x")


def test_a_selector_knows_how_it_is_read() -> None:
    text = 'histogram_quantile(0.9, sum by (le) (rate(b{x="1,}",y=~"a|b"}[5m]))) > {__name__="c"} - d'
    first, second, third = syntax.parse(text).selectors
    assert (first.metric, first.function, first.window) == ("b", "rate", "5m")
    assert [(matcher.label, matcher.operator, matcher.value) for matcher in first.matchers] == [
        ("x", "=", '"1,}"'),
        ("y", "=~", '"a|b"'),
    ]
    assert first.braces is not None
    assert text[slice(*first.braces)] == '{x="1,}",y=~"a|b"}'
    assert (second.metric, second.matchers[0].label, third.metric) == ("", "__name__", "d")


def test_every_shipped_rule_parses() -> None:
    for rollout in load_rollouts(ROOT / "rollouts"):
        for rule in rendered_rules(rule_file(rollout, Timing())):
            assert syntax.parse(rule["expr"]).selectors


def test_texts_are_replaced_whatever_their_order() -> None:
    assert spliced("abcdef", ((0, 1), "X"), ((4, 6), ""), ((2, 3), "YY")) == "XbYYd"


# The notation of series

samples = st.lists(
    st.one_of(st.sampled_from([None, STALE]), st.integers(-1000, 1000).map(float)), min_size=1, max_size=40
)


@given(samples)
def test_a_series_is_the_same_after_writing_it(values: list[Sample]) -> None:
    assert expanded(shortened(values)) == values


@pytest.mark.parametrize(
    ("text", "length", "last"),
    [
        ("5", 1, 5.0),
        ("5x3", 4, 5.0),
        ("0+1.5x2", 3, 3.0),
        ("1-2x2", 3, -3.0),
        ("_x3", 3, None),
        ("1 _", 2, None),
        ("-2e+10x1 stale", 3, STALE),
        ("1e-05x1", 2, 1e-05),
    ],
)
def test_promtools_notation_is_read(text: str, length: int, last: Sample) -> None:
    found = expanded(text)
    assert (len(found), found[-1]) == (length, last)


@pytest.mark.parametrize(
    "text", ["0x4 7+1x10 _x3 stale 5", "0.5x20", "1x4 stale", "0+0.1x1000 5x3", "1 2 4 8"]
)
def test_a_series_is_written_shortly(text: str) -> None:
    assert shortened(expanded(text)) == text


def test_what_is_no_notation_is_an_error() -> None:
    with pytest.raises(ValueError, match="5y is not promtool's notation"):
        expanded("1 5y")


# Ranges


@pytest.mark.parametrize(
    ("text", "longer"),
    [
        ("increase(a[10m]) > 3", "increase(a[10m1ms]) > 3"),
        ("rate(a[ 1h30m ] offset 5m) or max_over_time(b[250ms:50ms])",
         "rate(a[ 1h30m1ms ] offset 5m) or max_over_time(b[251ms:50ms])"),
        ('a{b="[10m]"} # [5m]', 'a{b="[10m]"} # [5m]'),
        ("a ] ? [5m]", "a ] ? [5m]"),
    ],
)  # fmt: skip
def test_a_range_ends_past_the_sample_at_its_edge(text: str, longer: str) -> None:
    assert syntax.past_edges(text) == longer
