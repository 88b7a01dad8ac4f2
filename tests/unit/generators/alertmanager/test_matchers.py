"""Matchers of Alertmanager's file in each form that it takes."""

from __future__ import annotations

import pytest

from rollguard.generators.alertmanager.matchers import Matcher, parse_matchers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('severity="critical"', [("severity", "=", "critical")]),
        ('{ a = b , c !~ "d|e" }', [("a", "=", "b"), ("c", "!~", "d|e")]),
        ('a="b,c",', [("a", "=", "b,c")]),
        (r'a="x\"y\\z\n\q"', [("a", "=", 'x"y\\z\n\\q')]),
        (r"a=b\c", [("a", "=", r"b\c")]),
        ("a=", [("a", "=", "")]),
        ("a=~b=c", [("a", "=~", "b=c")]),
        ("", []),
        ("{}", []),
        ('"rollout"="live1"', [("rollout", "=", "live1")]),
        ('{"service.name"=~"x|y", a!="b",}', [("service.name", "=~", "x|y"), ("a", "!=", "b")]),
        ('"a b"!~c', [("a b", "!~", "c")]),
        ("größe=klein", [("größe", "=", "klein")]),
        ("service.name=x", [("service.name", "=", "x")]),
        (r'"a\u00e4"="\x41\102\t\""', [("aä", "=", 'AB\t"')]),
        ('"a"="b,c}"', [("a", "=", "b,c}")]),
    ],
)
def test_a_matcher_is_read_in_both_forms(text: str, found: list[tuple[str, str, str]]) -> None:
    assert parse_matchers(text) == [Matcher(*one) for one in found]


@pytest.mark.parametrize(
    "text",
    ["a", "=b", '"a="b"', "a=b,,c=d", '"a"="b" c="d"', '{"a"="b"', '"a"="b"}', r'"a\q"="b"', "'a'='b'"],
)
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_matchers(text)


@pytest.mark.parametrize("pattern", [r"\pL+", "[[:alpha:]]+", r"(?-s:\w+)"])
def test_a_pattern_is_read_as_go_reads_it(pattern: str) -> None:
    assert (Matcher("a", "=~", pattern).matches({"a": "x"}), Matcher("a", "!~", pattern).matches({})) == (
        True,
        True,
    )


HOSTILE = ["(a+)+$", "(a|a)*b", "(a|b|ab)*(a+a+)+c"]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_pattern_that_backtracks_hangs_nothing(pattern: str) -> None:
    assert not Matcher("a", "=~", pattern).matches({"a": "a" * 100_000 + "!"})


def test_a_matcher_of_blanks_hangs_nothing() -> None:
    assert parse_matchers("a = b" + " " * 100_000 + "c") == [Matcher("a", "=", "b" + " " * 100_000 + "c")]


@pytest.mark.parametrize("pattern", ["(", "a(?=b)", r"(a)\1", "((a{1000}){1000}){1000}"])
def test_what_cannot_be_read_is_told_apart_by_its_label(pattern: str) -> None:
    matcher = Matcher("a", "=~", pattern)
    assert (matcher.readable, matcher.tells({"a": "x"}), matcher.matches({"a": "x"})) == (False, "x", False)
