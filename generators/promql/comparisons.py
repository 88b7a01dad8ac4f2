"""What a rule compares with what: its comparisons, and how close each is to holding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser as parser

from rollguard.generators.promql.syntax import PromQLError
from rollguard.spec.falsifiable import number

_RISING, _FALLING = (">", ">="), ("<", "<=")
_MILLISECONDS = re.compile(r"\dms\b")
_OPERATORS = frozenset({*_RISING, *_FALLING, "==", "!="})
MOST = 2
"""A closeness beyond which it does not matter how far."""


@dataclass(frozen=True)
class Compared:
    """One comparison of a rule.

    Args:
        node: in the rule's tree.
        condition: it stands behind an `and`, and only says whether the rest counts.
    """

    node: parser.BinaryExpr
    condition: bool

    @property
    def operator(self) -> str:
        """``<``, ``>=`` and so on."""
        return str(self.node.op)

    @property
    def measured(self) -> parser.Expr:
        """The left side."""
        return self.node.lhs

    @property
    def limit(self) -> float | None:
        """The right side, where it is a number."""
        return number(self.node.rhs)

    @property
    def moving(self) -> str:
        """The right side as PromQL, where it is none."""
        return "" if self.limit is not None else rendered(self.node.rhs)


def parsed(expr: str) -> parser.Expr:
    """Return an expression's tree; raises PromQLError."""
    try:
        return parser.parse(expr)
    except (ValueError, RecursionError) as error:
        raise PromQLError(expr, f"is not PromQL: {error}") from error


def comparisons(node: parser.Expr, *, condition: bool = False) -> Iterator[Compared]:
    """Yield the comparisons of a rule, but for those behind `unless`, from left to right.

    Args:
        node: the rule's tree, or a part of it.
        condition: whether the part stands behind an `and`.
    """
    match node:
        case parser.ParenExpr():
            yield from comparisons(node.expr, condition=condition)
        case parser.BinaryExpr() if str(node.op) in _OPERATORS:
            yield Compared(node, condition)
        case parser.BinaryExpr() if str(node.op) in ("and", "or", "unless"):
            yield from comparisons(node.lhs, condition=condition)
            if str(node.op) != "unless":
                yield from comparisons(node.rhs, condition=condition or str(node.op) == "and")


def headroom(rule: parser.Expr, one: Compared, *, of_one: bool) -> str:
    """Return PromQL of how close a comparison is to holding, wherever the rest of its rule lets it count.

    Args:
        rule: the whole rule's tree.
        one: a comparison of it that is no condition.
        of_one: what is measured is a share, so that a lower limit is about what is missing from 1.
    Returns:
        0 far away, 1 at the limit, at most `MOST`; the branches of the rule that do without the comparison
        are left out, and all that says when it counts is kept.
    """
    found = _branch(rule, one, f"clamp({_ratio(one, of_one=of_one)}, 0, {MOST})")
    assert found is not None, "the comparison is part of the rule"
    return found


def _branch(node: parser.Expr, one: Compared, value: str) -> str | None:
    """Return the part of a tree that leads to a comparison, with a value in its place; None without it."""
    match node:
        case parser.ParenExpr():
            return _branch(node.expr, one, value)
        case parser.BinaryExpr() if rendered(node) == rendered(one.node):
            return value
        case parser.BinaryExpr() if str(node.op) == "or":
            return _branch(node.lhs, one, value) or _branch(node.rhs, one, value)
        case parser.BinaryExpr() if str(node.op) in ("and", "unless"):
            left = _branch(node.lhs, one, value)
            return left and f"({left}) {node.op} {_matching(node)} ({rendered(node.rhs)})"
    return None


def _ratio(one: Compared, *, of_one: bool) -> str:
    left, limit, how = rendered(one.measured), one.limit, _matching(one.node)
    if limit is not None and limit > 0 and one.operator in _RISING:
        return f"({left}) / {limit:.12g}"
    if limit is not None and one.operator in _FALLING and of_one and limit < 1:
        return f"(1 - ({left})) / {1 - limit:.12g}"
    if limit is not None and limit > 0 and limit != 1 and one.operator in _FALLING:
        return f"{limit:.12g} / ({left})"  # under 1 is what is either 0 or 1
    if limit is None and one.operator in (*_RISING, *_FALLING):
        return _moving_ratio(one, left, how)
    return f"({left}) {one.operator} bool {how} ({rendered(one.node.rhs)})".replace("  ", " ")


def _moving_ratio(one: Compared, left: str, how: str) -> str:
    """Return how close something is to a limit that moves: by its margin where the limit has one."""
    right, rises = one.node.rhs, one.operator in _RISING
    if isinstance(right, parser.BinaryExpr) and str(right.op) == ("+" if rises else "-"):
        margin = number(right.rhs)
        if margin:
            return f"(({left}) - {how} ({rendered(right.lhs)})) / {margin if rises else -margin:.12g}"
    share = f"({left}) / {how} ({rendered(right)})"
    return share if rises else f"1 / ({share})"


def _matching(node: parser.BinaryExpr) -> str:
    """Return how the sides of an operator are matched, as PromQL."""
    modifier = node.modifier
    if modifier is None or modifier.matching is None:
        return ""
    words = str(modifier.matching)
    group = {"ManyToOne": "group_left", "OneToMany": "group_right"}.get(str(modifier.card).rpartition(".")[2])
    return f"{words} {group} ({', '.join(modifier.group_labels or ())})" if group else words


def rendered(node: parser.Expr) -> str:
    """Return an expression as PromQL on one line; the parser's own str loses what is under a second."""
    pretty = " ".join(node.prettify().split())
    return pretty if _MILLISECONDS.search(pretty) else str(node)
