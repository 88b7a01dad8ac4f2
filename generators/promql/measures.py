"""What an expression measures: its unit, the labels of its series, a name for its lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import promql_parser as parser

from rollguard.conventions import ROLLOUT_LABEL
from rollguard.generators.known_metrics import unit_by_name
from rollguard.metric import Metric

Metrics = Mapping[str, Metric]
"""Name of a series → the metric that it belongs to."""

_COUNTS = frozenset({"increase", "changes", "resets", "count_over_time"})
_PER_SECOND = frozenset({"rate", "irate"})
_COUNTING_AGGREGATES = frozenset({"count", "count_values"})


def by_series(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """Return metrics by the names of their series."""
    return {name: metric for metric in metrics for name in metric.series}


def unit(node: parser.Expr, known: Metrics) -> str:
    """Return the unit of an expression's values, as `rollguard.metric` calls it; empty where it has none."""
    node = _bare(node)
    match node:
        case parser.VectorSelector():
            metric = node.name or ""
            counts = metric.endswith(("_count", "_total"))
            return "" if counts else known[metric].unit if metric in known else unit_by_name(metric)
        case parser.AggregateExpr() if str(node.op) not in _COUNTING_AGGREGATES:
            return unit(node.expr, known)
        case parser.Call():
            return _unit_of_call(node, known)
        case parser.BinaryExpr():
            return _unit_of_operation(node, known)
        case _:
            return ""


def _unit_of_call(node: parser.Call, known: Metrics) -> str:
    function = node.func.name
    if function in _COUNTS or function in _PER_SECOND:
        return "" if function in _COUNTS else "per second"
    if function == "time":
        return "seconds"
    return next(filter(None, (unit(argument, known) for argument in node.args)), "")


def _unit_of_operation(node: parser.BinaryExpr, known: Metrics) -> str:
    left, right = unit(node.lhs, known), unit(node.rhs, known)
    if str(node.op) == "/" and left == right and not isinstance(node.rhs, parser.NumberLiteral):
        return "ratio"
    return left or right


def labels(node: parser.Expr, known: Metrics) -> tuple[str, ...]:
    """Return the labels that tell an expression's series apart, without the rollout."""
    node = _bare(node)
    match node:
        case parser.VectorSelector():
            metric = known.get(node.name or "")
            fixed = {
                one.name for one in node.matchers.matchers if str(one.op).endswith("Equal") and not _not(one)
            }
            more = ("le",) if (node.name or "").endswith("_bucket") else ()
            return tuple(name for name in (*(metric.labels if metric else ()), *more) if name not in fixed)
        case parser.AggregateExpr():
            return _labels_of_aggregate(node, known)
        case parser.Call():
            found = next(
                (labels(one, known) for one in node.args if not isinstance(one, parser.NumberLiteral)), ()
            )
            return (
                tuple(name for name in found if name != "le")
                if node.func.name == "histogram_quantile"
                else found
            )
        case parser.BinaryExpr():
            return labels(node.lhs, known) or labels(node.rhs, known)
        case _:
            return ()


def _bare(node: parser.Expr) -> parser.Expr:
    """Return what stands within parentheses, signs, ranges and subqueries."""
    while isinstance(node, parser.ParenExpr | parser.SubqueryExpr | parser.UnaryExpr | parser.MatrixSelector):
        node = node.vector_selector if isinstance(node, parser.MatrixSelector) else node.expr
    return node


def _not(matcher: parser.Matcher) -> bool:
    return str(matcher.op).endswith("NotEqual")


def _labels_of_aggregate(node: parser.AggregateExpr, known: Metrics) -> tuple[str, ...]:
    if node.modifier is None:
        return ()
    named = [name for name in node.modifier.labels if name != ROLLOUT_LABEL]
    if str(node.modifier.type).endswith("By"):
        return tuple(named)
    return tuple(name for name in labels(node.expr, known) if name not in named)


def legend(node: parser.Expr, known: Metrics) -> str:
    """Return a name for an expression's lines: what is measured, of which values of labels."""
    return name(node) + told_apart(node, known)


def name(node: parser.Expr) -> str:
    """Return what an expression measures: its first metric, and the values of labels that it selects."""
    first = _first(node)
    if first is None:
        return "value"
    chosen = [one.value for one in first.matchers.matchers if one.name != ROLLOUT_LABEL and not _not(one)]
    return " ".join([(first.name or "value").removesuffix("_bucket"), *chosen])


def told_apart(node: parser.Expr, known: Metrics) -> str:
    """Return what tells an expression's lines apart, as the end of a legend."""
    return "".join(f" {{{{{label}}}}}" for label in labels(node, known))


def _first(node: parser.Expr) -> parser.VectorSelector | None:
    nodes: list[parser.Expr] = []
    parser.walk(node, pre_visit=nodes.append)
    return next((one for one in nodes if isinstance(one, parser.VectorSelector)), None)
