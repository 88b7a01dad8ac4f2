"""What an expression reads: metrics, labels, and the limits that they are held to.

`generators.promql.syntax` keeps the place of each part in the text, which a mutant or a caret needs and which
promql-parser does not give; that one gives the nesting, which tells in whose unit a number is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser as parser

from rollguard.generators.promql.syntax import PromQLError
from rollguard.spec.falsifiable import COMPARATORS

_KEEP_UNIT = frozenset(
    {"last_over_time", "avg_over_time", "min_over_time", "max_over_time", "quantile_over_time",
     "stddev_over_time", "delta", "abs", "ceil", "floor", "round", "clamp", "clamp_min", "clamp_max"}
)  # fmt: skip
_AGGREGATES_THAT_KEEP_UNIT = frozenset({"avg", "min", "max", "quantile", "stddev", "topk", "bottomk"})


@dataclass(frozen=True)
class Read:
    """A selection of series.

    Args:
        metric: its name; empty where only matchers select.
        labels: the names of the labels that matchers name.
    """

    metric: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limit:
    """A number that a metric is held to, in the metric's unit."""

    metric: str
    value: float


@dataclass(frozen=True)
class Reading:
    """What an expression reads.

    Args:
        series: the selections, in the order of the text.
        limits: the numbers that some of them are compared with.
    """

    series: tuple[Read, ...]
    limits: tuple[Limit, ...]


def reading(expr: str) -> Reading:
    """Return what an expression reads.

    Args:
        expr: PromQL.
    Raises:
        PromQLError: it is none.
    """
    nodes: list[parser.Expr] = []
    try:
        parser.walk(parser.parse(expr), pre_visit=nodes.append)
    except (ValueError, RecursionError) as error:
        raise PromQLError(expr, f"is not PromQL: {error}") from error
    series = tuple(_read(node) for node in nodes if isinstance(node, parser.VectorSelector))
    limits = tuple(limit for node in nodes if isinstance(node, parser.BinaryExpr) for limit in _limits(node))
    return Reading(series, limits)


def _read(selector: parser.VectorSelector) -> Read:
    matchers = selector.matchers.matchers
    named = next((found.value for found in matchers if found.name == "__name__"), "")
    return Read(selector.name or named, tuple(found.name for found in matchers if found.name != "__name__"))


def _limits(binary: parser.BinaryExpr) -> Iterator[Limit]:
    if str(binary.op) not in COMPARATORS:
        return
    for side, other in ((binary.lhs, binary.rhs), (binary.rhs, binary.lhs)):
        metric = _measured(side)
        if metric and isinstance(other, parser.NumberLiteral):
            yield Limit(metric, other.val)


def _measured(node: parser.Expr) -> str:
    """Return the metric in whose unit the value of an expression is; nothing where it is in another."""
    match node:
        case parser.VectorSelector():
            return _read(node).metric
        case parser.MatrixSelector():
            return _read(node.vector_selector).metric
        case parser.ParenExpr() | parser.SubqueryExpr():
            return _measured(node.expr)
        case parser.AggregateExpr() if str(node.op) in _AGGREGATES_THAT_KEEP_UNIT:
            return _measured(node.expr)
        case parser.Call() if node.func.name in _KEEP_UNIT:
            return next(filter(None, map(_measured, node.args)), "")
        case _:
            return ""
