"""Whether an expression can be false: a sample means that it holds, so it must yield none if it does not."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import promql_parser as parser

Side: TypeAlias = Literal["left", "right"]

COMPARATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
"""What PromQL compares with; of numbers, or of arrays of them."""

_OF_THE_CLOCK = frozenset(
    {"time", "minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year"}
)
_ABSENCE = frozenset({"absent", "absent_over_time"})
_ALWAYS_A_SAMPLE = frozenset({"scalar", "vector", *_OF_THE_CLOCK})
_ALERTS = "ALERTS"
_SHOWN = 60


@dataclass(frozen=True)
class AlwaysTrue:
    """Why an expression, or a part of it on which it hangs, yields a sample where it is false, too.

    Args:
        why: in words.
        hint: how to write it.
        path: the operands that lead to the part, from the outermost operator on.
        of_operator: the operator of the part is wrong, and not what stands there.
    """

    why: str
    hint: str
    path: tuple[Side, ...] = ()
    of_operator: bool = False


def criterion_fault(expr: str) -> AlwaysTrue | None:
    """Return why a criterion always holds: its outermost operators are to be comparisons, or join some.

    Args:
        expr: PromQL that Prometheus accepts.
    Raises:
        ValueError: it is no PromQL.
    """
    return _deep(expr, lambda node: _fault(node, (), strict=True))


def guard_fault(expr: str) -> AlwaysTrue | None:
    """Return why a guard always fires: nothing in its expression takes a sample away.

    It may count what is compared, or ask for what is absent or for an alert; else as `criterion_fault`.
    """
    return _deep(expr, lambda node: _fault(node, (), strict=False))


def _deep(expr: str, fault: Callable[[parser.Expr], AlwaysTrue | None]) -> AlwaysTrue | None:
    try:
        return fault(parser.parse(expr))
    except RecursionError:
        return AlwaysTrue("too much is joined or nested to tell", "Write a shorter one.")


def _fault(node: parser.Expr, path: tuple[Side, ...], *, strict: bool) -> AlwaysTrue | None:
    if isinstance(node, parser.ParenExpr):
        return _fault(node.expr, path, strict=strict)
    if isinstance(node, parser.BinaryExpr):
        return _of_operator(node, path, strict=strict)
    return None if not strict and _filters(node) else _uncompared(node, path)


def _of_operator(node: parser.BinaryExpr, path: tuple[Side, ...], *, strict: bool) -> AlwaysTrue | None:
    left = _fault(node.lhs, (*path, "left"), strict=strict)
    right = _fault(node.rhs, (*path, "right"), strict=strict)
    filtered = not strict and not (left and right)
    match str(node.op):
        case "or":
            return left or right
        case "and":
            vain = next((side for side in (left, right) if side and side.of_operator), None)
            return vain or (left and right and left)
        case "unless":
            return left if strict or right else None
        case sign if sign in COMPARATORS:
            return _of_comparison(node, path, filtered=filtered)
    return None if filtered else _uncompared(node, path)


def _filters(node: parser.Expr) -> bool:
    """Return whether an operand yields no sample where what is compared within it fails."""
    match node:
        case parser.UnaryExpr() | parser.AggregateExpr() | parser.SubqueryExpr():
            return _fault(node.expr, (), strict=False) is None
        case parser.Call() if node.func.name in _ABSENCE:
            return True
        case parser.Call() if node.func.name not in _ALWAYS_A_SAMPLE:
            return any(_fault(argument, (), strict=False) is None for argument in node.args)
        case parser.VectorSelector():
            return node.name == _ALERTS
    return False


def _uncompared(node: parser.Expr, path: tuple[Side, ...]) -> AlwaysTrue:
    text = _shown(node)
    absence = isinstance(node, parser.Call) and node.func.name in _ABSENCE
    hint = f"Write {text} {'== 1' if absence else '> 0'}, or what it is to be held to."
    if not any(_reads(node)):
        hint = "Take it out, or compare a series."
    return AlwaysTrue(f"{text} is compared with nothing, so that any sample of it counts", hint, path)


def _of_comparison(node: parser.BinaryExpr, path: tuple[Side, ...], *, filtered: bool) -> AlwaysTrue | None:
    if not any(_reads(node)):
        return AlwaysTrue("it reads no series, so that it never changes", "Compare a series.", path, True)
    if _is_bool(node):
        hint = "Take out bool, and compare series in place of scalars."
        why = "bool yields 0 where the comparison fails, and 0 is a sample, too"
        return None if filtered else AlwaysTrue(why, hint, path, True)
    if str(node.lhs) == str(node.rhs) and str(node.op) in {"==", ">=", "<="}:
        return AlwaysTrue("both sides are the same", "Compare it with a limit.", path, True)
    if _holds_for_all_bools(node):
        hint = "Take out bool, and what its 0 or 1 is compared with."
        return AlwaysTrue("what bool yields, 0 or 1, is always so", hint, path, True)
    return None


def _is_bool(node: parser.Expr) -> bool:
    return isinstance(node, parser.BinaryExpr) and bool(node.modifier and node.modifier.return_bool)


def _reads(node: parser.Expr) -> Iterator[bool]:
    """Yield something for each series, and each look at the clock, on which an expression hangs."""
    found: list[parser.Expr] = []
    parser.walk(node, pre_visit=found.append)
    for part in found:
        if isinstance(part, parser.VectorSelector) or (
            isinstance(part, parser.Call) and part.func.name in _OF_THE_CLOCK
        ):
            yield True


def _holds_for_all_bools(node: parser.BinaryExpr) -> bool:
    for side, other, swapped in ((node.lhs, node.rhs, False), (node.rhs, node.lhs, True)):
        bounds, limit = _bounds(side), number(other)
        if bounds is None or limit is None:
            continue
        holds = COMPARATORS[str(node.op)]
        if str(node.op) == "!=":
            return not bounds[0] <= limit <= bounds[1]
        return all(holds(limit, one) if swapped else holds(one, limit) for one in bounds)
    return False


def _bounds(node: parser.Expr) -> tuple[float, float] | None:
    """Return between what the values lie that come of `bool`; None where they do not."""
    match node:
        case parser.ParenExpr() | parser.SubqueryExpr():
            return _bounds(node.expr)
        case parser.BinaryExpr() if _is_bool(node):
            return 0.0, 1.0
        case parser.AggregateExpr() if _bounds(node.expr):
            return 0.0, 1.0 if str(node.op) in {"min", "max", "avg", "group"} else math.inf
        case parser.Call() if node.func.name.endswith("_over_time") and _bounds(node.args[-1]):
            return 0.0, 1.0 if node.func.name.startswith(("min", "max", "avg", "last")) else math.inf
    return None


def number(node: parser.Expr) -> float | None:
    """Return the number that an operand is; None where it is none."""
    match node:
        case parser.NumberLiteral():
            return float(node.val)
        case parser.ParenExpr():
            return number(node.expr)
        case parser.UnaryExpr():
            inner = number(node.expr)
            return None if inner is None else -inner
    return None


def _shown(node: parser.Expr) -> str:
    """Return an expression on one line, shortened."""
    text = " ".join(str(node).replace("{}", "").split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
