"""What yields a sample where it is false is found by its tree: criteria that always hold, and guards."""

from __future__ import annotations

import pytest

from rollguard.generators.checks.falsifiable import _place
from rollguard.spec.falsifiable import criterion_fault, guard_fault

ALWAYS_HOLD = [
    "success_ratio >= ^bool 0.99",
    "^success_ratio",
    '^{__name__="success_ratio"}',
    "^success_ratio offset 5m",
    "^success_ratio - 0.9",
    "^errors / total",
    "^-x",
    "^-(x > 1)",
    "((^x))",
    "^1",
    "^time()",
    "^vector(1)",
    "^scalar(x)",
    "^scalar(x > 1)",
    "^rate(x[5m])",
    "^sum by (rollout) (rate(x[5m]))",
    "^count(x > 1)",
    "^count(x > bool 1)",
    "^topk(1, x)",
    "^absent(x)",
    "^absent_over_time(x[5m])",
    "^abs(x > bool 1)",
    "^clamp_max(x, 1)",
    "^1 - (x < bool 1)",
    "^max_over_time((x > bool 1)[5m:])",
    '^label_replace(x, "a", "b", "c", "d")',
    "vector(1) ^> 0",
    "1 > ^bool 2",
    "scalar(x) > ^bool 1",
    "time() > ^bool 0",
    "x > ^bool on (a) group_left y",
    "x ^== x",
    "x / y ^>= x / y",
    "x > 1 or ^vector(0)",
    "x > 1 or on () ^vector(0)",
    "x > 1 or ^y",
    "(^y or x > 1)",
    "x > 1\n  or ^y",
    "x > 1 or y > ^bool 2 or z < 3",
    "^x and y",
    "^x unless y",
    "^x unless (y > 1)",
    "(x > ^bool 1) and y > 2",
    "y > 2 and on () (x > ^bool 1)",
    "(x > bool 1) ^>= 0",
    "0 ^<= (x > bool 1)",
    "(x > bool 1) ^!= 2",
    "sum(x > bool 1) ^>= 0",
    "max_over_time((x > bool 1)[5m:]) ^< 2",
    "^x" + " + x" * 1000,
]
"""With a mark where the caret stands."""

CAN_FAIL = [
    "x > 1",
    "1 < x",
    "x != 1",
    "x > y",
    "x >= 0.05 <= 0.15",
    "a < on (rollout) b < on (rollout) c",
    "(x > bool 1) == 1",
    "sum(x > bool 1) > 2",
    "count(x > 1) > 0",
    "absent(x) == 1",
    "(sum(rate(x[5m])) or vector(0)) == 0",
    "x > 1 and y",
    "y and on () x > 1",
    "x > 1 or y < 2",
    "x > 1 unless on () y",
    "hour() >= 9",
    "max by (rollout) (abs(x / y - 1)) <= 0.05",
]
GUARDS_ONLY = [
    "count by (rollout) (up == 0)",
    "absent(x)",
    'ALERTS{alertname="Old",alertstate="firing"}',
    "max without (alertstate) (ALERTS)",
    "x unless y > 1",
    "(x > bool 1) * on () (y > 2)",
    "max_over_time((x > 1)[5m:])",
    "count(x > 1) or absent(y)",
]
GUARDS_TOO = ["^x", "x > ^bool 1", "^count(x)", "^x / y", "^x or y > 1", "x > 1 or ^vector(0)", "^x unless y"]


@pytest.mark.parametrize("marked", ALWAYS_HOLD, ids=lambda text: text[:40])
def test_a_criterion_that_always_holds_is_found_at_its_place(marked: str) -> None:
    place, expr = marked.index("^"), marked.replace("^", "", 1)
    fault = criterion_fault(expr)
    assert fault is not None
    assert _place(expr, fault) == place
    assert fault.hint


@pytest.mark.parametrize("marked", GUARDS_TOO)
def test_a_guard_that_always_fires_is_found_at_its_place(marked: str) -> None:
    place, expr = marked.index("^"), marked.replace("^", "", 1)
    fault = guard_fault(expr)
    assert fault is not None
    assert _place(expr, fault) == place


@pytest.mark.parametrize("expr", CAN_FAIL)
def test_what_can_be_false_is_left_alone(expr: str) -> None:
    assert criterion_fault(expr) is None
    assert guard_fault(expr) is None


@pytest.mark.parametrize("expr", GUARDS_ONLY)
def test_a_guard_may_count_what_is_compared_or_ask_for_what_is_there(expr: str) -> None:
    assert guard_fault(expr) is None
    assert criterion_fault(expr) is not None


@pytest.mark.parametrize(
    ("expr", "hint"),
    [
        ("success_ratio", "Write success_ratio > 0, or what it is to be held to."),
        ("absent(x)", "Write absent(x) == 1, or what it is to be held to."),
        ("x > 1 or vector(0)", "Take it out, or compare a series."),
        ("x > bool 1", "Take out bool, and compare series in place of scalars."),
    ],
)
def test_the_hint_says_how_to_write_it(expr: str, hint: str) -> None:
    fault = criterion_fault(expr)
    assert fault is not None
    assert fault.hint == hint
