"""What is wrong with a guard is found before it is rendered: its template, parameters, own expression."""

from __future__ import annotations

from typing import Any

import pytest

from rollguard.spec.checks.guards import check
from rollguard.yamlfile import dotted

OWN: dict[str, Any] = {
    "alert": "Some",
    "expr": "<< a | now >> > 1",
    "metrics": {"a": "a_ratio"},
    "condition": "a is over 1",
    "tests": [{"case": "fires", "about": "over", "series": [{"of": "a", "values": "2"}]}],
}
BURN: dict[str, Any] = {"objective": 0.999, "factor": 6, "long": "6h", "short": "30m"}
USED: dict[str, Any] = {"alert": "Some", "use": "threshold", "with": {"metric": "a", "above": 1}}


def found(guard: dict[str, Any]) -> list[str]:
    return [f"{dotted(here)} {message}" for here, message, _ in check(guard)]


def without(guard: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in guard.items() if name != key}


@pytest.mark.parametrize("guard", [OWN, USED, {**OWN, "window": "1h", "raw": ["a"]}])
def test_a_sound_guard_has_no_findings(guard: dict[str, Any]) -> None:
    assert found(guard) == []


@pytest.mark.parametrize(
    ("guard", "expected"),
    [
        ({**USED, "expr": "up"}, "expr is given beside use, expected one of the two."),
        ({"alert": "Some"}, "use is missing, expected a template."),
        (without(OWN, "condition"), "condition is missing, expected beside expr."),
        (without(OWN, "tests"), "tests is missing, expected beside expr."),
        ({**OWN, "tests": []}, "tests is missing, expected beside expr."),
        ({**OWN, "with": {"above": 1}}, "with belongs to a template."),
        ({**OWN, "metrics": {"a": "a + b"}}, "metrics.a is a + b, expected one metric such as"),
        ({**OWN, "window": 5}, "window is 5, expected a duration with its unit"),
        ({**OWN, "raw": ["b"]}, "raw[0] is b, expected one of metrics: a."),
        (
            {**OWN, "tests": [{"series": [{"of": "a"}, {"of": "b"}]}]},
            "tests[0].series[1].of is b, expected one of metrics: a.",
        ),
        (without(OWN, "metrics"), "tests[0].series[0].of is a, expected one of metrics: none is named"),
        ({**USED, "action": "rollback", "clear_for": "5m"}, "clear_for belongs to a guard that holds"),
        ({**USED, "window": "5m"}, "window belongs to a guard with an expr of its own."),
        ({**USED, "name": "Other-canary"}, "name is Other-canary, expected Some-"),
        ({**USED, "name": "Some"}, "name is Some, expected Some-"),
        (
            {**USED, "with": {**USED["with"], "aggregate": "deviation", "window": "1d"}, "for": "5m"},
            "for is not possible with aggregate: deviation.",
        ),
        (
            {**USED, "with": [{**USED["with"], "aggregate": "deviation", "window": "1d"}], "for": "5m"},
            "for is not possible with aggregate: deviation.",
        ),
        ({**USED, "with": [{"metric": "a"}]}, "with[0] has none of below, at_most, above, at_least"),
        (
            {**USED, "use": "burn-rate", "with": BURN},
            "with has none of ratio, bad, expected exactly one.",
        ),
        (
            {**USED, "use": "burn-rate", "with": {**BURN, "ratio": "u", "bad": "e", "total": "r"}},
            "with has ratio and bad of ratio, bad, expected exactly one.",
        ),
        ({**USED, "use": "burn-rate", "with": {**BURN, "bad": "e"}}, "with has no total, expected with the"),
        ({**USED, "with": {**USED["with"], "by": "a b"}}, "with.by is a b, expected names of labels"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_finding(guard: dict[str, Any], expected: str) -> None:
    assert [words[: len(expected)] for words in found(guard)] == [expected]


@pytest.mark.parametrize(
    "guard",
    [
        {},
        {"alert": [1], "name": {}, "use": ["threshold"]},
        {**OWN, "metrics": [], "raw": {}, "tests": {"a": 1}},
        {**OWN, "tests": [1, {"series": [2, {"of": ["a"]}]}], "raw": [["a"]]},
        {**USED, "with": 3},
        {**USED, "with": ["a", {"metric": []}]},
    ],
)
def test_what_has_another_shape_is_no_crash(guard: dict[str, Any]) -> None:
    assert all(isinstance(words, str) for words in found(guard))
